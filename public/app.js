// Where everything begins: the address decides the page, the link to the server is shown, the stream runs.
import { h, text, toast } from './dom.js';
import { connect, disconnect, live, on, pause, watchVisibility } from './live.js';
import { api, get } from './api.js';
import { overview } from './overview.js';
import { timeline } from './timeline.js';
import { jobs } from './jobs.js';
import { job } from './job.js';
import { tryPage } from './try.js';
import { compare } from './compare.js';
import { errors } from './errors.js';

// Each makes its page inside `main` and returns what ends it.
const pages = [
  [/^\/?$/, 'Overview', overview],
  [/^\/timeline$/, 'Timeline', timeline],
  [/^\/jobs$/, 'Jobs', jobs],
  [/^\/jobs\/([^/]+)$/, 'Jobs', job],
  [/^\/try(?:\/([^/]+))?$/, 'Try', tryPage],
  [/^\/compare(?:\/([^/]+))?$/, 'Compare', compare],
  [/^\/errors$/, 'Errors', errors],
];
const main = document.getElementById('main');
let leave = null;
let shown = null;

function route() {
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  const found = pages.find(([pattern]) => pattern.test(path));
  leave?.();
  leave = null;
  if (!found) {
    main.replaceChildren(h('h1', {}, 'Nothing here'), h('p', {}, `There is no page ${path}.`));
    return;
  }
  const [pattern, name, make] = found;
  const argument = pattern.exec(path)[1];
  document.title = `${name} · Spindle`;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.textContent === name) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  const page = h('div', { class: `page ${name.toLowerCase()}` });
  main.replaceChildren(page);
  leave = make(page, argument && decodeURIComponent(argument), new URLSearchParams(query)) ?? null;
  // Whoever reads with a screen reader hears the new page; the first one is read anyway.
  if (shown !== null) main.focus({ preventScroll: true });
  shown = path;
}

const words = { live: 'live', lost: 'disconnected, trying again', wait: 'connecting', paused: 'paused' };

function showLink(link) {
  const badge = document.getElementById('link');
  badge.className = link;
  text(badge, words[link]);
}

document.getElementById('pause').addEventListener('click', (event) => {
  const isPaused = !live.isPaused;
  pause(isPaused);
  event.currentTarget.setAttribute('aria-pressed', String(isPaused));
  text(event.currentTarget, isPaused ? 'Resume' : 'Pause');
});

document.getElementById('leave').addEventListener('click', async () => {
  try {
    await api('/v1/session', { method: 'DELETE' });
  } catch (error) {
    toast(error.message);
    return;
  }
  leave?.();
  leave = null;
  disconnect();
  window.removeEventListener('hashchange', route);
  showSignIn('You are signed out.');
});

/** Where the page is while the server does not know this browser. */
function showSignIn(why) {
  showLink('lost');
  const token = h('input', { type: 'password', autocomplete: 'off', ariaLabel: 'Token' });
  const form = h('form', {}, token, h('button', {}, 'Sign in'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.replace(`/?token=${encodeURIComponent(token.value.trim())}`);
  });
  main.replaceChildren(
    h('h1', {}, 'Sign in'),
    h('p', {}, `${why} Open the address that the server printed in its terminal, or put in a token from its token file.`),
    form);
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

async function start() {
  try {
    await get('/v1/pools');
  } catch (error) {
    showSignIn(error.message);
    return;
  }
  on('link', showLink);
  window.addEventListener('hashchange', route);
  connect();
  watchVisibility();
  route();
}

start();
