// What an embedder does with the package: another origin, strict pages, workers of other kinds, wrong options, the cache.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, before, test } from "node:test";
import { open } from "./support/browser.mjs";
import { dist, root } from "./support/paths.mjs";
import { isolation } from "./support/server.mjs";
import { browser, ready, site } from "./support/site.mjs";

let context, page, server;
before(async () => {
  server = await site();
  context = await browser();
  page = await ready(context, server.url);
});
afterEach(async () => { for (const p of context.pages()) await p.evaluate(() => globalThis.closeAll?.()); });

/** plainPage is a page that loads nothing by itself, with headers of choice. */
const plainPage = (headers = {}) => ({ "/plain": () => ({ body: `<!doctype html><html lang="en"><meta charset="utf-8"><title>plain</title>`, headers }) });

/** fromElsewhere imports the package from an address into a page and restores there. */
const fromElsewhere = (p, address, options, picture = "/faces/01.png") => p.evaluate(async ([address, options, picture]) => {
  const { createSolver } = await import(address);
  const s = await createSolver({ device: "cpu", ...options });
  try {
    const { image } = await s.restore(picture, { steps: 2 });
    return { width: image.width, worker: s.info.worker, threads: s.info.threads, notes: s.info.notes.join("; ") };
  } finally {
    await s.close();
  }
}, [address, options, picture]);

/** cdn serves the package at another origin, as a content delivery network does; files replaces some. */
const cdn = (files = {}) => site({ "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" }, files);

test("imported from another origin it starts its worker, and its threads where the page is isolated", async () => {
  const { url } = await cdn();
  const plain = await fromElsewhere(page, url + "/pkg/index.js", { threads: 2 });
  assert.deepEqual([plain.width, plain.worker, plain.threads], [64, true, 1]);
  const isolated = await open(context, (await site(isolation)).url + "/");
  const threaded = await fromElsewhere(isolated, url + "/pkg/index.js", { threads: 2 });
  assert.deepEqual(threaded, { width: 64, worker: true, threads: 2, notes: "" });
  const inPage = await fromElsewhere(isolated, url + "/pkg/index.js", { threads: 2, worker: false });
  assert.deepEqual([inPage.width, inPage.worker, inPage.threads], [64, false, 2]);
  await isolated.close();
});

test("where threads can't be started there is one, and a note says why", async () => {
  const { url } = await cdn({ "/pkg/pool.js": () => ({ body: "gone", status: 404, type: "text/plain", headers: { "access-control-allow-origin": "*" } }) });
  const isolated = await open(context, (await site(isolation)).url + "/");
  const r = await fromElsewhere(isolated, url + "/pkg/index.js", { threads: 2 });
  assert.deepEqual([r.width, r.worker, r.threads], [64, true, 1]);
  assert.match(r.notes, /one thread: .*pool\.js/);
  const moved = await fromElsewhere(isolated, url + "/pkg/index.js", { threads: 2, poolURL: server.url + "/pkg/pool.js" });
  assert.match(moved.notes, /one thread: /); // that server allows no other origin
  const there = await fromElsewhere(isolated, url + "/pkg/index.js", { threads: 2, poolURL: "/pkg/pool.js" });
  assert.deepEqual([there.threads, there.notes], [2, ""]);
  await isolated.close();
});

test("nothing is kept that did not load: a web page with status 200 under the model's address", async () => {
  let broken = true;
  const flaky = await site({ "cache-control": "no-store" }, {
    "/flaky/": (path) => broken
      ? { body: path.includes("bytes") ? "no model at all" : "<!doctype html><title>Sign in</title>", type: "application/octet-stream" }
      : { body: readFileSync(join(dist, path.endsWith(".wasm") ? path.split("/").at(-1) : "faces64.safetensors")), type: "application/octet-stream" },
  });
  const p = await ready(context, flaky.url);
  const attempt = (o) => p.evaluate(async (o) => ({ error: await failure(async () => { await (await solver(o)).close(); }), kept: (await (await caches.open("cmi-diffusion")).keys()).map((r) => new URL(r.url).pathname) }), o);
  const models = ["/flaky/page.safetensors", "/flaky/bytes.safetensors"];
  for (const [modelURL, code] of [[models[0], "NETWORK"], [models[1], "BAD_MODEL"]]) {
    const { error, kept } = await attempt({ modelURL });
    assert.deepEqual([error?.code, kept.includes(modelURL)], [code, false], JSON.stringify(error));
  }
  const wasm = await attempt({ wasmPaths: { program: "/flaky/cmi.wasm" } });
  assert.equal(wasm.error?.code, "NETWORK", JSON.stringify(wasm.error));
  broken = false;
  for (const modelURL of models) {
    const { error, kept } = await attempt({ modelURL });
    assert.deepEqual([error, kept.includes(modelURL)], [null, true]);
  }
  assert.equal((await attempt({ wasmPaths: { program: "/flaky/cmi.wasm" } })).error, null);
  await p.close();
});

