// What page and worker say to one another.
import type { LoadProgress, Measurement, RestoreProgress, RunPlan, SolverInfo } from "./api.js";
import type { Job, OpenOptions, Outcome } from "./backend.js";
import type { ErrorCode } from "./errors.js";

/** From the page. The first message is "start". */
export type Request =
  | { kind: "start"; options: OpenOptions; lock: string }
  | { kind: "open"; id: number }
  | { kind: "plan" | "measure"; id: number; job: Job }
  | { kind: "restore"; id: number; job: Job; reports: boolean; plans: boolean }
  | { kind: "abort"; id: number }
  | { kind: "close"; id: number };

/** From the worker. */
export type Reply =
  | { kind: "started"; locked: boolean }
  | { kind: "loading"; id: number; progress: LoadProgress }
  | { kind: "moved"; info: SolverInfo }
  | { kind: "thread"; port: MessagePort } // it wants a thread, and starts and ends it by the port
  | { kind: "planned"; id: number; plan: RunPlan }
  | { kind: "progress"; id: number; progress: RestoreProgress }
  | { kind: "done"; id: number; value: SolverInfo | Outcome | Measurement | RunPlan | undefined }
  | { kind: "failed"; id: number; code: ErrorCode | "ABORTED"; message: string };
