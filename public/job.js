// One job: how far it is, what it says, what became of it, and what can be done to it.
import { h, text, toast, duration, number, bytes, clock, table } from './dom.js';
import { api, get, post } from './api.js';
import { on } from './live.js';

const final = new Set(['succeeded', 'failed', 'cancelled']);
const types = ['accepted', 'queued', 'started', 'progress', 'log', 'output', 'retrying', 'cancelling', 'suspended', 'resumed', 'succeeded', 'failed', 'cancelled', 'gap'];
const keptLines = 2000;
const keptEvents = 500;

export function job(page, id) {
  const view = new JobView(id, true);
  page.append(h('h1', {}, 'Job ', h('code', {}, id)), view.element);
  view.follow();
  const off = on('resync', () => view.refresh());
  return () => {
    off();
    view.close();
  };
}

/** A job as it lives; used wherever one is shown. */
export class JobView {
  constructor(id, isWhole) {
    this.id = id;
    this.state = h('strong', { class: 'state', role: 'status' });
    this.task = h('a', { href: '#/' });
    this.bar = h('progress', { max: 1, value: 0, 'aria-label': 'progress' });
    this.message = h('span', { class: 'soft' });
    this.cancelled = h('p', { class: 'soft' });
    this.error = h('div');
    this.result = h('div', { class: 'result' });
    this.log = h('pre', { class: 'log', tabIndex: 0, 'aria-label': 'Log' });
    this.events = h('ol', { class: 'events', 'aria-label': 'Events' });
    this.attempts = h('tbody');
    this.input = h('pre', { tabIndex: 0, 'aria-label': 'Input' });
    this.facts = h('dl');
    this.buttons = {
      cancel: this.button('Cancel', () => api(`/v1/jobs/${id}`, { method: 'DELETE' })),
      retry: this.button('Retry', () => this.again()),
      suspend: this.button('Suspend', () => post(`/v1/jobs/${id}/suspend`)),
      resume: this.button('Resume', () => post(`/v1/jobs/${id}/resume`)),
    };
    const line = h('input', { 'aria-label': 'A line for its standard input', placeholder: 'standard input' });
    this.stdin = h('form', { class: 'bar', hidden: true, onsubmit: (event) => {
      event.preventDefault();
      this.write(line.value + '\n', false).then(() => { line.value = ''; });
    } }, line, h('button', {}, 'Send'), h('button', { type: 'button', onclick: () => this.write('', true) }, 'Close input'));
    const attempts = table('Attempts', ['Attempt', 'Started', 'Worker', 'End']);
    attempts.querySelector('tbody').replaceWith(this.attempts);
    this.element = h('div', { class: 'job' },
      h('div', { class: 'bar' }, this.task, this.state, this.bar, this.message),
      h('div', { class: 'bar' }, Object.values(this.buttons)), this.stdin, this.cancelled, this.error,
      this.resultPart = h('div', { hidden: true }, h('h2', {}, 'Result'), this.result),
      this.logPart = h('div', { hidden: true }, h('h2', {}, 'Log'), this.log),
      isWhole && [h('h2', {}, 'Attempts'), attempts, h('h2', {}, 'Input'), this.input, h('h2', {}, 'Facts'), this.facts, h('h2', {}, 'Events'), this.events]);
    this.lines = 0;
    this.outputs = [];
    this.rows = new Map();
  }

  button(name, act) {
    return h('button', { type: 'button', onclick: () => act().then(() => this.refresh(), (error) => toast(error.message)) }, name);
  }

  async again() {
    const made = await post(`/v1/jobs/${this.id}/retry`);
    location.hash = `#/jobs/${made.id}`;
  }

  async write(words, isEnd) {
    const response = await fetch(`/v1/jobs/${this.id}/stdin${isEnd ? '?close=true' : ''}`, { method: 'POST', body: words, headers: { 'Content-Type': 'application/octet-stream' } });
    if (!response.ok) toast((await response.json()).detail);
  }

  async refresh() {
    try {
      const seen = await get(`/v1/jobs/${this.id}`);
      if (this.isEnded && !final.has(seen.state)) return;
      this.show(seen);
    } catch (error) {
      text(this.state, error.message);
    }
  }

  follow() {
    this.refresh();
    this.source = new EventSource(`/v1/jobs/${this.id}/events`);
    for (const type of types) this.source.addEventListener(type, (message) => this.take(JSON.parse(message.data)));
    // After the last event the server closes; a lost connection is taken up again where it was.
    this.source.addEventListener('error', () => { if (this.isEnded) this.close(); });
  }

  close() { this.source?.close(); }

