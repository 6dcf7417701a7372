// What the package promises of a restoration, on the processor.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test, before, afterEach } from "node:test";
import { root } from "./support/paths.mjs";
import { browser, ready, site } from "./support/site.mjs";

let page, server;
before(async () => {
  server = await site({}, { "/formats/": join(root, "testdata", "golden", "formats") });
  page = await ready(await browser(), server.url);
});
afterEach(() => page.evaluate(() => closeAll()));

test("a file is restored, with progress, previews and a file of the result", async () => {
  const r = await page.evaluate(async () => {
    const loads = [], steps = [], previews = [];
    const s = await solver({ onProgress: (p) => loads.push(p) });
    const result = await s.restore(await face(1), {
      task: "sr4", cmi: true, steps: 6,
      onProgress({ preview, ...p }) { steps.push(p); previews.push([preview instanceof ImageBitmap, preview?.width]); preview?.close(); },
    });
    const blob = await result.blob();
    const back = await createImageBitmap(blob);
    return {
      info: s.info, loads, steps, previews, blob: [blob.type, back.width], size: [result.image.width, result.image.height],
      measurement: [result.measurement.width, result.measurement.height], truth: result.truth.width, values: [result.values.length, result.values.every(Number.isFinite)],
      passes: result.passes, seconds: result.seconds, cmi: result.cmi,
    };
  });
  assert.deepEqual([r.info.device, r.info.worker, r.info.threads, r.info.model.width], ["cpu", true, 1, 64]);
  for (const file of ["program", "model"]) {
    const last = r.loads.filter((l) => l.file === file).at(-1);
    assert.ok(last.loaded > 1e6 && last.loaded === last.total, `${file}: ${JSON.stringify(last)}`);
  }
  assert.deepEqual(r.steps.map((p) => p.step), [1, 2, 3, 4, 5, 6]);
  assert.ok(r.steps.every((p) => p.steps === 6 && Number.isFinite(p.residual)), JSON.stringify(r.steps));
  assert.ok(r.steps.at(-1).information > 0 && r.steps.at(-1).secondsLeft === 0, JSON.stringify(r.steps.at(-1)));
  assert.ok(r.steps.slice(2).every((p, i) => p.passes > r.steps[i + 1].passes), "passes do not grow");
  assert.equal(r.steps.at(-1).passes, r.passes);
  assert.equal(r.cmi, "fidelity");
  assert.deepEqual(r.previews, Array(6).fill([true, 64]));
  assert.deepEqual([r.blob, r.size, r.measurement, r.truth], [["image/png", 64], [64, 64], [16, 16], 64]);
  assert.deepEqual(r.values, [3 * 64 * 64, true]);
});

test("every kind of source gives the same picture", async () => {
  const same = await page.evaluate(async () => {
    const s = await solver();
    const file = await face(2);
    const bitmap = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const off = new OffscreenCanvas(64, 64);
    off.getContext("2d").drawImage(bitmap, 0, 0);
    const image = new Image();
    image.src = "/faces/02.png";
    await image.decode();
    const sources = { blob: new Blob([file]), bitmap, canvas, off, image, data: canvas.getContext("2d").getImageData(0, 0, 64, 64), url: "/faces/02.png", absolute: new URL("/faces/02.png", location.href) };
    const want = (await s.restore(file, { steps: 2 })).values;
    const out = {};
    for (const [name, source] of Object.entries(sources)) {
      const { values } = await s.restore(source, { steps: 2 });
      out[name] = values.every((v, i) => v === want[i]);
    }
    return { ...out, bitmapIsWhole: bitmap.width === 64 };
  });
  assert.ok(Object.values(same).every(Boolean), JSON.stringify(same));
});

test("the same seed gives the same picture, another seed another one; cmi changes it", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(3);
    const run = async (o) => (await s.restore(f, { steps: 4, task: "inpaint", ...o })).values;
    const first = await run({ seed: 5 });
    const equal = (v) => v.every((x, i) => x === first[i]);
    return [equal(await run({ seed: 5 })), equal(await run({ seed: 6 })), equal(await run({ seed: 5, cmi: true })), equal(await run({ seed: 5n }))];
  });
  assert.deepEqual(r, [true, false, false, true]);
});

test("in the page the same picture as in the worker", async () => {
  const db = await page.evaluate(async () => {
    const f = await face(4);
    const [a, b] = [await solver(), await solver({ worker: false })];
    const o = { steps: 2, seed: 3, previewEvery: 1, onProgress: (p) => p.preview.close() };
    const [x, y] = [await a.restore(f, o), await b.restore(f, o)];
    return [b.info.worker, x.values.every((v, i) => v === y.values[i])];
  });
  assert.deepEqual(db, [false, true]);
});

