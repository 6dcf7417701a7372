/** What went wrong, for programs; the message is for people. */
export type EngineErrorCode =
  | "BAD_INPUT" // a request's pixels, sizes or options can't be used
  | "BAD_MODEL" // the checkpoint or its configuration can't be used
  | "DEVICE_LOST" // the GPU is gone; make a new engine
  | "OUT_OF_MEMORY" // a smaller model may fit
  | "NETWORK" // the model can't be fetched again for another device
  | "UNSUPPORTED" // this browser or this build can't do it
  | "ABORTED" // the signal said so
  | "INTERNAL"; // a defect, or the engine is closed

/** Every rejection of an engine. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  constructor(readonly code: EngineErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** messageOf is what a thrown value says. */
export function messageOf(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
