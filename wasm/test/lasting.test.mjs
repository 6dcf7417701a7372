// What goes wrong around the package, and what must not: stopped workers, lost devices, long use, strict pages.
import assert from "node:assert/strict";
import { test, before, afterEach } from "node:test";
import { psnr } from "./support/compare.mjs";
import { isolation } from "./support/server.mjs";
import { browser, ready, site } from "./support/site.mjs";

let context, page, server;
before(async () => {
  server = await site();
  context = await browser();
  page = await ready(context, server.url);
});
afterEach(async () => { for (const p of context.pages()) await p.evaluate(() => globalThis.closeAll?.()); });

/** start begins a long restoration in the page; outcome gives how it ended. */
async function start(options) {
  await page.evaluate(async (options) => {
    globalThis.s = await solver(options);
    const begun = new Promise((resolve) => {
      globalThis.running = failure(face(1).then((f) => s.restore(f, { steps: 500, onProgress(p) { p.preview?.close(); resolve(); } })));
    });
    await begun;
  }, options);
}

const workers = () => page.workers().filter((w) => /worker\.js/.test(w.url()));

for (const [how, crash] of [["fails", () => { setTimeout(() => { throw new Error("boom"); }); }], ["ends without a word", () => { close(); }]]) {
  test(`a worker that ${how} is a typed error, and the next call has a new one`, async () => {
    await start({});
    const [worker] = workers();
    await worker.evaluate(crash).catch(() => {}); // it may be gone before it answers
    const r = await page.evaluate(async () => ({ error: await running, again: (await s.restore(await face(1), { steps: 2 })).image.width }));
    assert.deepEqual([r.error?.name, r.error?.code, r.again], ["WorkerError", "WORKER", 64]);
  });
}

/** onGPU restores on WebGPU; before it or after the first step the page says something to the worker's devices (see inpage/spy.js). */
const onGPU = (options, say, after = 1, count = 3) => page.evaluate(async ([options, say, after, count]) => {
  const spy = new BroadcastChannel("spy");
  const tell = (message) => new Promise((done) => { spy.onmessage = done; spy.postMessage(message); });
  const changes = [], steps = [];
  const s = await solver({ device: "webgpu", workerURL: "/test/spy-worker.js", onDeviceChange: (info) => changes.push(info), ...options });
  const onProgress = ({ step, preview }) => {
    preview.close();
    steps.push(step);
    if (say && step === after) tell(say);
  };
  const f = await face(1);
  let values = [];
  if (say && after === 0) await tell(say);
  const error = await failure(async () => { values = [...(await s.restore(f, { steps: count, seed: 2, onProgress })).values]; });
  const { info } = s;
  await tell({ adapters: true });
  const again = error && (await s.restore(f, { steps: 2 })).image.width;
  const { device } = s.info;
  await s.close(); // another solver's worker would listen too
  return { error, values, steps, changes, info, again, device };
}, [options, say, after, count]);

test("a device that is lost in mid-run: the same picture on a new one, on the processor, or a typed error", async (t) => {
  const want = await onGPU({});
  const db = (v) => psnr(v, want.values);
  assert.deepEqual([want.error, want.steps, want.changes], [null, [1, 2, 3], []]);

  await t.test("on a new one", async () => {
    const r = await onGPU({}, { lose: true });
    assert.deepEqual([r.error, r.steps, r.changes.map((c) => c.device)], [null, [1, 2, 3], ["webgpu"]]);
    assert.deepEqual(r.values, want.values);
    assert.match(r.info.notes.at(-1), /the GPU was lost.*; going on from the last finished step on .*WebGPU/);
    assert.deepEqual(r.changes[0], r.info);
  });
  await t.test("on the processor", async () => {
    const r = await onGPU({ fallback: "cpu" }, { lose: true, adapters: false });
    assert.deepEqual([r.error, r.steps, r.changes.map((c) => c.device), r.info.device], [null, [1, 2, 3], ["cpu"], "cpu"]);
    assert.ok(db(r.values) >= 60, `${db(r.values)} dB from the undisturbed picture`);
    assert.match(r.info.notes.at(-1), /the GPU was lost.*; going on from the last finished step on WebAssembly SIMD/);
  });
  await t.test("between two calls", async () => {
    const r = await onGPU({ fallback: "cpu" }, { lose: true, adapters: false }, 0, 2);
    assert.deepEqual([r.error, r.steps, r.changes.map((c) => c.device)], [null, [1, 2], ["cpu"]]);
  });
  await t.test("a typed error, and the next call opens the device again", async () => {
    const r = await onGPU({}, { lose: true, adapters: false });
    assert.deepEqual([r.error?.name, r.error?.code, r.changes, r.again, r.device], ["DeviceLostError", "DEVICE_LOST", [], 64, "webgpu"]);
    assert.match(r.error.message, /the GPU was lost.*no adapter/);
  });
});

test("closing ends what runs, and the worker", async () => {
  await start({});
  assert.equal(workers().length, 1);
  const error = await page.evaluate(async () => { await s.close(); return running; });
  assert.equal(error.code, "CLOSED");
  for (let i = 0; i < 50 && workers().length > 0; i++) await page.waitForTimeout(100);
  assert.equal(workers().length, 0);
});

