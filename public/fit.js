// How speed grows with workers, as two laws say, and what follows from that.
//
// Amdahl: S(n) = 1 / (s + (1 - s) / n). Source: G. Amdahl, AFIPS 1967.
// Universal Scalability Law: C(n) = n / (1 + a (n - 1) + b n (n - 1)). Source: N. Gunther, "Guerrilla Capacity Planning", 2007.

/** The serial share s that fits best, by least squares on n / S(n) = 1 + s (n - 1). */
export function amdahl(points) {
  let top = 0;
  let bottom = 0;
  for (const [n, speedup] of points) {
    top += (n / speedup - 1) * (n - 1);
    bottom += (n - 1) ** 2;
  }
  const serial = bottom > 0 ? Math.min(Math.max(top / bottom, 0), 1) : 0;
  return { serial, at: (n) => 1 / (serial + (1 - serial) / n), limit: serial > 0 ? 1 / serial : Infinity };
}

/** Contention a and coherency b, by least squares on n / C(n) - 1 = a (n - 1) + b n (n - 1), neither below zero. */
export function usl(points) {
  let [xx, xz, zz, xy, zy] = [0, 0, 0, 0, 0];
  for (const [n, speedup] of points) {
    const [x, z, y] = [n - 1, n * (n - 1), n / speedup - 1];
    xx += x * x; xz += x * z; zz += z * z; xy += x * y; zy += z * y;
  }
  const determinant = xx * zz - xz * xz;
  let contention = determinant > 1e-9 ? (xy * zz - zy * xz) / determinant : xx > 0 ? xy / xx : 0;
  let coherency = determinant > 1e-9 ? (xx * zy - xz * xy) / determinant : 0;
  if (contention < 0) { contention = 0; coherency = zz > 0 ? Math.max(zy / zz, 0) : 0; }
  if (coherency < 0) { coherency = 0; contention = xx > 0 ? Math.max(xy / xx, 0) : 0; }
  const best = coherency > 1e-6 ? Math.sqrt((1 - Math.min(contention, 1)) / coherency) : Infinity;
  return { contention, coherency, best, at: (n) => n / (1 + contention * (n - 1) + coherency * n * (n - 1)) };
}

/** One sentence of advice, from runs `{pool, workers, rate, cpuShare, p99}`. */
export function advice(runs) {
  const best = runs.reduce((a, b) => (b.rate > a.rate ? b : a));
  // The fewest workers that come within a twentieth of the best.
  const enough = runs.filter((run) => run.rate >= best.rate * 0.95).sort((a, b) => a.workers - b.workers || b.rate - a.rate)[0];
  const share = Math.round(enough.cpuShare * 100);
  const kind = share >= 80 ? 'it computes' : share <= 20 ? 'it mostly waits' : 'it computes and waits';
  const name = { thread: 'threads', process: 'processes', loop: 'the loop', gpu: 'the GPU' }[enough.pool];
  const others = [...new Set(runs.map((run) => run.pool))].filter((pool) => pool !== enough.pool)
    .map((pool) => Math.max(...runs.filter((run) => run.pool === pool).map((run) => run.rate)));
  const close = others.length && Math.max(...others) >= enough.rate * 0.9 ? '; the pools are close, so take processes where a job may crash or must be killed' : '';
  const more = runs.filter((run) => run.pool === enough.pool && run.workers > enough.workers);
  const beyond = more.length ? '; beyond that nothing is gained' : '; more were not tried';
  return `${share} % CPU, ${kind}: use ${name}, ${enough.workers} of them${beyond}${close}.`;
}