test("a painted mask and an own kernel", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(5);
    const paint = new OffscreenCanvas(64, 64);
    paint.getContext("2d").fillRect(16, 8, 20, 30); // black on transparent: a hole
    const masked = await s.restore(f, { task: "mask", mask: paint, steps: 4, sigmaY: 0.01 });
    const alpha = (x, y) => masked.measurement.data[4 * (64 * y + x) + 3];
    const outside = [], t = masked.truth;
    for (let i = 0; i < 64 * 64; i++) if (alpha(i % 64, i >> 6)) outside.push(Math.abs(masked.measurement.data[4 * i] - t.data[4 * i]));
    const numbers = await s.restore(f, { task: "kernel", kernel: { data: [0, 0, 0, 0, 4, 4, 0, 0, 0], width: 3, height: 3 }, border: "circular", steps: 2 });
    const grey = new ImageData(3, 3);
    for (const i of [4, 5]) grey.data.fill(255, 4 * i, 4 * i + 3);
    const picture = await s.restore(f, { task: "kernel", kernel: grey, border: "circular", steps: 2 });
    return { hole: alpha(20, 20), known: alpha(5, 5), holes: 4096 - outside.length, near: Math.max(...outside), kernels: picture.values.every((v, i) => v === numbers.values[i]) };
  });
  assert.deepEqual([r.hole, r.known, r.holes, r.kernels], [0, 255, 600, true]);
  assert.ok(r.near < 12, `the known pixels are ${r.near} away`); // noise of 0.01 on [−1, 1] is 1.3 grey levels
});

test("a measurement of one's own, and a larger picture", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const small = new OffscreenCanvas(16, 16);
    small.getContext("2d").drawImage(await createImageBitmap(await face(6)), 0, 0, 16, 16);
    const up = await s.restore(small, { task: "sr4", measured: true, steps: 2 });
    const large = new OffscreenCanvas(300, 200);
    large.getContext("2d").drawImage(await createImageBitmap(await face(6)), 50, 0, 200, 200);
    const cropped = await s.restore(large, { steps: 2 });
    const exact = await failure(s.restore(large, { steps: 2, fit: "exact" }));
    const degraded = await s.measure(large, {});
    return {
      up: [up.image.width, up.measurement.width, up.truth === undefined], cropped: [cropped.image.width, cropped.truth.width], exact,
      measured: degraded.measurement.data.every((v, i) => v === cropped.measurement.data[i]),
    };
  });
  assert.deepEqual([r.up, r.cropped, r.measured], [[64, 16, true], [64, 64], true]);
  assert.match(r.exact.message, /300 × 200.*64 × 64/);
});

test("a signal stops within a step, before and while it runs, and the solver goes on", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(7);
    const before = await failure(s.restore(f, { signal: AbortSignal.abort() }));
    const stop = new AbortController();
    let last = 0;
    const during = await failure(s.restore(f, { steps: 200, signal: stop.signal, onProgress(p) { last = p.step; p.preview?.close(); if (p.step === 3) stop.abort(new Error("enough")); } }));
    const stop2 = new AbortController();
    const waiting = [failure(s.restore(f, { steps: 20 })), failure(s.restore(f, { steps: 200, signal: stop2.signal }))];
    stop2.abort();
    const queued = await Promise.all(waiting);
    return { before, during, last, queued, again: (await s.restore(f, { steps: 2 })).image.width };
  });
  assert.equal(r.before.name, "AbortError");
  assert.equal(r.during.message, "enough");
  assert.ok(r.last <= 4, `step ${r.last} was taken after the signal at step 3`);
  assert.deepEqual([r.queued[0], r.queued[1].name, r.again], [null, "AbortError", 64]);
});

test("loading stops when the signal says so", async () => {
  const r = await page.evaluate(async () => {
    const stop = new AbortController();
    return failure(solver({ cache: false, signal: stop.signal, onProgress: () => stop.abort() }));
  });
  assert.equal(r.name, "AbortError");
});

