// What may be given to the package's functions: every name is checked, so that a misspelt option is an error.
import type { RestoreOptions, SolverOptions } from "./api.js";
import type { CMIOptions } from "./engine.js";
import { InputError, UnsupportedError } from "./errors.js";
import { describe } from "./pictures.js";

type Names<T> = Record<keyof T, true>;

export const solverOptions: Names<SolverOptions> = {
  device: true, fallback: true, precision: true, threads: true, worker: true, workerURL: true, workerFactory: true, poolURL: true,
  trustedTypesPolicy: true, wasmPaths: true, prior: true, modelURL: true, modelFile: true, modelConfig: true, cache: true, onProgress: true,
  onDeviceChange: true, signal: true,
};

export const restoreOptions: Names<RestoreOptions> = {
  task: true, cmi: true, measured: true, mask: true, kernel: true, border: true, fit: true, maxSide: true, tooLarge: true,
  memory: true, samples: true, paste: true, steps: true, start: true, seed: true,
  sigmaY: true, method: true, scale: true, ddim: true, learnedVariance: true, particles: true, previewEvery: true, onProgress: true, onPlan: true,
  signal: true,
};

export const cmiOptions: Names<CMIOptions> = {
  choice: true, eta: true, weighting: true, estimator: true, probes: true, lanczos: true, minAlphaBar: true, maxAlphaBar: true, first: true, last: true,
  every: true, trustStd: true, trustGuidance: true,
};

/** given checks an object of options by name; what is undefined or null is left out. of is whose options they are, for people. */
export function given<T extends object>(of: string, options: T | null | undefined, names: Names<T>): T {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new InputError(`the options of ${of} are ${describe(options)}: an object is wanted`);
  }
  const set = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  for (const [name, value] of set) {
    if (!Object.hasOwn(names, name)) throw new InputError(`${of} has no option ${describe(name)}: it has ${Object.keys(names).join(", ")}`);
    if (/^on[A-Z]/.test(name) && typeof value !== "function") throw new InputError(`${name} is ${describe(value)}: a function is wanted`);
    if (name === "signal" && !(typeof value === "object" && "aborted" in value && "addEventListener" in value)) throw new InputError(`signal is ${describe(value)}: the signal of an AbortController is wanted`);
  }
  return Object.fromEntries(set) as T;
}

/** plain gives a value as JSON has it, for what travels to a worker and to the program. */
export function plain<T>(name: string, value: T): T {
  try {
    return JSON.parse(JSON.stringify(value)) as T;
  } catch (e) {
    throw new InputError(`${name} is ${describe(value)}, which is no JSON: ${(e as Error).message}`, { cause: e });
  }
}

/** needsBrowser refuses surroundings in which nothing can be computed, and says where it can. */
export function needsBrowser(): void {
  const scope = globalThis as Record<string, unknown>;
  const service = scope["ServiceWorkerGlobalScope"];
  if (typeof service === "function" && globalThis instanceof service) {
    throw new UnsupportedError("a service worker can't restore pictures, as the browser ends it between two events: make the solver in a page, in a worker of a page or, in an extension, in an offscreen document");
  }
  const missing = ["WebAssembly", "OffscreenCanvas", "createImageBitmap", "ImageData", "location"].filter((name) => scope[name] === undefined);
  if (missing.length === 0) return;
  const { versions } = (scope["process"] ?? {}) as { versions?: { node?: string } };
  throw new UnsupportedError(versions?.node
    ? `cmi-diffusion needs a browser, and this is Node.js ${versions.node}: call createSolver in the page alone (in useEffect, in onMount, or when the user asks for it)`
    : `cmi-diffusion needs a browser with ${missing.join(", ")}, which this one has not: try a newer one`);
}
