import { createSolver, SolverError, type LoadProgress, type Prior, type Restoration, type RestoreOptions, type RestoreProgress, type RunPlan, type Solver, type SolverInfo, type SolverOptions } from "cmi-diffusion";
import { read, write, type State } from "./address.js";
import { canvasOf, psnr, thumbnail } from "./draw.js";
import { Explanation } from "./explain.js";
import { Hero } from "./hero.js";
import { Painter } from "./paint.js";
import { models, offers, sampler, type Offer } from "./tasks.js";

const $ = <T extends Element = HTMLElement>(selector: string): T => document.querySelector<T>(selector)!;
const photos = ["cardinal", "elk", "lighthouse", "harbour"];
const faces = ["01", "04", "06", "07"];
const files = Object.fromEntries([...photos.map((n) => [n, `photos/${n}.jpg`]), ...faces.map((n) => [`face-${n}`, `faces/${n}.png`])]) as Record<string, string>;

const form = $<HTMLFormElement>("#controls");
const status = $("#status"); // read out to those who don't see it, so it changes rarely
const timeLeft = $("#time");
const bar = $<HTMLProgressElement>("#bar");
const field = (id: string) => $<HTMLInputElement>("#" + id);
const [stopButton, eightButton, saveButton, bothButton] = ["stop", "eight", "save", "both"].map((id) => $<HTMLButtonElement>("#" + id)) as [HTMLButtonElement, HTMLButtonElement, HTMLButtonElement, HTMLButtonElement];
const hero = new Hero();
const painter = new Painter($<HTMLCanvasElement>("#paint"), field("brush"), $("#paint-help"));
const explanation = new Explanation(moved);

let picture: { blob: Blob; name: string; own: boolean; width: number; height: number; whole: HTMLCanvasElement; square: HTMLCanvasElement } | undefined;
let running: AbortController | undefined;
let result: Restoration | undefined;
let solver: { of: string; made: Promise<Solver> } | undefined;

/** able turns a button on or off without taking the focus from it. */
function able(button: HTMLButtonElement, on: boolean): void {
  button.setAttribute("aria-disabled", String(!on));
}

/** onClick does something where a button is not off. */
function onClick(button: HTMLButtonElement, work: () => void): void {
  button.addEventListener("click", () => { if (button.getAttribute("aria-disabled") !== "true") work(); });
}

function say(text: string, failed = false): void {
  status.textContent = text;
  timeLeft.textContent = "";
  status.classList.toggle("failed", failed);
}

const chosen = (name: string) => String(new FormData(form).get(name) ?? "");
const model = () => chosen("model") as Prior;
const offer = (): Offer => offers.find((o) => o.name === chosen("task")) ?? offers[0]!;
const isPainted = () => offer().task === "mask" || offer().task === "kernel";

function state(): State {
  return { picture: picture?.own ? "" : chosen("sample"), model: model(), task: offer().name, size: field("size").value, seed: field("seed").value };
}

/** open gives the solver of the model and device that are chosen; a failure is not kept. */
function open(): Promise<Solver> {
  const device = field("compute").value as NonNullable<SolverOptions["device"]>;
  const of = `${model()} ${device}`;
  if (solver?.of !== of) {
    const before = solver?.made;
    void before?.then((s) => s.close(), () => {});
    const made = createSolver({ device, prior: model(), onDeviceChange: moved, onProgress: loading });
    solver = { of, made };
    made.catch(() => { if (solver?.made === made) solver = undefined; });
  }
  return solver.made;
}

/** choose takes a picture and shows it. */
async function choose(blob: Blob, name: string, own: boolean): Promise<boolean> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    say(`${name} is no picture that this browser can read: try a PNG or JPEG.`, true);
    return false;
  }
  picture = { blob, name, own, width: bitmap.width, height: bitmap.height, whole: thumbnail(bitmap, 1024, false), square: thumbnail(bitmap, 1024, true) };
  bitmap.close();
  return true;
}

/** shown is the part of the picture that the model takes. */
const shown = () => (model() === "faces64" ? picture?.square : picture?.whole);

