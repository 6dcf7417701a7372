// Solves in the thread it is made in: a worker's, or the page's.
import type { Kernel, LoadProgress, RestoreProgress, SolverInfo } from "./api.js";
import type { Backend, Job, OpenOptions, Outcome } from "./backend.js";
import { createEngine, type Engine, type EngineInfo, type ModelInfo, type RestoreRequest, type RestoreStep, type Task } from "./engine.js";
import { asSolverError, ClosedError, InputError, UnsupportedError } from "./errors.js";
import { fetchFile, readBlob, type FileOptions } from "./files.js";
import { fitPicture, toPicture } from "./fit.js";
import { decode, isKernel, reason, type Portable } from "./pictures.js";

/** How many times smaller than the image a task's measurement is, where it is. */
const shrinks: Partial<Record<Task, number>> = { sr2: 2, sr4: 4, sr8: 8, pool2: 2, pool4: 4, pool8: 8 };

interface Opened {
  engine: Engine;
  model: ModelInfo;
}

/** localBackend makes a backend here; moved is told what computes after a device was lost. A program that stops is started anew by the next call. */
export function localBackend(options: OpenOptions, moved: (info: SolverInfo) => void): Backend {
  let opened: Promise<Opened> | undefined;
  let program: WebAssembly.Module | undefined;
  let closed = false;

  const load = async (signal?: AbortSignal, report?: (p: LoadProgress) => void): Promise<Opened> => {
    const file = (name: LoadProgress["file"]) => ({ signal, onBytes: (loaded: number, total: number) => report?.({ file: name, loaded, total }) });
    const read = (o: FileOptions) => (typeof options.model === "string" ? fetchFile(options.model, { cache: options.cache, ...o }) : readBlob(options.model, o));
    let early: Promise<Uint8Array> | undefined = read(file("model"));
    early.catch(() => {}); // awaited by the engine
    const weights = () => {
      const bytes = early ?? read({});
      early = undefined; // read again for another device rather than kept
      return bytes;
    };
    let model: ModelInfo | undefined;
    program ??= await compile(await fetchFile(options.wasm.program, { cache: false, ...file("program") }));
    const engine = await createEngine({
      device: options.device, fallback: options.fallback, precision: options.precision, threads: options.threads, wasm: program, ...(signal && { signal }),
      simd: { single: options.wasm.kernels, threads: options.wasm.threadedKernels },
      onDeviceChange: (info) => { if (model) moved(about(info, model)); },
    });
    try {
      model = await engine.loadModel(weights, options.modelConfig);
      return { engine, model };
    } catch (e) {
      await engine.close();
      throw e;
    }
  };

  const open = (signal?: AbortSignal, report?: (p: LoadProgress) => void): Promise<Opened> => {
    if (closed) return Promise.reject(new ClosedError());
    if (!opened) {
      const mine = load(signal, report);
      opened = mine;
      const forget = () => { if (opened === mine) opened = undefined; };
      mine.then(({ engine }) => engine.gone.then(forget), forget);
    }
    return opened;
  };

  /** guarded gives every failure its type. */
  const guarded = async <T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> => {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (e) {
      signal?.throwIfAborted();
      if (closed) throw new ClosedError();
      const error = asSolverError(e);
      if (error.code === "DEVICE_LOST") {
        const gone = await opened?.catch(() => undefined);
        opened = undefined;
        await gone?.engine.close();
      }
      throw error;
    }
  };

  return {
    open: (signal, report) => guarded(signal, async () => {
      const { engine, model } = await open(signal, report);
      return about(engine.info, model);
    }),
    restore: (job, signal, report) => guarded(signal, async () => {
      const { engine, model } = await unlessAborted(open(), signal); // loading is everybody's: it goes on
      const { request, truth } = await prepare(job, model, signal);
      const start = performance.now();
      const result = await engine.restore(request, {
        ...(signal && { signal }),
        ...(report && { onStep: (s: RestoreStep) => report(progress(s, model, start)) }),
      });
      const { measurement: m, measuredPixels: known } = result;
      return {
        image: toPicture(result.image, result.channels, result.width, result.height),
        measurement: toPicture(m.data, m.channels, m.width, m.height, known?.length === m.width * m.height ? known : undefined),
        ...(truth && { truth }),
        values: result.image, passes: result.passes, seconds: result.seconds,
      } satisfies Outcome;
    }),
    async close() {
      closed = true;
      const was = await opened?.catch(() => undefined);
      await was?.engine.close();
    },
  };
}

