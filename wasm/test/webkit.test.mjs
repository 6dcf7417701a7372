// The package and the demo in WebKit, Safari's engine: the picture of Chromium, with threads and without.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { psnr, run } from "./support/compare.mjs";
import { root } from "./support/paths.mjs";
import { isolation, serve } from "./support/server.mjs";
import { browser, cleanup, ready, site } from "./support/site.mjs";
import { missing, webkit } from "./support/webkit.mjs";

const skip = missing();
if (skip && process.env.CMI_NO_SKIP) throw new Error(skip);

for (const threads of [true, false]) {
  test(`WebKit ${threads ? "with" : "without"} shared memory restores to the picture of Chromium`, { skip }, async (t) => {
    const isolated = await site(isolation);
    const page = await webkit({ threads });
    t.after(page.close);
    await page.goto(isolated.url + "/");
    const r = await page.evaluate(run, 2);
    assert.deepEqual([r.width, r.info, r.steps], [64, [true, threads ? 2 : 1, true], [[1, 64], [2, 64], [3, 64], [4, 64]]]);
    if (!threads) assert.ok(r.notes.includes("one thread: this browser shares no memory between threads"), `${r.notes}`);
    const chromium = await (await ready(await browser({ gpu: false }), isolated.url)).evaluate(run, 2);
    const db = psnr(r.values, chromium.values);
    assert.ok(!(db < 60), `${db} dB from Chromium's`);
  });
}

test("the demo in WebKit restores its default photo", { skip }, async (t) => {
  const out = mkdtempSync(join(tmpdir(), "cmi-demo-"));
  cleanup(() => rmSync(out, { recursive: true, force: true }));
  execFileSync(process.execPath, [join(root, "wasm", "demo", "build.mjs"), out]);
  const server = await serve({ "/": out });
  cleanup(server.close);
  const page = await webkit({ threads: false });
  t.after(page.close);
  await page.goto(server.url + "/");
  const status = await page.evaluate(async () => {
    for (;;) {
      const text = document.querySelector("#status").textContent;
      if (/^(Done|It did not work)/.test(text)) return text;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  });
  assert.ok(Number(/([\d.]+) dB/.exec(status)?.[1]) > 28, status);
});
