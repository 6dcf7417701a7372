// Solves in the thread it is made in: a worker's, or the page's.
import type { Kernel, LoadProgress, RestoreProgress, RunPlan, SolverInfo } from "./api.js";
import { unlessAborted } from "./abort.js";
import type { Backend, Job, OpenOptions, Outcome } from "./backend.js";
import { certaintyOf } from "./certainty.js";
import { createEngine, type Engine, type EngineInfo, type EnginePlan, type MeasureResult, type ModelInfo, type RestoreRequest, type RestoreStep, type Task } from "./engine.js";
import { asSolverError, ClosedError, InputError, MemoryError, NetworkError, UnsupportedError } from "./errors.js";
import { fetchFile, readBlob, type FetchedFile, type FileOptions } from "./files.js";
import { fitPicture, paste, toPicture, type Fit } from "./fit.js";
import { isKernel, openPicture, reason, type Pixels, type Portable } from "./pictures.js";
import type { Thread } from "./threads.js";

/** How many times smaller than the image a task's measurement is, where it is. */
const shrinks: Partial<Record<Task, number>> = { sr2: 2, sr4: 4, sr8: 8, pool2: 2, pool4: 4, pool8: 8 };

interface Opened {
  engine: Engine;
  model: ModelInfo;
}

/** localBackend makes a backend here; moved is told what computes after a device was lost, newThread makes threads. A program that stops is started anew by the next call. */
export function localBackend(options: OpenOptions, moved: (info: SolverInfo) => void, newThread: () => Thread): Backend {
  let opened: Promise<Opened> | undefined;
  let program: WebAssembly.Module | undefined;
  let closed = false;

  const load = async (signal?: AbortSignal, report?: (p: LoadProgress) => void): Promise<Opened> => {
    const file = (name: LoadProgress["file"]) => ({ signal, onBytes: (loaded: number, total: number) => report?.({ file: name, loaded, total }) });
    const readProgram = (anew: boolean) => fetchFile(options.wasm.program, { cache: options.cache, own: true, anew, ...file("program") });
    const readModel = async (o: FileOptions & { anew?: boolean }): Promise<FetchedFile> => {
      if (typeof options.model === "string") return fetchFile(options.model, { cache: options.cache, own: options.prior !== undefined, ...o });
      return { bytes: await readBlob(options.model, o), cached: false, keep: async () => {} };
    };
    const kept: Promise<void>[] = []; // while the program starts
    const early = readModel(file("model"));
    early.catch(() => {}); // awaited by the engine
    program ??= await proven(readProgram(false), () => readProgram(true), async (f) => compile((await f).bytes, options.wasm.program), kept);
    let model: ModelInfo | undefined;
    const engine = await createEngine({
      device: options.device, fallback: options.fallback, precision: options.precision, threads: options.threads, wasm: program, newThread, ...(signal && { signal }),
      simd: { single: options.wasm.kernels, threads: options.wasm.threadedKernels },
      onDeviceChange: (info) => { if (model) moved(about(info, model)); },
    });
    try {
      model = await proven(early, () => readModel({ anew: true, ...file("model") }), (f) => {
        let first: Promise<FetchedFile> | undefined = f;
        return engine.loadModel(async () => {
          const { bytes } = await (first ?? readModel({}));
          first = undefined; // read again for another device rather than held
          return bytes;
        }, options.modelConfig);
      }, kept);
      await Promise.all(kept);
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
    measure: (job, signal) => guarded(signal, async () => {
      const { engine, model } = await unlessAborted(open(), signal);
      const { picture, mask, size } = await prepare(job, engine, model, options.prior === "photos64", signal);
      try {
        const { request, truth } = await pixelsFor(job, picture, mask, size, signal);
        return { measurement: measured(await engine.measure(request)), ...(truth && { truth }) };
      } finally {
        picture.close();
        mask?.close();
      }
    }),
    plan: (job, signal) => guarded(signal, async () => {
      const { engine, model } = await unlessAborted(open(), signal);
      const { picture, mask, size } = await prepare(job, engine, model, options.prior === "photos64", signal);
      picture.close();
      mask?.close();
      return size.plan;
    }),
    restore: (job, signal, report, planned) => guarded(signal, async () => {
      const { engine, model } = await unlessAborted(open(), signal); // loading is everybody's: it goes on
      const { picture, mask, size } = await prepare(job, engine, model, options.prior === "photos64", signal);
      try {
        planned?.(size.plan);
        const { request, truth } = await pixelsFor(job, picture, mask, size, signal);
        const start = performance.now();
        const { width, height } = size.plan;
        const result = await engine.restore(request, {
          ...(signal && { signal }),
          ...(report && { onStep: (s: RestoreStep) => report(progress(s, { channels: model.channels, width, height }, start)) }),
        });
        const { channels } = result;
        const image = (data: Float32Array) => toPicture(data, channels, width, height);
        return {
          image: image(result.image),
          measurement: measured(result),
          ...(truth && { truth }),
          ...(result.samples && { samples: result.samples.map(image), certainty: certaintyOf(result, options.prior, job) }),
          ...(job.paste && { pasted: paste(picture, mask!, result.image, channels, width, height, size.fit) }),
          values: result.image, cmi: result.cmi, passes: result.passes, seconds: result.seconds,
        } satisfies Outcome;
      } finally {
        picture.close();
        mask?.close();
      }
    }),
    async close() {
      closed = true;
      const was = await opened?.catch(() => undefined);
      await was?.engine.close();
    },
  };
}

/** measured is a measurement as a picture. */
function measured({ measurement: m, measuredPixels: known }: MeasureResult): ImageData {
  return toPicture(m.data, m.channels, m.width, m.height, known?.length === m.width * m.height ? known : undefined);
}

const about = (info: EngineInfo, model: ModelInfo): SolverInfo => ({ ...info, worker: typeof document === "undefined", model });

/** proven gives what use makes of a file, which is kept only then: kept waits for that. What the cache has and can't be used is fetched anew. */
async function proven<T>(first: Promise<FetchedFile>, anew: () => Promise<FetchedFile>, use: (file: Promise<FetchedFile>) => Promise<T>, kept: Promise<void>[]): Promise<T> {
  let file = first;
  let made: T;
  try {
    made = await use(file);
  } catch (e) {
    const { cached } = await first;
    if (!cached || !["BAD_MODEL", "UNSUPPORTED"].includes(asSolverError(e).code)) throw e;
    file = anew();
    made = await use(file).catch((again: unknown) => { throw asSolverError(again).code === "NETWORK" ? e : again; });
  }
  kept.push((await file).keep());
  return made;
}

async function compile(bytes: Uint8Array<ArrayBuffer>, url: string): Promise<WebAssembly.Module> {
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== "\0asm") throw new NetworkError(`${url} is no WebAssembly file: does the server have the package's cmi.wasm there (option wasmPaths)?`);
  try {
    return await WebAssembly.compile(bytes);
  } catch (e) {
    throw new UnsupportedError(`the program can't be compiled: ${reason(e)}; a Content-Security-Policy needs 'wasm-unsafe-eval'`, { cause: e });
  }
}

