import type { Certainty, Kernel, LoadProgress, Measurement, Prior, Restoration, RestoreOptions, RestoreProgress, RunPlan, SolverInfo, WasmPaths } from "./api.js";
import type { Portable } from "./pictures.js";

/** What a backend needs to open: options of a solver as they travel to a worker, addresses absolute. */
export interface OpenOptions {
  device: "auto" | "webgpu" | "cpu";
  fallback: "cpu" | "none";
  precision: "f32" | "f16";
  threads: number;
  wasm: { [K in keyof WasmPaths]: string };
  model: string | Blob;
  /** Which model of the package it is; absent for others. */
  prior?: Prior | undefined;
  modelConfig?: Record<string, unknown> | undefined;
  cache: boolean;
  /** Where pool.js is; if left out, where the bundler has put it, or beside the package. */
  pool?: string | undefined;
}

/** One restoration as it travels to a worker. */
export interface Job extends Omit<RestoreOptions, "mask" | "kernel" | "onProgress" | "onPlan" | "signal"> {
  picture: Portable;
  mask?: Portable | undefined;
  kernel?: Kernel | Portable | undefined;
  previewEvery: number;
}

/** A finished restoration as it travels back. */
export interface Outcome {
  image: ImageData;
  measurement: ImageData;
  truth?: ImageData;
  values: Float32Array;
  samples?: ImageData[];
  certainty?: Certainty;
  pasted?: ImageData;
  cmi: Restoration["cmi"];
  passes: number;
  seconds: number;
}

/** Where a solver's work is done: in this thread, or in a worker. A call that is aborted rejects with the signal's reason. */
export interface Backend {
  /** Loads program and model, if they are not; every other call does so too. */
  open(signal?: AbortSignal, onProgress?: (p: LoadProgress) => void): Promise<SolverInfo>;
  measure(job: Job, signal?: AbortSignal): Promise<Measurement>;
  plan(job: Job, signal?: AbortSignal): Promise<RunPlan>;
  restore(job: Job, signal?: AbortSignal, onProgress?: (p: RestoreProgress) => void, onPlan?: (p: RunPlan) => void): Promise<Outcome>;
  close(): Promise<void>;
}
