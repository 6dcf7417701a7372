import { SolverError, type LoadProgress, type Restoration, type RestoreOptions, type RestoreProgress, type SolverInfo, type Task } from "cmi-diffusion";
import { Arm } from "./arm.js";
import { Chart } from "./chart.js";
import { Compare } from "./compare.js";
import { blank, psnr, show, squareOf, type Picture } from "./draw.js";
import { Painter } from "./paint.js";
import { offers } from "./tasks.js";

const $ = <T extends Element = HTMLElement>(selector: string): T => document.querySelector<T>(selector)!;
type View = "measurement" | "dps" | "cmi" | "truth";
const names: Record<View, string> = { measurement: "Measurement", dps: "DPS", cmi: "CMI + DPS", truth: "Original" };

const form = $<HTMLFormElement>("#controls");
const status = $("#status"); // read out to those who don't see it, so it changes rarely
const timeLeft = $("#time");
const bar = $<HTMLProgressElement>("#bar");
const stopButton = $<HTMLButtonElement>("#stop");
const field = (id: string) => $<HTMLInputElement>("#" + id);
const figure = (view: View) => $(`figure[data-view="${view}"]`);

// Both run at once: each gets half of the processors.
const half = Math.max(1, Math.floor((navigator.hardwareConcurrency || 2) / 2));
const arms = [new Arm("dps", half, moved), new Arm("cmi", half, moved)] as const;
const information = new Chart($("#information"), "Information in nats", [{ name: "cmi", label: "CMI + DPS" }]);
const residual = new Chart($("#residual"), "Disagreement with the measurement", [{ name: "cmi", label: "CMI + DPS" }, { name: "dps", label: "DPS" }]);
const compare = new Compare(names);
const painter = new Painter($<HTMLCanvasElement>("#paint"), field("brush"), $("#paint-help"));
const results = new Map<View, Restoration>();

let picture: { blob: Blob; square: HTMLCanvasElement; name: string } | undefined;
let running: AbortController | undefined;

function display(view: View, p: Picture, smooth: boolean, keep = true): void {
  show($<HTMLCanvasElement>(`figure[data-view="${view}"] canvas`), p, smooth);
  if (keep) compare.set(view, p, smooth);
}

function caption(view: View, text: string): void {
  figure(view).querySelector("figcaption span")!.textContent = text;
}

function say(text: string, failed = false): void {
  status.textContent = text;
  timeLeft.textContent = "";
  status.classList.toggle("failed", failed);
}

/** choose takes a picture and shows what the model will see of it. */
async function choose(blob: Blob, name: string): Promise<boolean> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    say(`${name} is no picture that this browser can read: try a PNG or JPEG.`, true);
    return false;
  }
  picture = { blob, name, square: squareOf(bitmap, 384) };
  bitmap.close();
  offerPaint();
  return true;
}

function task(): Task {
  return (new FormData(form).get("task") ?? "sr4") as Task;
}

/** offerPaint shows the painting area for the tasks that have one. */
function offerPaint(): void {
  const t = task();
  $("#painter").hidden = t !== "mask" && t !== "kernel";
  if (t === "mask") {
    painter.open({
      size: 64, backdrop: picture?.square, ground: "#fff", ink: "#000", shown: "rgb(255 255 255 / .92)",
      help: "Paint over what is to be filled in. With the keyboard: arrows move, Space paints, Shift with an arrow draws.",
    });
  } else if (t === "kernel") {
    painter.open({
      size: 15, ground: "#000", ink: "#fff", shown: getComputedStyle(document.documentElement).getPropertyValue("--cmi"),
      help: "Draw the path of the camera while the picture was taken. With the keyboard: arrows move, Space paints, Shift with an arrow draws.",
    });
  }
}

function request(arm: Arm, signal: AbortSignal): RestoreOptions {
  const t = task();
  return {
    task: t, steps: Number(field("steps").value), seed: Math.max(0, Math.floor(Number(field("seed").value)) || 0), signal,
    ...(arm.name === "cmi" && { cmi: ($<HTMLSelectElement>("#choice").value || true) as RestoreOptions["cmi"] }),
    ...(t === "mask" && { mask: painter.picture() }),
    ...(t === "kernel" && { kernel: painter.picture() }),
  };
}

