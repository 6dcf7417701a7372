// Helpers for tests, in the page.
const cmi = await import("/pkg/index.js");

/** face gives a sample face's file. */
async function face(n) {
  const response = await fetch(`/faces/0${n}.png`);
  return new File([await response.blob()], `0${n}.png`, { type: "image/png" });
}

/** failure gives what a rejected promise says, as plain data; null where it does not reject. */
async function failure(work) {
  try {
    await (typeof work === "function" ? work() : work);
    return null;
  } catch (e) {
    return { name: e?.name, code: e?.code, message: String(e?.message ?? e), typed: e instanceof cmi.SolverError };
  }
}

/** psnr of two lists of values in [−1, 1], in dB. */
function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return a.length === b.length ? 10 * Math.log10(4 / (sum / a.length)) : NaN;
}

/** Solvers of a test, closed by closeAll. */
const solvers = [];
async function solver(options = {}) {
  const s = await cmi.createSolver({ device: "cpu", threads: 1, ...options });
  solvers.push(s);
  return s;
}
async function closeAll() {
  await Promise.all(solvers.splice(0).map((s) => s.close()));
}

Object.assign(globalThis, { face, failure, psnr, solver, closeAll, cmi });
