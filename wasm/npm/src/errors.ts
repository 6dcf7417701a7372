import { EngineError, type EngineErrorCode } from "./engineerror.js";

/** What went wrong, for programs; the message is for people. */
export type ErrorCode =
  | Exclude<EngineErrorCode, "ABORTED">
  | "WORKER" // the worker stopped or can't be started; call again
  | "CLOSED"; // the solver is closed

/** Every failure of this package, an aborted call apart, which rejects with the signal's reason. */
export class SolverError extends Error {
  override readonly name: string = "SolverError";
  constructor(readonly code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** A picture or an option can't be used. */
export class InputError extends SolverError {
  override readonly name = "InputError";
  constructor(message: string, options?: ErrorOptions) { super("BAD_INPUT", message, options); }
}

/** The model's file or its configuration can't be used. */
export class ModelError extends SolverError {
  override readonly name = "ModelError";
  constructor(message: string, options?: ErrorOptions) { super("BAD_MODEL", message, options); }
}

/** The GPU went away during a call, its driver was reset or the system took it, and there is no other. The next call tries again. */
export class DeviceLostError extends SolverError {
  override readonly name = "DeviceLostError";
  constructor(message: string, options?: ErrorOptions) { super("DEVICE_LOST", message, options); }
}

/** There is not enough memory for the model or the picture. */
export class MemoryError extends SolverError {
  override readonly name = "MemoryError";
  constructor(message: string, options?: ErrorOptions) { super("OUT_OF_MEMORY", message, options); }
}

/** This browser, or this device, can't do it. */
export class UnsupportedError extends SolverError {
  override readonly name = "UnsupportedError";
  constructor(message: string, options?: ErrorOptions) { super("UNSUPPORTED", message, options); }
}

/** A file can't be fetched. */
export class NetworkError extends SolverError {
  override readonly name = "NetworkError";
  constructor(message: string, options?: ErrorOptions) { super("NETWORK", message, options); }
}

/** The worker stopped or can't be started. The next call starts a new one. */
export class WorkerError extends SolverError {
  override readonly name = "WorkerError";
  constructor(message: string, options?: ErrorOptions) { super("WORKER", message, options); }
}

/** The solver is closed. */
export class ClosedError extends SolverError {
  override readonly name = "ClosedError";
  constructor(message = "the solver is closed: make a new one with createSolver", options?: ErrorOptions) { super("CLOSED", message, options); }
}

const classes: Record<Exclude<ErrorCode, "INTERNAL">, new (message: string, options?: ErrorOptions) => SolverError> = {
  BAD_INPUT: InputError, BAD_MODEL: ModelError, DEVICE_LOST: DeviceLostError, OUT_OF_MEMORY: MemoryError,
  UNSUPPORTED: UnsupportedError, NETWORK: NetworkError, WORKER: WorkerError, CLOSED: ClosedError,
};

/** errorOf makes the error of a code. */
export function errorOf(code: ErrorCode, message: string, options?: ErrorOptions): SolverError {
  return code in classes ? new classes[code as keyof typeof classes](message, options) : new SolverError("INTERNAL", message, options);
}

/** asSolverError keeps errors of this package and takes any other for a defect. */
export function asSolverError(e: unknown): SolverError {
  if (e instanceof SolverError) return e;
  if (e instanceof EngineError && e.code !== "ABORTED") return errorOf(e.code, e.message, { cause: e });
  const said = e instanceof Error ? e.message : String(e);
  if (e instanceof RangeError && /alloc/i.test(said)) return new MemoryError(`the browser gives no more memory: ${said}; a smaller model may fit`, { cause: e });
  return errorOf("INTERNAL", said, { cause: e });
}
