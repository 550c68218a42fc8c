// What the server is doing this instant: one stream of frames, each the whole state and what has changed.
//
//   EventSource ──► take(frame) ──► history (a minute, by the second), spans, jobs ──► 'frame' to whoever listens
//        └ lost, a number missing, another server, the page has slept ──► 'resync': ask anew for what frames do not repeat

const pace = '50ms';
/** Spans that are held; then the server is asked for joined ones. */
const mostSpans = 20000;
export const minute = 60;
export const endings = ['succeeded', 'failed', 'cancelled', 'retried'];

const listeners = { frame: new Set(), resync: new Set(), link: new Set(), second: new Set() };
let source = null;
let lastArrival = 0;
let retry = null;

export const live = {
  frame: null,
  link: 'wait',
  isPaused: false,
  lanes: [],
  taskNames: [],
  spans: [],
  /** Spans before this time (ms) are not here. */
  spansFrom: Infinity,
  running: [],
  /** One point a second, the newest last. */
  history: [],
  /** Server time minus our own, in ms. */
  skew: 0,
};

/** Calls `listener` until the returned function is called. */
export function on(name, listener) {
  listeners[name].add(listener);
  return () => listeners[name].delete(listener);
}

function emit(name, value) { for (const listener of [...listeners[name]]) listener(value); }

/** The server's time now, in ms. */
export const serverNow = () => Date.now() + live.skew;

function setLink(link) {
  if (live.link === link) return;
  live.link = link;
  emit('link', link);
}

export function connect() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(`/v1/events?every=${pace}`);
  let isFirst = true;
  source.addEventListener('state', (message) => {
    const frame = JSON.parse(message.data);
    const before = live.frame;
    take(frame);
    setLink(live.isPaused ? 'paused' : 'live');
    const hasMissed = isFirst || before?.started !== frame.started || frame.number !== before.number + 1;
    isFirst = false;
    if (hasMissed) {
      live.spans = [...frame.spans];
      live.spansFrom = frame.time;
      emit('resync', frame);
    }
    emit('frame', frame);
  });
  source.addEventListener('error', () => {
    setLink('lost');
    // A refusal closes the source for good; a lost connection it takes up again by itself.
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 1000);
  });
}

export function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

export function pause(isPaused) {
  live.isPaused = isPaused;
  if (isPaused) disconnect(); else connect();
  setLink(isPaused ? 'paused' : 'wait');
}

/** A page that nobody sees asks for nothing; a page that was asleep asks anew. */
export function watchVisibility() {
  document.addEventListener('visibilitychange', () => {
    if (live.isPaused) return;
    if (document.hidden) disconnect(); else connect();
  });
  setInterval(() => {
    if (live.isPaused || document.hidden || !live.frame) return;
    // A frame comes every second even when nothing happens.
    if (Date.now() - lastArrival > 4000 && live.link === 'live') {
      setLink('lost');
      connect();
    }
  }, 1000);
}

function take(frame) {
  lastArrival = Date.now();
  live.skew = frame.time - lastArrival;
  if (frame.lanes) {
    live.lanes = frame.lanes;
    live.taskNames = frame.task_names;
  }
  if (live.frame && live.frame.started !== frame.started) {
    // Another server: its rows and totals are its own.
    live.spans = [];
    live.history = [];
    live.frame = null;
  }
  live.running = frame.running;
  for (const span of frame.spans) live.spans.push(span);
  if (live.spansFrom === Infinity) live.spansFrom = frame.time;
  if (live.spans.length > mostSpans) {
    live.spans = live.spans.slice(mostSpans / 2);
    live.spansFrom = live.spans[0][6];
  }
  note(frame);
  live.frame = frame;
}

function note(frame) {
  const second = Math.floor(frame.time / 1000);
  const last = live.history.at(-1);
  const ended = frame.totals.succeeded + frame.totals.failed + frame.totals.cancelled;
  const tasks = new Map(frame.tasks.map((task) => [task.name, task.succeeded + task.failed + task.cancelled]));
  const point = {
    second, ended, failed: frame.totals.failed, tasks,
    waiting: frame.pools.reduce((sum, pool) => sum + pool.waiting, 0),
    running: frame.pools.reduce((sum, pool) => sum + pool.busy, 0),
    wait: frame.wait, run: frame.run, lag: frame.loop_lag,
  };
  if (last?.second === second) {
    Object.assign(last, point);
    return;
  }
  live.history.push(point);
  if (live.history.length > minute + 10) live.history.shift();
  emit('second', point);
}

/** What was counted in each of the last seconds, as a rate: `of` gives the count of a point. */
export function rates(of) {
  const points = live.history;
  const found = [];
  for (let index = 1; index < points.length; index += 1) {
    const seconds = points[index].second - points[index - 1].second;
    found.push(Math.max(0, of(points[index]) - of(points[index - 1])) / seconds);
  }
  return found.slice(-minute);
}

/** The mean rate over the last seconds. */
export function rate(of, seconds = 5) {
  const points = live.history.slice(-seconds - 1);
  if (points.length < 2) return 0;
  return Math.max(0, of(points.at(-1)) - of(points[0])) / (points.at(-1).second - points[0].second);
}
