// The recipes of docs/browser.md, from the packed tarball: React in StrictMode, another origin, an extension.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { before, test } from "node:test";
import { binary, flags, open } from "./support/browser.mjs";
import { install, recipe } from "./support/packed.mjs";
import { root } from "./support/paths.mjs";
import { serve } from "./support/server.mjs";
import { browser, cleanup } from "./support/site.mjs";

const { folder } = install();
const own = join(folder, "node_modules", "cmi-diffusion");
const face = readFileSync(join(root, "examples", "faces", "01.png"));
const head = `<!doctype html><html lang="en"><meta charset="utf-8"><title>recipe</title><link rel="icon" href="data:,">`;
const picture = { "/face.png": () => ({ body: face, type: "image/png" }) };

let context;
before(async () => { context = await browser({ gpu: false }); });

/** painted waits until the recipe's canvas has a picture. */
const painted = (page) => page.waitForFunction(() => {
  const canvas = document.querySelector("canvas");
  return canvas && new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).size > 20;
}, null, { timeout: 120_000 }).catch((e) => { throw new Error(`${e.message}\n${page.log.join("\n")}`); });

test("React in StrictMode: one of its two solvers is left, and unmounting closes it", async () => {
  const { createServer } = await import("vite");
  const app = join(folder, "react");
  mkdirSync(join(app, "src"), { recursive: true });
  writeFileSync(join(app, "src", "restored.jsx"), recipe("restored.jsx"));
  writeFileSync(join(app, "src", "main.jsx"), `import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import Restored from "./restored.jsx";
globalThis.tree = createRoot(document.querySelector("#app"));
tree.render(<StrictMode><Restored picture="/face.png" /></StrictMode>);
`);
  writeFileSync(join(app, "index.html"), `${head}<div id="app"></div><script type="module" src="/src/main.jsx"></script>`);
  mkdirSync(join(app, "public"));
  writeFileSync(join(app, "public", "face.png"), face);
  const require = createRequire(import.meta.url);
  const react = (name) => require.resolve(name);
  const server = await createServer({
    root: app, configFile: false, logLevel: "error", server: { port: 0, host: "127.0.0.1", fs: { strict: false } }, cacheDir: join(app, "cache"),
    resolve: { alias: Object.fromEntries(["react/jsx-dev-runtime", "react/jsx-runtime", "react-dom/client", "react"].map((n) => [n, react(n)])) },
  });
  try {
    await server.listen();
    const page = await open(context, `http://localhost:${server.httpServer.address().port}/`);
    await painted(page);
    await page.waitForFunction(() => document.body.textContent.includes("Done"));
    const workers = () => page.workers().filter((w) => /worker/.test(w.url())).length;
    assert.equal(workers(), 1);
    await page.evaluate(() => tree.unmount());
    for (let i = 0; i < 50 && workers() > 0; i++) await page.waitForTimeout(100);
    assert.equal(workers(), 0);
    assert.deepEqual(page.log.filter((l) => l.startsWith("error")), []);
    await page.close();
  } finally {
    await server.close();
  }
});

test("a page that imports the package from another origin", async () => {
  const cdn = await serve({ "/cmi-diffusion/": own }, { "access-control-allow-origin": "*" });
  cleanup(cdn.close);
  const site = await serve({ ...picture, "/": () => ({ body: `${head}<canvas width="64" height="64"></canvas>${recipe("cdn.html").replaceAll("https://cdn.example", cdn.url)}` }) });
  cleanup(site.close);
  const page = await open(context, site.url + "/");
  await painted(page);
  assert.ok(cdn.requests.includes("/cmi-diffusion/dist/worker.js"), cdn.requests.join());
  assert.deepEqual(page.log.filter((l) => l.startsWith("error")), []);
  await page.close();
});

test("an extension computes in its page, with threads, and its service worker says why it can't", async () => {
  const { chromium } = await import("playwright-core");
  const extension = join(folder, "extension");
  cpSync(own, join(extension, "cmi-diffusion"), { recursive: true });
  writeFileSync(join(extension, "face.png"), face);
  writeFileSync(join(extension, "manifest.json"), recipe("manifest.json"));
  writeFileSync(join(extension, "background.js"), `import { createSolver } from "./cmi-diffusion/dist/index.js";
globalThis.answer = createSolver().catch((e) => e.code + ": " + e.message);
`);
  writeFileSync(join(extension, "page.html"), `${head}<script type="module" src="page.js"></script>`);
  writeFileSync(join(extension, "page.js"), `import { createSolver } from "./cmi-diffusion/dist/index.js";
try {
  const solver = await createSolver({ device: "cpu", threads: 2 });
  const { image } = await solver.restore("face.png", { steps: 2 });
  document.title = JSON.stringify({ width: image.width, worker: solver.info.worker, threads: solver.info.threads });
} catch (e) {
  document.title = JSON.stringify({ error: String(e) });
}
`);
  const profile = join(folder, "profile");
  const instance = await chromium.launchPersistentContext(profile, { executablePath: binary, headless: false, args: [...flags, "--headless=new", `--disable-extensions-except=${extension}`, `--load-extension=${extension}`] });
  try {
    const service = instance.serviceWorkers()[0] ?? (await instance.waitForEvent("serviceworker", { timeout: 60_000 }));
    assert.match(await service.evaluate(() => globalThis.answer), /^UNSUPPORTED: a service worker can't/);
    const page = await open(instance, new URL("page.html", service.url()).href);
    await page.waitForFunction(() => document.title.startsWith("{"), null, { timeout: 120_000 }).catch((e) => { throw new Error(`${e.message}\n${page.log.join("\n")}`); });
    assert.deepEqual(JSON.parse(await page.title()), { width: 64, worker: true, threads: 2 }, page.log.join("\n"));
  } finally {
    await instance.close();
  }
});
