// The packed tarball in a page without a bundler, with Vite (dev and build) and with webpack; and what the tarball holds.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { open } from "./support/browser.mjs";
import { isolation, serve } from "./support/server.mjs";
import { blocks, install, recipe } from "./support/packed.mjs";
import { root } from "./support/paths.mjs";
import { browser } from "./support/site.mjs";

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

let context;
const { folder, packed, tarball } = install();
before(async () => {
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
  const want = ["LICENSE", "NOTICE", "README.md", "package.json", ...["cmi.wasm", "simd.wasm", "simd-threads.wasm", "faces64.safetensors", "photos64.safetensors", "index.js", "local.js", "pool.js", "worker.js", "types/index.d.ts"].map((f) => "dist/" + f)];
  for (const w of want) assert.ok(names.includes(w), `${w} is missing`);
  assert.deepEqual(names.filter((n) => !want.includes(n) && !/^dist\/types\/\w+\.d\.ts$/.test(n)), []);
});

/** typed compiles a user's TypeScript. */
const tsc = join(root, "wasm", "npm", "node_modules", ".bin", "tsc");
const typed = (files, module = "esnext", moduleResolution = "bundler") => {
  for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, name), code);
  execFileSync(tsc, ["--noEmit", "--strict", "--target", "es2022", "--module", module, "--moduleResolution", moduleResolution, ...Object.keys(files)], { cwd: folder, encoding: "utf8", stdio: "pipe" });
};

test("types: a user's TypeScript compiles, and a mistake does not", () => {
  const use = (task) => `import { createSolver, DeviceLostError, type Restoration } from "cmi-diffusion";
    import "cmi-diffusion/worker";
    import "cmi-diffusion/pool";
    const solver = await createSolver({ device: "auto", onProgress: ({ file, loaded }) => console.log(file, loaded) });
    const r: Restoration = await solver.restore(new File([], "x"), { task: ${task}, cmi: { eta: -1 }, onProgress: ({ preview }) => preview?.close() });
    if (r.image.width > 64) throw new DeviceLostError("x");`;
  typed({ "use.ts": use(`"sr4"`) });
  typed({ "use.ts": use(`"sr4"`) }, "nodenext", "nodenext");
  assert.throws(() => typed({ "use.ts": use(`"sharpen"`) }), (e) => /sharpen/.test(e.stdout));
});

test("the examples of the docs compile, with the page's own names declared", () => {
  const names = { file: "File", photo: "Blob", canvas: "HTMLCanvasElement", context: "CanvasRenderingContext2D", controller: "AbortController", signal: "AbortSignal", onProgress: "(p: RestoreProgress) => void", solver: "Solver" };
  const examples = ["README.md", "wasm/npm/README.md", "docs/browser.md"].flatMap((document) => blocks(document)
    .filter(({ language, code }) => ["js", "ts"].includes(language) && /createSolver|solver\./.test(code))
    .map(({ code }, i) => [document.replace(/\W/g, "-") + `-${i}.ts`, code]));
  assert.ok(examples.length >= 4, `${examples.length} examples`);
  typed(Object.fromEntries(examples.map(([name, code]) => {
    const own = Object.entries(names).filter(([n]) => !new RegExp(`const ${n}\\b`).test(code)).map(([n, type]) => `declare const ${n}: ${type};`);
    return [name, `import type { RestoreProgress, Solver } from "cmi-diffusion";\n${own.join("\n")}\n${code}\nexport {};`];
  })));
});

test("publint and attw find nothing", () => {
  const tool = (name, ...args) => execFileSync(join(root, "wasm", "test", "node_modules", ".bin", name), args, { cwd: folder, encoding: "utf8", stdio: "pipe" });
  assert.match(tool("publint", "run", tarball, "--strict"), /All good/);
  // It is an ES module alone, which CommonJS gets by import().
  tool("attw", tarball, "--profile", "esm-only"); // its exit code counts the problems
});

test("a page without a bundler", async () => {
  const server = await serve({ "/node_modules/": join(folder, "node_modules"), "/src/": join(folder, "src"), "/face.png": () => ({ body: readFileSync(join(folder, "public", "face.png")), type: "image/png" }), "/": () => ({ body: html(recipe("importmap.html")) }) }, isolation);
  try {
    await works(server.url);
  } finally {
    await server.close();
  }
});

const viteConfig = { root: folder, configFile: false, logLevel: "error", server: { port: 0, host: "127.0.0.1", headers: isolation }, build: { target: "es2022", outDir: join(folder, "vite") } };

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
