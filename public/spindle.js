// The first page: what can be run, a form to run it, and the jobs as they live. Text nodes only: nothing that a job says
// becomes markup.
const shownJobs = 50;
const byId = (id) => document.getElementById(id);
const jobs = new Map();
let tasks = [];
let chosen = null;

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

async function api(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
}

// MARK: Tasks and the form

function choose(task) {
  chosen = task;
  for (const button of document.querySelectorAll('#tasks button')) {
    button.setAttribute('aria-pressed', String(button.value === task.name));
  }
  byId('about').textContent = `${task.name}: ${task.description}`;
  byId('fields').replaceChildren(...Object.entries(task.input.properties ?? {}).map(([name, schema]) => field(name, schema)));
  byId('pool').replaceChildren(...task.pools.map((pool) => element('option', pool)));
  byId('problem').textContent = '';
  showCurl();
}

function field(name, schema) {
  const label = element('label', `${name} `);
  if (schema.enum) {
    const select = element('select', undefined, { name });
    select.append(...schema.enum.map((value) => element('option', value)));
    label.append(select);
  } else {
    const isNumber = schema.type === 'integer' || schema.type === 'number';
    const input = element('input', undefined, { name, type: isNumber ? 'number' : 'text' });
    if (isNumber) Object.assign(input, { min: schema.minimum ?? '', max: schema.maximum ?? '', step: schema.type === 'integer' ? 1 : 'any' });
    if (schema.type === 'array') input.placeholder = 'separated by spaces';
    input.value = schema.default ?? '';
    label.append(input);
  }
  label.lastElementChild.dataset.type = schema.type ?? 'string';
  return label;
}

function input() {
  const value = {};
  for (const control of byId('fields').querySelectorAll('input, select')) {
    if (control.value === '') continue;
    const type = control.dataset.type;
    value[control.name] =
      type === 'integer' || type === 'number' ? Number(control.value)
      : type === 'array' ? control.value.split(/\s+/).filter(Boolean)
      : control.value;
  }
  return value;
}

function showCurl() {
  if (!chosen) return;
  const quoted = JSON.stringify(input()).replaceAll("'", "'\\''");
  byId('curl').textContent = `curl -H "Authorization: Bearer $SPINDLE_TOKEN" --json '${quoted}' ` +
    `'${location.origin}/v1/run/${chosen.name}?pool=${byId('pool').value}'`;
}

async function submit(event) {
  event.preventDefault();
  byId('problem').textContent = '';
  try {
    const body = JSON.stringify({ task: chosen.name, input: input(), pool: byId('pool').value });
    show(await api('/v1/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }));
  } catch (error) {
    byId('problem').textContent = error.message;
  }
}

// MARK: Jobs

function row(job) {
  const cells = element('tr');
  for (const name of ['id', 'task', 'pool', 'state', 'progress', 'result', 'action']) cells.append(element('td', '', { className: name }));
  cells.children[0].textContent = job.id;
  const bar = element('progress', undefined, { max: 1, value: 0 });
  bar.setAttribute('aria-label', `progress of ${job.id}`);
  cells.children[4].append(bar);
  const cancel = element('button', 'cancel');
  cancel.addEventListener('click', () => {
    api(`/v1/jobs/${job.id}/cancel`, { method: 'POST' }).then(show, (error) => { byId('problem').textContent = error.message; });
  });
  cells.children[6].append(cancel);
  return cells;
}

const final = new Set(['succeeded', 'failed', 'cancelled']);

function show(job) {
  let entry = jobs.get(job.id);
  if (!entry) {
    entry = { row: row(job) };
    jobs.set(job.id, entry);
    byId('jobs').prepend(entry.row);
    while (jobs.size > shownJobs) {
      const [oldest, last] = jobs.entries().next().value;
      last.row.remove();
      jobs.delete(oldest);
    }
  }
  // An answer that was overtaken by an event must not bring the past back.
  if (entry.ended && !final.has(job.state)) return;
  entry.ended = final.has(job.state);
  byId('empty').hidden = true;
  const [, task, pool, state, progress, result, action] = entry.row.children;
  task.textContent = job.task ?? task.textContent;
  pool.textContent = job.pool ?? pool.textContent;
  state.textContent = job.state;
  state.className = `state ${job.state}`;
  if (job.progress?.fraction != null) progress.firstChild.value = job.progress.fraction;
  if (job.state === 'succeeded') progress.firstChild.value = 1;
  if (job.result != null) result.textContent = JSON.stringify(job.result).slice(0, 200);
  if (job.error) result.textContent = `${job.error.type}: ${job.error.message}`;
  action.firstChild.hidden = entry.ended;
}

const states = {
  accepted: 'queued', queued: 'queued', started: 'running', progress: 'running', retrying: 'scheduled',
  cancelling: 'cancelling', succeeded: 'succeeded', failed: 'failed', cancelled: 'cancelled',
};

async function take(event) {
  const state = states[event.type];
  if (!state) return;
  if (!jobs.has(event.job)) {
    // Somebody else's job: its name is asked for once.
    try { show(await api(`/v1/jobs/${event.job}`)); } catch { return; }
  }
  show({ id: event.job, state, pool: event.pool, progress: event.type === 'progress' ? event : null, result: event.result, error: state === 'failed' ? event.error : null });
}

function follow() {
  const source = new EventSource('/v1/events');
  source.addEventListener('open', () => {
    link('live', 'live');
    refresh().catch((error) => link('lost', error.message));
  });
  source.addEventListener('error', () => link('lost', 'disconnected, trying again'));
  for (const type of Object.keys(states)) source.addEventListener(type, (message) => take(JSON.parse(message.data)));
}

function link(kind, text) {
  byId('link').className = kind;
  byId('link').textContent = text;
}

async function refresh() {
  const list = await api(`/v1/jobs?limit=${shownJobs}`);
  for (const job of list.jobs.reverse()) show(job);
}

async function showPools() {
  const { pools } = await api('/v1/pools');
  byId('pools').replaceChildren(...pools.filter((pool) => pool.available).map((pool) => {
    const item = element('li', `${pool.name} `);
    item.append(element('b', `${pool.busy}/${pool.capacity}`), pool.waiting ? `, ${pool.waiting} waiting` : '');
    return item;
  }));
}

async function start() {
  try {
    ({ tasks } = await api('/v1/tasks'));
  } catch (error) {
    return link('lost', `${error.message} Open the address that the server printed at start.`);
  }
  byId('tasks').replaceChildren(...tasks.map((task) => {
    const item = element('li');
    const button = element('button', `${task.name} `, { value: task.name, type: 'button' });
    button.append(element('small', task.kind));
    button.addEventListener('click', () => choose(task));
    item.append(button);
    return item;
  }));
  choose(tasks.find((task) => task.name === 'primes') ?? tasks[0]);
  byId('try').addEventListener('submit', submit);
  byId('try').addEventListener('input', showCurl);
  follow();
  // Busy counts have no event of their own; asked for only while somebody looks.
  setInterval(() => { if (!document.hidden) showPools().catch(() => link('lost', 'disconnected')); }, 1000);
}

start();
