// The engine: the Go program, compiled to WebAssembly, on one device. It knows
// numbers, not pictures, and runs where it is made: in a worker, unless a page
// may stop for the length of a step. Calls are queued, one runs at a time.
import { unlessAborted } from "./abort.js";
import { EngineError, messageOf, type EngineErrorCode } from "./engineerror.js";
import { startGo, type Device, type DeviceInfo, type GoProgram } from "./go.js";
import { openGPU, type Precision } from "./gpu.js";
import { startSIMD, type SIMDSources } from "./simd.js";
import { compile, type Progress, type Source } from "./source.js";
import type { Thread } from "./threads.js";

export { EngineError, type EngineErrorCode } from "./engineerror.js";
export type { Precision } from "./gpu.js";
export type { SIMDSources } from "./simd.js";
export type { Progress, Source } from "./source.js";

/** How an engine is made. */
export interface EngineOptions {
  /** "auto": WebGPU where it computes in hardware, else the processor. "webgpu" takes a software adapter too. */
  device?: "auto" | "webgpu" | "cpu";
  /** A GPU that is lost is opened anew. Where that can't be done, or it is lost twice in a row or short of memory, "cpu" goes on on the processor; usual for device "auto". */
  fallback?: "cpu" | "none";
  /** "f32" if left out. "f16" is for WebGPU; where it can't be, f32 is computed, and a note says so. */
  precision?: Precision;
  /** Threads on the processor, more than one only where `crossOriginIsolated`; 0: as many as there are processors, at most 8. */
  threads?: number;
  /** The Go program, cmi.wasm, or cmi-verify.wasm, which also has `verify`. */
  wasm: Source;
  /** The processor's kernels. */
  simd: SIMDSources;
  /** Makes a thread that computes beside this one. */
  newThread: () => Thread;
  /** The device was lost, and what is computed goes on from its last finished step on the one in info; the last of its notes says why. */
  onDeviceChange?: (info: EngineInfo) => void;
  /** Bytes of the files read so far, of those known of. */
  onProgress?: Progress;
  signal?: AbortSignal;
}

/** What an engine computes on. */
export interface EngineInfo {
  device: "webgpu" | "cpu";
  /** For people: kernels and threads, or adapter and driver. */
  description: string;
  /** A GPU that is emulated on the processor: slow. */
  software: boolean;
  precision: Precision;
  threads: number;
  /** The page is cross-origin isolated, so that threads can share memory. */
  isolated: boolean;
  /** Why not the other devices, or more threads, and what was lost; a sentence each. */
  notes: string[];
  /** This program has the conformance suite. */
  verifies: boolean;
}

/** A loaded prior. */
export interface ModelInfo {
  channels: number;
  height: number;
  width: number;
  parameters: number;
  learnedVariance: boolean;
  /** Training steps, the most that `steps` can be. */
  steps: number;
}

/** The named tasks (see the Go package measure), and those that take the caller's own operator. */
export const tasks = ["sr4", "sr2", "sr8", "inpaint", "box", "blur", "motion", "pool4", "pool2", "pool8",
  "colourise", "denoise", "mask", "kernel", "phase"] as const;
export type Task = (typeof tasks)[number];

export const methods = ["dps", "dps+", "adamdps", "cadps", "mcg", "dsg", "pigdm", "evidence", "mmps", "tmpd", "diffpir", "ddnm", "ddrm-mean", "daps", "gibbs", "fps",
  "pathwise", "pathwise-mean", "projection", "unconditional"] as const;
export type Method = (typeof methods)[number];

/**
 * What the information term is taken for: "paper" adds +∇I as published, "fidelity" −∇I (smoother, nearer to the truth on average),
 * "spread" +∇I with twice the limit (samples that differ more). docs/cmi-study.md has the measurements.
 */
export const choices = ["paper", "fidelity", "spread"] as const;
export type CMIChoice = (typeof choices)[number];

/** The information term; what is left out has the default of the Go package cmi. */
export interface CMIOptions {
  /** Decides `eta` and `trustGuidance`, which then must be left out. */
  choice?: CMIChoice;
  eta?: number;
  weighting?: "beta" | "constant";
  estimator?: "probe"; // those that form matrices are not in the browser
  probes?: number;
  lanczos?: number;
  minAlphaBar?: number;
  maxAlphaBar?: number;
  first?: number;
  last?: number;
  every?: number;
  trustStd?: number;
  trustGuidance?: number;
}

