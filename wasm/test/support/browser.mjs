// A real Chromium for tests, without a window, WebGPU on a software adapter.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

export const binary = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

export const flags = [
  "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--enable-blink-features=ForceEagerMeasureMemory",
];
// On a busy machine the software adapter may not answer in time: that is no reason to end it.
const webgpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-gpu-watchdog", "--disable-gpu-process-crash-limit"];
const noWebgpu = ["--disable-features=WebGPU,WebGPUService", "--disable-gpu"];

// One browser with WebGPU and one without, each until its last context is closed.
const running = new Map();

/** launch gives a browser context with storage of its own; gpu: false takes WebGPU away. */
export async function launch({ gpu = true, ...options } = {}) {
  if (!binary) throw new Error("no Chromium found: install the package chromium or set CHROMIUM to its path");
  const shared = running.get(gpu) ?? { contexts: 0, browser: chromium.launch({ executablePath: binary, headless: true, args: [...flags, ...(gpu ? webgpu : noWebgpu)] }) };
  running.set(gpu, shared);
  shared.contexts++;
  const context = await (await shared.browser).newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const close = context.close.bind(context);
  context.close = async () => {
    context.close = async () => {};
    await close();
    if (--shared.contexts > 0) return;
    running.delete(gpu);
    await (await shared.browser).close();
  };
  return context;
}

/** open gives a page whose console and errors are kept in page.log. */
export async function open(context, url) {
  const page = await context.newPage();
  page.log = [];
  page.on("console", (m) => page.log.push(`${m.type()}: ${m.text()}`));
  page.on("pageerror", (e) => page.log.push(`error: ${e.message}`));
  if (url) await page.goto(url);
  return page;
}