test("wrong inputs are refused by type and name what was found", async () => {
  const cases = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(8);
    const text = new File(["not a picture"], "notes.txt", { type: "text/plain" });
    const closed = await createImageBitmap(f);
    closed.close();
    const out = {};
    const calls = {
      text: () => s.restore(text), number: () => s.restore(42), nothing: () => s.restore(undefined), closed: () => s.restore(closed),
      missing: () => s.restore("/faces/99.png"), task: () => s.restore(f, { task: "sharpen" }), method: () => s.restore(f, { method: "magic" }),
      steps: () => s.restore(f, { steps: 0 }), manySteps: () => s.restore(f, { steps: 5000 }), half: () => s.restore(f, { steps: 2.5 }), sigma: () => s.restore(f, { sigmaY: -1 }), nan: () => s.restore(f, { sigmaY: NaN }),
      seed: () => s.restore(f, { seed: -1 }), fraction: () => s.restore(f, { seed: 0.5 }), eta: () => s.restore(f, { cmi: { eta: Infinity } }), choice: () => s.restore(f, { cmi: "sharp" }), weights: () => s.restore(f, { cmi: { choice: "paper", eta: 2 } }), maskless: () => s.restore(f, { task: "mask" }), mask: () => s.restore(f, { mask: new OffscreenCanvas(64, 64) }),
      black: () => { const c = new OffscreenCanvas(64, 64); c.getContext("2d").fillRect(0, 0, 64, 64); return s.restore(f, { task: "mask", mask: c }); },
      even: () => s.restore(f, { task: "kernel", kernel: { data: [1, 1, 1, 1], width: 2, height: 2 } }), short: () => s.restore(f, { task: "kernel", kernel: { data: [1], width: 3, height: 3 } }),
      fit: () => s.restore(f, { fit: "cover" }), border: () => s.restore(f, { task: "kernel", kernel: { data: [1], width: 1, height: 1 }, border: "wrap" }), device: () => solver({ device: "tpu" }), fallback: () => solver({ fallback: "gpu" }), threads: () => solver({ threads: -1 }), both: () => solver({ modelURL: "/x", modelFile: text }),
      model: () => solver({ modelFile: text }), modelURL: () => solver({ modelURL: "/nowhere.safetensors" }), page: () => solver({ modelURL: "/" }), wasm: () => solver({ wasmPaths: "/nowhere/" }), worker: () => solver({ workerURL: "/nowhere.js" }),
      functions: () => s.restore(f, { cmi: { eta: () => 1 } }),
    };
    for (const [name, call] of Object.entries(calls)) out[name] = await failure(call);
    out.after = (await s.restore(f, { steps: 2 })).image.width;
    await s.close();
    out.isClosed = await failure(s.restore(f));
    return out;
  });
  const { after, ...failures } = cases;
  assert.equal(after, 64);
  const codes = { missing: "NETWORK", modelURL: "NETWORK", page: "NETWORK", wasm: "NETWORK", worker: "WORKER", model: "BAD_MODEL", isClosed: "CLOSED" };
  for (const [name, e] of Object.entries(failures)) {
    assert.ok(e?.typed, `${name}: ${JSON.stringify(e)}`);
    assert.equal(e.code, codes[name] ?? "BAD_INPUT", `${name}: ${JSON.stringify(e)}`);
    assert.ok(!e.message.includes("\n") && e.message.length > 15, `${name}: ${e.message}`);
  }
  const says = { text: /notes\.txt/, number: /42/, task: /sharpen/, steps: /0/, sigma: /-1/, choice: /sharp/, weights: /choice paper sets eta/, even: /2/, short: /1/, missing: /404/, page: /web page/, device: /tpu/, fallback: /gpu/, worker: /worker/ };
  for (const [name, pattern] of Object.entries(says)) assert.match(failures[name].message, pattern, name);
});

test("two solvers at once", async () => {
  const r = await page.evaluate(async () => {
    const [a, b] = await Promise.all([solver(), solver()]);
    const f = await face(1);
    const alone = (await a.restore(f, { steps: 4 })).values;
    const [x, y] = await Promise.all([a.restore(f, { steps: 4 }), b.restore(f, { steps: 4 })]);
    await a.close();
    const z = await b.restore(f, { steps: 4 });
    return [x, y, z].map((o) => o.values.every((v, i) => v === alone[i]));
  });
  assert.deepEqual(r, [true, true, true]);
});

test("a custom model from a file and from an address, cached", async () => {
  const asked = () => server.requests.filter((p) => p.endsWith("other.safetensors")).length;
  await page.route("**/other.safetensors", async (route) => { server.requests.push("/other.safetensors"); await route.continue({ url: server.url + "/pkg/faces64.safetensors" }); });
  const r = await page.evaluate(async () => {
    const f = await face(1);
    const run = async (o) => { const s = await solver(o); return (await s.restore(f, { steps: 2 })).values; };
    const want = await run();
    const file = new File([await (await fetch("/pkg/faces64.safetensors")).blob()], "mine.safetensors");
    const all = [await run({ modelFile: file }), await run({ modelURL: "/other.safetensors" }), await run({ modelURL: "/other.safetensors" })];
    return all.map((v) => v.every((x, i) => x === want[i]));
  });
  assert.deepEqual([r, asked()], [[true, true, true], 1]);
});

test("a class-conditional model in EDM's format", async () => {
  const r = await page.evaluate(async () => {
    const modelFile = await (await fetch("/formats/edm-ncsnpp/model.pkl")).blob();
    const run = async (modelConfig) => {
      const s = await solver({ modelFile, modelConfig });
      const { values } = await s.restore(await face(1), { steps: 2, fit: "crop" });
      return [s.info.model.width, values.length, values.every(Number.isFinite), Array.from(values.slice(0, 100))];
    };
    const refused = async (modelConfig) => { try { await run(modelConfig); return "no error"; } catch (e) { return `${e.code}: ${e.message}`; } };
    return { one: await run({ class: 1 }), two: await run({ class: 2 }), none: await refused(undefined), wrong: await refused({ class: 7 }) };
  });
  assert.deepEqual(r.one.slice(0, 3), [16, 3 * 16 * 16, true]);
  assert.notDeepEqual(r.one[3], r.two[3]);
  assert.match(r.none, /class-conditional/);
  assert.match(r.wrong, /BAD_MODEL.*classes 0/);
});
