import type { Kernel } from "./api.js";
import { InputError, NetworkError } from "./errors.js";

/** A picture in any form that a page has one. A string or URL is fetched; it must be readable from this page (CORS). */
export type PictureSource = Blob | ImageData | ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement | string | URL;

/** A picture as it can travel to a worker. */
export type Portable = Blob | ImageData | ImageBitmap | { url: string };

/** Sides of at most so many pixels are decoded: 256 megapixels would be a gigabyte. */
const largest = 16384;

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

/** decode gives a picture's pixels, 8-bit RGBA, turned as its EXIF orientation says. */
export async function decode(source: Portable, signal?: AbortSignal): Promise<ImageData> {
  if (source instanceof ImageData) return source;
  if (source instanceof ImageBitmap) return pixels(source);
  const blob = source instanceof Blob ? source : await download(source.url, signal);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, plainColours);
  } catch (e) {
    const name = "name" in blob && blob.name ? `"${String(blob.name)}"` : source instanceof Blob ? "the file" : source.url;
    throw new InputError(`${name} (${blob.size} bytes, type ${blob.type || "unknown"}) is no picture that this browser can read: try PNG or JPEG`, { cause: e });
  }
  try {
    return pixels(bitmap);
  } finally {
    bitmap.close();
  }
}

/** No conversion of colours: the same numbers as the native tool reads. */
const plainColours: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };

function pixels(bitmap: ImageBitmap): ImageData {
  const { width, height } = bitmap;
  if (width === 0 || height === 0) throw new InputError("the picture is empty (an ImageBitmap that was closed or transferred has no pixels)");
  if (width > largest || height > largest) throw new InputError(`the picture has ${width} × ${height} pixels: at most ${largest} on a side are read`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new InputError(`no canvas of ${width} × ${height} pixels can be made: try a smaller picture`);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
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
