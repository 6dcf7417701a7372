import { InputError } from "./errors.js";

/** How a picture of another size is brought to the model's: the largest centred part of its shape, the whole picture stretched, or not at all. */
export type Fit = "crop" | "resize" | "exact";

/** Planes of values in [−1, 1], red, green and blue after one another. */
export interface Planes {
  data: Float32Array;
  width: number;
  height: number;
}

/**
 * fitPicture brings a picture to a size as the native tool does: transparency over white, then
 * the Catmull–Rom kernel, widened by the factor when shrinking so that nothing aliases.
 */
export function fitPicture(picture: ImageData, width: number, height: number, fit: Fit, what = "the picture"): Planes {
  const { width: w, height: h } = picture;
  if (w === width && h === height) return planes(picture);
  if (fit === "exact") {
    throw new InputError(`${what} has ${w} × ${h} pixels, ${width} × ${height} are wanted: give one of that size, or fit "crop" or "resize"`);
  }
  let [cw, ch] = [w, h];
  if (fit === "crop") {
    if (w * height > h * width) cw = Math.max(Math.floor((h * width + height / 2) / height), 1);
    else ch = Math.max(Math.floor((w * height + width / 2) / width), 1);
  }
  const columns = filter(cw, width, (w - cw) >> 1);
  const rows = filter(ch, height, (h - ch) >> 1);
  const source = planes(picture).data;
  const out = new Float32Array(3 * width * height);
  const narrow = new Float32Array(h * width);
  for (let c = 0; c < 3; c++) {
    const plane = source.subarray(c * w * h, (c + 1) * w * h);
    columns.forEach(({ first, weights }, x) => {
      for (let y = 0; y < h; y++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * plane[y * w + first + k]!;
        narrow[y * width + x] = sum;
      }
    });
    rows.forEach(({ first, weights }, y) => {
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * narrow[(first + k) * width + x]!;
        out[(c * height + y) * width + x] = Math.min(1, Math.max(-1, sum));
      }
    });
  }
  return { data: out, width, height };
}

function planes(picture: ImageData): Planes {
  const { data, width, height } = picture;
  const size = width * height;
  const out = new Float32Array(3 * size);
  for (let i = 0; i < size; i++) {
    const alpha = data[4 * i + 3]!;
    for (let c = 0; c < 3; c++) {
      const v = data[4 * i + c]!;
      out[c * size + i] = (alpha === 255 ? v : (v * alpha) / 255 + 255 - alpha) / 127.5 - 1;
    }
  }
  return { data: out, width, height };
}

/** filter gives, for each of `to` values, the first of the `from` values that it reads, after an offset, and their weights. */
function filter(from: number, to: number, offset: number): { first: number; weights: Float32Array }[] {
  const step = from / to;
  const widen = Math.max(step, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * step - 0.5;
    const first = Math.max(Math.ceil(centre - 2 * widen), 0);
    const last = Math.min(Math.floor(centre + 2 * widen), from - 1);
    const weights = Float32Array.from({ length: last - first + 1 }, (_, k) => catmullRom((first + k - centre) / widen));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first: first + offset, weights: weights.map((v) => v / sum) };
  });
}

function catmullRom(t: number): number {
  t = Math.abs(t);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

/** toPicture turns planes, one or three, into pixels; where `known` is 0 they are transparent. */
export function toPicture(data: Float32Array, channels: number, width: number, height: number, known?: Uint8Array): ImageData {
  const out = new ImageData(width, height);
  const size = width * height;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      out.data[4 * i + c] = Math.round((data[Math.min(c, channels - 1) * size + i]! + 1) * 127.5); // clamped
    }
    out.data[4 * i + 3] = known && !known[i] ? 0 : 255;
  }
  return out;
}
