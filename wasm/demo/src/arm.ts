import { createSolver, type Restoration, type RestoreOptions, type Solver, type SolverInfo, type SolverOptions } from "cmi-diffusion";

/** One of the two that are watched side by side: a solver of its own, made when it is first needed. */
export class Arm {
  private solver: Promise<Solver> | undefined;
  private device: SolverOptions["device"];

  constructor(readonly name: "dps" | "cmi", private readonly threads: number, private readonly onDeviceChange: (info: SolverInfo) => void) {}

  /** open gives the solver; a failure is not kept. */
  open(device: SolverOptions["device"], onProgress?: SolverOptions["onProgress"]): Promise<Solver> {
    if (this.solver && this.device !== device) {
      void this.solver.then((s) => s.close(), () => {});
      this.solver = undefined;
    }
    this.device = device;
    this.solver ??= createSolver({ device: device ?? "auto", threads: this.threads, onDeviceChange: this.onDeviceChange, ...(onProgress && { onProgress }) });
    this.solver.catch(() => { this.solver = undefined; });
    return this.solver;
  }

  async restore(picture: Blob, options: RestoreOptions): Promise<Restoration> {
    return (await this.open(this.device)).restore(picture, options);
  }
}