function stop(): void {
  running?.abort();
  running = undefined;
  stopButton.disabled = true;
}

async function restore(): Promise<void> {
  stop();
  if (!picture) return;
  if ((task() === "mask" || task() === "kernel") && painter.isEmpty) {
    say(task() === "mask" ? "Paint over a part of the picture first." : "Draw the camera's path first.", true);
    return;
  }
  const run = (running = new AbortController());
  const steps = Number(field("steps").value);
  results.clear();
  compare.clear();
  information.clear(steps);
  residual.clear(steps);
  bar.value = 0;
  for (const view of Object.keys(names) as View[]) {
    blank($<HTMLCanvasElement>(`figure[data-view="${view}"] canvas`));
    caption(view, "");
  }
  document.querySelectorAll<HTMLButtonElement>("button.download").forEach((b) => { b.disabled = true; });
  display("truth", picture.square, true);
  stopButton.disabled = false;
  const device = $<HTMLSelectElement>("#compute").value as "auto";
  const seen = new Map<string, RestoreProgress>();
  try {
    say("Loading the program and the model…");
    describe((await arms[0].open(device, loading)).info);
    run.signal.throwIfAborted();
    say("Restoring…");
    const { blob } = picture;
    const { measurement, truth } = await (await arms[0].open(device)).measure(blob, request(arms[0], run.signal));
    display("measurement", measurement, false);
    caption("measurement", `${measurement.width} × ${measurement.height}`);
    if (truth) display("truth", truth, true);
    await Promise.all(arms.map(async (arm) => {
      await arm.open(device); // the second finds the model in the cache
      run.signal.throwIfAborted();
      const result = await arm.restore(blob, { ...request(arm, run.signal), onProgress: (p) => step(arm, p, seen) });
      if (!run.signal.aborted) finished(arm, result);
    }));
    bar.value = 1;
    say(`Done: ${names.dps} took ${seconds(results.get("dps")!)} and ${names.cmi} (${results.get("cmi")!.cmi}) ${seconds(results.get("cmi")!)}.`);
  } catch (e) {
    if (run.signal.aborted) return;
    run.abort(); // the other one too
    const again = e instanceof SolverError && ["DEVICE_LOST", "WORKER", "NETWORK"].includes(e.code) ? " Press Restore to try again." : "";
    say(`It did not work: ${(e instanceof SolverError ? e.message : String(e)).replace(/\.$/, "")}.${again}`, true);
  } finally {
    if (running === run) {
      running = undefined;
      stopButton.disabled = true;
    }
  }
}

function loading({ file, loaded, total }: LoadProgress): void {
  if (file === "model" && total) {
    bar.value = loaded / total;
    timeLeft.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  }
}

function step(arm: Arm, p: RestoreProgress, seen: Map<string, RestoreProgress>): void {
  if (p.preview) {
    display(arm.name, p.preview, true, false);
    p.preview.close();
  }
  if (p.information !== undefined) information.add("cmi", p.step, p.information);
  residual.add(arm.name, p.step, p.residual);
  caption(arm.name, `step ${p.step} of ${p.steps}`);
  seen.set(arm.name, p);
  const all = [...seen.values()];
  bar.value = all.reduce((sum, q) => sum + q.passes / q.totalPasses, 0) / arms.length;
  const left = Math.max(...all.map((q) => q.secondsLeft ?? 0));
  timeLeft.textContent = left >= 1 ? `about ${Math.ceil(left)} s left` : "";
}

function finished(arm: Arm, result: Restoration): void {
  results.set(arm.name, result);
  display(arm.name, result.image, true);
  caption(arm.name, result.truth ? `${psnr(result.image, result.truth).toFixed(1)} dB PSNR, ${seconds(result)}` : seconds(result));
  figure(arm.name).querySelector("button")!.disabled = false;
}

function seconds(r: Restoration): string {
  return `${r.seconds.toFixed(1)} s`;
}

