// Ours beside onnxruntime-web, in turn, in one browser: node bench.mjs ONNX_FOLDER [--rounds N] [--markdown FILE]
//
// The folder holds what tools/peers/export_onnx.py writes. In a round every side runs once warm and then a few times; a
// side's time is the fastest of those, and a ratio is taken within a round. Ratios above 1: ours is faster. Both sides work
// in a worker, copy their input in and their output out in every run, and both networks are checked against PyTorch's. On
// WebGPU the peer may also record a run and replay it: the faster of its two ways counts. The picture at the end is the
// demo's first, from the page's load, with one thread and a cold cache.
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { launch, open } from "./support/browser.mjs";
import { bundle, work } from "./support/engine.mjs";
import { isolation, serve } from "./support/server.mjs";
import { dist, root } from "./support/paths.mjs";
import { traced } from "./support/trace.mjs";

const { values: flags, positionals: [onnx] } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "5" }, markdown: { type: "string" }, device: { type: "string", default: "wasm1,wasm2,webgpu" }, demo: { type: "boolean", default: false } },
});
const here = join(root, "wasm", "test");
const { version: ortVersion } = JSON.parse(readFileSync(join(here, "node_modules", "onnxruntime-web", "package.json"), "utf8"));
const sides = { wasm1: { device: "cpu", provider: "wasm", threads: 1, reps: 8 }, wasm2: { device: "cpu", provider: "wasm", threads: 2, reps: 8 }, webgpu: { device: "webgpu", provider: "webgpu", threads: 1, reps: 1 } };
const works = { conv: { name: "conv 3×3, 128→128, 64×64", gflop: (2 * 9 * 128 * 128 * 64 * 64) / 1e9 }, forward: { name: "forward of the face model" } };

const reference = onnx && JSON.parse(readFileSync(join(onnx, "network.json"), "utf8"));
const errors = {}; // the largest of each side
const failures = new Set();
const lines = [];
const line = (text) => { lines.push(text); console.log(text); };

/** peer times onnxruntime-web. */
async function peer(page, side) {
  const made = {};
  for (const file of ["conv", "forward"]) Object.assign(made, await work(page, { ...side, work: file }, "/peer/worker.mjs"));
  return made;
}

/** replayed is the peer by recorded runs, as far as they can be recorded. */
async function replayed(page, side) {
  const made = {};
  for (const file of ["conv", "forward"]) {
    try {
      Object.assign(made, await work(page, { ...side, capture: true, work: file }, "/peer/worker.mjs"));
    } catch (e) {
      failures.add(`The peer can't record ${file}: ${e.message.split("\n")[0].replace(/^page.evaluate: /, "")}.`);
    }
  }
  return made;
}

async function ours(page, { device, threads, reps }) {
  const inputs = { conv: 128 * 4096, forward: reference.x };
  const { info, seconds, outputs } = await work(page, { options: { device, threads }, bench: { model: "/model/faces64.safetensors", runs: Object.entries(inputs).map(([work, input]) => ({ work, rounds: reps, warmup: 1, input })) } });
  if (info.device !== device || info.threads !== threads) throw new Error(`${device} with ${threads} threads was asked for, got ${JSON.stringify(info)}`);
  return { info, conv: Math.min(...seconds[0]), forward: Math.min(...seconds[1]), output: outputs[1] };
}

/** error is how far a network's output is from PyTorch's, relative. */
function error(output) {
  let [d, n] = [0, 0];
  reference.y.forEach((v, i) => { d += (output[i] - v) ** 2; n += v ** 2; });
  return Math.sqrt(d / n);
}

