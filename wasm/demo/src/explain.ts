// "How does it work?": DPS beside CMI+DPS, step by step.
import type { RestoreOptions, RestoreProgress, SolverOptions } from "cmi-diffusion";
import { Arm } from "./arm.js";
import { Chart } from "./chart.js";
import { blank, psnr, show, type Picture } from "./draw.js";

const $ = <T extends Element = HTMLElement>(selector: string): T => document.querySelector<T>(selector)!;
type View = "measurement" | "dps" | "cmi" | "truth";

/** Two arms that run at once: each gets half of the processors. */
export class Explanation {
  private readonly arms: [Arm, Arm];
  private readonly information = new Chart($("#information"), "Information in nats", [{ name: "cmi", label: "CMI + DPS" }]);
  private readonly residual = new Chart($("#residual"), "Disagreement with the measurement", [{ name: "cmi", label: "CMI + DPS" }, { name: "dps", label: "DPS" }]);
  private running: AbortController | undefined;

  constructor(onDeviceChange: NonNullable<SolverOptions["onDeviceChange"]>) {
    const half = Math.max(1, Math.floor((navigator.hardwareConcurrency || 2) / 2));
    this.arms = [new Arm("dps", half, onDeviceChange), new Arm("cmi", half, onDeviceChange)];
    const field = $<HTMLInputElement>("#steps");
    field.addEventListener("input", () => { $("#steps-value").textContent = field.value; });
  }

  stop(): void {
    this.running?.abort();
  }

  /** run restores a picture by both; options say from what. It never rejects. */
  async run(picture: Blob, options: RestoreOptions, device: SolverOptions["device"]): Promise<void> {
    this.stop();
    const run = (this.running = new AbortController());
    const { signal } = run;
    const say = (text: string) => { if (!signal.aborted) $("#how-status").textContent = text; };
    const steps = Number($<HTMLInputElement>("#steps").value);
    this.information.clear(steps);
    this.residual.clear(steps);
    for (const view of ["measurement", "dps", "cmi", "truth"] as const) {
      blank($<HTMLCanvasElement>(`figure[data-view="${view}"] canvas`));
      caption(view, "");
    }
    say("Loading…");
    try {
      const solver = await this.arms[0].open(device);
      const { measurement, truth } = await solver.measure(picture, { ...options, signal });
      display("measurement", measurement, false);
      caption("measurement", `${measurement.width} × ${measurement.height}`);
      if (truth) display("truth", truth, true);
      say("Running…");
      await Promise.all(this.arms.map(async (arm) => {
        await arm.open(device);
        signal.throwIfAborted();
        const cmi = arm.name === "cmi" && { cmi: ($<HTMLSelectElement>("#choice").value || true) as NonNullable<RestoreOptions["cmi"]> };
        const result = await arm.restore(picture, { ...options, ...cmi, steps, signal, onProgress: (p) => this.step(arm, p) });
        display(arm.name, result.image, true);
        caption(arm.name, `${arm.name === "cmi" ? `${result.cmi}: ` : ""}${result.truth ? `${psnr(result.image, result.truth).toFixed(1)} dB PSNR, ` : ""}${result.seconds.toFixed(1)} s`);
      }));
      say("Done. PSNR says how near the original each is, in decibels; more is nearer.");
    } catch (e) {
      say(`It did not work: ${e instanceof Error ? e.message : String(e)}.`);
      run.abort();
    }
  }

  private step(arm: Arm, p: RestoreProgress): void {
    if (p.preview) {
      display(arm.name, p.preview, true);
      p.preview.close();
    }
    if (p.information !== undefined) this.information.add("cmi", p.step, p.information);
    this.residual.add(arm.name, p.step, p.residual);
    caption(arm.name, `step ${p.step} of ${p.steps}`);
  }
}

function display(view: View, p: Picture, smooth: boolean): void {
  show($<HTMLCanvasElement>(`figure[data-view="${view}"] canvas`), p, smooth);
}

function caption(view: View, text: string): void {
  $(`figure[data-view="${view}"] figcaption span`).textContent = text;
}
