// One thread of the pool: computes on the shared memory until it is terminated.
import type { Kernels } from "./simd.js";
import type { ThreadStart } from "./threads.js";

addEventListener("message", async (e: MessageEvent<ThreadStart>) => {
  const { module, memory, thread } = e.data;
  const instance = await WebAssembly.instantiate(module, { env: { memory } });
  postMessage("ready");
  (instance.exports as unknown as Kernels).help(thread);
}, { once: true });