/** offerPaint shows the painting area for the tasks that have one. */
function offerPaint(): void {
  $("#painter").hidden = !isPainted();
  if (offer().task === "mask" && picture) {
    const backdrop = shown()!;
    const scale = 256 / Math.max(backdrop.width, backdrop.height);
    const [width, height] = model() === "faces64" ? [64, 64] : [Math.round(backdrop.width * scale), Math.round(backdrop.height * scale)];
    painter.open({
      width, height, backdrop, ground: "#fff", ink: "#000", shown: "rgb(255 255 255 / .92)",
      help: "Paint over what is to be filled in. With the keyboard: arrows move, Space paints, Shift with an arrow draws.",
    });
  } else if (offer().task === "kernel") {
    painter.open({
      width: 15, height: 15, ground: "#000", ink: "#fff", shown: getComputedStyle(document.documentElement).getPropertyValue("--cmi"),
      help: "Draw the path of the camera while the picture was taken. With the keyboard: arrows move, Space paints, Shift with an arrow draws.",
    });
  }
  document.body.classList.toggle("paints", isPainted());
}

/** offerTasks shows what the chosen model is up to. */
function offerTasks(): void {
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=task]")) {
    const of = offers.find((o) => o.name === input.value)!.of;
    input.closest("label")!.hidden = !of.includes(model());
    if (input.checked && !of.includes(model())) { input.checked = false; field(`task-${offers[0]!.name}`).checked = true; }
  }
}

/** request is what the visitor has chosen, for one picture or several samples. */
function request(samples: number): RestoreOptions {
  const o = offer();
  const size = Number(field("size").value);
  return {
    ...sampler(model(), o, samples), task: o.task, seed: Math.max(0, Math.floor(Number(field("seed").value)) || 0),
    ...(o.measured && { measured: true }), ...(model() === "photos64" && size > 0 && !o.measured && { maxSide: size }),
    ...(isPainted() && { [o.task]: painter.picture() }), ...(o.task === "mask" && samples === 1 && { paste: true }),
  };
}

/** problem says what the visitor has to do first, if anything. */
function problem(): string | undefined {
  const o = offer();
  if (isPainted() && painter.isEmpty) return o.task === "mask" ? "Paint over a part of the picture first." : "Draw the camera's path first.";
  const most = (Number(field("size").value) || 1024) / 4;
  if (o.measured && picture && Math.max(picture.width, picture.height) > most) {
    return `This picture has ${picture.width} × ${picture.height} pixels. Enlarging is for small ones, of at most ${most} on a side; the settings allow more.`;
  }
  return undefined;
}

function stop(): void {
  running?.abort();
  running = undefined;
  able(stopButton, false);
}

async function restore(samples = 1): Promise<void> {
  stop();
  if (!picture) return;
  write(state());
  const wrong = problem();
  if (wrong) return say(wrong, true);
  const run = (running = new AbortController());
  const { blob } = picture;
  result = undefined;
  bar.value = 0;
  hero.hideOverlay();
  field("differ").checked = false;
  $("#answers").hidden = samples === 1;
  for (const button of [eightButton, saveButton, bothButton]) able(button, false);
  able(stopButton, true);
  $("#plan").textContent = "";
  const first = shown()!;
  hero.size(first.width, first.height);
  hero.show("before", first);
  hero.show("after", first);
  const options = { ...request(samples), signal: run.signal };
  if (samples > 1) answers(samples);
  try {
    say("Loading the program and the model…");
    const s = await open();
    describe(s.info);
    run.signal.throwIfAborted();
    say(samples > 1 ? `Drawing ${samples} possible answers…` : "Restoring…");
    const { measurement } = await s.measure(blob, options);
    run.signal.throwIfAborted();
    hero.show("before", measurement, measurement.width * 2 > 640 || offer().task === "blur" || offer().task === "kernel");
    const made = await s.restore(blob, { ...options, onPlan: (p) => tell(p, samples), onProgress: (p) => step(p) });
    if (run.signal.aborted) return;
    finished(made);
    bar.value = 1;
    say(told(made));
    running = undefined;
    able(stopButton, false);
    if (samples === 1) await foresee(s, blob);
  } catch (e) {
    if (run.signal.aborted) return;
    stop();
    say(e instanceof SolverError ? `It did not work: ${e.message}.` : `It did not work: ${String(e)}.`, true);
  }
}

