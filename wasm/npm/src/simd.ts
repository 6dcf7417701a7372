// The processor's kernels: a small WebAssembly module that owns its memory, where
// weights and arrays live, and a pool of workers that compute on it where memory
// can be shared.
import { EngineError, messageOf } from "./engineerror.js";
import { compile, type Source } from "./source.js";
import type { Thread } from "./threads.js";

/** The kernels, and the same with threads. */
export interface SIMDSources {
  single: Source; // simd.wasm
  threads?: Source; // simd-threads.wasm
}

export interface SIMDOptions {
  threads: number;
  /** Makes a thread beside this one. */
  newThread: () => Thread;
  notes: string[];
  signal?: AbortSignal;
}

/** What the program calls, see package simd. */
export const kernelFunctions = ["run", "alloc", "free", "held", "copyIn", "copyOut"] as const;
export type KernelFunctions = Record<(typeof kernelFunctions)[number], (...args: number[]) => number>;

export interface SIMD {
  readonly threads: number;
  readonly description: string;
  /** Bytes that the kernels' memory may grow to. */
  readonly limit: number;
  functions(program: () => ArrayBufferLike): KernelFunctions;
  close(): void;
}

/** Kernels is what the module exports. */
export interface Kernels {
  start(threads: number, mayWait: number): void;
  help(thread: number): void;
  run(commands: number, words: number): number;
  alloc(bytes: number): number;
  free(at: number): void;
  held(): number;
}

const page = 65536;

/** startSIMD starts the kernels on as many threads as are asked for, or on one, with a note why, where more can't be started. */
export async function startSIMD(sources: SIMDSources, o: SIMDOptions): Promise<SIMD> {
  const threads = threadsFor(sources, o);
  if (threads > 1) {
    try {
      return await startOn(threads, sources, o);
    } catch (e) {
      if (o.signal?.aborted) throw e;
      o.notes.push(`one thread: ${messageOf(e)}`);
    }
  }
  return startOn(1, sources, o);
}

async function startOn(threads: number, sources: SIMDSources, o: SIMDOptions): Promise<SIMD> {
  const source = threads > 1 ? sources.threads! : sources.single;
  const module = await compile("the processor's kernels", source, undefined, o.signal);
  const { memory, pages } = newMemory(threads > 1);
  let kernels: Kernels;
  try {
    kernels = (await WebAssembly.instantiate(module, { env: { memory } })).exports as unknown as Kernels;
  } catch (e) {
    throw new EngineError("UNSUPPORTED", `this browser can't run the processor's kernels (SIMD): ${messageOf(e)}`, { cause: e });
  }
  // On a page's main thread waiting is forbidden: it looks for the end instead.
  kernels.start(threads, typeof document === "undefined" ? 1 : 0);
  const pool: Thread[] = [];
  try {
    await Promise.all(Array.from({ length: threads - 1 }, (_, i) => {
      const thread = o.newThread();
      pool.push(thread);
      return thread.start({ module, memory, thread: i + 1 });
    }));
  } catch (e) {
    for (const t of pool) t.end();
    throw new EngineError("UNSUPPORTED", `another can't be started: ${messageOf(e)}`, { cause: e });
  }
  return {
    threads,
    description: `WebAssembly SIMD, ${threads === 1 ? "1 thread" : `${threads} threads`}`,
    limit: pages * page,
    functions: (program) => ({
      run: (commands, words) => {
        try {
          return kernels.run(commands!, words!);
        } catch (e) {
          console.error(e);
          return 3; // a trap: the kernels' state is lost
        }
      },
      alloc: (bytes) => kernels.alloc(bytes!),
      free: (at) => { kernels.free(at!); return 0; },
      held: () => kernels.held(),
      // Views are made anew: both memories grow.
      copyIn: (to, from, bytes) => { new Uint8Array(memory.buffer, to! >>> 0, bytes).set(new Uint8Array(program(), from! >>> 0, bytes)); return 0; },
      copyOut: (to, from, bytes) => { new Uint8Array(program(), to! >>> 0, bytes).set(new Uint8Array(memory.buffer, from! >>> 0, bytes)); return 0; },
    }),
    close() {
      for (const t of pool) t.end();
    },
  };
}

function threadsFor(sources: SIMDSources, o: SIMDOptions): number {
  const wanted = Math.min(o.threads || Math.min(navigator.hardwareConcurrency || 1, 8), 64);
  if (wanted <= 1) return 1;
  if (!globalThis.crossOriginIsolated) {
    o.notes.push("one thread: the page is not cross-origin isolated (headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp)");
    return 1;
  }
  if (typeof SharedArrayBuffer === "undefined") {
    o.notes.push("one thread: this browser shares no memory between threads");
    return 1;
  }
  if (!sources.threads) {
    o.notes.push("one thread: no kernels with threads were given");
    return 1;
  }
  return wanted;
}

/** newMemory is the kernels' memory, and the pages that it may grow to. */
function newMemory(shared: boolean): { memory: WebAssembly.Memory; pages: number } {
  if (!shared) return { memory: new WebAssembly.Memory({ initial: 65 }), pages: 65536 };
  // The most that it may grow to is reserved at once; small devices refuse much.
  for (const pages of [65536, 32768, 16384]) {
    try {
      return { memory: new WebAssembly.Memory({ initial: 65, maximum: pages, shared }), pages };
    } catch (e) {
      if (!(e instanceof RangeError)) throw e;
    }
  }
  throw new EngineError("OUT_OF_MEMORY", `no ${(16384 * page) / 2 ** 30} GiB of address space for shared memory; try threads: 1`);
}
