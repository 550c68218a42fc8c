// Errors: failures that look alike, together; how often, since when, and all of them again.
import { h, text, toast, number } from './dom.js';
import { forEach, get, post } from './api.js';
import { live, on } from './live.js';

export function errors(page) {
  const list = h('ul', { class: 'groups' });
  const empty = h('p', { class: 'soft', hidden: true }, 'Nothing has failed.');
  const known = new Map();
  let failed = live.frame?.totals.failed;
  let pending = null;
  let isOver = false;
  page.append(h('h1', {}, 'Errors'), list, empty);

  async function load() {
    pending = null;
    let groups;
    try { groups = (await get('/v1/errors')).errors; } catch (error) { return toast(error.message); }
    if (isOver) return;
    const there = new Set(groups.map((group) => group.fingerprint));
    for (const [key, entry] of known) {
      if (there.has(key)) continue;
      entry.element.remove();
      known.delete(key);
    }
    groups.forEach((group, index) => {
      let entry = known.get(group.fingerprint);
      if (!entry) known.set(group.fingerprint, entry = make());
      update(entry, group);
      if (list.children[index] !== entry.element) list.insertBefore(entry.element, list.children[index] ?? null);
    });
    empty.hidden = groups.length > 0;
  }

  function make() {
    const entry = { title: h('h2'), count: h('strong'), times: h('span', { class: 'soft' }), message: h('p', { class: 'failed' }), place: h('code'), jobs: h('p', { class: 'links' }) };
    entry.retry = h('button', { type: 'button' }, 'Retry all');
    entry.retry.addEventListener('click', () => again(entry));
    entry.element = h('li', {}, h('div', { class: 'bar' }, entry.title, entry.count, entry.times, entry.retry), entry.message, entry.place, entry.jobs);
    return entry;
  }

  function update(entry, group) {
    entry.group = group;
    entry.element.dataset.fingerprint = group.fingerprint;
    text(entry.title, `${group.task}: ${group.type}`);
    text(entry.count, `${number(group.count)} ${group.count === 1 ? 'job' : 'jobs'}`);
    text(entry.times, `first ${new Date(group.first_seen).toLocaleString('en-GB')}, last ${new Date(group.last_seen).toLocaleString('en-GB')}`);
    text(entry.message, group.message);
    text(entry.place, group.place);
    entry.retry.setAttribute('aria-label', `Retry all ${group.jobs.length} jobs of ${group.task}: ${group.type}`);
    entry.jobs.replaceChildren(...group.jobs.slice(0, 8).map((id) => h('a', { href: `#/jobs/${id}` }, id)), group.jobs.length > 8 ? ` and ${group.jobs.length - 8} more` : '');
  }

  async function again(entry) {
    entry.retry.disabled = true;
    const { done, problem } = await forEach(entry.group.jobs, (id) => post(`/v1/jobs/${id}/retry`));
    toast(`${done} of ${entry.group.jobs.length} submitted again${problem ? `; ${problem.message}` : ''}`);
    entry.retry.disabled = false;
  }

  const off = [on('frame', (frame) => {
    if (frame.totals.failed === failed) return;
    failed = frame.totals.failed;
    pending ??= setTimeout(load, 250);
  }), on('resync', () => { pending ??= setTimeout(load, 0); })];
  load();
  return () => {
    isOver = true;
    clearTimeout(pending);
    off.forEach((end) => end());
  };
}
