// Elements, made of names, properties and text: nothing that a job says becomes markup.

/** h('a', {href: '#/', class: 'x', onclick: f, 'aria-label': 'y'}, 'text', child, …); null and false children are left out. */
export function h(name, properties = {}, ...children) {
  const made = document.createElement(name);
  set(made, properties);
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

/** The same for pictures. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function set(element, properties) {
  for (const [key, value] of Object.entries(properties)) {
    if (value == null) continue;
    if (key === 'class') element.className = value;
    else if (key === 'dataset') Object.assign(element.dataset, value);
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.startsWith('aria-') && key !== 'list') element[key] = value;
    else element.setAttribute(key, value);
  }
}

/** Changes text only where it differs, so that nothing is drawn twice and no selection is lost. */
export function text(element, value) {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** A table with a caption for those who cannot see it; `rows` are lists of cells. */
export function table(caption, heads, rows = []) {
  const body = h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((cell) => h('td', {}, cell)))));
  return h('div', { class: 'scroll' }, h('table', {},
    h('caption', { class: 'hidden' }, caption),
    h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))), body));
}

export function toast(message) {
  const place = document.getElementById('toast');
  place.textContent = message;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { place.textContent = ''; }, 6000);
}

// ---- words for numbers

export function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
}

export function number(value) {
  if (value == null) return '–';
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
  return value.toFixed(value < 10 ? 1 : 0);
}

export function bytes(value) {
  if (value == null) return '–';
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  }
  return `${value} B`;
}

export function clock(time) { return time ? new Date(time).toLocaleTimeString('en-GB') : '–'; }