/** Pixels: channels × height × width in [−1, 1], or RGBA bytes (three channels; alpha is ignored). */
export interface Pixels {
  data: Float32Array | Uint8Array | Uint8ClampedArray;
  height: number;
  width: number;
}

export interface RestoreRequest {
  /** The picture to degrade and restore, of the model's size; or, if `measured`, the measurement, of the operator's output size. */
  pixels: Pixels;
  measured?: boolean;
  task: Task;
  /** Task "mask": height·width values, 0 where a pixel is missing. */
  mask?: Uint8Array;
  /** Task "kernel": odd sizes, row by row; it is scaled to sum 1. */
  kernel?: { weights: Float32Array; height: number; width: number };
  /** Task "kernel": how the image goes on beyond its edge; "reflect" if left out. */
  border?: "reflect" | "circular";
  /** A whole number from 0; 1 if left out. The same seed gives the same picture. */
  seed?: number | bigint;
  /** Reverse steps, 2 to the model's `steps`; 100 if left out, and where the method is too, as many as it takes for about 100 passes. */
  steps?: number;
  /** The training step to start at, from the measurement, in place of pure noise at the last one; all `steps` are below it. */
  start?: number;
  /**
   * If left out, what is best for the task: "ddrm-mean" for "denoise" and means of up to 4 × 4 pixels, "pathwise-mean" for the tasks
   * "inpaint", "matrix" and "colourise", "diffpir" from the middle of the process for others, "pathwise" for several samples, and "dps"
   * with `cmi`, `ddim` or Poisson noise.
   */
  method?: Method;
  /** Of the data guidance; the published one for the task, times 1000/steps, if left out. */
  scale?: number;
  /** Sample with DDIM and this η, 0 to 1, or negative DDPM's chain; what the method was published on if left out. */
  ddim?: number;
  /** With "pigdm" and "diffpir": below this noise level σ_t/√ᾱ_t the posterior variance of each pixel that the model has learned, in place of one for all; 0.2 as published. */
  learnedVariance?: number;
  /** Run as many states and weigh them by the posterior (twisted sequential Monte Carlo); the result is one of them, drawn by its weight. None if left out or 0. */
  particles?: number;
  /** true: the information term by the choice that suits the method; or a choice, or its options. */
  cmi?: boolean | CMIChoice | "off" | CMIOptions;
  /** Standard deviation of the measurement noise on images in [−1, 1]; 0.05 if left out. */
  sigmaY?: number;
  /** A preview of x̂0 with every k-th step; none if left out or 0. */
  previewEvery?: number;
  /** Keep the picture's own size, whatever the model's: it is covered by overlapping windows of the model's size. */
  tiles?: boolean;
  /** Bytes of device memory that a run with tiles may take; what the device has if left out or 0. */
  memory?: number;
  /** Samples of the posterior, 1 to 64, which differ in the sampler's noise alone; 1 if left out. */
  samples?: number;
}

/** What a run takes, known before it runs. */
export interface EnginePlan {
  /** Of the restored picture. */
  height: number;
  width: number;
  /** Windows of the model's size that cover the picture; 1 without tiles. */
  windows: number;
  /** Network passes of all samples, in units of one forward of one window. */
  passes: number;
  /** About how long they take, from the time of a forward, measured on this device. */
  seconds: number;
  /** About how many bytes the run takes, and how many it may. free is 0 where that is not known. */
  memory: number;
  free: number;
  fits: boolean;
}

export interface RestoreStep {
  step: number; // from 1
  steps: number;
  /** Of how many samples this is the which, from 1. */
  sample: number;
  samples: number;
  /** Network passes so far and of the whole run, in units of one forward: what an ETA is made of. */
  passes: number;
  totalPasses: number;
  /** ‖y − A x̂0‖. */
  residual: number;
  /** Estimate of I(x0; y | x_t) in nats, and the norms of its gradient and of what was added; absent where the term does not act. */
  information?: number;
  gradient?: number;
  applied?: number;
  /** The trust radius shortened the term. */
  limited: boolean;
  /** With `particles`: the effective sample size of their weights, and the estimate of log p(y) in nats. */
  ess?: number;
  logEvidence?: number;
  /** Clipped x̂0, channels × height × width. */
  preview?: Float32Array;
}

/** What is restored from. */
export interface MeasureResult {
  measurement: { data: Float32Array; channels: number; height: number; width: number };
  /** Where pixels are measured, 0 or 1, if the operator leaves some out. */
  measuredPixels?: Uint8Array;
}

