import { InputError } from "./errors.js";
import type { Pixels } from "./pictures.js";

/**
 * How a picture of another size is brought to the model's: the largest centred part of its shape, the whole picture
 * stretched, or not at all. "own": the picture keeps its size, and the model covers it by windows.
 */
export type Fit = "crop" | "resize" | "exact" | "own";

/** Planes of values in [−1, 1], red, green and blue after one another. */
export interface Planes {
  data: Float32Array;
  width: number;
  height: number;
}

/** A part of a picture. */
export interface Part {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** partFor is the part of a picture that is scaled to a size. */
export function partFor({ width: w, height: h }: { width: number; height: number }, width: number, height: number, fit: Fit): Part {
  let [cw, ch] = [w, h];
  if (fit === "crop") {
    if (w * height > h * width) cw = Math.max(Math.floor((h * width + height / 2) / height), 1);
    else ch = Math.max(Math.floor((w * height + width / 2) / width), 1);
  }
  return { x: (w - cw) >> 1, y: (h - ch) >> 1, width: cw, height: ch };
}

/** Pixels of a strip of rows: what is read at once of a picture. */
const strip = 1 << 20;

/**
 * fitPicture brings a picture to a size as the native tool does: transparency over white, then
 * the Catmull–Rom kernel, widened by the factor when shrinking so that nothing aliases. The picture is read in strips, and
 * only the part that is needed.
 */
export function fitPicture(picture: Pixels, width: number, height: number, fit: Fit, what = "the picture"): Planes {
  const { width: w, height: h } = picture;
  if (fit === "exact" && (w !== width || h !== height)) {
    throw new InputError(`${what} has ${w} × ${h} pixels, ${width} × ${height} are wanted: give one of that size, or fit "crop" or "resize"`);
  }
  const part = partFor(picture, width, height, fit);
  const size = width * height;
  const data = new Float32Array(3 * size);
  const columns = filter(part.width, width);
  const rows = filter(part.height, height);
  const narrow = new Float32Array(width);
  let empty = true;
  let next = 0; // the first row of the result that is not finished
  const many = Math.max(1, Math.floor(strip / part.width));
  for (let top = 0; top < part.height; top += many) {
    const read = picture.read(part.x, part.y + top, part.width, Math.min(many, part.height - top));
    empty &&= new Uint32Array(read.data.buffer).every((v) => v === 0);
    const wide = new Float32Array(part.width);
    for (let k = 0; k < read.height; k++) {
      const y = top + k;
      while (next < height && rows[next]!.first + rows[next]!.weights.length <= y) next++;
      for (let c = 0; c < 3; c++) {
        channel(wide, read, k, c);
        if (part.width === width) narrow.set(wide);
        else {
          for (let x = 0; x < width; x++) {
            const { first, weights } = columns[x]!;
            let sum = 0;
            for (let i = 0; i < weights.length; i++) sum += weights[i]! * wide[first + i]!;
            narrow[x] = sum;
          }
        }
        for (let to = next; to < height && rows[to]!.first <= y; to++) {
          const weight = rows[to]!.weights[y - rows[to]!.first];
          if (weight === undefined) continue;
          const out = data.subarray(c * size + to * width, c * size + (to + 1) * width);
          for (let x = 0; x < width; x++) out[x]! += weight * narrow[x]!;
        }
      }
    }
  }
  if (empty) throw new InputError(`${what} of ${w} × ${h} pixels is empty, every pixel is transparent: it has nothing in it, or it is larger than this browser can draw; try one of fewer pixels`);
  for (let i = 0; i < data.length; i++) data[i] = Math.min(1, Math.max(-1, data[i]!));
  return { data, width, height };
}

/** channel writes a channel of row k of pixels in 8 bits, over white, as values in [−1, 1]. */
function channel(to: Float32Array, { data, width }: ImageData, k: number, c: number): void {
  for (let x = 0, i = 4 * k * width; x < width; x++, i += 4) {
    const alpha = data[i + 3]!;
    const v = data[i + c]!;
    to[x] = (alpha === 255 ? v : (v * alpha) / 255 + 255 - alpha) / 127.5 - 1;
  }
}

/** filter gives, for each of `to` values, the first of the `from` values that it reads, and their weights. */
function filter(from: number, to: number): { first: number; weights: Float32Array }[] {
  if (from === to) return Array.from({ length: to }, (_, first) => ({ first, weights: Float32Array.of(1) }));
  const step = from / to;
  const widen = Math.max(step, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * step - 0.5;
    const first = Math.max(Math.ceil(centre - 2 * widen), 0);
    const last = Math.min(Math.floor(centre + 2 * widen), from - 1);
    const weights = Float32Array.from({ length: last - first + 1 }, (_, k) => catmullRom((first + k - centre) / widen));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((v) => v / sum) };
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

/**
 * paste gives a picture at its own resolution with restored values, one or three planes, where a mask is black. Both were fitted to the
 * values' size in the same way. Everything else is the picture's, to the bit.
 */
export function paste(picture: Pixels, mask: Pixels, values: Float32Array, channels: number, width: number, height: number, fit: Fit): ImageData {
  const part = partFor(picture, width, height, fit);
  const hole = partFor(mask, width, height, fit);
  const columns = filter(width, part.width);
  const rows = filter(height, part.height);
  const out = new ImageData(picture.width, picture.height);
  const size = width * height;
  const white = new Float32Array(hole.width);
  const many = Math.max(1, Math.floor(strip / picture.width));
  for (let top = 0; top < picture.height; top += many) {
    const read = picture.read(0, top, picture.width, Math.min(many, picture.height - top));
    out.data.set(read.data, 4 * top * picture.width);
  }
  let read = -1; // the mask's row that is in white
  for (let y = 0; y < part.height; y++) {
    const row = Math.floor(((y + 0.5) * hole.height) / part.height);
    if (row !== read) {
      const line = mask.read(hole.x, hole.y + row, hole.width, 1);
      white.fill(0);
      const one = new Float32Array(hole.width);
      for (let c = 0; c < 3; c++) {
        channel(one, line, 0, c);
        for (let x = 0; x < hole.width; x++) white[x]! += one[x]!;
      }
      read = row;
    }
    const down = rows[y]!;
    for (let x = 0; x < part.width; x++) {
      if (white[Math.floor(((x + 0.5) * hole.width) / part.width)]! >= 0) continue;
      const across = columns[x]!;
      const at = 4 * ((part.y + y) * picture.width + part.x + x);
      for (let c = 0; c < 3; c++) {
        const plane = Math.min(c, channels - 1) * size;
        let sum = 0;
        for (let i = 0; i < down.weights.length; i++) {
          let inner = 0;
          for (let k = 0; k < across.weights.length; k++) inner += across.weights[k]! * values[plane + (down.first + i) * width + across.first + k]!;
          sum += down.weights[i]! * inner;
        }
        out.data[at + c] = Math.round((sum + 1) * 127.5); // clamped
      }
      out.data[at + 3] = 255;
    }
  }
  return out;
}
