import { priors, type Prior, type Restoration, type RestoreOptions, type Solver, type SolverInfo, type SolverOptions, type WasmPaths } from "./api.js";
import { unlessAborted } from "./abort.js";
import type { Backend, Job, OpenOptions, Outcome } from "./backend.js";
import { workerBackend } from "./client.js";
import { ClosedError, InputError, NetworkError, UnsupportedError } from "./errors.js";
import { cmiOptions, given, needsBrowser, plain, restoreOptions, solverOptions } from "./options.js";
import { absolute, describe, isKernel, offline, portable, reason, type PictureSource } from "./pictures.js";
import { packagedWorker, scriptWorker, trustOf, type Trust } from "./scripts.js";
import { newThread } from "./threads.js";

export type * from "./api.js";
export type { CMIChoice, CMIOptions, EngineInfo, Method, ModelInfo, RestoreStep, Task } from "./engine.js";
export type { Fit } from "./fit.js";
export type { PictureSource } from "./pictures.js";
export { priors } from "./api.js";
export type { ScriptURLPolicy, TrustedURL } from "./scripts.js";
export { tasks, methods } from "./engine.js";
export * from "./errors.js";
export { clearCache } from "./files.js";
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
  needsBrowser();
  options = given("createSolver", options, solverOptions);
  const { device = "auto", fallback = device === "auto" ? "cpu" : "none", precision = "f32", threads = 0, worker = true, workerURL, workerFactory, poolURL, modelURL, modelFile, modelConfig, cache = true } = options;
  if (!["auto", "webgpu", "cpu"].includes(device)) throw new InputError(`device is ${describe(device)}: "auto", "webgpu" or "cpu" is wanted`);
  if (!["cpu", "none"].includes(fallback)) throw new InputError(`fallback is ${describe(fallback)}: "cpu" or "none" is wanted`);
  if (!["f32", "f16"].includes(precision)) throw new InputError(`precision is ${describe(precision)}: "f32" or "f16" is wanted`);
  if (!Number.isInteger(threads) || threads < 0) throw new InputError(`threads is ${describe(threads)}: a whole number is wanted, 0 for as many as the machine has`);
  if (options.prior !== undefined && !priors.includes(options.prior)) throw new InputError(`prior is ${describe(options.prior)}: ${priors.map((p) => `"${p}"`).join(" or ")} is wanted`);
  if (options.prior !== undefined && (modelURL ?? modelFile) !== undefined) throw new InputError("prior is given beside modelURL or modelFile: one model is wanted");
  if (modelURL !== undefined && modelFile !== undefined) throw new InputError("modelURL and modelFile are both given: one model is wanted");
  if (modelFile !== undefined && !(modelFile instanceof Blob)) throw new InputError(`modelFile is ${describe(modelFile)}: a File or Blob is wanted`);
  if (workerFactory !== undefined && typeof workerFactory !== "function") throw new InputError(`workerFactory is ${describe(workerFactory)}: a function that makes a Worker is wanted`);
  if (modelConfig !== undefined && typeof modelConfig !== "object") throw new InputError(`modelConfig is ${describe(modelConfig)}: an object is wanted`);
  const open: OpenOptions = {
    device, fallback, precision, threads, cache, wasm: wasmURLs(options.wasmPaths), modelConfig: modelConfig && plain("modelConfig", modelConfig),
    model: modelFile ?? absolute(modelURL ?? priorURL(options.prior), "modelURL"), prior: modelURL === undefined && modelFile === undefined ? (options.prior ?? "faces64") : undefined,
    ...(poolURL !== undefined && { pool: absolute(String(poolURL), "poolURL") }),
  };
  const trust = trustOf(options.trustedTypesPolicy);
  const now = {} as { info: SolverInfo };
  const onMove = (info: SolverInfo) => {
    now.info = info;
    options.onDeviceChange?.(info);
  };
  const thread = () => newThread(open.pool, trust);
  // Some browsers give a shared worker no workers of its own. It is none of the page's threads, so that it may compute itself.
  const apart = worker && (workerFactory !== undefined || typeof Worker === "function");
  const backend = apart ? workerBackend(open, workerFactory ?? (() => newWorker(workerURL, trust)), thread, onMove) : (await inThisThread()).localBackend(open, onMove, thread);
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
    const { onProgress, onPlan: _, signal, mask, kernel, cmi, previewEvery = onProgress ? 1 : 0, ...rest } = options;
    if (closed) throw new ClosedError();
    signal?.throwIfAborted();
    const job: Job = { ...rest, previewEvery, picture: await portable(picture) };
    if (cmi !== undefined) job.cmi = typeof cmi === "object" ? given("cmi", cmi, cmiOptions) : cmi;
    if (mask !== undefined) job.mask = await portable(mask, "the mask");
    if (kernel !== undefined) job.kernel = isKernel(kernel) ? { data: Float32Array.from(kernel.data), width: kernel.width, height: kernel.height } : await portable(kernel, "the kernel");
    now.info = await unlessAborted(backend.open(), signal); // loading is everybody's: it goes on
    return job;
  };
  const run = async (picture: PictureSource, options: RestoreOptions): Promise<Outcome> =>
    backend.restore(await prepare(picture, options), options.signal, options.onProgress, options.onPlan);
  return {
    get info() { return now.info; },
    async restore(picture, options = {}) {
      options = given("restore", options, restoreOptions);
      return restoration(await unlessAborted(run(picture, options), options.signal));
    },
    async plan(picture, options = {}) {
      options = given("plan", options, restoreOptions);
      const plan = async () => backend.plan(await prepare(picture, options), options.signal);
      return unlessAborted(plan(), options.signal);
    },
    async measure(picture, options = {}) {
      const { samples: _s, paste: _p, ...rest } = given("measure", options, restoreOptions); // they say what is made of the measurement
      const measure = async () => backend.measure(await prepare(picture, rest), rest.signal);
      return unlessAborted(measure(), rest.signal);
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
      const blob = await canvas.convertToBlob({ type, ...(quality !== undefined && { quality }) });
      // A type that it does not know the browser replaces by PNG.
      if (blob.type !== String(type).toLowerCase()) throw new UnsupportedError(`this browser writes no ${describe(type)}: try "image/png", "image/jpeg" or "image/webp"`);
      return blob;
    },
  };
}

