// Drives a backend in a worker. A worker that stops is replaced by the next call.
import type { LoadProgress, Measurement, RestoreProgress, RunPlan, SolverInfo } from "./api.js";
import type { Backend, OpenOptions, Outcome } from "./backend.js";
import { ClosedError, errorOf, InputError, NetworkError, SolverError, WorkerError } from "./errors.js";
import type { Reply, Request } from "./messages.js";
import { offline, reason } from "./pictures.js";
import { serveThread, type Thread } from "./threads.js";

type Call = Request extends infer R ? (R extends { id: number } ? Omit<R, "id"> : never) : never;

interface Pending {
  resolve(value: SolverInfo | Outcome | Measurement | RunPlan | undefined): void;
  reject(e: unknown): void;
  onProgress?: ((p: LoadProgress & RestoreProgress) => void) | undefined;
  onPlan?: ((p: RunPlan) => void) | undefined;
}

/** workerBackend makes a backend in a worker; make gives the worker, newThread its threads, moved is told what computes after a device was lost. */
export function workerBackend(options: OpenOptions, make: () => Worker, newThread: () => Thread, moved: (info: SolverInfo) => void): Backend {
  let worker: Worker | undefined;
  const threads: { end(): void }[] = [];
  let watch: AbortController | undefined;
  let closed = false;
  let lastId = 0;
  const pending = new Map<number, Pending>();

  const stop = (error: SolverError) => {
    worker?.terminate();
    for (const t of threads.splice(0)) t.end();
    watch?.abort();
    worker = undefined;
    const all = [...pending.values()];
    pending.clear();
    for (const p of all) p.reject(error);
  };

  const start = (): Worker => {
    if (worker) return worker;
    let mine: Worker;
    try {
      mine = make();
    } catch (e) {
      if (e instanceof SolverError) throw e;
      throw new WorkerError(`no worker can be made: ${reason(e)}; is worker.js there (option workerURL), and does a Content-Security-Policy have worker-src 'self', and with trusted-types cmi-diffusion (or give workerFactory)?`, { cause: e });
    }
    worker = mine;
    watch = new AbortController();
    const { signal } = watch;
    let started = false;
    const lock = "locks" in navigator && "randomUUID" in crypto ? `cmi-diffusion-${crypto.randomUUID()}` : "";
    mine.onmessage = ({ data }: MessageEvent<Reply>) => {
      if (data.kind === "moved") return moved(data.info);
      if (data.kind === "thread") {
        threads.push(serveThread(data.port, newThread));
        return;
      }
      if (data.kind !== "started") return settle(data);
      started = true;
      if (data.locked) {
        navigator.locks.request(lock, { signal }, () => { if (worker === mine) stop(new WorkerError("the worker stopped: perhaps the system ran out of memory")); }).catch(() => {});
      }
    };
    mine.onerror = (e) => {
      e.preventDefault();
      if (worker !== mine) return;
      const away = offline();
      if (started) stop(new WorkerError(`the worker failed: ${e.message || "no reason is known"}`));
      else if (away) stop(new NetworkError(`the worker's script can't be fetched: ${away}`));
      else stop(new WorkerError(`the worker can't be started: ${e.message || "its script can't be loaded; is worker.js there (option workerURL), and does a Content-Security-Policy have worker-src for it ('self', or blob: and the package's origin where that is another)?"}`));
    };
    mine.onmessageerror = () => { if (worker === mine) stop(new WorkerError("the worker's message can't be read")); };
    post(mine, { kind: "start", options, lock });
    return mine;
  };

  const settle = (reply: Exclude<Reply, { kind: "started" | "moved" | "thread" }>) => {
    const call = pending.get(reply.id);
    if (reply.kind === "loading" || reply.kind === "progress") {
      if (call?.onProgress) call.onProgress(reply.progress as LoadProgress & RestoreProgress);
      else if (reply.kind === "progress") reply.progress.preview?.close();
      return;
    }
    if (reply.kind === "planned") {
      call?.onPlan?.(reply.plan);
      return;
    }
    pending.delete(reply.id);
    if (reply.kind === "done") call?.resolve(reply.value);
    else if (reply.code !== "ABORTED") call?.reject(errorOf(reply.code, reply.message));
  };

  const call = <T>(request: Call, signal?: AbortSignal, onProgress?: Pending["onProgress"], onPlan?: Pending["onPlan"]): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (closed) throw new ClosedError();
      signal?.throwIfAborted();
      const to = start();
      const id = ++lastId;
      const onAbort = () => { // at once: the worker may be busy with the call before
        pending.delete(id);
        post(to, { kind: "abort", id });
        reject(signal!.reason);
      };
      const done = () => signal?.removeEventListener("abort", onAbort);
      signal?.addEventListener("abort", onAbort, { once: true });
      pending.set(id, {
        resolve: (v) => { done(); resolve(v as T); },
        reject: (e) => { done(); reject(e); },
        onProgress, onPlan,
      });
      try {
        post(to, { ...request, id } as Request);
      } catch (e) { // what can't be cloned: a bitmap that was transferred, a function among the options
        pending.delete(id);
        done();
        throw new InputError(`the picture or an option can't be sent to the worker: ${reason(e)}`, { cause: e });
      }
    });

  return {
    open: (signal, onProgress) => call<SolverInfo>({ kind: "open" }, signal, onProgress),
    measure: (job, signal) => call<Measurement>({ kind: "measure", job }, signal),
    plan: (job, signal) => call<RunPlan>({ kind: "plan", job }, signal),
    restore: (job, signal, onProgress, onPlan) => call<Outcome>({ kind: "restore", job, reports: onProgress !== undefined, plans: onPlan !== undefined }, signal, onProgress, onPlan),
    async close() {
      closed = true;
      stop(new ClosedError());
    },
  };
}

function post(to: Worker, message: Request): void {
  to.postMessage(message);
}
