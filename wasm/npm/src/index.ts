import { priors, type Prior, type Restoration, type RestoreOptions, type Solver, type SolverInfo, type SolverOptions, type WasmPaths } from "./api.js";
import type { Backend, Job, OpenOptions, Outcome } from "./backend.js";
import { workerBackend } from "./client.js";
import { ClosedError, InputError } from "./errors.js";
import { baseURL, describe, isKernel, portable, type PictureSource } from "./pictures.js";

export type * from "./api.js";
export type { CMIOptions, EngineInfo, Method, ModelInfo, RestoreStep, Task } from "./engine.js";
export type { Fit } from "./fit.js";
export type { PictureSource } from "./pictures.js";
export { priors } from "./api.js";
export { tasks, methods } from "./engine.js";
export * from "./errors.js";
export { version } from "./version.js";

/**
 * createSolver loads the program and the model and opens a device.
 *
 *     const solver = await createSolver({ device: "auto" });
 *     const { image } = await solver.restore(file, { task: "sr4", cmi: true, signal, onProgress });
 *
 * It rejects with a {@link SolverError}, or with the signal's reason.
 */
export async function createSolver(options: SolverOptions = {}): Promise<Solver> {
  const { device = "auto", fallback = device === "auto" ? "cpu" : "none", precision = "f32", threads = 0, worker = true, workerURL, modelURL, modelFile, modelConfig, cache = true } = options;
  if (!["auto", "webgpu", "cpu"].includes(device)) throw new InputError(`device is ${describe(device)}: "auto", "webgpu" or "cpu" is wanted`);
  if (!["cpu", "none"].includes(fallback)) throw new InputError(`fallback is ${describe(fallback)}: "cpu" or "none" is wanted`);
  if (!["f32", "f16"].includes(precision)) throw new InputError(`precision is ${describe(precision)}: "f32" or "f16" is wanted`);
  if (!Number.isInteger(threads) || threads < 0) throw new InputError(`threads is ${describe(threads)}: a whole number is wanted, 0 for as many as the machine has`);
  if (options.prior !== undefined && !priors.includes(options.prior)) throw new InputError(`prior is ${describe(options.prior)}: ${priors.map((p) => `"${p}"`).join(" or ")} is wanted`);
  if (options.prior !== undefined && (modelURL ?? modelFile) !== undefined) throw new InputError("prior is given beside modelURL or modelFile: one model is wanted");
  if (modelURL !== undefined && modelFile !== undefined) throw new InputError("modelURL and modelFile are both given: one model is wanted");
  if (modelFile !== undefined && !(modelFile instanceof Blob)) throw new InputError(`modelFile is ${describe(modelFile)}: a File or Blob is wanted`);
  const open: OpenOptions = {
    device, fallback, precision, threads, cache, wasm: wasmURLs(options.wasmPaths), modelConfig,
    model: modelFile ?? absolute(modelURL ?? priorURL(options.prior)), prior: modelURL === undefined && modelFile === undefined ? (options.prior ?? "faces64") : undefined,
  };
  const now = {} as { info: SolverInfo };
  const onMove = (info: SolverInfo) => {
    now.info = info;
    options.onDeviceChange?.(info);
  };
  const backend = worker ? workerBackend(open, () => newWorker(workerURL), onMove) : (await import("./local.js")).localBackend(open, onMove);
  try {
    now.info = await backend.open(options.signal, options.onProgress);
    return solver(backend, now);
  } catch (e) {
    await backend.close();
    throw e;
  }
}

function solver(backend: Backend, now: { info: SolverInfo }): Solver {
  let closed = false;
  const prepare = async (picture: PictureSource, options: RestoreOptions): Promise<Job> => {
    const { onProgress, onPlan: _, signal, mask, kernel, previewEvery = onProgress ? 1 : 0, ...rest } = options;
    if (closed) throw new ClosedError();
    signal?.throwIfAborted();
    const job: Job = { ...rest, previewEvery, picture: await portable(picture) };
    if (mask !== undefined) job.mask = await portable(mask);
    if (kernel !== undefined) job.kernel = isKernel(kernel) ? { data: Float32Array.from(kernel.data), width: kernel.width, height: kernel.height } : await portable(kernel);
    now.info = await backend.open(signal);
    return job;
  };
  const run = async (picture: PictureSource, options: RestoreOptions): Promise<Outcome> =>
    backend.restore(await prepare(picture, options), options.signal, options.onProgress, options.onPlan);
  return {
    get info() { return now.info; },
    restore: async (picture, options = {}) => restoration(await run(picture, options)),
    plan: async (picture, options = {}) => backend.plan(await prepare(picture, options), options.signal),
    async measure(picture, { task, measured, mask, kernel, border, fit, maxSide, tooLarge, memory, seed, sigmaY, signal } = {}) {
      // One step of the prior alone: the measurement does not depend on what is made of it.
      const given = Object.entries({ task, measured, mask, kernel, border, fit, maxSide, tooLarge, memory, seed, sigmaY, signal }).filter(([, v]) => v !== undefined);
      const { measurement, truth } = await run(picture, { ...Object.fromEntries(given), steps: 2, method: "unconditional" });
      return { measurement, ...(truth && { truth }) };
    },
    async close() {
      closed = true;
      await backend.close();
    },
  };
}

function restoration(o: Outcome): Restoration {
  return {
    ...o,
    async blob(type = "image/png", quality) {
      const canvas = new OffscreenCanvas(o.image.width, o.image.height);
      canvas.getContext("2d")?.putImageData(o.image, 0, 0);
      return canvas.convertToBlob({ type, ...(quality !== undefined && { quality }) });
    },
  };
}

/** The literal forms are what bundlers look for. */
function priorURL(prior: Prior = "faces64"): URL {
  return prior === "photos64" ? new URL("./photos64.safetensors", import.meta.url) : new URL("./faces64.safetensors", import.meta.url);
}

/** The literal form is what bundlers look for. */
function newWorker(url?: string | URL): Worker {
  if (url === undefined) return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "cmi-diffusion" });
  const address = absolute(url);
  if (new URL(address).origin === globalThis.location.origin || !address.startsWith("http")) return new Worker(address, { type: "module", name: "cmi-diffusion" });
  // A worker's script must be of the page's own origin; what it imports need not.
  const own = URL.createObjectURL(new Blob([`import ${JSON.stringify(address)};`], { type: "text/javascript" }));
  try {
    return new Worker(own, { type: "module", name: "cmi-diffusion" });
  } finally {
    setTimeout(() => URL.revokeObjectURL(own), 10_000);
  }
}

function wasmURLs(paths: SolverOptions["wasmPaths"] = {}): { [K in keyof WasmPaths]: string } {
  if (typeof paths === "string" || paths instanceof URL) {
    const folder = absolute(paths);
    return { program: new URL("cmi.wasm", folder).href, kernels: new URL("simd.wasm", folder).href, threadedKernels: new URL("simd-threads.wasm", folder).href };
  }
  return {
    program: absolute(paths.program ?? new URL("./cmi.wasm", import.meta.url)),
    kernels: absolute(paths.kernels ?? new URL("./simd.wasm", import.meta.url)),
    threadedKernels: absolute(paths.threadedKernels ?? new URL("./simd-threads.wasm", import.meta.url)),
  };
}

function absolute(url: string | URL): string {
  try {
    return new URL(url, baseURL()).href;
  } catch (e) {
    throw new InputError(`${describe(url)} is no address`, { cause: e });
  }
}

