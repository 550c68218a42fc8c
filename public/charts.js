// Small pictures of numbers, each with its words for those who cannot see it.
import { svg, h, number } from './dom.js';

/** A line of the last values; `label` says what they are. */
export class Sparkline {
  constructor(label, format = number) {
    this.label = label;
    this.format = format;
    this.line = svg('polyline', { class: 'spark-line' });
    this.area = svg('polygon', { class: 'spark-area' });
    this.element = svg('svg', { class: 'spark', viewBox: '0 0 120 30', preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, this.area, this.line);
  }

  show(values) {
    const known = values.map((value) => value ?? 0);
    const most = Math.max(...known, 0);
    const step = 120 / 59;
    const points = known.map((value, index) => `${(120 - (known.length - 1 - index) * step).toFixed(1)},${(28 - (most > 0 ? value / most : 0) * 26).toFixed(1)}`);
    this.line.setAttribute('points', points.join(' '));
    const left = (120 - (known.length - 1) * step).toFixed(1);
    this.area.setAttribute('points', known.length ? `${left},30 ${points.join(' ')} 120,30` : '');
    const now = this.format(known.at(-1) ?? 0);
    this.element.setAttribute('aria-label', `${this.label}, last minute: now ${now}, most ${this.format(most)}`);
  }
}

/** Lines over a common axis: `series` are {name, points: [[x, y], …], dashed}. */
export function lineChart(title, xName, yName, series) {
  const [width, height, left, bottom, top] = [560, 270, 46, 36, 26];
  const all = series.flatMap((one) => one.points);
  const mostX = Math.max(...all.map(([x]) => x), 1);
  const mostY = Math.max(...all.map(([, y]) => y), 1e-9) * 1.08;
  const x = (value) => left + (value - 1) / Math.max(mostX - 1, 1) * (width - left - 130);
  const y = (value) => height - bottom - value / mostY * (height - bottom - top);
  const parts = [];
  for (let tick = 0; tick <= 4; tick += 1) {
    const value = mostY * tick / 4;
    parts.push(svg('line', { class: 'grid', x1: left, x2: width - 130, y1: y(value), y2: y(value) }));
    parts.push(label(number(Number(value.toPrecision(2))), left - 6, y(value) + 4, 'end'));
  }
  for (const value of new Set(all.map(([at]) => Math.round(at)))) {
    if (all.some(([at]) => at === value)) parts.push(label(value, x(value), height - bottom + 16, 'middle'));
  }
  parts.push(label(xName, (left + width - 130) / 2, height - 4, 'middle'), label(yName, left - 40, 12, 'start'));
  series.forEach((one, index) => {
    const points = one.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    parts.push(svg('polyline', { points, class: `series s${index % 6}${one.dashed ? ' dashed' : ''}` }));
    if (!one.dashed) for (const [at, value] of one.points) parts.push(svg('circle', { cx: x(at), cy: y(value), r: 3.5, class: `dot s${index % 6}` }));
    const row = top + 8 + index * 18;
    parts.push(svg('line', { class: `series s${index % 6}${one.dashed ? ' dashed' : ''}`, x1: width - 118, x2: width - 98, y1: row, y2: row }), label(one.name, width - 92, row + 4, 'start'));
  });
  const words = series.map((one) => `${one.name}: ${one.points.filter(([at]) => Number.isInteger(at)).map(([at, value]) => `${at} ${number(value)}`).join(', ')}`).join('; ');
  return h('figure', { class: 'chart' }, svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${title}. ${words}` }, ...parts));
}

function label(value, x, y, anchor) {
  const made = svg('text', { x, y, 'text-anchor': anchor, class: 'label' });
  made.textContent = value;
  return made;
}