const about = (info: EngineInfo, model: ModelInfo): SolverInfo => ({ ...info, worker: typeof document === "undefined", model });

/** unlessAborted stops waiting, not the work, when the signal says so. */
function unlessAborted<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

async function compile(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (e) {
    throw new UnsupportedError(`the program can't be compiled: ${reason(e)}; a Content-Security-Policy needs 'wasm-unsafe-eval'`, { cause: e });
  }
}

/** prepare turns a job into the engine's request: pictures become numbers of the model's size. */
async function prepare(job: Job, model: ModelInfo, signal?: AbortSignal): Promise<{ request: RestoreRequest; truth?: ImageData }> {
  const { picture, mask, kernel, fit = "crop", task = "sr4", ...rest } = job;
  if ((task === "mask") !== (mask !== undefined)) {
    throw new InputError(`task "mask" and the option mask belong together: got task ${JSON.stringify(task)}, ${mask ? "with" : "without"} a mask`);
  }
  if ((task === "kernel") !== (kernel !== undefined)) {
    throw new InputError(`task "kernel" and the option kernel belong together: got task ${JSON.stringify(task)}, ${kernel ? "with" : "without"} a kernel`);
  }
  if (!["crop", "resize", "exact"].includes(fit)) throw new InputError(`fit is ${JSON.stringify(fit)}: "crop", "resize" or "exact" is wanted`);
  const { width, height } = model;
  const shrink = job.measured ? (shrinks[task] ?? 1) : 1;
  const pixels = fitPicture(await decode(picture, signal), width / shrink, height / shrink, fit);
  const request: RestoreRequest = { ...rest, task, pixels };
  if (mask) {
    const { data } = fitPicture(await decode(mask, signal), width, height, fit, "the mask");
    const size = width * height;
    request.mask = Uint8Array.from({ length: size }, (_, i) => (data[i]! + data[size + i]! + data[2 * size + i]! >= 0 ? 1 : 0));
  }
  if (kernel) request.kernel = await weights(kernel, signal);
  return job.measured ? { request } : { request, truth: toPicture(pixels.data, 3, width, height) };
}

async function weights(kernel: Kernel | Portable, signal?: AbortSignal): Promise<NonNullable<RestoreRequest["kernel"]>> {
  if (isKernel(kernel)) {
    const { data, width, height } = kernel;
    if (data.length !== width * height) throw new InputError(`the kernel of ${width} × ${height} has ${data.length} values, ${width * height} are wanted`);
    return { weights: Float32Array.from(data), width, height };
  }
  const { data, width, height } = await decode(kernel, signal);
  return { weights: Float32Array.from({ length: width * height }, (_, i) => data[4 * i]! + data[4 * i + 1]! + data[4 * i + 2]!), width, height };
}

function progress({ preview, ...step }: RestoreStep, { channels, width, height }: ModelInfo, start: number): RestoreProgress {
  const seconds = (performance.now() - start) / 1000;
  const out: RestoreProgress = step;
  if (step.step > 1 || step.totalPasses === step.passes) out.secondsLeft = (seconds / step.passes) * (step.totalPasses - step.passes);
  if (preview) {
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")?.putImageData(toPicture(preview, channels, width, height), 0, 0);
    out.preview = canvas.transferToImageBitmap();
  }
  return out;
}
