// Try: a form from the task's schema, the same as a curl line, and the job as it lives.
import { h, text, toast } from './dom.js';
import { get, post } from './api.js';
import { schemaForm } from './form.js';
import { JobView } from './job.js';

export function tryPage(page, wanted) {
  const list = h('ul', { class: 'tasks' });
  const about = h('p', { class: 'soft' });
  const place = h('div');
  const pool = h('select', { name: 'pool' });
  const timeout = h('input', { name: 'timeout', placeholder: '30s', size: 6 });
  const attempts = h('input', { name: 'max_attempts', type: 'number', min: 1, max: 1000, placeholder: 1 });
  const queue = h('input', { name: 'queue', placeholder: 'default', size: 10 });
  const problem = h('p', { role: 'alert', class: 'problem' });
  const curl = h('pre', { tabIndex: 0, 'aria-label': 'The same with curl' });
  const copy = h('button', { type: 'button', onclick: () => copyText(curl.textContent) }, 'Copy as curl');
  const result = h('div', { class: 'running' });
  const title = h('h2', {}, 'Task');
  const form = h('form', { class: 'try', onsubmit: submit, oninput: showCurl },
    title, about, place,
    h('details', {}, h('summary', {}, 'Options'),
      h('div', { class: 'fields' }, h('label', {}, h('span', {}, 'time limit'), timeout), h('label', {}, h('span', {}, 'attempts'), attempts), h('label', {}, h('span', {}, 'queue'), queue))),
    h('div', { class: 'bar' }, h('label', { class: 'inline' }, 'Pool ', pool), h('button', { class: 'main' }, 'Run'), copy),
    problem, curl);
  let fields = null;
  let task = null;
  let view = null;

  page.append(h('h1', {}, 'Try'), h('div', { class: 'columns narrow' }, h('section', {}, h('h2', {}, 'Tasks'), list), h('section', {}, form, result)));

  function choose(chosen) {
    task = chosen;
    fields = schemaForm(task.input);
    text(title, task.name);
    text(about, task.description);
    place.replaceChildren(fields.element);
    pool.replaceChildren(...task.pools.map((name) => h('option', {}, name)), ...(task.pools.length > 1 ? [h('option', {}, 'auto')] : []));
    for (const link of list.querySelectorAll('a')) {
      if (link.textContent === task.name) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
    }
    showCurl();
  }

  function body() {
    const made = { task: task.name, input: fields.value() ?? {}, pool: pool.value };
    if (timeout.value) made.timeout = timeout.value;
    if (attempts.value) made.max_attempts = Number(attempts.value);
    if (queue.value) made.queue = queue.value;
    return made;
  }

  function showCurl() {
    text(problem, '');
    try {
      const made = body();
      const query = new URLSearchParams(Object.entries(made).filter(([name]) => name !== 'task' && name !== 'input'));
      const quoted = JSON.stringify(made.input).replaceAll("'", "'\\''");
      text(curl, `curl -H "Authorization: Bearer $SPINDLE_TOKEN" --json '${quoted}' '${location.origin}/v1/run/${made.task}?${query}'`);
    } catch (error) { text(curl, error.message); }
  }

  async function submit(event) {
    event.preventDefault();
    text(problem, '');
    try {
      const made = await post('/v1/jobs', body());
      view?.close();
      view = new JobView(made.id, false);
      result.replaceChildren(h('h2', {}, 'Job ', h('a', { href: `#/jobs/${made.id}` }, made.id)), view.element);
      view.follow();
      fields.mark([]);
    } catch (error) {
      text(problem, error.message);
      fields.mark((error.errors ?? []).map((one) => one.pointer.replace(/^\/input/, '')));
    }
  }

  get('/v1/tasks').then(({ tasks }) => {
    list.replaceChildren(...tasks.map((one) => h('li', {}, h('a', { href: `#/try/${encodeURIComponent(one.name)}` }, one.name), h('small', { class: 'soft' }, ` ${one.kind}`))));
    const found = wanted ? tasks.find((one) => one.name === wanted) : tasks.find((one) => one.name === 'primes') ?? tasks[0];
    if (found) choose(found); else text(problem, `There is no task ${wanted}.`);
  }, (error) => text(problem, error.message));
  return () => view?.close();
}

async function copyText(words) {
  try {
    await navigator.clipboard.writeText(words);
    toast('Copied');
  } catch { toast('This browser does not let pages copy; the line can be selected.'); }
}
