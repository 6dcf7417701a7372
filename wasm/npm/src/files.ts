import { ModelError, NetworkError } from "./errors.js";
import { offline, reason } from "./pictures.js";
import { buildOfFiles } from "./version.js";

/** Bytes that have arrived; total is 0 where the server does not tell. */
export type OnBytes = (loaded: number, total: number) => void;

export interface FileOptions {
  signal?: AbortSignal | undefined;
  onBytes?: OnBytes | undefined;
}

export interface FetchOptions extends FileOptions {
  /** Take the file from the page's Cache Storage, and keep it there. */
  cache: boolean;
  /** The file is the package's own: one that another build has left in the cache is not taken. */
  own: boolean;
  /** Fetch the file even if the cache has it. */
  anew?: boolean;
}

export interface FetchedFile {
  bytes: Uint8Array<ArrayBuffer>;
  /** The file is from the cache. */
  cached: boolean;
  /** keep puts the file into the cache. Call it when the file has proved to be what it should: what is kept is taken for ever. */
  keep(): Promise<void>;
}

/** All versions of the package on an origin share one cache: a model is there once, under its address. */
const cacheName = "cmi-diffusion";
/** Says of which build a kept file is. */
const buildHeader = "cmi-diffusion-build";

/** clearCache deletes what the package has kept in the page's Cache Storage: its program and models, of all solvers and versions. */
export async function clearCache(): Promise<void> {
  await globalThis.caches?.delete(cacheName);
}

/** fetchFile gives a file, from the cache where it is there. Without Cache Storage (http without localhost, private windows) it is fetched each time. */
export async function fetchFile(url: string, o: FetchOptions): Promise<FetchedFile> {
  const cache = o.cache ? await globalThis.caches?.open(cacheName).catch(() => undefined) : undefined; // not offered to every page
  const stored = o.anew ? undefined : await cache?.match(url).catch(() => undefined);
  const cached = stored && (!o.own || stored.headers.get(buildHeader) === buildOfFiles) ? stored : undefined;
  const bytes = await read(cached ?? (await request(url, o.signal)), url, o);
  if (!cached && /^\s*<(!doctype|html)/i.test(new TextDecoder().decode(bytes.subarray(0, 200)))) throw isPage(url);
  return {
    bytes, cached: cached !== undefined,
    async keep() {
      if (!cache || cached) return;
      const headers = { "content-length": String(bytes.length), ...(o.own && { [buildHeader]: buildOfFiles }) };
      await cache.put(url, new Response(bytes, { headers })).catch(() => undefined); // a full disk is no reason to fail: the file is here
    },
  };
}

/** readBlob gives a user's file as bytes. */
export async function readBlob(blob: Blob, o: FileOptions): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await read(new Response(blob.stream()), "the file", o, blob.size);
  } catch (e) {
    o.signal?.throwIfAborted();
    throw new ModelError(`the model's file can't be read: ${reason(e)}`, { cause: e });
  }
}

async function request(url: string, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal: signal ?? null, credentials: "same-origin" });
  } catch (e) {
    signal?.throwIfAborted();
    throw new NetworkError(`${url} can't be fetched: ${offline() ?? `${reason(e)}; is it there, and may this page read it (CORS, CSP connect-src)?`}`, { cause: e });
  }
  if (!response.ok) throw new NetworkError(`${url} answered ${response.status} ${response.statusText}`.trimEnd());
  if (response.headers.get("content-type")?.startsWith("text/html")) throw isPage(url);
  return response;
}

function isPage(url: string): NetworkError {
  return new NetworkError(`${url} is a web page, not the file that is wanted: does the server have the package's .wasm and .safetensors files?`);
}

/** read collects a body. The bytes land in one array of the announced size, so that a large model is not held twice. */
async function read(response: Response, url: string, o: FileOptions, size = 0): Promise<Uint8Array<ArrayBuffer>> {
  // The length counts what travels: of a compressed answer it says nothing about the file.
  const announced = response.headers.get("content-encoding") ? 0 : Number(response.headers.get("content-length"));
  const total = size || announced || 0;
  let bytes = new Uint8Array(total || 1 << 20);
  let loaded = 0;
  o.onBytes?.(0, total);
  const reader = response.body?.getReader();
  try {
    while (reader) {
      o.signal?.throwIfAborted();
      const { done, value } = await reader.read();
      if (done) break;
      if (loaded + value.length > bytes.length) {
        const larger = new Uint8Array(Math.max(2 * bytes.length, loaded + value.length));
        larger.set(bytes.subarray(0, loaded));
        bytes = larger;
      }
      bytes.set(value, loaded);
      loaded += value.length;
      o.onBytes?.(loaded, total);
    }
  } catch (e) {
    await reader?.cancel().catch(() => undefined);
    o.signal?.throwIfAborted();
    throw new NetworkError(`${url} broke off after ${loaded} of ${total || "an unknown number of"} bytes: ${reason(e)}`, { cause: e });
  }
  if (total && loaded < total) throw new NetworkError(`${url} ended after ${loaded} of ${total} bytes`);
  return loaded === bytes.length ? bytes : bytes.slice(0, loaded);
}
