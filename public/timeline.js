// The timeline: time across, one row for each thread, process and loop slot, one bar for each attempt.
//
// Two sources: what the stream brings as it happens, and, for what lies further back or came joined, /v1/timeline.
import { h, text, duration, number, clock } from './dom.js';
import { get } from './api.js';
import { endings, live, on, serverNow } from './live.js';
import { colour } from './colours.js';

const hour = 3600e3;
const rowHeight = 22;
const headHeight = 26;
const poolGap = 8;
const names = 96;
const spanLimits = [50, hour];
const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1200e3];
const [lane, task, ending, attempt, waited, from, to, count, busy, jobID] = Array.from({ length: 10 }, (_, index) => index);

export function timeline(page) {
  const canvas = h('canvas', {
    tabIndex: 0, role: 'img',
    'aria-describedby': 'timeline-keys timeline-words',
  });
  const context = canvas.getContext('2d', { alpha: false });
  const tip = h('p', { class: 'tip', hidden: true });
  const words = h('p', { id: 'timeline-words', class: 'soft', 'aria-live': 'off' });
  const follow = h('button', { type: 'button', 'aria-pressed': 'true', onclick: () => goLive() }, 'Follow');
  const trace = h('a', { class: 'button', download: 'spindle-trace.json', href: '/v1/timeline?format=trace' }, 'Export trace');
  const legend = h('ul', { class: 'legend', 'aria-label': 'Colours of tasks' });
  page.append(
    h('h1', {}, 'Timeline'),
    h('div', { class: 'bar' },
      follow,
      [['10 s', 10e3], ['1 min', 60e3], ['10 min', 600e3], ['1 h', hour]].map(([name, width]) =>
        h('button', { type: 'button', onclick: () => { view.width = width; goLive(); } }, name)),
      h('button', { type: 'button', 'aria-label': 'Zoom in', onclick: () => zoom(0.5) }, '+'),
      h('button', { type: 'button', 'aria-label': 'Zoom out', onclick: () => zoom(2) }, '−'),
      trace),
    h('div', { class: 'stage' }, canvas, tip), legend, words,
    h('p', { id: 'timeline-keys', class: 'soft' }, 'Wheel or + and − zoom, drag or arrow keys move, End follows, a click opens the job. A pale line before a bar is its wait; red failed, a notched end was tried again, grey was cancelled.'));

  const view = { end: serverNow(), width: 60e3, isLive: true };
  // What was asked for: spans that lie before what the stream has brought.
  let past = { from: Infinity, to: -Infinity, spans: [], width: Infinity };
  let isAsking = false;
  let isOver = false;
  let hit = [];
  let drag = null;
  let size = { width: 0, height: 0 };
  let palette = {};
  // How many pictures were drawn: whoever wants to know how smooth it is.
  canvas.frames = 0;

  // ---- where we are

  function goLive() {
    view.isLive = true;
    changed();
  }

  function zoom(factor, at = 0.5) {
    const anchor = view.isLive ? 1 : at;
    const width = clamp(view.width * factor, ...spanLimits);
    view.end += (width - view.width) * (1 - anchor);
    view.width = width;
    changed();
  }

  function move(time) {
    view.isLive = false;
    view.end = clamp(view.end + time, serverNow() - hour + view.width, serverNow());
    if (view.end >= serverNow()) view.isLive = true;
    changed();
  }

  function changed() {
    follow.setAttribute('aria-pressed', String(view.isLive));
    trace.href = `/v1/timeline?format=trace&limit=20000&from=${Math.floor(view.end - view.width)}&to=${Math.ceil(view.end)}`;
    ask();
  }

  /** Asks for what the view shows and nobody has brought; a margin saves the next question. */
  async function ask(always = false) {
    const start = view.end - view.width;
    const isKnown = start >= live.spansFrom || (start >= past.from && past.to >= Math.min(live.spansFrom, view.end) && (!past.isJoined || view.width > past.width / 4));
    if (isAsking || (isKnown && !always)) return;
    isAsking = true;
    try {
      const now = serverNow();
      const range = { from: Math.max(0, Math.floor(Math.max(start - view.width / 2, now - hour + 1000))), to: Math.ceil(view.isLive ? now : Math.min(view.end + view.width / 2, now)) };
      if (range.to <= range.from) return;
      const answer = await get(`/v1/timeline?from=${range.from}&to=${range.to}&limit=8000`);
      live.lanes = answer.lanes;
      live.taskNames = answer.task_names;
      past = { ...range, spans: answer.spans, isJoined: answer.joined, width: range.to - range.from };
      if (view.isLive) {
        // The stream goes on from here.
        live.spans = live.spans.filter((span) => span[to] > range.to);
        live.spansFrom = range.to;
      }
    } catch (error) {
      text(words, error.message);
    } finally {
      isAsking = false;
    }
  }

  // ---- drawing

  function measure() {
    const scale = window.devicePixelRatio || 1;
    const width = canvas.parentElement.clientWidth;
    const height = Math.max(headHeight + rowsHeight() + 8, 160);
    if (size.width === width && size.height === height && size.scale === scale) return;
    size = { width, height, scale };
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    const style = getComputedStyle(document.documentElement);
    palette = Object.fromEntries(['ink', 'soft', 'card', 'line', 'bad', 'wait'].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    palette.isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  }

  /** Rows in the order of pools, then numbers; the place of each from the top. */
  let layout = { key: '', places: [], rows: [] };
  function rowsHeight() {
    const key = `${live.lanes.length}`;
    if (layout.key !== key) {
      const order = live.lanes.map((one, index) => ({ ...one, index })).sort((a, b) => a.pool.localeCompare(b.pool) || a.number - b.number);
      const places = [];
      let top = headHeight;
      order.forEach((row, index) => {
        if (index > 0 && order[index - 1].pool !== row.pool) top += poolGap;
        places[row.index] = top;
        row.top = top;
        top += rowHeight;
      });
      layout = { key, places, rows: order, height: top - headHeight };
    }
    return layout.height ?? 0;
  }

  function draw() {
    if (isOver) return;
    requestAnimationFrame(draw);
    if (live.isPaused && view.isLive) return;
    if (view.isLive) view.end = serverNow();
    measure();
    canvas.frames += 1;
    const { width, height, scale } = size;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = palette.card;
    context.fillRect(0, 0, width, height);
    const start = view.end - view.width;
    const perMs = (width - names) / view.width;
    const x = (time) => names + (time - start) * perMs;
    drawAxis(x, start, perMs);
    hit = [];
    context.save();
    context.beginPath();
    context.rect(names, headHeight, width - names, height);
    context.clip();
    const seen = past.spans.concat(live.spans.filter((span) => span[to] > past.to)).filter((span) => span[to] >= start && span[waited] <= view.end);
    const now = Math.max(view.end, serverNow());
    const open = live.running.map(([at, kind, number, since, began, id]) => [at, kind, -1, number, since, began, Math.max(now, began), 1, now - began, id]);
    // Waits lie below all bars: a row that was never free shows none.
    for (const span of seen) drawWait(span, x);
    for (const span of open) drawWait(span, x);
    const last = [];
    for (const span of seen) drawSpan(span, x, last);
    for (const span of open) drawSpan(span, x, []);
    context.restore();
  }

  function drawAxis(x, start, perMs) {
    const { width, height } = size;
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    const step = steps.find((one) => one * perMs >= 90) ?? steps.at(-1);
    context.fillStyle = palette.line;
    const ticks = [];
    for (let time = Math.ceil(start / step) * step; time <= view.end; time += step) ticks.push(time);
    for (const time of ticks) context.fillRect(Math.round(x(time)), headHeight - 6, 1, height);
    context.fillStyle = palette.soft;
    for (const time of ticks) {
      const at = new Date(time);
      const fine = step < 1000 ? `.${String(at.getMilliseconds()).padStart(3, '0')}` : '';
      context.fillText(at.toLocaleTimeString('en-GB') + fine, Math.round(x(time)) + 4, 10);
    }
    for (const row of layout.rows) {
      context.fillStyle = palette.soft;
      context.fillText(`${row.pool} ${row.number}`, 4, row.top + rowHeight / 2);
      context.fillStyle = palette.line;
      context.fillRect(0, row.top + rowHeight - 1, width, 0.5);
    }
  }

  function drawWait(span, x) {
    const top = layout.places[span[lane]];
    if (top === undefined || span[count] > 1 || span[from] <= span[waited]) return;
    const left = Math.max(x(span[waited]), names);
    const width = Math.min(x(span[from]), size.width) - left;
    if (width < 1) return;
    context.fillStyle = palette.wait;
    context.globalAlpha = 0.5;
    context.fillRect(left, top + rowHeight / 2 - 1.5, width, 2);
    context.globalAlpha = 1;
  }

  function drawSpan(span, x, last) {
    const top = layout.places[span[lane]];
    if (top === undefined) return;
    const left = Math.max(x(span[from]), names);
    const right = Math.min(x(span[to]), size.width);
    const wide = Math.max(right - left, 1);
    // What would be drawn over the same pixel by the same is drawn once.
    const key = span[ending] === 1 || span[ending] === 3 ? 1000 + span[ending] : span[task];
    const before = last[span[lane]];
    if (wide <= 1 && before && before.key === key && Math.floor(before.at) === Math.floor(left)) return;
    last[span[lane]] = { key, at: left };
    const y = top + 3;
    const tall = rowHeight - 7;
    const failed = span[ending] === 1;
    context.fillStyle = failed ? palette.bad : span[ending] === 2 ? palette.soft : colour(span[task], palette.isDark);
    // Several in one: as full as they kept the row busy.
    const share = span[count] > 1 ? clamp(span[busy] / Math.max(span[to] - span[from], 1e-3), 0.15, 1) : 1;
    context.fillRect(left, y + tall * (1 - share), wide, tall * share);
    if (failed && wide > 2) context.fillRect(left, y - 2, wide, tall + 4);
    if (span[ending] === 3) {
      context.fillStyle = palette.bad;
      context.fillRect(right - Math.min(3, wide), y - 2, Math.min(3, wide), tall + 4);
    }
    if (span[ending] === -1) {
      context.fillStyle = palette.ink;
      context.globalAlpha = 0.25;
      context.fillRect(left, y + tall - 3, wide, 3);
      context.globalAlpha = 1;
    }
    if (wide > 60) {
      context.fillStyle = failed ? palette.card : palette.isDark ? '#111' : '#fff';
      context.fillText(`${live.taskNames[span[task]] ?? ''}${span[count] > 1 ? ` × ${span[count]}` : ''}`, left + 5, y + tall / 2, wide - 8);
    }
    if (wide >= 1) hit.push({ span, left, right: left + Math.max(wide, 3), top, bottom: top + rowHeight });
  }

  // ---- hands

  function find(event) {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    for (let index = hit.length - 1; index >= 0; index -= 1) {
      const one = hit[index];
      if (px >= one.left - 1 && px <= one.right + 1 && py >= one.top && py < one.bottom) return one.span;
    }
    return null;
  }

  function showTip(event) {
    const span = find(event);
    tip.hidden = !span;
    canvas.style.cursor = span ? 'pointer' : drag ? 'grabbing' : 'grab';
    if (!span) return;
    const name = live.taskNames[span[task]];
    const what = span[count] > 1
      ? `${name}: ${number(span[count])} attempts, ${duration(span[busy] / 1000)} of work`
      : `${name} ${span[jobID]}, attempt ${span[attempt]}: waited ${duration(Math.max(span[from] - span[waited], 0) / 1000)}, ran ${duration((span[to] - span[from]) / 1000)}, ${endings[span[ending]] ?? 'running'}`;
    text(tip, what);
    const box = canvas.getBoundingClientRect();
    tip.style.left = `${clamp(event.clientX - box.left + 12, 0, Math.max(size.width - 280, 0))}px`;
    tip.style.top = `${event.clientY - box.top + 16}px`;
  }

  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return move(event.deltaX / (size.width - names) * view.width);
    const box = canvas.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, clamp((event.clientX - box.left - names) / (size.width - names), 0, 1));
  }, { passive: false });
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, end: view.end, moved: false };
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) return showTip(event);
    const pixels = event.clientX - drag.x;
    if (Math.abs(pixels) > 3) drag.moved = true;
    if (drag.moved) {
      const wanted = drag.end - pixels / (size.width - names) * view.width;
      move(wanted - view.end);
    }
  });
  canvas.addEventListener('pointerup', (event) => {
    const span = !drag?.moved && find(event);
    drag = null;
    if (span && span[count] === 1) location.hash = `#/jobs/${span[jobID]}`;
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });
  canvas.addEventListener('keydown', (event) => {
    const keys = {
      '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), ArrowLeft: () => move(-view.width / 5),
      ArrowRight: () => move(view.width / 5), End: goLive, Home: () => move(-hour),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // ---- words, for those who cannot see it

  function tell() {
    const start = view.end - view.width;
    const seen = new Map();
    for (const span of [...past.spans, ...live.spans]) {
      if (span[to] < start || span[from] > view.end) continue;
      const name = live.taskNames[span[task]];
      const sum = seen.get(name) ?? { done: 0, failed: 0 };
      sum.done += span[count];
      if (span[ending] === 1) sum.failed += span[count];
      seen.set(name, sum);
    }
    const parts = [...seen].map(([name, sum]) => `${name} ${number(sum.done)}${sum.failed ? ` (${number(sum.failed)} failed)` : ''}`);
    const where = `${clock(start)} to ${clock(view.end)}`;
    text(words, `${where}: ${parts.length ? parts.join(', ') : 'nothing has ended'}; ${live.running.length} running in ${live.lanes.length} rows.`);
    canvas.setAttribute('aria-label', `Timeline, ${words.textContent}`);
    const wanted = live.taskNames.map((name, index) => `${index}${name}`).join();
    if (legend.dataset.for !== wanted) {
      legend.dataset.for = wanted;
      legend.replaceChildren(...live.taskNames.map((name, index) => {
        const square = h('i', { 'aria-hidden': 'true' });
        square.style.background = colour(index, palette.isDark);
        return h('li', {}, square, name);
      }));
    }
    ask();
  }

  const off = [on('second', tell), on('resync', () => {
    past = { from: Infinity, to: -Infinity, spans: [], width: Infinity };
    layout.key = '';
    ask(true);
  })];
  ask(true).then(tell);
  requestAnimationFrame(draw);
  return () => {
    isOver = true;
    off.forEach((end) => end());
  };
}

function clamp(value, low, high) { return Math.min(Math.max(value, low), high); }