const { folder: engine, remove } = await bundle();
const server = await serve({ "/pkg/": dist, "/engine/": engine, "/model/": join(root, "sdk", "checkpoint", "faces64"), "/onnx/": onnx ?? here, "/ort/": join(here, "node_modules", "onnxruntime-web", "dist"), "/peer/": join(here, "support", "peer"), "/": () => ({ body: "<!doctype html><title>bench</title>" }) }, isolation);
const context = await launch();
const median = (all) => { const s = [...all].sort((a, b) => a - b); return (s[(s.length - 1) >> 1] + s[s.length >> 1]) / 2; };
try {
  const version = (await context.browser()?.version()) ?? (await (await open(context, server.url)).evaluate(() => navigator.userAgent.match(/Chrome\/(\S+)/)[1]));
  line(`${new Date().toISOString().slice(0, 10)}, ${cpus()[0].model}, ${cpus().length} processors, Chromium ${version}, onnxruntime-web ${ortVersion}, load before ${loadavg()[0].toFixed(1)}, ${flags.rounds} rounds`);
  line("");
  line("| work | device | ours, ms | onnxruntime-web, ms | ratio: min | median | max |");
  line("|---|---|---|---|---|---|---|");
  for (const name of flags.device.split(",").filter(Boolean)) {
    const side = sides[name];
    const rounds = [];
    for (let r = 0; r < Number(flags.rounds); r++) {
      const one = {};
      const all = [["ours", ours], ["peer", peer], ...(name === "webgpu" ? [["replayed", replayed]] : [])];
      for (const [who, run] of r % 2 ? all.reverse() : all) {
        const page = await open(context, server.url);
        one[who] = await run(page, side);
        await page.close();
      }
      for (const [who, { output }] of Object.entries(one)) {
        if (!output && who === "replayed") continue;
        if (!(error(output) < 1e-3)) throw new Error(`the network of ${who} is ${error(output)} from PyTorch's`);
        errors[who] = Math.max(errors[who] ?? 0, error(output));
      }
      for (const w of Object.keys(works)) one.peer[w] = Math.min(one.peer[w], one.replayed?.[w] ?? Infinity);
      rounds.push(one);
    }
    const label = side.device === "cpu" ? `WebAssembly, ${side.threads} thread${side.threads > 1 ? "s" : ""}` : `WebGPU (${rounds[0].ours.info.description})`;
    for (const [w, { name: what, gflop }] of Object.entries(works)) {
      const ratios = rounds.map((r) => r.peer[w] / r.ours[w]).sort((a, b) => a - b);
      const ms = (who) => { const s = median(rounds.map((r) => r[who][w])); return `${(1e3 * s).toFixed(1)}${gflop ? ` (${(gflop / s).toFixed(1)} GFLOP/s)` : ""}`; };
      line(`| ${what} | ${label} | ${ms("ours")} | ${ms("peer")} | ${ratios[0].toFixed(2)} | ${median(ratios).toFixed(2)} | ${ratios.at(-1).toFixed(2)} |`);
    }
  }
  if (Object.keys(errors).length) line(`\nFrom PyTorch's network: ${Object.entries(errors).map(([who, e]) => `${who} ${e.toExponential(1)}`).join(", ")}. ${[...failures].join(" ")}`.trimEnd());
  if (flags.demo) await demo();
} finally {
  await context.close();
  await server.close();
  remove();
}
if (flags.markdown) appendFileSync(flags.markdown, lines.join("\n") + "\n\n");

/**
 * demo times the demo page from its load to its first preview and its first answer, of the default photo, without isolation and with
 * nothing in any cache. The page and its worker wait for one another, so that the processor time of both is what an answer takes on a processor
 * that does nothing else.
 */
async function demo() {
  const out = mkdtempSync(join(tmpdir(), "cmi-demo-"));
  execFileSync(process.execPath, [join(root, "wasm", "demo", "build.mjs"), out]);
  const plain = await serve({ "/": out });
  const times = [];
  try {
    for (let r = 0; r < 3; r++) {
      const fresh = await launch({ gpu: false });
      const page = await open(fresh);
      const when = (condition) => page.waitForFunction(condition, null, { polling: 50, timeout: 600_000 }).then((h) => h.jsonValue());
      let seen;
      const { main, workers } = await traced(page, async () => {
        await page.goto(plain.url + "/");
        seen = await Promise.all([when(() => document.querySelector("#bar").value > 0 && performance.now() / 1000), when(() => /^Done/.test(document.querySelector("#status").textContent) && performance.now() / 1000)]);
      });
      times.push([...seen, [...main, ...workers].reduce((sum, e) => sum + (e.tdur ?? 0) / 1e6, 0)]);
      await fresh.close();
    }
  } finally {
    await plain.close();
    rmSync(out, { recursive: true, force: true });
  }
  const all = (i) => times.map((t) => t[i].toFixed(1)).join(", ");
  line("");
  line(`The demo's default photo, seconds from the page's load, WebGPU taken away, one thread, nothing cached: first preview ${all(0)}; answer ${all(1)}; processor time of the page and its worker ${all(2)}.`);
}