test("what is in the cache and does not load is fetched anew", async () => {
  const asked = () => server.requests.filter((r) => r === "/faces64.safetensors" || r === "/pkg/faces64.safetensors").length;
  await page.evaluate(async () => {
    const cache = await caches.open("cmi-diffusion");
    await cache.put("/pkg/faces64.safetensors?mine", new Response("no model at all"));
  });
  const before = asked();
  const r = await page.evaluate(async () => {
    const s = await solver({ modelURL: "/pkg/faces64.safetensors?mine" });
    const kept = await (await caches.open("cmi-diffusion")).match("/pkg/faces64.safetensors?mine");
    return [(await s.restore(await face(1), { steps: 2 })).image.width, (await kept.arrayBuffer()).byteLength > 1e6];
  });
  assert.deepEqual([r, asked() - before], [[64, true], 1]);
});

test("program and model are fetched once; versions of one origin leave each other's caches alone; clearCache empties its own", async () => {
  const fresh = await site({ "cache-control": "no-store" });
  const asked = (name) => fresh.requests.filter((r) => r.endsWith(name)).length;
  for (let visit = 0; visit < 2; visit++) {
    const p = await ready(context, fresh.url);
    await p.evaluate(async () => {
      await caches.open("cmi-diffusion@0.0.9"); // what an earlier version had
      await caches.open("somebody-else");
      await solver();
      await closeAll();
    });
    await p.close();
  }
  assert.deepEqual([asked("cmi.wasm"), asked(".safetensors")], [1, 1]);
  const p = await ready(context, fresh.url);
  const names = await p.evaluate(async () => {
    const before = await caches.keys();
    await cmi.clearCache();
    return [before.sort(), (await caches.keys()).sort()];
  });
  assert.deepEqual(names, [["cmi-diffusion", "cmi-diffusion@0.0.9", "somebody-else"], ["cmi-diffusion@0.0.9", "somebody-else"]]);
  await p.evaluate(async () => { await solver(); await closeAll(); });
  assert.deepEqual([asked("cmi.wasm"), asked(".safetensors")], [2, 2]);
  await p.close();
});

test("another build's program is not taken from the cache", async () => {
  const fresh = await site({ "cache-control": "no-store" });
  const p = await ready(context, fresh.url);
  const width = await p.evaluate(async () => {
    const cache = await caches.open("cmi-diffusion");
    await cache.put("/pkg/cmi.wasm", new Response(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]), { headers: { "cmi-diffusion-build": "0.0.9-0123456789abcdef" } }));
    return (await (await solver()).restore(await face(1), { steps: 2 })).image.width;
  });
  assert.deepEqual([width, fresh.requests.filter((r) => r.endsWith("cmi.wasm")).length], [64, 1]);
  await p.close();
});

for (const worker of [true, false]) {
  test(`a queued call is aborted at once, ${worker ? "in a worker" : "in the page"}`, async () => {
    const r = await page.evaluate(async (worker) => {
      const s = await solver({ worker });
      const f = await face(1);
      const stop = new AbortController();
      let first = "running", queued;
      const onProgress = ({ step, preview }) => {
        preview?.close();
        if (step === 1) queued = failure(s.restore(f, { steps: 20, signal: stop.signal }));
        if (step === 3) stop.abort(new Error("not any more"));
      };
      const stopped = new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
      const running = s.restore(f, { steps: 20, onProgress }).then(() => { first = "done"; });
      await stopped;
      const error = await queued;
      const then = first;
      await running;
      return { error: error.message, then, first, after: (await s.restore(f, { steps: 2 })).image.width };
    }, worker);
    assert.deepEqual(r, { error: "not any more", then: "running", first: "done", after: 64 });
  });
}

