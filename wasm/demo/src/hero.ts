import { canvasOf, type Picture } from "./draw.js";

/** The picture before and after over one another, a slider between them, and a map over the one after. */
export class Hero {
  private readonly stage = document.querySelector<HTMLElement>("#stage")!;
  private readonly split = document.querySelector<HTMLInputElement>("#split")!;
  private readonly canvases = Object.fromEntries(["before", "after", "overlay"].map((id) => [id, document.querySelector<HTMLCanvasElement>("#" + id)!])) as Record<"before" | "after" | "overlay", HTMLCanvasElement>;

  constructor() {
    const move = () => this.stage.style.setProperty("--split", `${this.split.value}%`);
    this.split.addEventListener("input", move);
    move();
  }

  /** size gives the stage a picture's shape; a small one is shown enlarged. */
  size(width: number, height: number): void {
    this.stage.style.setProperty("--shape", `${width} / ${height}`);
    this.stage.style.setProperty("--tall", String(width / height));
    this.stage.style.setProperty("--wide", `${Math.max(width, 640)}px`);
  }

  show(which: "before" | "after" | "overlay", picture: Picture, smooth = true): void {
    const canvas = this.canvases[which];
    const source = picture instanceof ImageData ? canvasOf(picture) : picture;
    // A small picture is enlarged once, smoothly, rather than by the page's layout.
    const scale = smooth ? Math.max(1, Math.ceil(640 / source.width)) : 1;
    canvas.width = source.width * scale;
    canvas.height = source.height * scale;
    canvas.style.imageRendering = smooth ? "auto" : "pixelated";
    const context = canvas.getContext("2d")!;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
    if (which === "overlay") canvas.hidden = false;
  }

  hideOverlay(): void {
    this.canvases.overlay.hidden = true;
  }

  /** picture gives what is shown as one picture, beside each other with their names. */
  beforeAndAfter(): HTMLCanvasElement {
    const { before, after } = this.canvases;
    const [width, height, gap] = [after.width, after.height, 12];
    const out = document.createElement("canvas");
    out.width = 2 * width + gap;
    out.height = height;
    const context = out.getContext("2d")!;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, out.width, height);
    context.imageSmoothingEnabled = before.style.imageRendering !== "pixelated";
    context.drawImage(before, 0, 0, width, height);
    context.drawImage(after, width + gap, 0, width, height);
    context.font = `600 ${Math.round(Math.max(14, height / 22))}px system-ui, sans-serif`;
    for (const [text, x] of [["Before", 0], ["After", width + gap]] as const) {
      const wide = context.measureText(text).width, tall = Math.max(14, height / 22);
      context.fillStyle = "rgb(0 0 0 / .65)";
      context.fillRect(x, 0, wide + tall, tall * 1.8);
      context.fillStyle = "#fff";
      context.fillText(text, x + tall / 2, tall * 1.25);
    }
    return out;
  }
}