/** What is decided before any work: how the picture is brought to which size, and what the run takes. */
interface Size {
  fit: Fit;
  tiles: boolean;
  plan: RunPlan;
}

interface Prepared {
  picture: Pixels;
  mask: Pixels | undefined;
  size: Size;
}

/** prepare opens a job's pictures, which the caller closes, and decides at which size it is done. */
async function prepare(job: Job, engine: Engine, model: ModelInfo, ownSize: boolean, signal?: AbortSignal): Promise<Prepared> {
  const { mask, kernel, fit = ownSize ? "own" : "crop", task = "sr4" } = job;
  if ((task === "mask") !== (mask !== undefined)) {
    throw new InputError(`task "mask" and the option mask belong together: got task ${JSON.stringify(task)}, ${mask ? "with" : "without"} a mask`);
  }
  if ((task === "kernel") !== (kernel !== undefined)) {
    throw new InputError(`task "kernel" and the option kernel belong together: got task ${JSON.stringify(task)}, ${kernel ? "with" : "without"} a kernel`);
  }
  if (!["crop", "resize", "exact", "own"].includes(fit)) throw new InputError(`fit is ${JSON.stringify(fit)}: "crop", "resize", "exact" or "own" is wanted`);
  for (const option of ["maxSide", "memory", "tooLarge"] as const) {
    if (fit !== "own" && job[option] !== undefined) throw new InputError(`${option} is given with fit ${JSON.stringify(fit)}: it is for fit "own", which keeps a picture's size`);
  }
  if (job.paste && (task !== "mask" || (job.samples ?? 1) > 1)) throw new InputError('paste is for task "mask" with one sample: elsewhere no pixel of the picture stays as it is');
  const picture = await openPicture(job.picture, signal);
  let opened: Pixels | undefined;
  try {
    opened = mask && (await openPicture(mask, signal));
    return { picture, mask: opened, size: await sizeOf(job, picture, engine, model, fit) };
  } catch (e) {
    picture.close();
    opened?.close();
    throw e;
  }
}

