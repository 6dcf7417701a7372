/** What is painted on, and with what. */
export interface Canvas {
  width: number; // painted pixels
  height: number;
  backdrop?: CanvasImageSource | undefined; // shown below
  ground: string; // the colour of what is not painted, as the solver takes it
  ink: string;
  shown: string; // the colour of paint on the screen
  help: string;
}

/**
 * Painting with a pointer or with keys: arrows move a cursor, Space paints, Shift with an arrow
 * draws a line.
 */
export class Painter {
  private readonly context: CanvasRenderingContext2D;
  private paper = document.createElement("canvas");
  private sheet: Canvas | undefined;
  private cursor = { x: 0, y: 0 };
  private last: { x: number; y: number } | undefined;
  onChange: () => void = () => {};

  constructor(private readonly canvas: HTMLCanvasElement, private readonly brush: HTMLInputElement, private readonly help: HTMLElement) {
    this.context = canvas.getContext("2d")!;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this.last = undefined;
      this.stroke(this.place(e));
    });
    canvas.addEventListener("pointermove", (e) => { if (canvas.hasPointerCapture(e.pointerId)) this.stroke(this.place(e)); });
    canvas.addEventListener("pointerup", () => this.onChange());
    canvas.addEventListener("keydown", (e) => this.key(e));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
  }

  /** open takes a new sheet; what was painted stays if its size does. */
  open(sheet: Canvas): void {
    const keep = this.sheet?.width === sheet.width && this.sheet.height === sheet.height && this.sheet.ink === sheet.ink && this.sheet.backdrop === sheet.backdrop;
    this.sheet = sheet;
    this.help.textContent = sheet.help;
    if (!keep) this.clear();
    this.draw();
  }

  clear(): void {
    if (!this.sheet) return;
    this.paper.width = this.sheet.width;
    this.paper.height = this.sheet.height;
    this.cursor = { x: this.sheet.width / 2, y: this.sheet.height / 2 };
    this.draw();
  }

  get isEmpty(): boolean {
    return !this.paper.getContext("2d")!.getImageData(0, 0, this.paper.width, this.paper.height).data.some((v, i) => i % 4 === 3 && v > 127);
  }

  /** picture is what was painted, on its ground. */
  picture(): HTMLCanvasElement {
    const out = document.createElement("canvas");
    out.width = this.paper.width;
    out.height = this.paper.height;
    const context = out.getContext("2d")!;
    context.fillStyle = this.sheet!.ground;
    context.fillRect(0, 0, out.width, out.height);
    context.drawImage(this.paper, 0, 0);
    return out;
  }

  private place(e: PointerEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.sheet!.width / box.width;
    return { x: (e.clientX - box.left) * scale, y: (e.clientY - box.top) * scale };
  }

  private stroke(to: { x: number; y: number }): void {
    const { ink } = this.sheet!;
    const context = this.paper.getContext("2d")!;
    context.strokeStyle = ink;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (Number(this.brush.value) * Math.max(this.paper.width, this.paper.height)) / 64;
    context.beginPath();
    const from = this.last ?? to;
    context.moveTo(from.x, from.y);
    context.lineTo(to.x + 1e-3, to.y);
    context.stroke();
    this.cursor = this.last = to;
    this.draw();
  }

  private key(e: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[e.key];
    if (e.key === " ") {
      this.last = undefined;
      this.stroke(this.cursor);
      this.onChange();
    } else if (move) {
      const { width, height } = this.sheet!;
      const by = Math.max(width, height) / 32;
      const to = { x: Math.min(width, Math.max(0, this.cursor.x + move[0] * by)), y: Math.min(height, Math.max(0, this.cursor.y + move[1] * by)) };
      if (e.shiftKey) {
        this.last = this.cursor;
        this.stroke(to);
        this.onChange();
      }
      this.cursor = to;
      this.draw();
    } else return;
    e.preventDefault();
  }

  private draw(): void {
    if (!this.sheet) return;
    const { width, height, backdrop, shown } = this.sheet;
    const scale = 512 / Math.max(width, height);
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    this.canvas.width = w;
    this.canvas.height = h;
    const context = this.context;
    if (backdrop) context.drawImage(backdrop, 0, 0, w, h);
    const paint = document.createElement("canvas");
    paint.width = width;
    paint.height = height;
    const tint = paint.getContext("2d")!;
    tint.drawImage(this.paper, 0, 0);
    tint.globalCompositeOperation = "source-in";
    tint.fillStyle = shown;
    tint.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(paint, 0, 0, w, h);
    if (document.activeElement !== this.canvas) return;
    const [x, y] = [this.cursor.x * scale, this.cursor.y * scale];
    for (const [colour, lineWidth] of [["#fff", 4], ["#000", 1.5]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = lineWidth;
      context.beginPath();
      context.arc(x, y, 9, 0, 7);
      context.stroke();
    }
  }
}
