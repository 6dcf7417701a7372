// Runs a test binary, compiled to WebAssembly, in a worker of Chromium that has a GPU: node gotest.mjs BINARY ARGUMENT…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { options } from "../../npm/build.mjs";
import { launch, open } from "./browser.mjs";
import { root } from "./paths.mjs";
import { serve } from "./server.mjs";

const wasm = join(root, "wasm");
const { build } = createRequire(join(wasm, "npm", "package.json"))("esbuild");
const [binary, ...args] = process.argv.slice(2);
const worker = `
import { Go } from "./npm/src/wasm_exec.js";
import { openGPU } from "./npm/src/gpu.ts";
const notes = [];
let gpu;
for (let k = 0; k < 10 && !(gpu = await openGPU(true, notes)); k++) await new Promise((again) => setTimeout(again, 1000));
if (!gpu) throw new Error(notes.join("; "));
globalThis.gpuForTests = gpu.bridge;
const go = new Go();
go.argv = ["driver.test", ...${JSON.stringify(args)}];
go.exit = (code) => postMessage(code);
const { instance } = await WebAssembly.instantiate(await (await fetch("/driver.wasm")).arrayBuffer(), go.importObject);
await go.run(instance);
`;
const { outputFiles } = await build({ ...options, stdin: { contents: worker, resolveDir: wasm }, write: false });
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