  show(seen) {
    this.isEnded = final.has(seen.state);
    text(this.state, seen.state);
    this.state.className = `state ${seen.state}`;
    text(this.task, seen.task);
    this.task.href = `#/try/${encodeURIComponent(seen.task)}`;
    this.progress(seen.state === 'succeeded' ? { fraction: 1 } : seen.progress);
    text(this.input, JSON.stringify(seen.input, null, 2));
    const isProcess = seen.pool === 'process';
    const { cancel, retry, suspend, resume } = this.buttons;
    cancel.hidden = this.isEnded;
    cancel.disabled = seen.state === 'cancelling';
    retry.hidden = !this.isEnded;
    suspend.hidden = !(isProcess && seen.state === 'running');
    resume.hidden = seen.state !== 'suspended';
    this.stdin.hidden = !(isProcess && (seen.state === 'running' || seen.state === 'suspended'));
    text(this.cancelled, seen.cancel ? `Cancelled: ${words[seen.cancel.how] ?? seen.cancel.how}, after ${duration(seen.cancel.seconds)}.` : '');
    this.showError(seen.error);
    if (seen.state === 'succeeded') this.showResult(seen.result);
    const usage = seen.usage;
    const facts = [
      ['Pool', seen.pool + (seen.pool_reason ? ` (${seen.pool_reason})` : '')], ['Queue', seen.queue], ['Priority', seen.priority],
      ['Attempt', `${seen.attempt} of ${seen.max_attempts}`], ['Time limit', seen.timeout ?? 'none'], ['Key', seen.key ?? 'none'],
      ['Labels', Object.entries(seen.labels).map(([name, value]) => `${name}: ${value}`).join(', ') || 'none'],
      ['Created', clock(seen.created_at)], ['Started', clock(seen.started_at)], ['Finished', clock(seen.finished_at)],
      usage && ['CPU', duration(usage.cpu_seconds)], usage && ['Wall', duration(usage.wall_seconds)],
      usage && ['Peak memory', bytes(usage.max_rss_bytes)],
      usage && ['Context switches', `${number(usage.voluntary_switches)} voluntary, ${number(usage.involuntary_switches)} not`],
    ].filter(Boolean);
    this.facts.replaceChildren(...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  }

  progress(progress) {
    this.bar.hidden = progress?.fraction == null;
    this.bar.value = progress?.fraction ?? 0;
    const parts = progress ? [progress.message, progress.total && `${number(progress.done)} of ${number(progress.total)}${progress.unit ? ` ${progress.unit}` : ''}`, progress.eta && `${duration(progress.eta)} left`] : [];
    text(this.message, parts.filter(Boolean).join(', '));
  }

  showError(error) {
    this.error.replaceChildren(...(error ? [h('h2', {}, 'Error'), h('p', { class: 'failed' }, `${error.type}: ${error.message}`), error.traceback?.length ? h('pre', { class: 'log', tabIndex: 0, 'aria-label': 'Traceback' }, error.traceback.join('\n')) : null].filter(Boolean) : []));
  }

  showResult(result) {
    this.resultPart.hidden = false;
    this.result.replaceChildren(...picture(result), h('pre', { tabIndex: 0, 'aria-label': 'Result' }, JSON.stringify(result, short, 2)));
  }

  take(event) {
    if (event.type === 'progress') return this.progress(event);
    if (event.type === 'log') return this.addLine(event);
    if (event.type === 'output') {
      // Partial results stand where the result will.
      this.outputs.push(event.value);
      this.resultPart.hidden = false;
      if (!this.isEnded) this.result.replaceChildren(...this.outputs.slice(-4).flatMap((value) => [...picture(value), h('pre', {}, JSON.stringify(value, short, 2))]));
    }
    this.events.append(h('li', {}, h('time', {}, clock(event.time)), ` ${event.type} `, h('span', { class: 'soft' }, detail(event))));
    while (this.events.children.length > keptEvents) this.events.firstChild.remove();
    if (event.type === 'started' || event.type === 'retrying') this.attempt(event);
    if (final.has(event.type)) {
      this.attempt(event);
      this.close();
      this.isEnded = true;
    }
    this.refresh();
  }

  attempt(event) {
    let row = this.rows.get(event.attempt);
    if (!row) {
      row = h('tr', {}, h('td', {}, event.attempt), h('td'), h('td'), h('td'));
      this.rows.set(event.attempt, row);
      this.attempts.append(row);
    }
    const [, started, worker, end] = row.children;
    if (event.type === 'started') {
      text(started, clock(event.time));
      text(worker, event.worker ?? event.pool);
    } else {
      text(end, event.type === 'retrying' ? `failed: ${event.error?.type ?? ''}, again at ${clock(event.due)}` : event.type);
    }
  }

  addLine(event) {
    this.logPart.hidden = false;
    const isAtEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    this.log.append(h('span', { class: event.stream === 'stderr' ? 'stderr' : '' }, `${event.text}\n`));
    this.lines += 1;
    if (this.lines > keptLines) this.log.firstChild.remove();
    if (isAtEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}

const words = {
  cooperative: 'it listened', sigterm: 'ended by SIGTERM', sigkill: 'ended by SIGKILL', abandoned: 'its thread was given up', 'before-start': 'it had not started',
};

/** A picture in a result, shown as one. */
function picture(value) {
  const found = value && typeof value === 'object' ? value.png : null;
  return typeof found === 'string' ? [h('img', { alt: 'the picture in the result', src: `data:image/png;base64,${found}` })] : [];
}

function short(_, value) { return typeof value === 'string' && value.length > 2000 ? `${value.slice(0, 100)}… (${number(value.length)} characters)` : value; }

function detail(event) {
  if (event.type === 'started') return `in ${event.pool}${event.worker ? `, ${event.worker}` : ''}`;
  if (event.type === 'queued') return `at place ${event.position}`;
  if (event.type === 'retrying') return `${event.error?.type ?? ''}: ${event.error?.message ?? ''}, due ${clock(event.due)}`;
  if (event.type === 'gap') return `${event.from} to ${event.to}: ${event.reason}`;
  if (event.type === 'failed') return `${event.error?.type}: ${event.error?.message}`;
  if (event.type === 'cancelled') return `${event.how}, ${duration(event.seconds)}`;
  return '';
}