test("a call is aborted at once while its picture is opened, in the page", async () => {
  const error = await page.evaluate(async () => {
    const s = await solver({ worker: false });
    const f = await face(1);
    const open = globalThis.createImageBitmap;
    const stop = new AbortController();
    try {
      globalThis.createImageBitmap = () => new Promise(() => {}); // never opens it
      const call = failure(s.restore(f, { steps: 2, signal: stop.signal }));
      const never = new Promise((resolve) => setTimeout(resolve, 20_000, { message: "it still waits" }));
      setTimeout(() => stop.abort(new Error("not any more")), 100);
      return await Promise.race([call, never]);
    } finally {
      globalThis.createImageBitmap = open;
    }
  });
  assert.equal(error.message, "not any more");
});

test("bytes, responses and video frames are pictures too", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const file = await face(2);
    const bytes = await file.arrayBuffer();
    const shifted = new Uint8Array(bytes.byteLength + 7);
    shifted.set(new Uint8Array(bytes), 7);
    const canvas = new OffscreenCanvas(64, 64);
    canvas.getContext("2d").drawImage(await createImageBitmap(file), 0, 0);
    const frame = new VideoFrame(canvas, { timestamp: 0 });
    const want = (await s.restore(file, { steps: 2 })).values;
    const same = async (source) => (await s.restore(source, { steps: 2 })).values.every((v, i) => v === want[i]);
    const out = { buffer: await same(bytes), view: await same(shifted.subarray(7)), response: await same(await fetch("/faces/02.png")), frame: await same(frame), whole: bytes.byteLength > 0 && frame.codedWidth === 64 };
    const used = await fetch("/faces/02.png");
    await used.blob();
    frame.close();
    return { out, used: await failure(s.restore(used)), missing: await failure(s.restore(await fetch("/nowhere.png"))), closed: await failure(s.restore(frame)), empty: await failure(s.restore(new ArrayBuffer(0))), noise: await failure(s.restore(new Uint8Array([1, 2, 3]))) };
  });
  assert.deepEqual(r.out, { buffer: true, view: true, response: true, frame: true, whole: true });
  assert.deepEqual([r.used.code, r.missing.code, r.closed.code, r.empty.code, r.noise.code], ["BAD_INPUT", "NETWORK", "BAD_INPUT", "BAD_INPUT", "BAD_INPUT"]);
  assert.match(r.used.message, /02\.png has been read.*clone/);
  assert.match(r.missing.message, /nowhere\.png answered 404/);
});

