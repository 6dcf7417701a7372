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
const quick = !process.env.CMI_FULL;
for (const [device, threads] of [["cpu", 1], ["cpu", 2], ["webgpu", 1]]) {
  test(`${device}, threads: ${threads}${quick ? ", quick" : ""}`, async (t) => {
    const { info, counts, failures } = await work(page, { options: { device, threads }, verify: { golden, quick } });
    t.diagnostic(`${info.description}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    assert.deepEqual([info.device, info.threads], [device, threads]);
    assert.deepEqual(failures, []);
    assert.ok(counts.passed >= 300 && counts.failed === 0, JSON.stringify(counts));
  });
}
