// Threads: workers that run pool.js on the kernels' shared memory.
import { reason } from "./pictures.js";
import { packagedWorker, scriptWorker, type Trust } from "./scripts.js";

/** What a thread computes on, and its number, from 1. */
export interface ThreadStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
}

export interface Thread {
  /** Resolves when the thread is ready. */
  start(what: ThreadStart): Promise<void>;
  end(): void;
}

/** workerThread is a thread in a worker that runs pool.js. */
export function workerThread(worker: Worker): Thread {
  return {
    start: (what) => new Promise((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (e) => {
        e.preventDefault();
        reject(new Error(e.message || "its script, pool.js, can't be loaded (option poolURL)"));
      };
      worker.postMessage(what);
    }),
    end: () => worker.terminate(),
  };
}

/** newThread makes a thread here; pool is where pool.js is, if it is not where the bundler has put it, or beside the package. */
export function newThread(pool: string | undefined, trust: Trust): Thread {
  const name = "cmi-diffusion-pool";
  return workerThread(pool !== undefined
    ? scriptWorker(pool, name, trust)
    : packagedWorker(() => new Worker(new URL("./pool.js", import.meta.url), { type: "module", name: "cmi-diffusion-pool" }), "./pool.js", name, trust));
}

/**
 * remoteThread is, in a worker, a thread that its page makes: send gives the page a port, which serveThread answers. A worker that
 * makes a worker itself stops for ever in Firefox now and then, within `new Worker`.
 */
export function remoteThread(send: (port: MessagePort) => void): Thread {
  const { port1: port, port2 } = new MessageChannel();
  send(port2);
  return {
    start: (what) => new Promise((resolve, reject) => {
      port.onmessage = ({ data }: MessageEvent<string>) => (data ? reject(new Error(data)) : resolve());
      port.postMessage(what);
    }),
    end: () => port.postMessage("end"),
  };
}

/** serveThread makes the thread that a worker asks for by a port. */
export function serveThread(port: MessagePort, make: () => Thread): { end(): void } {
  let thread: Thread | undefined;
  const end = () => {
    thread?.end();
    port.close();
  };
  port.onmessage = async ({ data }: MessageEvent<ThreadStart | "end">) => {
    if (data === "end") return end();
    try {
      thread = make();
      await thread.start(data);
      port.postMessage("");
    } catch (e) {
      port.postMessage(reason(e) || "no reason is known");
    }
  };
  return { end };
}
