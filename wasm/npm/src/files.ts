import { ModelError, NetworkError } from "./errors.js";
import { reason } from "./pictures.js";
import { version } from "./version.js";

/** Bytes that have arrived; total is 0 where the server does not tell. */
export type OnBytes = (loaded: number, total: number) => void;

export interface FileOptions {
  signal?: AbortSignal | undefined;
  onBytes?: OnBytes | undefined;
}

export interface FetchOptions extends FileOptions {
  /** Keep the file in the page's Cache Storage, and take it from there. */
  cache: boolean;
}

const cachePrefix = "cmi-diffusion@";
const cacheName = cachePrefix + version;

/**
 * fetchFile gives a file's bytes, from the cache where it is there. A file is stored once it is
 * complete. Without Cache Storage (http without localhost, private windows) it is fetched each time.
 */
export async function fetchFile(url: string, o: FetchOptions): Promise<Uint8Array<ArrayBuffer>> {
  const cache = o.cache ? await openCache() : undefined;
  const stored = await cache?.match(url).catch(() => undefined);
  const response = stored ?? (await request(url, o.signal));
  const bytes = await read(response, url, o);
  if (cache && !stored) {
    // A full disk is no reason to fail: the file is here.
    await cache.put(url, new Response(bytes, { headers: { "content-length": String(bytes.length) } })).catch(() => undefined);
  }
  return bytes;
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

async function openCache(): Promise<Cache | undefined> {
  try {
    for (const name of await caches.keys()) {
      if (name.startsWith(cachePrefix) && name !== cacheName) await caches.delete(name);
    }
    return await caches.open(cacheName);
  } catch {
    return undefined; // not offered to this page
  }
}

async function request(url: string, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal: signal ?? null, credentials: "same-origin" });
  } catch (e) {
    signal?.throwIfAborted();
    throw new NetworkError(`${url} can't be fetched: ${reason(e)}; is it there, and may this page read it (CORS, CSP connect-src)?`, { cause: e });
  }
  if (!response.ok) throw new NetworkError(`${url} answered ${response.status} ${response.statusText}`.trimEnd());
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    throw new NetworkError(`${url} is a web page, not the file that is wanted: does the server have the package's .wasm and .safetensors files?`);
  }
  return response;
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