/** watch brings the pictures into view where the layout has them above the controls. */
function watch(): void {
  if (matchMedia("(max-width: 60rem)").matches) {
    $(".progress").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }
}

/** describe says what computes, and what that means for the visitor. */
function describe(info: SolverInfo): void {
  $("#device").textContent = info.description;
  $("#device").title = info.notes.join("\n");
  const slow = info.device === "cpu" || info.software;
  const notice = $("#notice");
  notice.hidden = !slow;
  const gpu = "gpu" in navigator ? "WebGPU finds no graphics hardware here" : "This browser has no WebGPU";
  notice.textContent = `${gpu}: the processor does the work. The pictures are the same; they take a little longer.`;
}

/** moved tells that the GPU was lost in mid-run, which the pictures do not show. */
function moved(info: SolverInfo): void {
  describe(info);
  const notice = $("#notice");
  notice.hidden = false;
  notice.textContent = `The graphics processor was lost. The pictures go on from their last step on ${info.device === "cpu" ? "the processor" : "it, opened anew"}.`;
}

async function download(view: View): Promise<void> {
  const result = results.get(view);
  if (!result) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await result.blob("image/png"));
  link.download = `${(picture?.name ?? "picture").replace(/\.[^.]*$/, "")}-${view}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** build fills in what is made of data: sample faces and tasks. */
function build(): void {
  $("#samples").append(...Array.from({ length: 8 }, (_, i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "sample", value: `faces/0${i + 1}.png`, checked: i === 0 });
    const image = Object.assign(document.createElement("img"), { src: `faces/0${i + 1}.png`, alt: `Sample face ${i + 1}`, width: 64, height: 64 });
    label.append(input, image);
    return label;
  }));
  $("#tasks").append(...offers.map(({ task: value, title, hint }, i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "task", value, checked: i === 0 });
    const small = Object.assign(document.createElement("small"), { textContent: hint });
    label.append(input, title, small);
    return label;
  }));
}

async function sample(url: string): Promise<void> {
  const response = await fetch(url);
  if (!response.ok) return say(`${url} answered ${response.status}.`, true);
  $("#chosen").textContent = "A face that fills the frame works best: the model knows faces of 64 × 64 pixels.";
  if (await choose(await response.blob(), url.split("/").at(-1)!)) await restore();
}

async function own(file: File): Promise<void> {
  if (!(await choose(file, file.name))) return;
  $("#chosen").textContent = file.name;
  document.querySelectorAll<HTMLInputElement>("input[name=sample]").forEach((s) => { s.checked = false; });
  await restore();
}

function listen(): void {
  $("#samples").addEventListener("change", (e) => { watch(); void sample((e.target as HTMLInputElement).value); });
  field("file").addEventListener("change", () => { const f = field("file").files?.[0]; if (f) void own(f); });
  const drop = $("#drop");
  for (const type of ["dragover", "drop"] as const) document.addEventListener(type, (e) => e.preventDefault());
  document.addEventListener("dragover", () => drop.classList.add("over"));
  for (const type of ["dragleave", "drop"] as const) document.addEventListener(type, () => drop.classList.remove("over"));
  document.addEventListener("drop", (e) => { const f = e.dataTransfer?.files[0]; if (f) void own(f); });
  $("#tasks").addEventListener("change", () => { offerPaint(); if ($("#painter").hidden) { watch(); void restore(); } else { stop(); say("Paint first, then restore."); } });
  form.addEventListener("submit", (e) => { e.preventDefault(); watch(); void restore(); });
  stopButton.addEventListener("click", () => { stop(); say("Stopped."); });
  $("#clear").addEventListener("click", () => painter.clear());
  $("#dice").addEventListener("click", () => { field("seed").value = String(Math.floor(Math.random() * 1e6)); void restore(); });
  field("steps").addEventListener("input", () => { $("#steps-value").textContent = field("steps").value; });
  for (const view of ["dps", "cmi"] as const) figure(view).querySelector("button")!.addEventListener("click", () => void download(view));
}

build();
listen();
await sample("faces/01.png");
// Last, so that it takes nothing from the first picture. Without it the page works, but not offline.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("offline.js").catch(() => {});
