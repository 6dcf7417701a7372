// Runs the engine itself in a worker of a page.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { options } from "../../npm/build.mjs";
import { root } from "./paths.mjs";

/** bundle builds the worker into a folder, to be served as /engine/; remove deletes it. */
export async function bundle() {
  const folder = mkdtempSync(join(tmpdir(), "cmi-engine-"));
  const { build } = createRequire(join(root, "wasm", "npm", "package.json"))("esbuild");
  await build({ ...options, entryPoints: [join(root, "wasm", "test", "support", "inpage", "engine-worker.ts")], outfile: join(folder, "worker.js") });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** work has a worker of the page do something and gives its answer. */
export function work(page, request, script = "/engine/worker.js") {
  return page.evaluate(([request, script]) => new Promise((resolve, reject) => {
    const worker = new Worker(script, { type: "module" });
    worker.onmessage = ({ data }) => {
      worker.terminate();
      if (data.error) reject(new Error(data.error));
      else resolve(data.result);
    };
    worker.onerror = (e) => reject(new Error(e.message));
    worker.postMessage(request);
  }), [request, script]);
}
