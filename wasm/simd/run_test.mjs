// Runs a test binary of this package in node:
//
//	GOOS=js GOARCH=wasm go test -exec "node $PWD/wasm/simd/run_test.mjs" ./wasm/simd
//
// CMI_THREADS is the number of threads, 1 if it is not set; CMI_GOROOT is Go's.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { execFileSync } from "node:child_process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const here = path.dirname(fileURLToPath(import.meta.url));

if (isMainThread) {
  await main();
} else {
  const { module, memory, thread } = workerData;
  const kernels = (await WebAssembly.instantiate(module, { env: { memory } })).exports;
  parentPort.postMessage("ready");
  kernels.help(thread);
}

async function main() {
  const threads = Number(process.env.CMI_THREADS || 1);
  const file = path.join(here, threads > 1 ? "simd-threads.wasm" : "simd.wasm");
  const module = await WebAssembly.compile(fs.readFileSync(file));
  const memory = new WebAssembly.Memory(threads > 1 ? { initial: 65, maximum: 65536, shared: true } : { initial: 65 });
  const kernels = (await WebAssembly.instantiate(module, { env: { memory } })).exports;
  kernels.start(threads, 1);
  await Promise.all(Array.from({ length: threads - 1 }, (_, i) => new Promise((resolve) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { module, memory, thread: i + 1 } });
    worker.once("message", () => {
      worker.unref();
      resolve();
    });
  })));

  const require = createRequire(import.meta.url);
  Object.assign(globalThis, { require, fs, path });
  require(path.join(process.env.CMI_GOROOT ?? execFileSync("go", ["env", "GOROOT"]).toString().trim(), "lib/wasm/wasm_exec.js"));
  const go = new Go();
  go.argv = process.argv.slice(2);
  go.env = { TMPDIR: os.tmpdir(), ...process.env };
  go.exit = process.exit;
  let instance;
  const program = () => instance.exports.mem.buffer;
  const view = (buffer, at, bytes) => new Uint8Array(buffer, at >>> 0, bytes);
  const cmi = {
    run: kernels.run,
    alloc: kernels.alloc,
    held: kernels.held,
    free: (at) => { kernels.free(at); return 0; },
    copyIn: (to, from, bytes) => { view(memory.buffer, to, bytes).set(view(program(), from, bytes)); return 0; },
    copyOut: (to, from, bytes) => { view(program(), to, bytes).set(view(memory.buffer, from, bytes)); return 0; },
  };
  instance = (await WebAssembly.instantiate(fs.readFileSync(process.argv[2]), { ...go.importObject, cmi })).instance;
  process.on("exit", (code) => { // node ends where no event is pending
    if (code === 0 && !go.exited) {
      go._pendingEvent = { id: 0 }; // a deadlock: Go prints it
      go._resume();
    }
  });
  await go.run(instance);
}
