/** One line of a chart; `name` is also its class in the style sheet. */
export interface Series {
  name: string;
  label: string;
}

interface Point { step: number; value: number }

const [width, height] = [360, 180];
const margin = { left: 44, right: 14, top: 26, bottom: 24 };
const namespace = "http://www.w3.org/2000/svg";

/** A line chart of values per step that grows while it is watched. */
export class Chart {
  private readonly svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  private readonly points = new Map<string, Point[]>();
  private steps = 1;
  private scheduled = false;

  constructor(host: HTMLElement, private readonly what: string, private readonly series: Series[]) {
    host.append(this.svg);
    this.clear(1);
  }

  clear(steps: number): void {
    this.steps = steps;
    for (const s of this.series) this.points.set(s.name, []);
    this.schedule();
  }

  add(name: string, step: number, value: number): void {
    this.points.get(name)!.push({ step, value });
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.draw(); });
  }

  private draw(): void {
    const all = [...this.points.values()].flat().map((p) => p.value);
    const top = niceCeiling(Math.max(...all, 1e-9));
    const x = (step: number) => margin.left + ((step - 1) / Math.max(this.steps - 1, 1)) * (width - margin.left - margin.right);
    const y = (value: number) => height - margin.bottom - (value / top) * (height - margin.top - margin.bottom);
    const parts: SVGElement[] = [];
    for (const value of all.length ? [0, top / 2, top] : [0]) {
      parts.push(element("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) }),
        element("text", { x: margin.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
    parts.push(element("text", { x: margin.left, y: height - 6 }, "step 1"), element("text", { x: width - margin.right, y: height - 6, "text-anchor": "end" }, String(this.steps)));
    this.series.forEach((s, i) => {
      const points = this.points.get(s.name)!;
      if (!points.length) return;
      parts.push(element("path", { class: `line ${s.name}`, d: points.map((p, i) => `${i ? "L" : "M"}${x(p.step).toFixed(1)} ${y(p.value).toFixed(1)}`).join("") }));
      // The legend stands above, where no line is and nothing is cut.
      const from = margin.left + i * 110;
      parts.push(element("path", { class: `line ${s.name}`, d: `M${from} 10h22` }), element("text", { class: s.name, x: from + 28, y: 14 }, s.label));
    });
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("aria-label", this.summary());
  }

  /** summary says in words what the chart shows. */
  private summary(): string {
    const lines = this.series.flatMap((s) => {
      const p = this.points.get(s.name)!;
      return p.length ? [`${s.label}: ${number(p[0]!.value)} at step ${p[0]!.step}, ${number(p.at(-1)!.value)} at step ${p.at(-1)!.step} of ${this.steps}`] : [];
    });
    return lines.length ? `${this.what}. ${lines.join("; ")}.` : `${this.what}. No values yet.`;
  }
}

function element(name: string, attributes: Record<string, string | number>, text?: string): SVGElement {
  const e = document.createElementNS(namespace, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, String(v));
  if (text !== undefined) e.textContent = text;
  return e;
}

function number(v: number): string {
  return v === 0 ? "0" : v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toPrecision(2);
}

function niceCeiling(v: number): number {
  const power = 10 ** Math.floor(Math.log10(v));
  return power * [1, 2, 4, 6, 8, 10].find((k) => k * power >= v * 0.999)!;
}
