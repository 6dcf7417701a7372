// What several samples say together: the intervals' factor, and the map of where they differ.
import type { Certainty, Prior } from "./api.js";
import type { Job } from "./backend.js";
import type { RestoreResult } from "./engine.js";
import { toPicture } from "./fit.js";

/** One way to restore pictures, and by what factor its intervals are to be scaled; those that the native tool has built in. */
export interface Calibration {
  prior: string;
  task: string;
  method: string;
  steps: number;
  sigmaY: number;
  factor: number;
}

declare const CALIBRATIONS: Calibration[];

/** The widths of 90 % intervals of 2 samples, 3, … whose standard deviation is 1, from the Go package certainty. */
declare const INTERVALS: number[];

/** Options that change what is sampled, beside those that a calibration names. */
const others = ["cmi", "start", "scale", "ddim", "learnedVariance", "particles", "border"] as const;

/** factorOf is that of a job's intervals; undefined where none is known. */
function factorOf(prior: Prior | undefined, job: Job): number | undefined {
  if (others.some((name) => job[name] !== undefined && job[name] !== false)) return undefined;
  const { task = "sr4", method = "dps", steps = 100, sigmaY = 0.05 } = job;
  return CALIBRATIONS.find((c) => c.prior === prior && c.task === task && c.method === method && c.steps === steps && c.sigmaY === sigmaY)?.factor;
}

/** The map's colour: one that photographs seldom have. */
const colour = [230, 0, 126] as const;

/** certaintyOf is what a result's samples say together. */
export function certaintyOf(result: RestoreResult, prior: Prior | undefined, job: Job): Certainty {
  const { channels, width, height } = result;
  const [mean, std] = [result.mean!, result.std!];
  const size = width * height;
  const pixel = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < channels; c++) pixel[i]! += std[c * size + i]! ** 2 / channels;
    pixel[i] = Math.sqrt(pixel[i]!);
  }
  const mapTop = Math.max(pixel.slice().sort()[Math.floor(0.995 * (size - 1))]!, 1e-6);
  const map = new ImageData(width, height);
  for (let i = 0; i < size; i++) map.data.set([...colour, 255 * Math.min(1, pixel[i]! / mapTop)], 4 * i);
  const factor = factorOf(prior, job);
  const wide = INTERVALS[result.samples!.length - 2]! * (factor ?? 1);
  return { mean: toPicture(mean, channels, width, height), std, width90: std.map((v) => v * wide), ...(factor !== undefined && { factor }), map, mapTop };
}