/** told says how the restoration went, and how near the original it is. */
function told(r: Restoration): string {
  const quality = r.truth && !r.samples ? ` PSNR against the original: ${psnr(r.image, r.truth).toFixed(1)} dB.` : "";
  return `Done in ${r.seconds.toFixed(1)} s.${quality}`;
}

/** tell states what a run takes, before it starts. */
function tell(p: RunPlan, samples: number): void {
  hero.size(p.width, p.height);
  const windows = p.windows > 1 ? `, ${p.windows} windows of 64 × 64` : "";
  const other = p.note && !p.note.endsWith("maxSide says") ? ` It was ${p.note}.` : p.note ? ` The photo has ${p.picture.width} × ${p.picture.height}; the settings choose the size.` : "";
  $("#plan").textContent = `${samples > 1 ? `${samples} times ` : ""}${p.width} × ${p.height} pixels${windows}, about ${Math.ceil(p.memory / 2 ** 20)} MiB of memory and ${duration(p.seconds)}.${other}`;
}

/** foresee says on its button how long eight answers take. */
async function foresee(s: Solver, blob: Blob): Promise<void> {
  const plan = await s.plan(blob, request(8)).catch(() => undefined);
  eightButton.textContent = `Eight possible answers${plan ? ` (${duration(plan.seconds)})` : ""}`;
  able(eightButton, true);
}

const duration = (seconds: number) => (seconds < 1 ? "less than a second" : seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} minutes`);

function loading({ file, loaded, total }: LoadProgress): void {
  timeLeft.textContent = `${file === "program" ? "program" : "model"}: ${(loaded / 1e6).toFixed(1)}${total ? ` of ${(total / 1e6).toFixed(1)}` : ""} MB`;
}

function step(p: RestoreProgress): void {
  if (!running) {
    p.preview?.close();
    return;
  }
  if (p.preview) {
    hero.show("after", p.preview);
    if (p.samples > 1) draw(answer(p.sample - 1), p.preview);
    p.preview.close();
  }
  bar.value = p.passes / p.totalPasses;
  timeLeft.textContent = (p.secondsLeft ?? 0) >= 1 ? `about ${duration(p.secondsLeft!)} left` : "";
}

function finished(r: Restoration): void {
  result = r;
  const whole = r.pasted && r.pasted.width * r.pasted.height <= 1 << 22; // a larger one is for saving
  hero.show("after", whole ? r.pasted! : r.image);
  if (whole && r.pasted) { // known pixels are the photo's own
    hero.size(r.pasted.width, r.pasted.height);
    hero.show("before", punched(r));
  }
  for (const button of [saveButton, bothButton]) able(button, true);
  if (!r.samples || !r.certainty) return;
  r.samples.forEach((x, k) => draw(answer(k), canvasOf(x)));
  draw(answer(r.samples.length), canvasOf(r.certainty.mean));
  hero.show("overlay", r.certainty.map);
  if (!field("differ").checked) field("differ").click();
  const share = r.certainty.std.reduce((a, b) => a + b, 0) / r.certainty.std.length / 2;
  $("#differ-hint").textContent = `Coloured where the answers differ; full colour is ${(50 * r.certainty.mapTop).toFixed(0)} % of the way from black to white, the mean ${(100 * share).toFixed(1)} %.`;
  able(eightButton, true);
}

/** punched is a pasted photo with the hole that was filled. */
function punched(r: Restoration): HTMLCanvasElement {
  const canvas = canvasOf(r.pasted!);
  const context = canvas.getContext("2d")!;
  const mask = painter.picture();
  const square = model() === "faces64" ? Math.min(canvas.width, canvas.height) : 0;
  const [w, h] = square ? [square, square] : [canvas.width, canvas.height];
  const hole = document.createElement("canvas");
  hole.width = mask.width;
  hole.height = mask.height;
  const paint = hole.getContext("2d")!;
  const pixels = mask.getContext("2d")!.getImageData(0, 0, mask.width, mask.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i]! < 128 ? 255 : 0;
  paint.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "destination-out";
  context.imageSmoothingEnabled = false;
  context.drawImage(hole, (canvas.width - w) >> 1, (canvas.height - h) >> 1, w, h);
  return canvas;
}

/** answers makes the places of so many possible answers, and of their mean. */
function answers(count: number): void {
  $("#differ-hint").textContent = "";
  $("#choices").replaceChildren(...Array.from({ length: count + 1 }, (_, k) => {
    const label = document.createElement("label");
    const text = k < count ? `Answer ${k + 1}` : "Their mean";
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "answer", value: String(k), checked: k === 0 });
    input.setAttribute("aria-label", text);
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    label.append(input, canvas, Object.assign(document.createElement("small"), { textContent: k < count ? String(k + 1) : "mean" }));
    return label;
  }));
}

const answer = (k: number) => $<HTMLCanvasElement>(`#choices label:nth-child(${k + 1}) canvas`);

