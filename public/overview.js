// Overview: how much goes through, what waits, who is busy, how far each task is.
import { h, text, number, duration, table } from './dom.js';
import { Sparkline } from './charts.js';
import { live, on, rate, rates } from './live.js';

const ended = (point) => point.ended;
const cards = [
  { name: 'Throughput', unit: 'jobs/s', now: () => number(rate(ended)), values: () => rates(ended) },
  { name: 'Waiting', unit: 'jobs', now: (frame) => number(waiting(frame)), values: () => live.history.map((point) => point.waiting) },
  { name: 'Running', unit: 'jobs', now: (frame) => number(busy(frame)), values: () => live.history.map((point) => point.running) },
  { name: 'Failed', unit: 'in all', now: (frame) => number(frame.totals.failed), values: () => rates((point) => point.failed) },
  { name: 'Wait p50', now: (frame) => duration(frame.wait.p50), values: () => live.history.map((point) => point.wait.p50), format: duration },
  { name: 'Wait p99', now: (frame) => duration(frame.wait.p99), values: () => live.history.map((point) => point.wait.p99), format: duration },
  { name: 'Run p50', now: (frame) => duration(frame.run.p50), values: () => live.history.map((point) => point.run.p50), format: duration },
  { name: 'Run p99', now: (frame) => duration(frame.run.p99), values: () => live.history.map((point) => point.run.p99), format: duration },
  { name: 'Loop lag', now: (frame) => duration(frame.loop_lag), values: () => live.history.map((point) => point.lag), format: duration },
];

function waiting(frame) { return frame.pools.reduce((sum, pool) => sum + pool.waiting, 0); }
function busy(frame) { return frame.pools.reduce((sum, pool) => sum + pool.busy, 0); }

export function overview(page) {
  const shown = cards.map((card) => {
    const value = h('strong', {}, '–');
    const spark = new Sparkline(card.name, card.format);
    return { card, value, spark, element: h('li', { class: 'card' }, h('h3', {}, card.name), h('p', {}, value, card.unit ? ` ${card.unit}` : ''), spark.element) };
  });
  const pools = h('tbody');
  const queues = h('tbody');
  const tasks = h('tbody');
  page.append(
    h('h1', {}, 'Overview'),
    h('ul', { class: 'cards', 'aria-label': 'Key figures' }, shown.map((one) => one.element)),
    h('div', { class: 'columns' },
      section('Pools', ['Pool', 'Slots', 'Busy', 'Waiting'], pools),
      section('Queues', ['Queue', 'Depth', 'Oldest', 'Drain rate', ''], queues)),
    section('Tasks', ['Task', 'Running', 'Waiting', 'Done', 'Failed', 'Rate', 'Progress', 'Left'], tasks));

  const show = (frame) => {
    for (const one of shown) text(one.value, one.card.now(frame));
    rows(pools, frame.pools, poolRow, updatePool);
    rows(queues, frame.queues, queueRow, updateQueue);
    rows(tasks, frame.tasks, taskRow, updateTask);
  };
  const sparks = () => { for (const one of shown) one.spark.show(one.card.values()); };
  if (live.frame) {
    show(live.frame);
    sparks();
  }
  const off = [on('frame', show), on('second', sparks)];
  return () => off.forEach((end) => end());
}

function section(title, heads, body) {
  const made = table(title, heads);
  made.querySelector('tbody').replaceWith(body);
  return h('section', {}, h('h2', {}, title), made);
}

/** Keeps one row for each named item, in order, and changes only what differs. */
function rows(body, items, make, update) {
  const known = new Map([...body.children].map((row) => [row.dataset.name, row]));
  items.forEach((item, index) => {
    let row = known.get(item.name);
    if (!row) {
      row = make(item);
      row.dataset.name = item.name;
    }
    known.delete(item.name);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    update(row, item);
  });
  for (const row of known.values()) row.remove();
}

function cells(count) { return Array.from({ length: count }, () => h('td')); }

function poolRow(pool) {
  const squares = h('span', { class: 'squares', 'aria-hidden': 'true' });
  return h('tr', {}, h('th', { scope: 'row' }, pool.name), h('td', {}, squares), ...cells(2));
}

function updatePool(row, pool) {
  const [, squares, used, waits] = row.children;
  const count = Math.min(pool.capacity, 64);
  const place = squares.firstChild;
  while (place.children.length < count) place.append(h('i'));
  while (place.children.length > count) place.lastChild.remove();
  [...place.children].forEach((square, index) => { square.className = index < pool.busy ? 'busy' : ''; });
  text(used, `${number(pool.busy)} of ${number(pool.capacity)}`);
  text(waits, number(pool.waiting));
}

function queueRow(queue) {
  const link = h('a', { href: `#/jobs?q=queue:${encodeURIComponent(queue.name)}` }, queue.name);
  return h('tr', {}, h('th', { scope: 'row' }, link), ...cells(4));
}

function updateQueue(row, queue) {
  text(row.children[1], number(queue.depth));
  text(row.children[2], duration(queue.oldest_seconds));
  text(row.children[3], `${number(queue.drain_rate)}/s`);
  text(row.children[4], queue.paused ? 'paused' : '');
}

function taskRow(task) {
  const link = h('a', { href: `#/jobs?q=task:${encodeURIComponent(task.name)}` }, task.name);
  const bar = h('progress', { max: 1, value: 0, 'aria-label': `progress of ${task.name}` });
  return h('tr', {}, h('th', { scope: 'row' }, link), ...cells(5), h('td', {}, bar), h('td'));
}

function updateTask(row, task) {
  const done = task.succeeded + task.failed + task.cancelled;
  const speed = rate((point) => point.tasks.get(task.name) ?? 0);
  [task.running, task.waiting, done, task.failed].forEach((value, index) => text(row.children[index + 1], number(value)));
  row.children[4].className = task.failed ? 'failed' : '';
  text(row.children[5], `${number(speed)}/s`);
  const bar = row.children[6].firstChild;
  bar.hidden = task.fraction == null;
  bar.value = task.fraction ?? 0;
  const left = task.waiting + task.running;
  text(row.children[7], left && speed > 0 ? `about ${duration(left / speed)}` : left ? '…' : '');
}
