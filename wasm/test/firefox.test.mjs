// The package in Firefox, driven by WebDriver BiDi: the picture of Chromium, threads, another origin, the cache, stopping.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import puppeteer from "puppeteer-core";
import { psnr, run } from "./support/compare.mjs";
import { isolation } from "./support/server.mjs";
import { browser, ready, site } from "./support/site.mjs";

const binary = process.env.FIREFOX ?? ["/usr/bin/firefox-esr", "/usr/bin/firefox"].find(existsSync);
if (!binary && process.env.CMI_NO_SKIP) throw new Error("needs Firefox: install the package firefox-esr, or set FIREFOX to its path");

test("Firefox", { skip: binary ? false : "needs Firefox: install the package firefox-esr, or set FIREFOX to its path" }, async (t) => {
  const firefox = await puppeteer.launch({ browser: "firefox", executablePath: binary, headless: true, protocolTimeout: 200_000 });
  t.after(() => firefox.close());
  const isolated = await site({ ...isolation, "cross-origin-resource-policy": "cross-origin" });
  const page = await firefox.newPage();
  await page.goto(isolated.url + "/");
  await page.waitForFunction(() => globalThis.cmi);

  await t.test("restores in a worker with threads, to the picture of Chromium", async () => {
    const r = await page.evaluate(run, 2);
    assert.deepEqual([r.width, r.info, r.steps], [64, [true, 2, true], [[1, 64], [2, 64], [3, 64], [4, 64]]]);
    const chromium = await (await ready(await browser({ gpu: false }), isolated.url)).evaluate(run, 2);
    const db = psnr(r.values, chromium.values);
    assert.ok(!(db < 60), `${db} dB from Chromium's`);
  });

  await t.test("from another origin it starts its worker and its threads", async () => {
    const cdn = await site({ "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" });
    const r = await page.evaluate(async (address) => {
      const { createSolver } = await import(address);
      const s = await createSolver({ device: "cpu", threads: 2 });
      const { image } = await s.restore("/faces/01.png", { steps: 2 });
      await s.close();
      return [image.width, s.info.worker, s.info.threads, s.info.notes];
    }, cdn.url + "/pkg/index.js");
    assert.deepEqual(r, [64, true, 2, []]);
  });

  await t.test("bytes and responses are pictures, a queued call stops at once, errors have their types", async () => {
    const r = await page.evaluate(async () => {
      const s = await solver({ threads: 1 });
      const f = await face(1);
      const want = (await s.restore(f, { steps: 2 })).values;
      const same = async (source) => (await s.restore(source, { steps: 2 })).values.every((v, i) => v === want[i]);
      const pictures = [await same(await f.arrayBuffer()), await same(await fetch("/faces/01.png"))];
      const stop = new AbortController();
      let first = "running", call;
      const onProgress = ({ step, preview }) => {
        preview?.close();
        if (step === 1) call = failure(s.restore(f, { steps: 20, signal: stop.signal }));
        if (step === 3) stop.abort();
      };
      const stopped = new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
      const running = s.restore(f, { steps: 20, onProgress }).then(() => { first = "done"; });
      await stopped;
      const queued = await call;
      const then = first;
      await running;
      const errors = [await failure(s.restore("http://[")), await failure(cmi.createSolver(null)), await failure(solver({ workerURL: "/nowhere.js" }))];
      const kept = (await (await caches.open("cmi-diffusion")).keys()).filter((k) => k.url.startsWith(location.origin)).map((k) => new URL(k.url).pathname).sort();
      await closeAll();
      return { pictures, queued: queued.name, then, errors: errors.map((e) => e?.code), kept };
    });
    assert.deepEqual(r, { pictures: [true, true], queued: "AbortError", then: "running", errors: ["BAD_INPUT", "BAD_INPUT", "WORKER"], kept: ["/pkg/cmi.wasm", "/pkg/faces64.safetensors"] });
  });
});