export interface RestoreResult extends MeasureResult {
  /** Channels × height × width in about [−1, 1]. */
  image: Float32Array;
  channels: number;
  height: number;
  width: number;
  /** With more than one sample: all, the first of which is the image; their mean; and each value's standard deviation. */
  samples?: Float32Array[];
  mean?: Float32Array;
  std?: Float32Array;
  /** What the information term was taken for; "custom" if by options of its own. */
  cmi: CMIChoice | "custom" | "off";
  passes: number;
  seconds: number;
}

export interface RestoreCallbacks {
  signal?: AbortSignal;
  onStep?(step: RestoreStep): void;
}

export interface VerifyRequest {
  /** Files of testdata/golden by their path below it; none: the conformance suite alone. */
  golden?: Map<string, Uint8Array>;
  /** About a tenth of the work. */
  quick?: boolean;
}

export interface VerifyCase {
  group: string;
  name: string;
  status: "pass" | "fail" | "skip";
  error?: number;
  bound?: number;
  seconds: number;
  note?: string;
}

export interface BenchRequest {
  /** "forward"; "step", a step of DPS; or "conv", a 3×3 convolution of 128 channels to 128 at 64×64. */
  work?: "forward" | "step" | "conv";
  batch?: number;
  rounds?: number;
  /** Untimed runs before. */
  warmup?: number;
  /** Copied to the device in every round, as the output is copied back; without it numbers that are there, and no copies. */
  input?: Float32Array;
}

export interface Engine {
  /** Of the present device; another object after a change. */
  readonly info: EngineInfo;
  /** Rejects never; resolves when the engine can't go on: the device is lost and there is no other, it crashed, it was closed. */
  readonly gone: Promise<EngineError>;
  /**
   * Reads a checkpoint (.safetensors, .pt) in place of the model before, and again when the device is lost. config: what
   * shapes can't tell, see the Go package unet.
   */
  loadModel(read: () => Promise<Uint8Array>, config?: Record<string, unknown>): Promise<ModelInfo>;
  /** Says what a run takes, without doing it. The data of the request's pixels, mask and kernel are not read. */
  plan(request: RestoreRequest): Promise<EnginePlan>;
  /** Only degrades a picture, as restore does. */
  measure(request: RestoreRequest): Promise<MeasureResult>;
  /** Stops within one step when the signal says so. */
  restore(request: RestoreRequest, callbacks?: RestoreCallbacks): Promise<RestoreResult>;
  /** Runs the conformance suite and golden vectors on the device. */
  verify(request: VerifyRequest, callbacks?: { signal?: AbortSignal; onCase?(c: VerifyCase): void }): Promise<{ passed: number; failed: number; skipped: number }>;
  /** Times the loaded model, in seconds a run. With an input the output is the last run's, else empty. */
  bench(request?: BenchRequest): Promise<{ seconds: number[]; output: Float32Array }>;
  /** Waits for nothing: calls that have not ended reject. */
  close(): Promise<void>;
}

/** createEngine reads the files, opens the device and starts the program. */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { device = "auto", signal } = options;
  throwIfAborted(signal);
  const notes: string[] = [];
  const program = compile("the program", options.wasm, options.onProgress, signal);
  program.catch(() => {}); // awaited below
  try {
    const gpu = device === "cpu" ? undefined : await openGPU(device === "webgpu", notes, options.precision);
    if (!gpu && device === "webgpu") throw new EngineError("UNSUPPORTED", notes.at(-1)!);
    const compiled = await program;
    if (gpu) {
      try {
        return await start(compiled, { gpu }, options, notes);
      } catch (e) {
        if (device === "webgpu") throw e;
        notes.push(`no WebGPU: ${messageOf(e)}`);
      }
    }
    return await start(compiled, { simd: await processor(options, notes) }, options, notes);
  } catch (e) {
    throw e instanceof EngineError ? e : signal?.aborted ? aborted() : new EngineError("INTERNAL", messageOf(e), { cause: e });
  }
}

const processor = ({ simd, threads = 0, newThread, signal, precision }: Pick<EngineOptions, "simd" | "threads" | "newThread" | "signal" | "precision">, notes: string[]) => {
  if (precision === "f16") notes.push("no f16: the processor computes in f32");
  return startSIMD(simd, { threads, newThread, notes, signal });
};

