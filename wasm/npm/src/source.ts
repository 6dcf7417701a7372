import { EngineError, messageOf } from "./engineerror.js";

/** Where a file comes from. */
export type Source = string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module;

/** Bytes read so far, and of all; 0 where the server does not say. */
export type Progress = (loaded: number, total: number) => void;

/** compile reads and compiles a WebAssembly file; what is what errors call it. */
export async function compile(what: string, source: Source, report?: Progress, signal?: AbortSignal): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  try {
    if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
      return await WebAssembly.compile(source as BufferSource);
    }
    const response = typeof source === "string" || source instanceof URL ? await fetch(source, { signal }) : await source;
    if (!response.ok) throw new Error(`${response.url} answers ${response.status} ${response.statusText}`);
    return await WebAssembly.compile(await bytesOf(response, report));
  } catch (e) {
    if (signal?.aborted) throw new EngineError("ABORTED", "stopped by its signal");
    throw new EngineError("UNSUPPORTED", `${what} can't be loaded: ${messageOf(e)}`, { cause: e });
  }
}

/** bytesOf is the body of a response, reported as it comes. */
async function bytesOf(response: Response, report?: Progress): Promise<Uint8Array<ArrayBuffer>> {
  if (!report || !response.body) return new Uint8Array(await response.arrayBuffer());
  // A compressed body is longer than its header says.
  const total = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0);
  const parts: Uint8Array[] = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    loaded += part.value.length;
    report(loaded, total);
  }
  const all = new Uint8Array(loaded);
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}