/** The literal forms are what bundlers look for. */
function priorURL(prior: Prior = "faces64"): URL {
  return prior === "photos64" ? new URL("./photos64.safetensors", import.meta.url) : new URL("./faces64.safetensors", import.meta.url);
}

/** inThisThread loads what computes without a worker. */
async function inThisThread() {
  try {
    return await import("./local.js");
  } catch (e) {
    throw new NetworkError(`the package's local.js can't be loaded: ${offline() ?? reason(e)}`, { cause: e });
  }
}

/** newWorker starts the worker at an address, or the package's own; the literal form is what bundlers look for. */
function newWorker(url: SolverOptions["workerURL"], trust: Trust): Worker {
  const name = "cmi-diffusion";
  if (url === undefined) return packagedWorker(() => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "cmi-diffusion" }), "./worker.js", name, trust);
  if (typeof url === "string" || url instanceof URL) return scriptWorker(absolute(url, "workerURL"), name, trust);
  return new Worker(url as string, { type: "module", name }); // a TrustedScriptURL
}

function wasmURLs(paths: SolverOptions["wasmPaths"] = {}): { [K in keyof WasmPaths]: string } {
  if (typeof paths === "string" || paths instanceof URL) {
    const folder = absolute(paths, "wasmPaths");
    return { program: new URL("cmi.wasm", folder).href, kernels: new URL("simd.wasm", folder).href, threadedKernels: new URL("simd-threads.wasm", folder).href };
  }
  return {
    program: absolute(paths.program ?? new URL("./cmi.wasm", import.meta.url), "wasmPaths.program"),
    kernels: absolute(paths.kernels ?? new URL("./simd.wasm", import.meta.url), "wasmPaths.kernels"),
    threadedKernels: absolute(paths.threadedKernels ?? new URL("./simd-threads.wasm", import.meta.url), "wasmPaths.threadedKernels"),
  };
}
