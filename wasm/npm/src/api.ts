import type { CMIChoice, CMIOptions, EngineInfo, EnginePlan, Method, ModelInfo, RestoreStep, Task } from "./engine.js";
import type { Fit } from "./fit.js";
import type { PictureSource } from "./pictures.js";
import type { ScriptURLPolicy, TrustedURL } from "./scripts.js";

/** How a solver is made. Everything may be left out. */
export interface SolverOptions {
  /** "auto" (usual): WebGPU where the browser computes it in hardware, else the processor. */
  device?: "auto" | "webgpu" | "cpu";
  /**
   * A GPU that is lost is opened anew, and what runs goes on from its last finished step. Where there is none any more, or it
   * is lost twice in a row or short of memory, "cpu" (usual for device "auto") goes on on the processor; "none" (usual for
   * "webgpu") is a DeviceLostError or a MemoryError.
   */
  fallback?: "cpu" | "none";
  /** How convolutions multiply: "f32" (usual), or on a GPU that has it "f16", with factors of 11 bits. Elsewhere f32 is computed, and info.notes says so. */
  precision?: "f32" | "f16";
  /** Threads on the processor; more than one only on a page that is cross-origin isolated. 0 (usual): as the machine has, at most 8. */
  threads?: number;
  /** Compute in a worker, so that the page never stops (usual), or in the page itself. */
  worker?: boolean;
  /** Where worker.js is, if your bundler or host moves it. It may be of another origin, whose server allows it (CORS); a TrustedScriptURL is taken as it is. */
  workerURL?: string | URL | TrustedURL;
  /** Makes the worker, a module worker that runs `cmi-diffusion/worker`, in place of workerURL; called again after a worker has stopped. */
  workerFactory?: () => Worker;
  /** Where pool.js, the script of the other threads, is, if your bundler or host moves it. */
  poolURL?: string | URL | TrustedURL;
  /** On a page that enforces Trusted Types: makes the TrustedScriptURL of the worker's script. If left out, a policy named "cmi-diffusion" is made, which the page's `trusted-types` must then list. */
  trustedTypesPolicy?: ScriptURLPolicy;
  /** Where the WebAssembly files are: a folder, ending in a slash, or each one. */
  wasmPaths?: string | URL | Partial<WasmPaths>;
  /**
   * A model of the package: "faces64" (usual), faces of 64 × 64 pixels, or "photos64", which restores photographs at their
   * own size by windows of 64 × 64.
   */
  prior?: Prior;
  /** Another checkpoint, .safetensors or .pt, in place of a model of the package. */
  modelURL?: string | URL;
  /** A checkpoint that the user chose, instead of modelURL: of guided-diffusion, of DDPM's PyTorch port, or a pickle of EDM. */
  modelFile?: Blob;
  /** What a checkpoint's shapes can't tell: image_size, num_head_channels, num_heads, use_new_attention_order; and class, the number of the class of a class-conditional network. */
  modelConfig?: Record<string, unknown>;
  /** Keep program and model in the page's Cache Storage (usual), so that they are fetched once; clearCache deletes them. */
  cache?: boolean;
  onProgress?: (progress: LoadProgress) => void;
  /** The device was lost, and work goes on on another one, as info says now; the last of info.notes says why. */
  onDeviceChange?: (info: SolverInfo) => void;
  /** Stops loading. */
  signal?: AbortSignal;
}

/** The models that the package has. */
export const priors = ["faces64", "photos64"] as const;
export type Prior = (typeof priors)[number];

export interface WasmPaths {
  program: string | URL; // cmi.wasm
  kernels: string | URL; // simd.wasm
  threadedKernels: string | URL; // simd-threads.wasm
}

/** Bytes of a file that have arrived; total is 0 where the server does not tell. */
export interface LoadProgress {
  file: "program" | "model";
  loaded: number;
  total: number;
}

/** What a solver computes on, and with which model. */
export interface SolverInfo extends EngineInfo {
  /** In a worker, or in the page itself. */
  worker: boolean;
  model: ModelInfo;
}

/** A blur kernel: odd sizes, row by row. It is scaled to sum 1. */
export interface Kernel {
  data: ArrayLike<number>;
  width: number;
  height: number;
}