/** start is an engine on a device, which is closed where the program does not start on it. */
async function start(program: WebAssembly.Module, device: Device, options: EngineOptions, notes: string[]): Promise<Engine> {
  const { device: asked = "auto", fallback = asked === "auto" ? "cpu" : "none", signal, ...lasting } = options;
  let over: EngineError | undefined;
  const close = () => (device.gpu ?? device.simd!).close();
  const end = (e: EngineError) => {
    over ??= e;
    close();
    return over;
  };
  const about = ({ device: name, description, software }: DeviceInfo): EngineInfo => ({
    device: device.gpu ? "webgpu" : "cpu", description: description || name, software, verifies: go.verifies, precision: device.gpu?.precision ?? "f32",
    threads: device.simd?.threads ?? 1, isolated: globalThis.crossOriginIsolated === true, notes: [...notes],
  });
  const another = async (leave: boolean): Promise<Device> => {
    if (leave || !device.gpu) return { simd: await processor(lasting, notes) };
    const gpu = await openGPU(asked === "webgpu", notes, lasting.precision);
    if (!gpu) throw new EngineError("DEVICE_LOST", notes.at(-1)!);
    return { gpu };
  };
  let go: GoProgram;
  try {
    go = await startGo(program, device, {
      fallback: fallback === "cpu",
      async reopen(leave) {
        close();
        device = await another(leave);
        if (over) throw end(over); // closed meanwhile
        return device;
      },
      moved(to, why) {
        notes.push(`${why}; going on from the last finished step on ${to.description || to.device}`);
        info = about(to);
        options.onDeviceChange?.(info);
      },
    });
    throwIfAborted(signal);
  } catch (e) {
    close();
    throw e;
  }
  let info = about(go.info);
  const gone = go.exited.then((why) => end(fromGo(why)));
  // The program answers every call, unless it is no more.
  const call = async <T>(name: string, args: unknown[], signal?: AbortSignal): Promise<T> => {
    if (over) throw over;
    throwIfAborted(signal);
    const ended = gone.then((e) => { throw e; });
    const cancel = go.token();
    const answer = go.call(name, [...args, cancel]);
    const onAbort = () => cancel.abort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      // An aborted call rejects at once: the program may be busy with the one before.
      return (await unlessAborted(Promise.race([answer, ended]), signal)) as T;
    } catch (e) {
      if (signal?.aborted) throw aborted();
      throw fromGo(e);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      ended.catch(() => {});
    }
  };
  return {
    get info() { return info; },
    gone,
    loadModel: (read, config) => call("loadModel", [read, config ? JSON.stringify(config) : ""]),
    plan: async (request) => call("plan", plain(request).slice(0, 1)),
    measure: async (request) => call("measure", plain(request)),
    restore: async (request, { signal, onStep } = {}) => call("restore", [...plain(request), onStep ?? null], signal),
    verify: ({ golden, quick }, { signal, onCase } = {}) =>
      go.verifies
        ? call("verify", [golden ? [...golden.keys()] : [], golden ? [...golden.values()] : [], quick === true, onCase ?? null], signal)
        : Promise.reject(new EngineError("UNSUPPORTED", "this program has no conformance suite: use cmi-verify.wasm")),
    bench: ({ work, batch, rounds, warmup, input } = {}) => call("bench", [work ?? "forward", batch ?? 1, rounds ?? 5, warmup ?? 1, input ?? null]),
    async close() {
      const over = end(new EngineError("INTERNAL", "the engine is closed"));
      go.exit(over);
      await gone;
    },
  };
}

/** plain is a request as the program reads it: its numbers as JSON, and its arrays. */
function plain(r: RestoreRequest): unknown[] {
  const { seed, mask, kernel, pixels, ...rest } = r;
  const { data, ...size } = pixels;
  const { weights, ...kernelSize } = kernel ?? {};
  const numbers = { ...rest, pixels: size, kernel: kernel && kernelSize, seed: seed === undefined ? undefined : String(seed) };
  const text = JSON.stringify(numbers, (key, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new EngineError("BAD_INPUT", `${key} is ${value}, a finite number is wanted`);
    }
    return value;
  });
  return [text, data, mask ?? null, weights ?? null];
}

/** fromGo is the error of a rejection of the program's, which holds a code and a message. */
function fromGo(e: unknown): EngineError {
  if (e instanceof EngineError) return e;
  const { code, message: text } = (e ?? {}) as { code?: EngineErrorCode; message?: string };
  return new EngineError(code ?? "INTERNAL", text ?? messageOf(e), { cause: e });
}

function aborted(): EngineError {
  return new EngineError("ABORTED", "stopped by its signal");
}

function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw aborted();
}
