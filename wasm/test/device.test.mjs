// The conformance suite and the golden vectors, in the browser, on each device.
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { before, test } from "node:test";
import { bundle, work } from "./support/engine.mjs";
import { isolation } from "./support/server.mjs";
import { root } from "./support/paths.mjs";
import { browser, cleanup, ready, site } from "./support/site.mjs";

const folder = join(root, "testdata", "golden");
const golden = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((f) => statSync(join(folder, f)).isFile() && !f.endsWith(".md") && !relative(folder, join(folder, f)).startsWith("full"))
  .map((f) => f.split(sep).join("/"));

let page;
before(async () => {
  const { folder: engine, remove } = await bundle();
  cleanup(remove);
  page = await ready(await browser(), (await site(isolation, { "/golden/": folder, "/engine/": engine })).url);
});

// The quick selection, about a tenth of the work; CMI_FULL=1 takes all of it (minutes, on a software adapter an hour).
// Trajectories and operators are nine tenths of the time on a software adapter: there only where nothing may be skipped.
// What the sampler does on WebGPU is compared with the native tool's pictures in native.test.mjs.
const quick = !process.env.CMI_FULL;
const slow = quick && !process.env.CMI_NO_SKIP ? /^(trajectories|methods|operators)/ : /^$/;
for (const [device, threads] of [["cpu", 1], ["cpu", 2], ["webgpu", 1]]) {
  test(`${device}, threads: ${threads}${quick ? ", quick" : ""}`, async (t) => {
    const names = golden.filter((name) => device === "cpu" || !slow.test(name));
    const { info, counts, failures } = await work(page, { options: { device, threads }, verify: { golden: names, quick } });
    t.diagnostic(`${info.description}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    assert.deepEqual([info.device, info.threads], [device, threads]);
    assert.deepEqual(failures, []);
    assert.ok(counts.passed >= 290 && counts.failed + counts.skipped === 0, JSON.stringify(counts));
  });
}

for (const device of ["cpu", "webgpu"]) {
  test(`${device}: a whole run in memory full of NaN gives the same picture`, async () => {
    const run = (poisoned) => work(page, { options: { device, threads: 2 }, restore: { model: "/pkg/faces64.safetensors", poisoned } });
    const [want, got] = [await run(false), await run(true)];
    assert.equal(got.info.device, device);
    assert.ok(want.image.length === 3 * 64 * 64 && want.image.every(Number.isFinite));
    assert.deepEqual(got.image, want.image);
  });
}

test("a program that has used up its memory says so", async () => {
  // 4.29 GB of numbers: almost what can be addressed, more than is free. None of it is touched.
  const bench = { model: "/pkg/faces64.safetensors", runs: [{ batch: 43600 }] };
  await assert.rejects(work(page, { options: { device: "cpu", threads: 1 }, bench }), /OUT_OF_MEMORY.*used up its memory.*out of memory.*smaller/);
});