function draw(canvas: HTMLCanvasElement, p: CanvasImageSource & { width: number; height: number }): void {
  canvas.width = p.width;
  canvas.height = p.height;
  canvas.getContext("2d")!.drawImage(p, 0, 0);
}

/** watch brings the result into view where the layout has it away from the controls. */
function watch(): void {
  if (matchMedia("(max-width: 60rem)").matches) {
    $("#results").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
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

/** save offers a picture as a file. */
async function save(canvas: HTMLCanvasElement, what: string): Promise<void> {
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (!blob) return say("The picture is too large for this browser to save.", true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${(picture?.name ?? "picture").replace(/\.[^.]*$/, "")}-${what}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** current is the answer that is shown. */
function current(): ImageData {
  const k = Number($<HTMLInputElement>("input[name=answer]:checked")?.value ?? 0);
  return result!.pasted ?? (result!.samples ? (result!.samples[k] ?? result!.certainty!.mean) : result!.image);
}

async function share(): Promise<void> {
  write(state());
  const note = picture?.own ? " It has your settings; your photo is on this device alone." : "";
  try {
    await navigator.clipboard.writeText(location.href);
    say(`The link is copied.${note}`);
  } catch {
    say(`The link is the page's address: ${location.href}.${note}`);
  }
}

/** choice is a radio button with a title and a hint. */
function choice(name: string, value: string, title: string, hint: string, checked: boolean): HTMLElement {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name, value, checked, id: `${name}-${value}` });
  label.append(input, title, Object.assign(document.createElement("small"), { textContent: hint }));
  return label;
}

/** build fills in what is made of data. */
function build(s: State): void {
  $("#samples").append(...Object.entries(files).map(([name, src]) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "sample", value: name, checked: name === s.picture });
    const alt = name.startsWith("face-") ? `Sample face ${Number(name.slice(5))}` : `Sample photograph: ${name}`;
    label.append(input, Object.assign(document.createElement("img"), { src, alt, width: 64, height: 64 }));
    return label;
  }));
  $("#models").append(...models.map((m) => choice("model", m.prior, m.title, m.hint, m.prior === s.model)));
  $("#tasks").append(...offers.map((o) => choice("task", o.name, o.title, o.hint, o.name === s.task)));
  field("size").value = s.size;
  field("seed").value = s.seed;
  offerTasks();
  if (s.model === "faces64") hero.size(1, 1);
  document.documentElement.classList.remove("loading");
}

/** begin restores, or waits for paint where the task wants some. */
function begin(scroll = true): void {
  offerPaint();
  if (scroll) watch();
  if (!isPainted()) return void restore();
  stop();
  write(state());
  const first = shown();
  if (first) { hero.size(first.width, first.height); hero.show("before", first); hero.show("after", first); }
  say("Paint first, then restore.");
}