test("50 runs do not grow", async () => {
  const isolated = await ready(context, (await site(isolation)).url); // where memory can be measured, workers and all
  const [early, late] = await isolated.evaluate(async () => {
    const s = await solver();
    const f = await face(1);
    const total = async () => (await performance.measureUserAgentSpecificMemory()).bytes;
    const runs = async (n) => { for (let i = 0; i < n; i++) await s.restore(f, { steps: 2, seed: i, cmi: i % 2 === 0, onProgress: (p) => p.preview.close() }); };
    await runs(10);
    const early = await total();
    await runs(50);
    return [early, await total()];
  });
  await isolated.close();
  assert.ok(late - early < 4e6, `${((late - early) / 1e6).toFixed(1)} MB more after 50 runs (${(early / 1e6).toFixed(0)} MB before)`);
});

test("the page is never stopped for more than 50 ms", async () => {
  let tasks;
  for (let attempt = 0; attempt < 3; attempt++) { // another program may hold the processor: what is ours returns every time
    const quiet = await ready(context, server.url);
    tasks = await quiet.evaluate(async () => {
      const seen = [];
      new PerformanceObserver((list) => seen.push(...list.getEntries().map((e) => e.duration))).observe({ type: "longtask" });
      const s = await solver();
      await s.restore(await face(1), { steps: 10, cmi: true, onProgress: (p) => p.preview.close() });
      await new Promise((done) => setTimeout(done, 200));
      return seen;
    });
    await quiet.close();
    if (tasks.length === 0) return;
  }
  assert.deepEqual(tasks, []);
});

test("the observer of long tasks does see one", async () => {
  const seen = await page.evaluate(() => new Promise((resolve) => {
    new PerformanceObserver((list) => resolve(list.getEntries().length)).observe({ type: "longtask" });
    setTimeout(() => { const end = performance.now() + 120; while (performance.now() < end); });
  }));
  assert.ok(seen >= 1);
});

test("the model is fetched once, and a second visit has it from the cache", async () => {
  const fresh = await site({ "cache-control": "no-store" }); // the browser's own cache is out of it
  const asked = () => fresh.requests.filter((r) => r.endsWith(".safetensors")).length;
  for (let visit = 0; visit < 2; visit++) {
    const p = await ready(context, fresh.url);
    await p.evaluate(async () => { await (await solver()).restore(await face(1), { steps: 2 }); await closeAll(); });
    await p.close();
  }
  assert.equal(asked(), 1);
});

test("what is loaded works offline", async () => {
  await page.evaluate(async () => { globalThis.s = await solver(); globalThis.f = await face(1); });
  await context.setOffline(true);
  try {
    assert.equal(await page.evaluate(async () => (await s.restore(f, { steps: 2 })).image.width), 64);
  } finally {
    await context.setOffline(false);
  }
});

test("a strict Content-Security-Policy suffices, and the package asks its own host alone", async () => {
  const strict = await site({ "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src 'self' blob:" });
  const asked = [];
  context.on("request", (r) => { if (!/^(blob|data):/.test(r.url())) asked.push(new URL(r.url()).origin); });
  const p = await ready(context, strict.url);
  const r = await p.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
    const width = (await (await solver()).restore(await face(1), { steps: 2, cmi: true })).image.width;
    return { violations, width };
  });
  await p.close();
  assert.deepEqual(r, { violations: [], width: 64 });
  assert.deepEqual([...new Set(asked)], [strict.url]);
});

test("with isolation headers it has threads, without them it says why not", async () => {
  const p = await ready(context, (await site(isolation)).url);
  const [a, b] = [await p.evaluate(async () => {
    const s = await solver({ threads: 2 });
    const f = await face(2);
    const one = await solver({ threads: 1 });
    const o = { steps: 4, cmi: true };
    return { info: s.info, db: psnr((await s.restore(f, o)).values, (await one.restore(f, o)).values) };
  }), await page.evaluate(async () => (await solver({ threads: 2 })).info)];
  await p.close();
  assert.deepEqual([a.info.isolated, a.info.threads], [true, 2]);
  assert.ok(!(a.db < 60), `two threads are ${a.db} dB from one`);
  assert.deepEqual([b.isolated, b.threads], [false, 1]);
  assert.match(b.notes.join(" "), /isolated.*Cross-Origin-Opener-Policy/);
});

test("f16 where there is none is f32, and a note says so", async () => {
  const r = await page.evaluate(async () => {
    const open = async (device) => {
      const { info } = await solver({ device, precision: "f16" });
      return [info.precision, info.notes.filter((n) => n.includes("f16")).length];
    };
    return { cpu: await open("cpu"), webgpu: await open("webgpu"), error: await failure(solver({ precision: "f64" })) };
  });
  assert.deepEqual([r.cpu, r.webgpu], [["f32", 1], ["f32", 1]]); // SwiftShader has no f16
  assert.deepEqual([r.error?.name, r.error?.code], ["InputError", "BAD_INPUT"]);
});

test("without WebGPU, auto computes on the processor and webgpu is a typed error", async () => {
  const without = await browser({ gpu: false });
  const p = await ready(without, server.url);
  const r = await p.evaluate(async () => {
    const auto = await solver({ device: "auto" });
    return { device: auto.info.device, notes: auto.info.notes.join(" "), error: await failure(solver({ device: "webgpu" })) };
  });
  assert.equal(r.device, "cpu");
  assert.match(r.notes, /WebGPU/);
  assert.deepEqual([r.error?.name, r.error?.code], ["UnsupportedError", "UNSUPPORTED"]);
});
