import { blank, show, type Picture } from "./draw.js";

/** Two pictures over one another, a slider between them. */
export class Compare {
  private readonly left = document.querySelector<HTMLSelectElement>("#left")!;
  private readonly right = document.querySelector<HTMLSelectElement>("#right")!;
  private readonly split = document.querySelector<HTMLInputElement>("#split")!;
  private pictures = new Map<string, { picture: Picture; smooth: boolean }>();

  constructor(names: Record<string, string>) {
    for (const select of [this.left, this.right]) {
      select.append(...Object.entries(names).map(([value, text]) => new Option(text, value)));
      select.addEventListener("change", () => this.draw());
    }
    this.left.value = "measurement";
    this.right.value = "cmi";
    const move = () => this.split.parentElement!.style.setProperty("--split", `${this.split.value}%`);
    this.split.addEventListener("input", move);
    move();
  }

  clear(): void {
    this.pictures.clear();
    this.draw();
  }

  set(name: string, picture: Picture, smooth: boolean): void {
    this.pictures.set(name, { picture, smooth });
    if (this.left.value === name || this.right.value === name) this.draw();
  }

  private draw(): void {
    for (const [select, id] of [[this.left, "#left-view"], [this.right, "#right-view"]] as const) {
      const canvas = document.querySelector<HTMLCanvasElement>(id)!;
      const one = this.pictures.get(select.value);
      canvas.style.imageRendering = one && !one.smooth ? "pixelated" : "auto";
      if (one) show(canvas, one.picture, one.smooth);
      else blank(canvas);
    }
  }
}
