// The packed tarball in a page without a bundler, with Vite (dev and build) and with webpack; and what the tarball holds.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { open } from "./support/browser.mjs";
import { isolation, serve } from "./support/server.mjs";
import { root } from "./support/paths.mjs";
import { browser } from "./support/site.mjs";

const folder = mkdtempSync(join(tmpdir(), "cmi-bundlers-"));
after(() => rmSync(folder, { recursive: true, force: true }));

// As docs/browser.md has it: what a user writes.
const app = `import { createSolver } from "cmi-diffusion";
try {
  const options = JSON.parse(decodeURIComponent(location.search.slice(1)));
  const solver = await createSolver(options);
  const { image } = await solver.restore("face.png", { task: "sr4", cmi: true, steps: 2 });
  document.title = JSON.stringify({ width: image.width, worker: solver.info.worker, threads: solver.info.threads });
} catch (e) {
  document.title = JSON.stringify({ error: String(e) });
}
`;
const html = (head) => `<!doctype html><html lang="en"><meta charset="utf-8"><title></title>${head}<link rel="icon" href="data:,">`;

let context, packed;
before(async () => {
  packed = JSON.parse(execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: join(root, "wasm", "npm"), encoding: "utf8" }))[0];
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", join(folder, packed.filename)], { cwd: folder });
  cpSync(join(root, "examples", "faces", "01.png"), join(folder, "public", "face.png"), { recursive: true });
  mkdirSync(join(folder, "src"));
  writeFileSync(join(folder, "src", "main.js"), app);
  writeFileSync(join(folder, "index.html"), html(`<script type="module" src="/src/main.js"></script>`));
  context = await browser();
});

/** works opens an app and restores in a worker with a pool of two threads, and in the page. */
async function works(url) {
  for (const [options, want] of [[{ device: "cpu", threads: 2 }, { width: 64, worker: true, threads: 2 }], [{ device: "cpu", threads: 1, worker: false }, { width: 64, worker: false, threads: 1 }]]) {
    const page = await open(context, `${url}/?${encodeURIComponent(JSON.stringify(options))}`);
    await page.waitForFunction(() => document.title, null, { timeout: 90_000 }).catch((e) => { throw new Error(`${e.message}\n${page.log.join("\n")}`); });
    assert.deepEqual(JSON.parse(await page.title()), want, page.log.join("\n"));
    await page.close();
  }
}

test("the tarball holds what is needed, and nothing else", () => {
  const names = packed.files.map((f) => f.path);
  const want = ["LICENSE", "NOTICE", "README.md", "package.json", ...["cmi.wasm", "simd.wasm", "simd-threads.wasm", "faces64.safetensors", "index.js", "local.js", "pool.js", "worker.js", "types/index.d.ts"].map((f) => "dist/" + f)];
  for (const w of want) assert.ok(names.includes(w), `${w} is missing`);
  assert.deepEqual(names.filter((n) => !want.includes(n) && !/^dist\/types\/\w+\.d\.ts$/.test(n)), []);
});

test("types: a user's TypeScript compiles, and a mistake does not", () => {
  const tsc = join(root, "wasm", "npm", "node_modules", ".bin", "tsc");
  const check = (code) => {
    writeFileSync(join(folder, "use.ts"), code);
    execFileSync(tsc, ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "use.ts"], { cwd: folder, encoding: "utf8", stdio: "pipe" });
  };
  const use = (task) => `import { createSolver, DeviceLostError, type Restoration } from "cmi-diffusion";
    const solver = await createSolver({ device: "auto", onProgress: ({ file, loaded }) => console.log(file, loaded) });
    const r: Restoration = await solver.restore(new File([], "x"), { task: ${task}, cmi: { eta: -1 }, onProgress: ({ preview }) => preview?.close() });
    if (r.image.width > 64) throw new DeviceLostError("x");`;
  check(use(`"sr4"`));
  assert.throws(() => check(use(`"sharpen"`)), (e) => /sharpen/.test(e.stdout));
});

test("a page without a bundler", async () => {
  const map = `<script type="importmap">{"imports":{"cmi-diffusion":"/node_modules/cmi-diffusion/dist/index.js"}}</script><script type="module" src="/src/main.js"></script>`;
  const server = await serve({ "/node_modules/": join(folder, "node_modules"), "/src/": join(folder, "src"), "/face.png": () => ({ body: readFileSync(join(folder, "public", "face.png")), type: "image/png" }), "/": () => ({ body: html(map) }) }, isolation);
  try {
    await works(server.url);
  } finally {
    await server.close();
  }
});

const viteConfig = { root: folder, configFile: false, logLevel: "error", optimizeDeps: { exclude: ["cmi-diffusion"] }, server: { port: 0, host: "127.0.0.1", headers: isolation }, build: { target: "es2022", outDir: join(folder, "vite") } };

test("Vite, dev server", async () => {
  const { createServer } = await import("vite");
  const server = await createServer(viteConfig);
  try {
    await server.listen();
    await works(`http://localhost:${server.httpServer.address().port}`);
  } finally {
    await server.close();
  }
});

test("Vite, build", async () => {
  const { build } = await import("vite");
  await build(viteConfig);
  const server = await serve({ "/": join(folder, "vite") }, isolation);
  try {
    await works(server.url);
  } finally {
    await server.close();
  }
});

test("examples/web, as docs/browser.md has it copied", async () => {
  const { build } = await import("vite");
  const example = join(folder, "example");
  cpSync(join(root, "examples", "web"), example, { recursive: true });
  await build({ root: example, logLevel: "error" });
  const server = await serve({ "/": join(example, "dist") }, isolation);
  try {
    const page = await open(context, server.url + "/");
    const status = (pattern) => page.waitForFunction((p) => new RegExp(p).test(document.querySelector("#status").textContent), pattern, { timeout: 90_000 });
    await page.locator("#file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
    await status("notes.txt");
    await page.getByLabel("A photo of a face").setInputFiles(join(folder, "public", "face.png"));
    await status("^Step [2-9] of 100");
    const painted = await page.$eval("#canvas", (c) => new Set(c.getContext("2d").getImageData(0, 0, 64, 64).data).size);
    assert.ok(painted > 20, `${painted} levels in the preview`);
    await page.close();
  } finally {
    await server.close();
  }
});

test("webpack", async () => {
  const { default: webpack } = await import("webpack");
  const out = join(folder, "webpack");
  const stats = await new Promise((resolve, reject) => webpack({ mode: "production", context: folder, entry: "./src/main.js", output: { path: out, filename: "main.js" }, performance: { hints: false } }, (e, s) => (e ? reject(e) : resolve(s))));
  assert.ok(!stats.hasErrors(), stats.toString("errors-only"));
  cpSync(join(folder, "public", "face.png"), join(out, "face.png"));
  writeFileSync(join(out, "index.html"), html(`<script type="module" src="main.js"></script>`));
  const server = await serve({ "/": out }, isolation);
  try {
    await works(server.url);
  } finally {
    await server.close();
  }
});
