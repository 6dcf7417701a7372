// Runs a test binary of this package in a worker of Chromium: node run_test.mjs BINARY ARGUMENT…
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const wasm = join(dirname(fileURLToPath(import.meta.url)), "../../../../wasm");
const { build } = await import(join(wasm, "npm/node_modules/esbuild/lib/main.js"));
const { launch, open } = await import(join(wasm, "test/support/browser.mjs"));
const { serve } = await import(join(wasm, "test/support/server.mjs"));

const [binary, ...args] = process.argv.slice(2);
const glue = join(execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim(), "lib/wasm/wasm_exec.js");
const worker = `
import ${JSON.stringify(glue)};
import { openGPU } from ${JSON.stringify(join(wasm, "npm/src/gpu.ts"))};
const notes = [];
const gpu = await openGPU(true, notes);
if (!gpu) throw new Error(notes.join("; "));
globalThis.gpuForTests = gpu.bridge;
const go = new Go();
go.argv = ["driver.test", ...${JSON.stringify(args)}];
go.exit = (code) => postMessage(code);
const { instance } = await WebAssembly.instantiate(await (await fetch("/driver.wasm")).arrayBuffer(), go.importObject);
await go.run(instance);
`;
const { outputFiles } = await build({ stdin: { contents: worker, resolveDir: wasm }, bundle: true, format: "esm", target: "es2022", write: false });
const files = {
  "/": { body: "<!doctype html><title>driver test</title>" },
  "/worker.js": { body: outputFiles[0].text, type: "text/javascript" },
  "/driver.wasm": { body: readFileSync(binary), type: "application/wasm" },
};
const server = await serve({ "/": (path) => files[path] ?? { body: "", status: 404 } });
const browser = await launch();
let code = 1;
try {
  const page = await open(browser, server.url);
  page.on("console", (m) => console.log(m.text()));
  code = await page.evaluate(() => new Promise((resolve, reject) => {
    const w = new Worker("/worker.js", { type: "module" });
    w.onmessage = (e) => resolve(e.data);
    w.onerror = (e) => reject(new Error(e.message));
  }));
} finally {
  await browser.close();
  await server.close();
}
process.exit(code);