test("no raw error: wrong options and pictures are named", async () => {
  const failures = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(1);
    const circle = {};
    circle.me = circle;
    const calls = {
      address: () => s.restore("http://["), maskAddress: () => s.restore(f, { task: "mask", mask: "http://[" }), modelAddress: () => solver({ modelURL: "http://[" }),
      wasmAddress: () => solver({ wasmPaths: "http://[" }), workerAddress: () => solver({ workerURL: "http://[" }), poolAddress: () => solver({ poolURL: "http://[" }),
      noOptions: () => cmi.createSolver(null), text: () => cmi.createSolver("cpu"), noRestoreOptions: () => s.restore(f, null), noMeasureOptions: () => s.measure(f, null),
      unknown: () => solver({ devcie: "cpu" }), unknownCMI: () => s.restore(f, { cmi: { etta: -1 } }), caseCMI: () => s.restore(f, { cmi: { ETA: -1 } }), unknownRestore: () => s.restore(f, { step: 3 }), unknownMeasure: () => s.measure(f, { tsak: "sr4" }),
      cmiText: () => s.restore(f, { cmi: "yes" }), nullMask: () => s.restore(f, { task: "mask", mask: null }), progress: () => s.restore(f, { onProgress: 5 }), signal: () => s.restore(f, { signal: 5 }),
      config: () => solver({ modelConfig: circle }), configText: () => solver({ modelConfig: "x" }), factory: () => solver({ workerFactory: 5 }),
      heic: async () => (await s.restore(f, { steps: 2 })).blob("image/heic"),
    };
    const out = {};
    for (const [name, call] of Object.entries(calls)) out[name] = await failure(call);
    const some = await s.restore(f, { steps: 2, mask: null, cmi: null, signal: null });
    out.webp = (await some.blob("image/webp", 0.8)).type;
    return out;
  });
  const { webp, ...errors } = failures;
  assert.equal(webp, "image/webp");
  for (const [name, e] of Object.entries(errors)) {
    assert.ok(e?.typed, `${name}: ${JSON.stringify(e)}`);
    assert.equal(e.code, name === "heic" ? "UNSUPPORTED" : "BAD_INPUT", `${name}: ${JSON.stringify(e)}`);
  }
  const says = {
    address: /the picture is "http:\/\/\["/, maskAddress: /the mask is "http/, modelAddress: /modelURL/, wasmAddress: /wasmPaths/, workerAddress: /workerURL/, poolAddress: /poolURL/, noOptions: /createSolver are null/, noRestoreOptions: /restore are null/,
    unknown: /"devcie".*device/, unknownCMI: /cmi has no option "etta".*eta/, caseCMI: /"ETA"/, unknownRestore: /"step".*steps/, unknownMeasure: /"tsak"/, nullMask: /without a mask/, cmiText: /"yes"/, heic: /image\/heic/,
  };
  for (const [name, pattern] of Object.entries(says)) assert.match(errors[name].message, pattern, name);
});

test("offline it says so, and does not blame worker.js", async () => {
  const p = await ready(context, (await site({ "cache-control": "no-store" })).url);
  await context.setOffline(true);
  try {
    const r = await p.evaluate(async () => [await failure(solver()), await failure(solver({ worker: false }))]);
    for (const e of r) {
      assert.equal(e?.code, "NETWORK", JSON.stringify(e));
      assert.match(e.message, /the browser is offline/);
    }
  } finally {
    await context.setOffline(false);
  }
  await p.close();
});

test("in Node it needs a browser, and says where to call it", () => {
  const script = `const { createSolver, UnsupportedError } = await import(process.argv[1]); try { await createSolver(); } catch (e) { console.log(e instanceof UnsupportedError, e.message); }`;
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", script, join(dist, "index.js")], { encoding: "utf8" });
  assert.match(said, /^true cmi-diffusion needs a browser, and this is Node\.js .*useEffect/);
});

test("in a shared worker it computes, in a service worker it says why not", async () => {
  const script = (say) => `import { createSolver } from "/pkg/index.js";
    const answer = async () => { try { const s = await createSolver({ device: "cpu", threads: 1 }); const { image } = await s.restore("/faces/01.png", { steps: 2 }); await s.close(); return { width: image.width }; } catch (e) { return { name: e.name, code: e.code, message: e.message }; } };
    ${say}`;
  const s = await site({}, {
    "/shared.js": () => ({ body: script(`addEventListener("connect", async ({ ports: [port] }) => port.postMessage(await answer()));`), type: "text/javascript" }),
    "/service.js": () => ({ body: script(`addEventListener("message", (e) => e.waitUntil(answer().then((a) => e.source.postMessage(a))));`), type: "text/javascript" }),
  });
  const p = await ready(context, s.url);
  const r = await p.evaluate(async () => {
    const shared = await new Promise((resolve, reject) => { const w = new SharedWorker("/shared.js", { type: "module" }); w.onerror = () => reject(new Error("shared worker")); w.port.onmessage = (e) => resolve(e.data); });
    const registration = await navigator.serviceWorker.register("/service.js", { type: "module" });
    await navigator.serviceWorker.ready;
    const service = await new Promise((resolve) => { navigator.serviceWorker.onmessage = (e) => resolve(e.data); registration.active.postMessage("go"); });
    await registration.unregister();
    return { shared, service };
  });
  assert.deepEqual(r.shared, { width: 64 });
  assert.deepEqual([r.service.name, r.service.code], ["UnsupportedError", "UNSUPPORTED"]);
  assert.match(r.service.message, /service worker/);
  await p.close();
});