/** sizeOf plans a job's run: at the model's size, or at the picture's own where that fits into memory. */
async function sizeOf(job: Job, picture: Pixels, engine: Engine, model: ModelInfo, fit: Fit): Promise<Size> {
  const own = { width: picture.width, height: picture.height };
  const shrink = job.measured ? (shrinks[job.task ?? "sr4"] ?? 1) : 1;
  const { maxSide, tooLarge = "scale", memory = usualMemory() } = job;
  const tiles = fit === "own";
  const ask = (width: number, height: number) => engine.plan({ ...sampling(job), tiles, memory: tiles ? memory : 0, pixels: { data: nothing, width, height } });
  const size = ({ fits: _, ...plan }: EnginePlan, note?: string): Size => ({ fit: tiles ? "resize" : fit, tiles, plan: { ...plan, picture: own, ...(note && { note }) } });
  if (!tiles) return size(await ask(model.width / shrink, model.height / shrink));
  if (maxSide !== undefined && !(Number.isInteger(maxSide) && maxSide > 0)) throw new InputError(`maxSide is ${maxSide}: a whole number of pixels is wanted`);
  if (!(memory > 0)) throw new InputError(`memory is ${memory}: a number of bytes is wanted`);
  if (tooLarge !== "scale" && tooLarge !== "refuse") throw new InputError(`tooLarge is ${JSON.stringify(tooLarge)}: "scale" or "refuse" is wanted`);
  const longest = Math.max(own.width, own.height);
  const scaled = (scale: number) => [Math.max(1, Math.round(own.width * scale)), Math.max(1, Math.round(own.height * scale))] as const;
  let scale = job.measured || maxSide === undefined ? 1 : Math.min(1, maxSide / longest);
  let plan = await ask(...scaled(scale));
  const whole = plan;
  while (!plan.fits && scale * longest > 16) {
    if (tooLarge === "refuse" || job.measured) {
      throw new MemoryError(`a restored picture of ${plan.width} × ${plan.height} pixels takes ${mebibytes(plan.memory)} of memory, ${mebibytes(plan.free)} may be taken: ${job.measured ? "cut the picture" : 'give tooLarge "scale" or a smaller maxSide'}, or more memory`);
    }
    scale *= Math.min(0.95, Math.max(0.1, Math.sqrt(plan.free / plan.memory) * 0.99));
    plan = await ask(...scaled(scale));
  }
  if (!plan.fits) throw new MemoryError(`not even ${plan.width} × ${plan.height} pixels fit: they take ${mebibytes(plan.memory)} of memory, ${mebibytes(plan.free)} may be taken`);
  if (plan !== whole) return size(plan, `scaled down from ${own.width} × ${own.height} to ${plan.width} × ${plan.height} pixels: ${whole.width} × ${whole.height} take ${mebibytes(whole.memory)} of memory, ${mebibytes(whole.free)} may be taken`);
  return size(plan, scale < 1 ? `scaled down from ${own.width} × ${own.height} to ${plan.width} × ${plan.height} pixels, as maxSide says` : undefined);
}

const nothing = new Float32Array(0);

const mebibytes = (bytes: number) => (bytes < 2 ** 30 ? `${Math.ceil(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`);

/** usualMemory is what a run may take where nobody says: a quarter of the machine's, as far as the browser tells. */
function usualMemory(): number {
  return ((navigator as { deviceMemory?: number }).deviceMemory ?? 4) * 2 ** 28;
}

/** sampling is a job's options for the engine, without what concerns its pictures alone. */
function sampling({ picture: _p, mask: _m, kernel: _k, fit: _f, maxSide: _s, tooLarge: _t, memory: _y, paste: _w, task = "sr4", ...rest }: Job): Omit<RestoreRequest, "pixels"> {
  return { ...rest, task };
}

/** pixelsFor turns a job into the engine's request: pictures become numbers of the planned size. */
async function pixelsFor(job: Job, picture: Pixels, mask: Pixels | undefined, { fit, tiles, plan }: Size, signal?: AbortSignal): Promise<{ request: RestoreRequest; truth?: ImageData }> {
  const { width, height } = plan;
  const shrink = job.measured ? (shrinks[job.task ?? "sr4"] ?? 1) : 1;
  const pixels = fitPicture(picture, width / shrink, height / shrink, fit);
  const request: RestoreRequest = { ...sampling(job), pixels, ...(tiles && { tiles, memory: job.memory ?? usualMemory() }) };
  if (mask) {
    const { data } = fitPicture(mask, width, height, fit, "the mask");
    const size = width * height;
    request.mask = Uint8Array.from({ length: size }, (_, i) => (data[i]! + data[size + i]! + data[2 * size + i]! >= 0 ? 1 : 0));
  }
  if (job.kernel) request.kernel = await weights(job.kernel, signal);
  return job.measured ? { request } : { request, truth: toPicture(pixels.data, 3, width, height) };
}

async function weights(kernel: Kernel | Portable, signal?: AbortSignal): Promise<NonNullable<RestoreRequest["kernel"]>> {
  if (isKernel(kernel)) {
    const { data, width, height } = kernel;
    if (data.length !== width * height) throw new InputError(`the kernel of ${width} × ${height} has ${data.length} values, ${width * height} are wanted`);
    return { weights: Float32Array.from(data), width, height };
  }
  const picture = await openPicture(kernel, signal);
  const { data, width, height } = picture.read(0, 0, picture.width, picture.height);
  picture.close();
  return { weights: Float32Array.from({ length: width * height }, (_, i) => data[4 * i]! + data[4 * i + 1]! + data[4 * i + 2]!), width, height };
}

function progress({ preview, ...step }: RestoreStep, { channels, width, height }: Pick<ModelInfo, "channels" | "width" | "height">, start: number): RestoreProgress {
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
