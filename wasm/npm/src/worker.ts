// The worker's entry: a local backend that is driven by messages.
import type { Backend } from "./backend.js";
import { asSolverError } from "./errors.js";
import { localBackend } from "./local.js";
import type { Reply, Request } from "./messages.js";
import { remoteThread } from "./threads.js";

declare function postMessage(message: Reply, transfer?: Transferable[]): void;

let backend: Backend | undefined;
const running = new Map<number, AbortController>();

addEventListener("message", async ({ data }: MessageEvent<Request>) => {
  if (data.kind === "start") {
    backend = localBackend(data.options, (info) => postMessage({ kind: "moved", info }), () => remoteThread((port) => postMessage({ kind: "thread", port }, [port])));
    postMessage({ kind: "started", locked: await holdLock(data.lock) });
    return;
  }
  const { id } = data;
  if (data.kind === "abort") {
    running.get(id)?.abort();
    return;
  }
  const stop = new AbortController();
  running.set(id, stop);
  try {
    postMessage({ kind: "done", id, value: await answer(data, stop.signal) });
  } catch (e) {
    const { code, message } = stop.signal.aborted ? { code: "ABORTED" as const, message: "" } : asSolverError(e);
    postMessage({ kind: "failed", id, code, message });
  } finally {
    running.delete(id);
  }
});

function answer(request: Exclude<Request, { kind: "start" | "abort" }>, signal: AbortSignal) {
  const { id } = request;
  if (!backend) throw new Error("the worker was not started");
  switch (request.kind) {
    case "open":
      return backend.open(signal, (progress) => postMessage({ kind: "loading", id, progress }));
    case "measure":
      return backend.measure(request.job, signal);
    case "plan":
      return backend.plan(request.job, signal);
    case "restore":
      return backend.restore(request.job, signal, request.reports
        ? (progress) => postMessage({ kind: "progress", id, progress }, progress.preview ? [progress.preview] : [])
        : undefined, request.plans ? (plan) => postMessage({ kind: "planned", id, plan }) : undefined);
    case "close":
      return backend.close().then(() => undefined);
  }
}

/** holdLock keeps a lock for this worker's life: the page, waiting for it, learns of the worker's death. */
function holdLock(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    if (!name || !navigator.locks) return resolve(false);
    navigator.locks.request(name, () => { resolve(true); return new Promise(() => {}); }).catch(() => resolve(false));
  });
}