export interface RestoreOptions {
  /** What to restore from; "sr4" if left out. */
  task?: Task;
  /** Guide by the conditional mutual information too: true, or its knobs. */
  cmi?: boolean | CMIChoice | "off" | CMIOptions;
  /** The picture is the measurement itself: a small picture for "sr4", one with holes for "mask". Usually it is degraded first. */
  measured?: boolean;
  /** For task "mask": a picture, white (or transparent) where the image is known and black where it is to be filled in. */
  mask?: PictureSource;
  /** For task "kernel": the blur, as numbers or as a grey picture of odd size. */
  kernel?: Kernel | PictureSource;
  /** For task "kernel": how the image goes on beyond its edge; "reflect" if left out. */
  border?: "reflect" | "circular";
  /**
   * How a picture of another size is brought to the model's; "crop" if left out. "own" keeps the picture's size, and the model
   * covers it by overlapping windows; it is usual for the prior "photos64".
   */
  fit?: Fit;
  /** With fit "own": a picture with a longer side is scaled down, so that the restored one has a side of at most so many pixels. */
  maxSide?: number;
  /** With fit "own", what becomes of a picture that does not fit into memory: "scale" (usual) scales it down, and the plan says so; "refuse" is a MemoryError. */
  tooLarge?: "scale" | "refuse";
  /** With fit "own": bytes that a run may take; a quarter of what the browser says the machine has if left out, 1 GiB where it does not say. */
  memory?: number;
  /** Samples of what the picture may have been, 1 to 64; 1 if left out. More than one also give their mean and how far they differ. */
  samples?: number;
  /** With task "mask": also give the picture at its own resolution, with what is restored in the hole alone. */
  paste?: boolean;
  /** Reverse steps, 2 to the model's `steps`; 100 if left out, and where the method is too, as many as it takes for about 100 passes. */
  steps?: number;
  /** The training step to start at, from the measurement, in place of pure noise at the last one; all `steps` are below it. */
  start?: number;
  /** A whole number from 0; 1 if left out. The same seed gives the same picture. */
  seed?: number | bigint;
  /** Standard deviation of the measurement's noise, on images in [−1, 1]; 0.05 if left out. */
  sigmaY?: number;
  /**
   * If left out, what is best for the task: "ddrm-mean" for "denoise" and means of up to 4 × 4 pixels, "pathwise-mean" for the tasks
   * "inpaint", "matrix" and "colourise", "diffpir" from the middle of the process for others, "pathwise" for several samples, and "dps"
   * with `cmi`, `ddim` or Poisson noise.
   */
  method?: Method;
  /**
   * Scale of the data guidance; the published one for the task, times 1000/steps, if left out. With "dps" or "dps+" in fewer
   * than 1000 steps, no step takes away more than half of the residual, whatever the scale.
   */
  scale?: number;
  /** Sample with DDIM and this η, 0 to 1, or negative DDPM's chain; what the method was published on if left out. */
  ddim?: number;
  /** With "pigdm" and "diffpir": below this noise level σ_t/√ᾱ_t the posterior variance of each pixel that the model has learned, in place of one for all; 0.2 as published. */
  learnedVariance?: number;
  /** Run as many states and weigh them by the posterior (twisted sequential Monte Carlo); the result is one of them, drawn by its weight. None if left out or 0. */
  particles?: number;
  /** A preview in every k-th progress; 1 if left out, 0 for none. */
  previewEvery?: number;
  onProgress?: (progress: RestoreProgress) => void;
  /** Called once before the work starts, with what it takes. */
  onPlan?: (plan: RunPlan) => void;
  /** Stops the call: it rejects at once with the signal's reason, and what is computed for it ends within one step. */
  signal?: AbortSignal;
}

export interface RestoreProgress extends Omit<RestoreStep, "preview"> {
  /** Seconds that are left, once that can be told. */
  secondsLeft?: number;
  /** The picture as the model sees it now. Close it when it is drawn. */
  preview?: ImageBitmap;
}

/** What a restoration takes, known before it runs. */
export interface RunPlan extends Omit<EnginePlan, "fits"> {
  /** The size of the picture that was given. */
  picture: { width: number; height: number };
  /** Where the picture is restored at another size than its own: that, and why. */
  note?: string;
}

/** What a picture is restored from. */
export interface Measurement {
  /** The measurement as a picture; transparent where nothing was measured. */
  measurement: ImageData;
  /** The picture that was degraded, as the model takes it; absent with `measured`. */
  truth?: ImageData;
}

/** How sure a restoration is, from several samples of what the picture may have been. */
export interface Certainty {
  /** The mean of the samples. */
  mean: ImageData;
  /** The standard deviation of each value over the samples, as `values` lie, for values in [−1, 1]. */
  std: Float32Array;
  /** The width of each value's 90 % interval around the mean. */
  width90: Float32Array;
  /**
   * By what the intervals are scaled so that they hold what they promise: found on held pictures for this prior, task and
   * sampler. Absent where none is known; the intervals are then as the samples give them, and may hold less.
   */
  factor?: number;
  /**
   * Where the samples differ, drawn to lie over the picture: transparent where they agree, and the more opaque the larger a pixel's
   * standard deviation, root mean square over the channels, is.
   */
  map: ImageData;
  /** The standard deviation at which the map is opaque. */
  mapTop: number;
}

export interface Restoration extends Measurement {
  /** The restored picture. */
  image: ImageData;
  /** The restored values, channels × height × width in about [−1, 1], not rounded to 8 bits. */
  values: Float32Array;
  /** With `samples` above 1: all of them, the first of which is `image`. */
  samples?: ImageData[];
  /** With `samples` above 1: what they say together. */
  certainty?: Certainty;
  /** With `paste`: the picture at its own resolution. Pixels outside the hole are those of the picture, to the bit. */
  pasted?: ImageData;
  /** What the information term was taken for; "custom" if by options of its own. */
  cmi: CMIChoice | "custom" | "off";
  /** Network passes, in units of one forward. */
  passes: number;
  seconds: number;
  /** The restored picture as a file: "image/png" (usual), or another type that the browser writes; an UnsupportedError where it does not. quality is for types that lose some, 0 to 1. */
  blob(type?: string, quality?: number): Promise<Blob>;
}

export interface Solver {
  /** What computes now: another device after one was lost, what was opened anew after a worker stopped. */
  readonly info: SolverInfo;
  /** Restores one picture. Calls wait for one another. */
  restore(picture: PictureSource, options?: RestoreOptions): Promise<Restoration>;
  /** Says what restore with the same options takes: size, windows, memory, passes and about how many seconds. It takes about as long as three passes, once. */
  plan(picture: PictureSource, options?: RestoreOptions): Promise<RunPlan>;
  /** Only degrades a picture, as restore with the same options does. No step is taken. */
  measure(picture: PictureSource, options?: RestoreOptions): Promise<Measurement>;
  /** Frees everything. Calls that have not ended reject with a ClosedError. */
  close(): Promise<void>;
}
