import type { Kernel } from "./api.js";
import { InputError, NetworkError } from "./errors.js";

/** A picture in any form that a page has one. A string or URL is fetched; it must be readable from this page (CORS). */
export type PictureSource = Blob | ImageData | ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement | string | URL;

/** A picture as it can travel to a worker. */
export type Portable = Blob | ImageData | ImageBitmap | { url: string };

/** Pictures of at most so many pixels are decoded: a browser holds four bytes of each. */
const mostPixels = 1 << 27;

/** A picture whose pixels, 8-bit RGBA, are read in parts, so that a large one needs no canvas of its size. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  read(x: number, y: number, width: number, height: number): ImageData;
  close(): void;
}

/**
 * portable makes a picture ready for a worker: elements of the page are drawn into a bitmap and
 * addresses are resolved against the page. The caller's objects stay whole.
 */
export async function portable(source: PictureSource): Promise<Portable> {
  if (typeof source === "string" || source instanceof URL) {
    return { url: new URL(source, baseURL()).href };
  }
  if (source instanceof Blob || source instanceof ImageData || source instanceof ImageBitmap) return source;
  if (isDrawable(source)) {
    try {
      return await createImageBitmap(source, plainColours);
    } catch (e) {
      throw new InputError(`this ${source.constructor.name} has no picture that the page may read: ${reason(e)}`, { cause: e });
    }
  }
  throw new InputError(`${describe(source)} is no picture: give a File, Blob, ImageData, ImageBitmap, canvas, image element or URL`);
}

/** openPicture decodes a picture, turned as its EXIF orientation says. Close it. */
export async function openPicture(source: Portable, signal?: AbortSignal): Promise<Pixels> {
  if (source instanceof ImageData) return pixelsOf(source);
  if (source instanceof ImageBitmap) return pixels(source, () => {});
  const blob = source instanceof Blob ? source : await download(source.url, signal);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, plainColours);
  } catch (e) {
    const name = "name" in blob && blob.name ? `"${String(blob.name)}"` : source instanceof Blob ? "the file" : source.url;
    throw new InputError(`${name} (${blob.size} bytes, type ${blob.type || "unknown"}) is no picture that this browser can read: try PNG or JPEG`, { cause: e });
  }
  try {
    return pixels(bitmap, () => bitmap.close());
  } catch (e) {
    bitmap.close();
    throw e;
  }
}

/** No conversion of colours: the same numbers as the native tool reads. */
const plainColours: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };

function pixelsOf(picture: ImageData): Pixels {
  return {
    width: picture.width, height: picture.height, close() {},
    read(x, y, width, height) {
      const out = new ImageData(width, height);
      for (let k = 0; k < height; k++) {
        const from = 4 * ((y + k) * picture.width + x);
        out.data.set(picture.data.subarray(from, from + 4 * width), 4 * k * width);
      }
      return out;
    },
  };
}

/** pixels reads a bitmap through a canvas of the size of what is read: canvases of more than 16.7 megapixels stay empty in some browsers. */
function pixels(bitmap: ImageBitmap, close: () => void): Pixels {
  const { width, height } = bitmap;
  if (width === 0 || height === 0) throw new InputError("the picture is empty (an ImageBitmap that was closed or transferred has no pixels)");
  if (width * height > mostPixels) throw new InputError(`the picture has ${width} × ${height} pixels: at most ${mostPixels} are read`);
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new InputError("this browser gives no canvas to read the picture with");
  return {
    width, height, close,
    read(x, y, w, h) {
      canvas.width = w; // also clears it
      canvas.height = h;
      context.drawImage(bitmap, x, y, w, h, 0, 0, w, h);
      return context.getImageData(0, 0, w, h);
    },
  };
}

async function download(url: string, signal?: AbortSignal): Promise<Blob> {
  let response: Response;
  try {
    response = await fetch(url, { signal: signal ?? null });
  } catch (e) {
    signal?.throwIfAborted();
    throw new NetworkError(`${url} can't be fetched: ${reason(e)}`, { cause: e });
  }
  if (!response.ok) throw new NetworkError(`${url} answered ${response.status} ${response.statusText}`.trimEnd());
  return response.blob();
}

function isDrawable(x: unknown): x is HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement {
  const kinds = ["HTMLCanvasElement", "OffscreenCanvas", "HTMLImageElement", "HTMLVideoElement"];
  return kinds.some((k) => typeof Reflect.get(globalThis, k) === "function" && x instanceof Reflect.get(globalThis, k));
}

/** isKernel tells numbers from a picture. */
export function isKernel(k: unknown): k is Kernel {
  return typeof k === "object" && k !== null && !(k instanceof ImageData) && "data" in k && "width" in k && "height" in k;
}

/** baseURL is what relative addresses of the page are relative to. */
export function baseURL(): string {
  return globalThis.document?.baseURI ?? globalThis.location.href;
}

/** describe names a value that can't be used, in a few words. */
export function describe(x: unknown): string {
  if (x === null || typeof x === "undefined" || typeof x === "number" || typeof x === "boolean") return String(x);
  if (typeof x === "string") return JSON.stringify(x.length > 40 ? x.slice(0, 40) + "…" : x);
  if (typeof x === "object") return `an object of type ${x.constructor?.name ?? "Object"}`;
  return `a ${typeof x}`;
}

/** reason is an error's message without its stack. */
export function reason(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
