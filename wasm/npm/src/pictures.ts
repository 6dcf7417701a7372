import type { Kernel } from "./api.js";
import { InputError, NetworkError } from "./errors.js";

/**
 * A picture in any form that a page has one. A string or URL is fetched; it must be readable from this page (CORS). Bytes and
 * responses hold a file, such as PNG or JPEG; a Response is read to its end. A VideoFrame stays open.
 */
export type PictureSource = Blob | ImageData | ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement | VideoFrame | ArrayBuffer | ArrayBufferView | Response | string | URL;

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
 * portable makes a picture ready for a worker: elements of the page are drawn into a bitmap and addresses are resolved against
 * the page. The caller's objects stay whole. what is the picture's name in errors.
 */
export async function portable(source: PictureSource, what = "the picture"): Promise<Portable> {
  if (typeof source === "string" || source instanceof URL) return { url: absolute(source, what) };
  if (source instanceof Blob || source instanceof ImageData || source instanceof ImageBitmap) return source;
  if (source instanceof Response) return bodyOf(source, what);
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes = source instanceof ArrayBuffer ? source : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    if (bytes.byteLength === 0) throw new InputError(`${what} is an empty array (or one that was transferred): the bytes of a PNG or JPEG file are wanted`);
    return new Blob([bytes instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes)]); // a copy, because a Blob takes no shared memory
  }
  if (isDrawable(source)) {
    try {
      return await createImageBitmap(source, plainColours);
    } catch (e) {
      throw new InputError(`${what}: this ${source.constructor.name} has no picture that the page may read: ${reason(e)}`, { cause: e });
    }
  }
  throw new InputError(`${what} is ${describe(source)}: give a File, Blob, ArrayBuffer, Response, ImageData, ImageBitmap, canvas, image or video element, VideoFrame or URL`);
}

/** bodyOf reads a response that the page has fetched. */
async function bodyOf(response: Response, what: string): Promise<Blob> {
  const from = response.url || `${what}'s Response`;
  if (response.type === "opaque") throw new InputError(`${from} is an opaque response, which no page may read: fetch it without mode "no-cors"`);
  if (!response.ok) throw new NetworkError(`${from} answered ${response.status} ${response.statusText}`.trimEnd());
  if (response.bodyUsed) throw new InputError(`${from} has been read already: give a clone() of the response`);
  try {
    return await response.blob();
  } catch (e) {
    throw new NetworkError(`${from} broke off: ${reason(e)}`, { cause: e });
  }
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
    throw new NetworkError(`${url} can't be fetched: ${offline() ?? reason(e)}`, { cause: e });
  }
  if (!response.ok) throw new NetworkError(`${url} answered ${response.status} ${response.statusText}`.trimEnd());
  return response.blob();
}

function isDrawable(x: unknown): x is HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement | VideoFrame {
  const kinds = ["HTMLCanvasElement", "OffscreenCanvas", "HTMLImageElement", "HTMLVideoElement", "VideoFrame"];
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

/** absolute resolves an address against the page; what is its name in errors. */
export function absolute(url: string | URL, what: string): string {
  try {
    return new URL(url, baseURL()).href;
  } catch (e) {
    throw new InputError(`${what} is ${describe(url)}, which is no address`, { cause: e });
  }
}

/** offline says that the browser is, which is then why something can't be fetched. */
export function offline(): string | undefined {
  return navigator.onLine === false ? "the browser is offline" : undefined;
}

/** describe names a value that can't be used, in a few words. */
export function describe(x: unknown): string {
  if (x === null || typeof x === "undefined" || typeof x === "number" || typeof x === "boolean") return String(x);
  if (typeof x === "string") return JSON.stringify(x.length > 40 ? x.slice(0, 40) + "…" : x);
  if (x instanceof URL) return describe(x.href);
  if (typeof x === "object") return `an object of type ${x.constructor?.name ?? "Object"}`;
  return `a ${typeof x}`;
}

/** reason is an error's message without its stack. */
export function reason(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
