// What page and worker say to one another.
import type { LoadProgress, RestoreProgress, SolverInfo } from "./api.js";
import type { Job, OpenOptions, Outcome } from "./backend.js";
import type { ErrorCode } from "./errors.js";

/** From the page. The first message is "start". */
export type Request =
  | { kind: "start"; options: OpenOptions; lock: string }
  | { kind: "open"; id: number }
  | { kind: "restore"; id: number; job: Job; reports: boolean }
  | { kind: "abort"; id: number }
  | { kind: "close"; id: number };

/** From the worker. */
export type Reply =
  | { kind: "started"; locked: boolean }
  | { kind: "loading"; id: number; progress: LoadProgress }
  | { kind: "moved"; info: SolverInfo }
  | { kind: "progress"; id: number; progress: RestoreProgress }
  | { kind: "done"; id: number; value: SolverInfo | Outcome | undefined }
  | { kind: "failed"; id: number; code: ErrorCode | "ABORTED"; message: string };