async function sample(name: string, scroll = true): Promise<void> {
  const response = await fetch(files[name]!);
  if (!response.ok) return say(`${files[name]} answered ${response.status}.`, true);
  $("#chosen").textContent = "It is read here and sent nowhere.";
  if (await choose(await response.blob(), files[name]!.split("/").at(-1)!, false)) begin(scroll);
}

/** suggest chooses the model for a picture: of faces where the browser finds one that fills the frame, else of photographs. */
async function suggest(file: File): Promise<Prior> {
  type Detector = new () => { detect(p: ImageBitmapSource): Promise<{ boundingBox: DOMRectReadOnly }[]> };
  const FaceDetector = (globalThis as { FaceDetector?: Detector }).FaceDetector;
  if (!FaceDetector) return "photos64";
  try {
    const bitmap = await createImageBitmap(file);
    const found = await new FaceDetector().detect(bitmap);
    return found.some(({ boundingBox: b }) => b.width > Math.min(bitmap.width, bitmap.height) / 2) ? "faces64" : "photos64";
  } catch {
    return "photos64"; // the browser's detector is not there after all
  }
}

function choosePrior(prior: Prior): void {
  field(`model-${prior}`).checked = true;
  offerTasks();
}

async function own(file: File): Promise<void> {
  if (!(await choose(file, file.name, true))) return;
  $("#chosen").textContent = `${file.name}, ${picture!.width} × ${picture!.height}. If a face fills the frame, try the model of faces.`;
  document.querySelectorAll<HTMLInputElement>("input[name=sample]").forEach((s) => { s.checked = false; });
  choosePrior(await suggest(file));
  begin();
}

function listen(): void {
  $("#samples").addEventListener("change", (e) => {
    const { value } = e.target as HTMLInputElement;
    choosePrior(value.startsWith("face-") ? "faces64" : "photos64");
    void sample(value);
  });
  field("file").addEventListener("change", () => { const f = field("file").files?.[0]; if (f) void own(f); });
  const drop = $("#drop");
  for (const type of ["dragover", "drop"] as const) document.addEventListener(type, (e) => e.preventDefault());
  document.addEventListener("dragover", () => drop.classList.add("over"));
  for (const type of ["dragleave", "drop"] as const) document.addEventListener(type, () => drop.classList.remove("over"));
  document.addEventListener("drop", (e) => { const f = e.dataTransfer?.files[0]; if (f) void own(f); });
  $("#models").addEventListener("change", () => { offerTasks(); begin(); });
  $("#tasks").addEventListener("change", () => begin());
  field("size").addEventListener("change", () => begin());
  form.addEventListener("submit", (e) => { e.preventDefault(); watch(); void restore(); });
  onClick(stopButton, () => { stop(); say("Stopped."); });
  onClick(eightButton, () => { watch(); void restore(8); });
  onClick(saveButton, () => { if (result) void save(canvasOf(current()), "restored"); });
  onClick(bothButton, () => { if (result) void save(hero.beforeAndAfter(), "before-after"); });
  $("#share").addEventListener("click", () => void share());
  $("#clear").addEventListener("click", () => painter.clear());
  $("#dice").addEventListener("click", () => { field("seed").value = String(Math.floor(Math.random() * 1e6)); void restore(); });
  $("#choices").addEventListener("change", () => { if (result) hero.show("after", current()); });
  field("differ").addEventListener("change", () => { if (field("differ").checked && result?.certainty) hero.show("overlay", result.certainty.map); else hero.hideOverlay(); });
  $("#run").addEventListener("click", () => {
    if (!picture) return;
    const { task, measured } = offer();
    const { mask, kernel, seed } = request(1);
    if (isPainted() && painter.isEmpty) { $("#how-status").textContent = problem()!; return; }
    void explanation.run(picture.blob, { task: measured ? "sr4" : task, ...(seed !== undefined && { seed }), ...(mask && { mask }), ...(kernel && { kernel }) }, field("compute").value as "auto");
  });
}

const start = read(location.hash, Object.keys(files));
build(start);
listen();
await sample(start.picture, false);
// Last, so that it takes nothing from the first picture. Without it the page works, but not offline.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("offline.js").catch(() => {});
