// The conformance suite and the golden vectors, in the browser, on each device.
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { before, test } from "node:test";
import { bundle, work } from "./support/engine.mjs";
import { isolation } from "./support/server.mjs";
import { browser, cleanup, ready, root, site } from "./support/site.mjs";

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

// A software adapter and one thread more take the quick selection.
const runs = [
  { device: "cpu", threads: 1, quick: false, atLeast: 300 },
  { device: "cpu", threads: 2, quick: true, atLeast: 100 },
  { device: "webgpu", threads: 1, quick: true, atLeast: 100 },
];
for (const { device, threads, quick, atLeast } of runs) {
  test(`${device}, threads: ${threads}${quick ? ", quick" : ""}`, async (t) => {
    const { info, counts, failures } = await work(page, { options: { device, threads }, verify: { golden, quick } });
    t.diagnostic(`${info.description}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    assert.deepEqual([info.device, info.threads], [device, threads]);
    assert.deepEqual(failures, []);
    assert.ok(counts.passed >= atLeast && counts.failed === 0, JSON.stringify(counts));
  });
}
