// Compare: the same input on several pools and with several numbers of workers, one run after another.
//
// A run sets the pool's capacity, submits its jobs under a label of their own, and reads from them what they took.
import { h, text, duration, number, bytes, table } from './dom.js';
import { api, forEach, get, post } from './api.js';
import { schemaForm } from './form.js';
import { lineChart } from './charts.js';
import { advice, amdahl, usl } from './fit.js';

const final = new Set(['succeeded', 'failed', 'cancelled']);

export function compare(page, wanted) {
  const select = h('select', { 'aria-label': 'Task', onchange: () => { location.hash = `#/compare/${encodeURIComponent(select.value)}`; } });
  const place = h('div');
  const pools = h('fieldset', {}, h('legend', {}, 'Pools'));
  const workers = h('input', { value: '1, 2, 4', size: 12 });
  const jobs = h('input', { type: 'number', min: 2, max: 400, value: 16 });
  const run = h('button', { class: 'main' }, 'Compare');
  const stop = h('button', { type: 'button', disabled: true, onclick: () => { isStopped = true; } }, 'Stop');
  const status = h('p', { role: 'status' });
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'progress of the comparison', hidden: true });
  const outcome = h('div');
  let task = null;
  let fields = null;
  let isStopped = false;
  let isOver = false;
  let capacities = new Map();

  page.append(h('h1', {}, 'Compare'),
    h('section', {}, h('form', { onsubmit: start },
      h('label', { class: 'inline' }, 'Task ', select), place, pools,
      h('div', { class: 'fields' }, h('label', {}, h('span', {}, 'numbers of workers'), workers), h('label', {}, h('span', {}, 'jobs in each run'), jobs)),
      h('p', { class: 'soft' }, 'A run sets the capacity of its pool, and puts it back at the end; what else runs there shares it.'),
      h('div', { class: 'bar' }, run, stop)), status, bar), outcome);

  function choose(chosen) {
    task = chosen;
    select.value = task.name;
    fields = schemaForm(task.input);
    place.replaceChildren(fields.element);
    pools.replaceChildren(pools.firstChild, ...task.pools.map((name) => h('label', { class: 'inline' }, h('input', { type: 'checkbox', value: name, checked: true }), ` ${name}`)));
  }

  async function start(event) {
    event.preventDefault();
    try {
      const input = fields.value() ?? {};
      const chosen = [...pools.querySelectorAll('input:checked')].map((box) => box.value);
      const numbers = [...new Set(workers.value.split(/[\s,]+/).filter(Boolean).map(Number))].sort((a, b) => a - b);
      if (!chosen.length) throw new Error('choose a pool');
      if (!numbers.length || numbers.some((one) => !Number.isInteger(one) || one < 1 || one > 64)) throw new Error('numbers of workers are whole, from 1 to 64');
      await measureAll(input, chosen, numbers, Number(jobs.value));
    } catch (error) { text(status, error.message); }
  }

  async function measureAll(input, chosen, numbers, count) {
    const runs = [];
    isStopped = false;
    run.disabled = true;
    stop.disabled = false;
    bar.hidden = false;
    try {
      for (const pool of (await get('/v1/pools')).pools) capacities.set(pool.name, pool.capacity);
      const all = chosen.flatMap((pool) => numbers.map((many) => ({ pool, workers: many })));
      for (const [index, one] of all.entries()) {
        if (isStopped || isOver) break;
        text(status, `${one.pool}, ${one.workers} ${one.workers === 1 ? 'worker' : 'workers'}: ${count} jobs`);
        bar.value = index / all.length;
        runs.push(await measure(input, one, count));
        show(runs);
      }
      text(status, isStopped ? 'Stopped.' : 'Done.');
    } finally {
      await restore();
      run.disabled = false;
      stop.disabled = true;
      bar.hidden = true;
    }
  }

  async function restore() {
    const changed = [...capacities];
    capacities = new Map();
    for (const [name, capacity] of changed) {
      if (capacity > 0) await api(`/v1/pools/${name}`, { method: 'PATCH', body: { capacity } }).catch((error) => text(status, error.message));
    }
  }

  async function measure(input, { pool, workers: many }, count) {
    await api(`/v1/pools/${pool}`, { method: 'PATCH', body: { capacity: many } });
    if (pool === 'process') await untilReady(many);
    // One before the clock runs: what a first job costs is not the question.
    await post('/v1/jobs', { task: task.name, input, pool }, { Prefer: 'wait=60' });
    const mark = `${Date.now()}-${Math.random().toString(36).slice(2, 8)}`;
    await forEach(Array.from({ length: count }), () => post('/v1/jobs', { task: task.name, input, pool, labels: { compare: mark } }));
    let found = [];
    do {
      found = (await get(`/v1/jobs?label.compare=${mark}&limit=500`)).jobs;
      const open = found.find((one) => !final.has(one.state));
      if (open) await get(`/v1/jobs/${open.id}`, { headers: { Prefer: 'wait=5' } });
      else break;
    } while (!isOver && !isStopped);
    if (isStopped || isOver) {
      await forEach(found.filter((one) => !final.has(one.state)), (one) => api(`/v1/jobs/${one.id}`, { method: 'DELETE' }));
    }
    return summary(pool, many, found.filter((one) => one.state === 'succeeded'), found.length);
  }

  async function untilReady(many) {
    for (let tries = 0; tries < 200 && !isOver; tries += 1) {
      const pool = await get('/v1/pools/process');
      if (pool.workers.filter((worker) => worker.state === 'idle').length >= many) return;
      await new Promise((done) => { setTimeout(done, 50); });
    }
  }

  function show(runs) {
    const good = runs.filter((one) => one.rate > 0);
    const parts = [table('Runs', ['Pool', 'Workers', 'Jobs/s', 'Run p50', 'Run p99', 'CPU share', 'Peak memory', 'Failed'],
      runs.map((one) => [one.pool, one.workers, number(one.rate), duration(one.p50), duration(one.p99), `${Math.round(one.cpuShare * 100)} %`, bytes(one.memory), one.failed]))];
    const series = [];
    const laws = [];
    for (const pool of new Set(good.map((one) => one.pool))) {
      const mine = good.filter((one) => one.pool === pool);
      series.push({ name: pool, points: mine.map((one) => [one.workers, one.rate]) });
      const first = mine.find((one) => one.workers === 1);
      if (!first || mine.length < 2) continue;
      const points = mine.map((one) => [one.workers, one.rate / first.rate]);
      const [a, u] = [amdahl(points), usl(points)];
      const most = mine.at(-1).workers;
      const steps = Array.from({ length: 40 }, (_, index) => 1 + (most - 1) * index / 39);
      series.push({ name: `${pool}, USL`, dashed: true, points: steps.map((n) => [n, first.rate * u.at(n)]) });
      const best = Number.isFinite(u.best) ? `; fastest with about ${Math.max(1, Math.round(u.best))}` : '';
      laws.push(h('li', {}, `${pool}: speed-up ${points.at(-1)[1].toFixed(2)} with ${most}; Amdahl: ${(a.serial * 100).toFixed(1)} % is serial, at most ${Number.isFinite(a.limit) ? a.limit.toFixed(1) : 'any'} times; USL: contention ${u.contention.toFixed(3)}, coherency ${u.coherency.toFixed(4)}${best}`));
    }
    if (good.length) parts.push(h('p', { class: 'advice' }, advice(good)), lineChart('Jobs a second by workers', 'workers', 'jobs/s', series), h('ul', { class: 'laws' }, laws));
    outcome.replaceChildren(h('section', {}, h('h2', {}, 'Result'), ...parts));
  }

  get('/v1/tasks').then(({ tasks }) => {
    select.replaceChildren(...tasks.map((one) => h('option', {}, one.name)));
    const found = tasks.find((one) => one.name === (wanted ?? 'burn')) ?? tasks[0];
    if (found) choose(found);
  }, (error) => text(status, error.message));
  return () => {
    isOver = true;
    if (capacities.size) restore();
  };
}

/** What the jobs of one run took together. */
function summary(pool, workers, jobs, all) {
  const time = (name) => jobs.map((one) => new Date(one[name]).getTime());
  const runs = jobs.map((one) => one.usage?.wall_seconds ?? 0).sort((a, b) => a - b);
  const wall = runs.reduce((sum, one) => sum + one, 0);
  const cpu = jobs.reduce((sum, one) => sum + (one.usage?.cpu_seconds ?? 0), 0);
  const span = jobs.length ? (Math.max(...time('finished_at')) - Math.min(...time('started_at'))) / 1000 : 0;
  return {
    pool, workers, failed: all - jobs.length,
    rate: jobs.length ? jobs.length / Math.max(span, 0.001) : 0,
    p50: quantile(runs, 0.5), p99: quantile(runs, 0.99),
    cpuShare: wall > 0 ? Math.min(cpu / wall, 1) : 0,
    memory: jobs.length ? Math.max(...jobs.map((one) => one.usage?.max_rss_bytes ?? 0)) || null : null,
  };
}

function quantile(sorted, share) { return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] : null; }
