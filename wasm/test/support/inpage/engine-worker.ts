// The engine in a worker, for tests that look below the package: conformance and speed.
import { createEngine, type BenchRequest, type EngineOptions, type VerifyCase } from "../../../npm/src/engine.js";
import { workerThread } from "../../../npm/src/threads.js";

interface Work {
  options: Pick<EngineOptions, "device" | "threads">;
  verify?: { golden: string[]; quick: boolean };
  /** input: the numbers, or how many of a sine. */
  bench?: { model: string; runs: (Omit<BenchRequest, "input"> & { input?: number[] | number })[] };
  /** A run of CMI+DPS on the model; poisoned: with memory full of NaN. */
  restore?: { model: string; poisoned: boolean };
}

addEventListener("message", async ({ data }: MessageEvent<Work>) => {
  try {
    postMessage({ result: await work(data) });
  } catch (e) {
    postMessage({ error: `${(e as { code?: string }).code ?? ""} ${String(e)}`.trim() });
  }
});

async function work({ options, verify, bench, restore }: Work) {
  const at = (name: string) => new URL(`/pkg/${name}`, location.href);
  const engine = await createEngine({
    ...options, wasm: at(verify || restore?.poisoned ? "cmi-verify.wasm" : "cmi.wasm"), simd: { single: at("simd.wasm"), threads: at("simd-threads.wasm") },
    newThread: () => workerThread(new Worker("/pkg/pool.js", { type: "module" })),
  });
  try {
    if (bench) {
      await engine.loadModel(async () => new Uint8Array(await (await fetch(bench.model)).arrayBuffer()));
      const seconds = [], outputs = [];
      for (const { input, ...run } of bench.runs) {
        const values = typeof input === "number" ? Float32Array.from({ length: input }, (_, i) => Math.sin(i * 1.7)) : input && Float32Array.from(input);
        const made = await engine.bench({ ...run, ...(values && { input: values }) });
        seconds.push(made.seconds);
        outputs.push(made.output);
      }
      return { info: engine.info, seconds, outputs };
    }
    if (restore) {
      const model = await engine.loadModel(async () => new Uint8Array(await (await fetch(restore.model)).arrayBuffer()));
      const data = Float32Array.from({ length: model.channels * model.height * model.width }, (_, i) => 0.8 * Math.sin(i / 97));
      const { image } = await engine.restore({ pixels: { data, height: model.height, width: model.width }, task: "inpaint", steps: 4, cmi: true });
      return { info: engine.info, image };
    }
    const golden = new Map<string, Uint8Array>();
    for (const name of verify?.golden ?? []) golden.set(name, new Uint8Array(await (await fetch("/golden/" + name)).arrayBuffer()));
    const failures: VerifyCase[] = [];
    const counts = await engine.verify({ golden, quick: verify?.quick ?? false }, { onCase: (c) => { if (c.status === "fail") failures.push(c); } });
    return { info: engine.info, counts, failures };
  } finally {
    await engine.close();
  }
}
