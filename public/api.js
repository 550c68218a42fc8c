// The HTTP API: the same one that everybody uses.

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail ?? body.title ?? `status ${status}`);
    this.status = status;
    this.errors = body.errors ?? [];
  }
}

export async function api(path, { method = 'GET', body, headers = {}, signal } = {}) {
  const options = { method, headers: { ...headers }, signal };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  const response = await fetch(path, options);
  if (response.status === 204) return null;
  const text = await response.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { value = { detail: text.slice(0, 200) }; }
  if (!response.ok) throw new Problem(value ?? {}, response.status);
  return value;
}

export const get = (path, options) => api(path, options);
export const post = (path, body, headers) => api(path, { method: 'POST', body, headers });

/** Does something for each, a few at a time; how many went well, and the first problem. */
export async function forEach(items, work, atOnce = 4) {
  const left = [...items];
  let done = 0;
  let problem = null;
  const worker = async () => {
    while (left.length) {
      try {
        await work(left.shift());
        done += 1;
      } catch (error) { problem ??= error; }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return { done, problem };
}
