// Jobs: a list that changes as they do, filtered by the address bar, with something to do to many at once.
import { h, text, toast, clock, duration } from './dom.js';
import { api, forEach, get, post } from './api.js';
import { live, on } from './live.js';

const shown = 100;
const final = new Set(['succeeded', 'failed', 'cancelled']);
const words = ['state', 'task', 'queue', 'pool'];

/** `state:failed task:hash label.x:y` as parameters of the list; what is no word is told by `unknown`. */
export function parse(query) {
  const parameters = new URLSearchParams();
  const unknown = [];
  for (const word of query.split(/\s+/).filter(Boolean)) {
    const [, name, value] = /^([^:]+):(.+)$/.exec(word) ?? [];
    if (words.includes(name) || name?.startsWith('label.')) parameters.append(name, value);
    else unknown.push(word);
  }
  return { parameters, unknown };
}

function matches(job, parameters) {
  for (const [name, value] of parameters) {
    if (name === 'state' ? !value.split(',').includes(job.state)
      : name.startsWith('label.') ? job.labels?.[name.slice(6)] !== value : job[name] !== value) return false;
  }
  return true;
}

export function jobs(page, _, query) {
  const { parameters, unknown } = parse(query.get('q') ?? '');
  const known = new Map();
  const filter = h('input', { type: 'search', name: 'q', value: query.get('q') ?? '', placeholder: 'state:failed task:hash label.x:y', 'aria-label': 'Filter', size: 40 });
  const problem = h('p', { role: 'alert', class: 'problem' }, unknown.length ? `Not understood: ${unknown.join(' ')}. A filter is state:, task:, queue:, pool: or label.NAME: and a value.` : '');
  const all = h('input', { type: 'checkbox', 'aria-label': 'Select all shown', onchange: () => {
    for (const entry of known.values()) entry.box.checked = all.checked;
    count();
  } });
  const cancel = h('button', { type: 'button', disabled: true, onclick: () => act('cancel') }, 'Cancel');
  const retry = h('button', { type: 'button', disabled: true, onclick: () => act('retry') }, 'Retry');
  const selected = h('span', { class: 'soft', role: 'status' });
  const body = h('tbody');
  const empty = h('p', { class: 'soft', hidden: true }, 'No jobs match. ', h('a', { href: '#/try' }, 'Try a task.'));
  const older = h('button', { type: 'button', hidden: true, onclick: () => load(true) }, 'Older');
  let next = null;
  let pending = null;
  let isOver = false;

  page.append(
    h('h1', {}, 'Jobs'),
    h('form', { class: 'bar', role: 'search', onsubmit: (event) => {
      event.preventDefault();
      location.hash = filter.value.trim() ? `#/jobs?q=${encodeURIComponent(filter.value.trim())}` : '#/jobs';
    } }, filter, h('button', {}, 'Filter'),
      ['running', 'queued', 'failed'].map((state) => h('a', { class: 'button', href: `#/jobs?q=state:${state}` }, state))),
    problem,
    h('div', { class: 'bar' }, cancel, retry, selected),
    h('div', { class: 'scroll' }, h('table', { class: 'jobs' },
      h('caption', { class: 'hidden' }, 'Jobs, newest first'),
      h('thead', {}, h('tr', {}, h('th', {}, all), ['Job', 'Task', 'State', 'Pool', 'Queue', 'Progress', 'Created', 'Took'].map((head) => h('th', { scope: 'col' }, head)))),
      body)),
    empty, older);

  async function load(isMore = false) {
    const wanted = new URLSearchParams(parameters);
    wanted.set('limit', shown);
    if (isMore && next) wanted.set('cursor', next);
    try {
      const list = await get(`/v1/jobs?${wanted}`);
      if (isOver) return;
      if (!isMore) {
        // What has gone from the list meanwhile goes from the page.
        const there = new Set(list.jobs.map((job) => job.id));
        for (const id of [...known.keys()]) if (!there.has(id)) drop(id);
      }
      for (const job of list.jobs) show({ ...job, fraction: job.progress?.fraction ?? null }, true);
      next = list.next;
      older.hidden = !next;
      empty.hidden = known.size > 0;
    } catch (error) { text(problem, error.message); }
  }

  function drop(id) {
    known.get(id)?.row.remove();
    known.delete(id);
  }

  function make(job) {
    const box = h('input', { type: 'checkbox', 'aria-label': `Select ${job.id}`, onchange: count });
    const bar = h('progress', { max: 1, value: 0, 'aria-label': `progress of ${job.id}` });
    const cells = Array.from({ length: 4 }, () => h('td'));
    const times = [h('td'), h('td')];
    const row = h('tr', { dataset: { job: job.id } }, h('td', {}, box), h('td', {}, h('a', { href: `#/jobs/${job.id}` }, job.id)), ...cells, h('td', {}, bar), ...times);
    return { row, box, bar, cells, times };
  }

  function show(job, isOld) {
    let entry = known.get(job.id);
    // An answer that was overtaken by a frame must not bring the past back.
    if (entry && final.has(entry.state) && !final.has(job.state)) return;
    if (!matches(job, parameters)) {
      if (entry) drop(job.id);
      return;
    }
    if (!entry) {
      entry = make(job);
      known.set(job.id, entry);
      // Newer ids are greater: each finds its place.
      let place = isOld ? body.lastElementChild : body.firstElementChild;
      if (isOld) {
        while (place && place.dataset.job < job.id) place = place.previousElementSibling;
        body.insertBefore(entry.row, place ? place.nextElementSibling : body.firstElementChild);
      } else {
        while (place && place.dataset.job > job.id) place = place.nextElementSibling;
        body.insertBefore(entry.row, place);
        if (known.size > 3 * shown) drop(body.lastElementChild.dataset.job);
      }
      empty.hidden = true;
    }
    entry.state = job.state;
    const [task, state, pool, queue] = entry.cells;
    text(task, job.task);
    text(state, job.error && typeof job.error === 'string' ? `${job.state}: ${job.error}` : job.error?.type ? `${job.state}: ${job.error.type}` : job.state);
    state.className = `state ${job.state}`;
    text(pool, job.pool);
    text(queue, job.queue);
    const fraction = job.state === 'succeeded' ? 1 : job.fraction;
    entry.bar.hidden = fraction == null;
    entry.bar.value = fraction ?? 0;
    text(entry.times[0], clock(job.created_at));
    const took = job.started_at && job.finished_at ? (new Date(job.finished_at) - new Date(job.started_at)) / 1000 : null;
    text(entry.times[1], took == null ? '' : duration(took));
  }

  const chosen = () => [...known].filter(([, entry]) => entry.box.checked).map(([id]) => id);

  function count() {
    const many = chosen();
    text(selected, many.length ? `${many.length} selected` : '');
    cancel.disabled = !many.some((id) => !final.has(known.get(id).state));
    retry.disabled = !many.some((id) => final.has(known.get(id).state));
  }

  async function act(what) {
    const many = chosen().filter((id) => final.has(known.get(id).state) === (what === 'retry'));
    const { done, problem: why } = await forEach(many, (id) => what === 'retry' ? post(`/v1/jobs/${id}/retry`) : api(`/v1/jobs/${id}`, { method: 'DELETE' }));
    toast(`${done} of ${many.length} ${what === 'retry' ? 'submitted again' : 'asked to end'}${why ? `; ${why.message}` : ''}`);
    for (const id of many) if (known.has(id)) known.get(id).box.checked = false;
    all.checked = false;
    count();
  }

  const off = [on('frame', (frame) => {
    for (const job of frame.jobs) show(job, false);
    // More has changed than a frame carries: the list is asked, at leisure.
    if (frame.more > 0 && !pending) pending = setTimeout(() => { pending = null; load(); }, 1000);
  }), on('resync', () => load())];
  load();
  if (live.frame) for (const job of live.frame.jobs) show(job, false);
  return () => {
    isOver = true;
    clearTimeout(pending);
    off.forEach((end) => end());
  };
}
