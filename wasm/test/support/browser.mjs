// A real Chromium for tests, without a window, WebGPU on a software adapter.
import { existsSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const binary = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

const flags = [
  "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--enable-blink-features=ForceEagerMeasureMemory",
];
const webgpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const noWebgpu = ["--disable-features=WebGPU,WebGPUService", "--disable-gpu"];

/** launch gives a browser context with a profile of its own; gpu: false takes WebGPU away. */
export async function launch({ gpu = true, ...options } = {}) {
  if (!binary) throw new Error("no Chromium found: install the package chromium or set CHROMIUM to its path");
  const profile = mkdtempSync(join(tmpdir(), "cmi-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: binary, headless: true, args: [...flags, ...(gpu ? webgpu : noWebgpu)], viewport: { width: 1280, height: 900 }, ...options,
  });
  const close = context.close.bind(context);
  context.close = async () => { await close(); rmSync(profile, { recursive: true, force: true }); };
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