test("a page's polyfills of process, fs and path are neither used nor changed", async () => {
  const p = await open(context, server.url + "/");
  const r = await p.evaluate(async () => {
    const polyfills = { process: { env: {}, browser: true, pid: 7 }, fs: {}, path: { join: () => "x" }, Go: "theirs" };
    for (const [name, value] of Object.entries(polyfills)) Object.defineProperty(globalThis, name, { value, writable: false, configurable: false });
    const { createSolver } = await import("/pkg/index.js?polyfilled");
    const s = await createSolver({ device: "cpu", threads: 1, worker: false });
    const { image } = await s.restore("/faces/01.png", { steps: 2 });
    await s.close();
    return [image.width, ...Object.entries(polyfills).map(([name, value]) => globalThis[name] === value)];
  });
  assert.deepEqual(r, [64, true, true, true, true]);
  await p.close();
});

test("without polyfills nothing is left on the page's global object", async () => {
  const p = await open(context, server.url + "/");
  const left = await p.evaluate(async () => {
    const { createSolver } = await import("/pkg/index.js");
    const before = new Set(Object.getOwnPropertyNames(globalThis));
    await (await createSolver({ device: "cpu", threads: 1, worker: false })).close();
    return Object.getOwnPropertyNames(globalThis).filter((n) => !before.has(n));
  });
  assert.deepEqual(left, []);
  await p.close();
});

test("Trusted Types: its own policy, the page's, a worker that the page makes", async () => {
  const enforce = (names) => ({ "content-security-policy": `require-trusted-types-for 'script'; trusted-types ${names}`, ...isolation });
  const run = async (names, make) => {
    const { url } = await site(enforce(names), plainPage());
    const p = await open(context, url + "/plain");
    try {
      return await p.evaluate(`(async () => {
        const { createSolver } = await import("/pkg/index.js");
        try {
          const s = await createSolver({ device: "cpu", threads: 2, ...(${make}) });
          const { image } = await s.restore("/faces/01.png", { steps: 2 });
          const { threads, notes } = s.info;
          await s.close();
          return { width: image.width, threads, notes };
        } catch (e) {
          return { name: e.name, message: e.message };
        }
      })()`);
    } finally {
      await p.close();
    }
  };
  const whole = { width: 64, threads: 2, notes: [] };
  assert.deepEqual(await run("cmi-diffusion", "{}"), whole);
  assert.deepEqual(await run("cmi-diffusion", "{ worker: false }"), whole);
  assert.deepEqual(await run("cmi-diffusion theirs", `{ trustedTypesPolicy: trustedTypes.createPolicy("theirs", { createScriptURL: (u) => u }) }`), whole);
  assert.deepEqual(await run("theirs cmi-diffusion", `{ workerURL: trustedTypes.createPolicy("theirs", { createScriptURL: (u) => u }).createScriptURL("/pkg/worker.js"), poolURL: "/pkg/pool.js" }`), whole);
  assert.deepEqual(await run("theirs cmi-diffusion", `{ workerFactory: () => new Worker(trustedTypes.createPolicy("theirs" , { createScriptURL: (u) => u }).createScriptURL("/pkg/worker.js"), { type: "module" }) }`), whole);
  // No policy for the threads: one thread. None for the worker: an error that says what is missing.
  const alone = await run("theirs", `{ workerURL: trustedTypes.createPolicy("theirs", { createScriptURL: (u) => u }).createScriptURL("/pkg/worker.js") }`);
  assert.deepEqual([alone.width, alone.threads], [64, 1]);
  assert.match(alone.notes.join(), /one thread: /);
  const none = await run("'none'", "{}");
  assert.equal(none.name, "WorkerError");
  assert.match(none.message, /trusted-types cmi-diffusion/);
});

test("a package of another origin under a strict Content-Security-Policy", async () => {
  const other = await cdn();
  const policy = `default-src 'none'; script-src 'self' blob: ${other.url} 'wasm-unsafe-eval'; worker-src blob: ${other.url}; connect-src 'self' ${other.url}`;
  const { url } = await site({ "content-security-policy": policy }, plainPage());
  const p = await open(context, url + "/plain");
  const r = await fromElsewhere(p, other.url + "/pkg/index.js", {});
  assert.deepEqual([r.width, r.worker], [64, true]);
  await p.close();
});
