// Pictures of any size: restored at their own by windows, as far as memory allows; read in strips; pasted back.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test, before, afterEach } from "node:test";
import { crc32, deflateSync } from "node:zlib";
import { browser, cleanup, ready, site } from "./support/site.mjs";

/** png is a picture of a size whose pixel (x, y) is given by row(y), three bytes a pixel. */
function png(width, height, row) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const lines = [];
  for (let y = 0; y < height; y++) lines.push(Buffer.of(0), row(y));
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.concat(lines), { level: 1 })), chunk("IEND", Buffer.alloc(0))]);
}

/** huge has 48 megapixels: its left half is dark, its right half light, and it brightens downwards. */
function huge() {
  const [width, height] = [8000, 6000];
  return png(width, height, (y) => {
    const line = Buffer.alloc(3 * width, 40 + Math.floor((y * 40) / height));
    return line.fill(160 + Math.floor((y * 40) / height), (3 * width) / 2);
  });
}

let context, page, server, photo;
before(async () => {
  server = await site({}, { "/photo/": () => ({ body: photo, type: "image/png" }) });
  context = await browser();
  page = await ready(context, server.url);
});
afterEach(() => page.evaluate(() => closeAll()));

/** wide makes the page's function of the name: a canvas of a size with a face in it, twice. */
const wide = () => page.evaluate(async () => {
  globalThis.wide ??= await (async () => {
    const face1 = await createImageBitmap(await face(1));
    return (w, h) => {
      const canvas = new OffscreenCanvas(w, h);
      const c = canvas.getContext("2d");
      c.drawImage(face1, 0, 0, w / 2, h);
      c.drawImage(face1, w / 2, 0, w / 2, h);
      return canvas;
    };
  })();
});

test("a picture is restored at its own size, by either prior, as planned", async () => {
  await wide();
  const r = await page.evaluate(async () => {
    const s = await solver({ prior: "photos64" });
    const plans = [], previews = [], totals = [];
    const o = { method: "diffpir", steps: 3, seed: 2 };
    const foreseen = await s.plan(wide(101, 70), o);
    const big = await s.restore(wide(101, 70), { ...o, onPlan: (p) => plans.push(p), onProgress({ preview, totalPasses }) { previews.push([preview.width, preview.height]); totals.push(totalPasses); preview.close(); } });
    const small = await s.restore(wide(40, 30), { ...o, task: "box" });
    const up = await s.restore(wide(20, 18), { ...o, measured: true, task: "sr4" });
    const cropped = await s.restore(wide(101, 70), { ...o, fit: "crop" });
    const faces = await (await solver()).restore(wide(101, 70), { ...o, fit: "own", steps: 2 });
    const size = (i) => [i.width, i.height];
    return {
      foreseen, plans, previews, totals, passes: big.passes, big: size(big.image), truth: size(big.truth), measurement: size(big.measurement), values: big.values.length, finite: big.values.every(Number.isFinite),
      small: [size(small.image), size(small.measurement)], up: [size(up.image), size(up.measurement)], cropped: size(cropped.image), faces: size(faces.image),
    };
  });
  assert.deepEqual([r.big, r.truth, r.measurement, r.values, r.finite], [[101, 70], [101, 70], [26, 18], 3 * 101 * 70, true]);
  assert.deepEqual([r.small, r.up, r.cropped, r.faces], [[[40, 30], [40, 30]], [[80, 72], [20, 18]], [64, 64], [101, 70]]);
  assert.deepEqual(r.previews, Array(3).fill([101, 70]));
  const [plan] = r.plans;
  assert.equal(r.plans.length, 1);
  assert.deepEqual({ ...r.foreseen, free: 0, memory: 0 }, { ...plan, free: 0, memory: 0 }); // timing prepares kernels, whose memory is no more counted
  assert.deepEqual([plan.width, plan.height, plan.picture, plan.windows, plan.passes, plan.note], [101, 70, { width: 101, height: 70 }, 4, 12, undefined]);
  assert.deepEqual([r.passes, r.totals], [plan.passes, [12, 12, 12]]);
  assert.ok(plan.seconds > 0 && plan.memory > 1e6 && plan.free > plan.memory, JSON.stringify(plan));
});

test("the picture does not depend on how many windows are computed at once, which memory bounds", async () => {
  await wide();
  const db = await page.evaluate(async () => {
    const s = await solver();
    const o = { method: "dps", task: "inpaint", steps: 2, fit: "own" };
    const plan = await s.plan(wide(110, 64), o);
    const [all, few] = [await s.restore(wide(110, 64), o), await s.restore(wide(110, 64), { ...o, memory: plan.memory * 0.6 })];
    return { db: psnr(all.values, few.values), passes: [all.passes, few.passes] };
  });
  assert.ok(db.db > 60, `${db.db} dB`);
  assert.ok(db.passes[1] > db.passes[0], "with less memory activations are not kept, which takes more passes");
});

test("what does not fit into memory is scaled, and the plan says so, or it is refused", async () => {
  await wide();
  const r = await page.evaluate(async () => {
    const s = await solver({ prior: "photos64" });
    const o = { method: "diffpir", steps: 2, memory: 60 * 2 ** 20 };
    const picture = wide(1200, 900);
    const scaled = await s.plan(picture, o);
    const done = [];
    const side = await s.restore(picture, { ...o, maxSide: 100, onPlan: (p) => done.push(p) });
    return {
      scaled, side: [side.image.width, side.image.height, done[0].note],
      refused: await failure(s.plan(picture, { ...o, tooLarge: "refuse" })), restored: await failure(s.restore(picture, { ...o, tooLarge: "refuse" })),
      measured: await failure(s.restore(picture, { ...o, measured: true })), tiny: await failure(s.plan(picture, { ...o, memory: 1e6 })),
      wrong: [await failure(s.plan(picture, { ...o, maxSide: 0 })), await failure(s.plan(picture, { ...o, memory: -1 })), await failure(s.plan(picture, { ...o, tooLarge: "maybe" })),
        await failure(s.restore(picture, { fit: "crop", maxSide: 99 })), await failure(s.restore(picture, { paste: true })), await failure(cmi.createSolver({ prior: "photos" })), await failure(cmi.createSolver({ prior: "faces64", modelURL: "/x" }))],
      after: (await s.restore(wide(70, 70), { steps: 2, method: "diffpir" })).image.width,
    };
  });
  const { scaled } = r;
  assert.match(scaled.note, /scaled down from 1200 × 900 to \d+ × \d+ pixels: 1200 × 900 take \d+ MiB of memory, 60 MiB may be taken/);
  assert.ok(scaled.memory <= 60 * 2 ** 20 && scaled.memory > 40 * 2 ** 20, `${scaled.memory}`);
  assert.ok(Math.abs(scaled.width / scaled.height - 4 / 3) < 0.02);
  assert.deepEqual(r.side.slice(0, 2), [100, 75]);
  assert.match(r.side[2], /scaled down from 1200 × 900 to 100 × 75 pixels, as maxSide says/);
  for (const name of ["refused", "restored", "measured", "tiny"]) {
    assert.deepEqual([r[name]?.name, r[name]?.code], ["MemoryError", "OUT_OF_MEMORY"], `${name}: ${JSON.stringify(r[name])}`);
  }
  assert.match(r.refused.message, /1200 × 900 pixels takes \d+ MiB of memory, 60 MiB may be taken: give tooLarge "scale"/);
  assert.match(r.measured.message, /4800 × 3600 .*cut the picture/);
  const says = [/maxSide is 0/, /memory is -1/, /tooLarge is "maybe"/, /maxSide is given with fit "crop"/, /paste is for task "mask"/, /prior is "photos": "faces64" or "photos64"/, /prior is given beside/];
  r.wrong.forEach((e, i) => { assert.equal(e?.code, "BAD_INPUT", JSON.stringify(e)); assert.match(e.message, says[i]); });
  assert.equal(r.after, 70);
});

test("48 megapixels are read in strips, in bounded memory, and only what is needed", async () => {
  photo = huge();
  const own = await ready(context, server.url);
  const cdp = await own.context().browser().newBrowserCDPSession();
  const peak = async () => {
    const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
    return Math.max(...processInfo.filter((p) => p.type === "renderer").map(({ id }) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1] ?? 0) / 1024));
  };
  const r = await own.evaluate(async () => {
    const s = await solver({ prior: "photos64", worker: false });
    let largest = 0;
    const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
    OffscreenCanvasRenderingContext2D.prototype.getImageData = function (x, y, w, h) { largest = Math.max(largest, w * h, this.canvas.width * this.canvas.height); return read.call(this, x, y, w, h); };
    const plans = [];
    const { truth } = await s.restore("/photo/huge.png", { steps: 2, method: "diffpir", maxSide: 96, onPlan: (p) => plans.push(p) });
    OffscreenCanvasRenderingContext2D.prototype.getImageData = read;
    const at = (x, y) => truth.data[4 * (y * truth.width + x)];
    await s.close();
    return { size: [truth.width, truth.height], from: plans[0].picture, corners: [at(2, 1), at(93, 1), at(2, 70), at(93, 70)], largest };
  });
  assert.deepEqual([r.size, r.from], [[96, 72], { width: 8000, height: 6000 }]);
  const want = [40, 160, 79, 199];
  r.corners.forEach((v, i) => assert.ok(Math.abs(v - want[i]) <= 1, `corners of ${r.corners}, ${want} are wanted`));
  assert.ok(r.largest <= 1 << 20, `a canvas of ${r.largest} pixels`);
  const mib = await peak();
  assert.ok(mib < 1000, `${mib.toFixed(0)} MiB at most in one process`);
  console.log(`48 megapixels: ${mib.toFixed(0)} MiB at most in one process`);
  await own.close();
});

test("a canvas that the browser leaves empty is noticed", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver({ worker: false });
    const draw = OffscreenCanvasRenderingContext2D.prototype.drawImage;
    OffscreenCanvasRenderingContext2D.prototype.drawImage = () => {}; // as a canvas that is too large does
    const e = await failure(s.restore(await face(1), { steps: 2 }));
    OffscreenCanvasRenderingContext2D.prototype.drawImage = draw;
    return [e, await failure(s.restore(new ImageData(64, 64), { steps: 2 }))];
  });
  for (const e of r) {
    assert.equal(e?.code, "BAD_INPUT");
    assert.match(e.message, /64 × 64 pixels is empty, every pixel is transparent/);
  }
});

test("a filled hole is pasted into the photo at its resolution, and every other pixel is kept", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const photo = new ImageData(331, 257);
    for (let i = 0; i < photo.data.length; i += 4) photo.data.set([i % 251, (i >> 5) % 241, (i >> 9) % 239, 255], i);
    const mask = new OffscreenCanvas(331, 257);
    mask.getContext("2d").fillRect(120, 90, 61, 43);
    const out = {};
    for (const [name, o] of [["cropped", {}], ["scaled", { fit: "own", maxSide: 90 }], ["own", { fit: "own" }]]) {
      const { pasted, image } = await s.restore(photo, { task: "mask", mask, method: "diffpir", steps: 2, paste: true, ...o });
      let [kept, changed, same] = [0, 0, 0];
      for (let y = 0; y < 257; y++) for (let x = 0; x < 331; x++) {
        const hole = x >= 120 && x < 181 && y >= 90 && y < 133;
        const i = 4 * (y * 331 + x);
        const equal = [0, 1, 2, 3].every((c) => pasted.data[i + c] === photo.data[i + c]);
        if (!hole && equal) kept++;
        if (hole && !equal) changed++;
        if (hole && image.width === 331) same += [0, 1, 2].every((c) => pasted.data[i + c] === image.data[i + c]);
      }
      out[name] = { size: [pasted.width, pasted.height], restored: [image.width, image.height], kept: kept === 331 * 257 - 61 * 43, changed: changed > 0.9 * 61 * 43, same };
    }
    return out;
  });
  for (const [name, restored, same] of [["cropped", [64, 64], 0], ["scaled", [90, 70], 0], ["own", [331, 257], 61 * 43]]) {
    assert.deepEqual(r[name], { size: [331, 257], restored, kept: true, changed: true, same }, name);
  }
});

cleanup(() => { photo = undefined; });

test("samples, what they say together, and calibrated intervals", async () => {
  const r = await page.evaluate(async () => {
    const s = await solver();
    const f = await face(1);
    const o = { task: "box", method: "diffpir", steps: 6, seed: 4 };
    const seen = [];
    const four = await s.restore(f, { ...o, samples: 4, onProgress: ({ preview, ...p }) => { preview.close(); seen.push([p.sample, p.samples, p.step, p.passes, p.totalPasses]); } });
    const one = await s.restore(f, o);
    const { std, width90, factor, map, mapTop, mean } = four.certainty;
    // The deviation of one value, from the samples as pictures of 8 bits.
    const i = 40 * 64 + 32, levels = four.samples.map((x) => x.data[4 * i] / 127.5 - 1), m = levels.reduce((a, b) => a + b) / 4;
    const byHand = Math.sqrt(levels.reduce((sum, v) => sum + (v - m) ** 2, 0) / 3);
    const inside = [], outside = [];
    for (let y = 0; y < 64; y++) for (let x = 0; x < 64; x++) (four.measurement.data[4 * (64 * y + x) + 3] ? outside : inside).push(map.data[4 * (64 * y + x) + 3]);
    const average = (a) => a.reduce((x, y) => x + y, 0) / a.length;
    const calibrated = await s.restore(f, { task: "sr4", method: "pathwise", steps: 25, samples: 2 });
    return {
      first: four.values.every((v, k) => v === one.values[k]), none: [one.samples, one.certainty], count: four.samples.length, different: four.samples[1].data.some((v, k) => v !== four.image.data[k]),
      sizes: [std.length, width90.length, map.width, mean.width], deviation: [std[i], byHand, width90[i]], factor, seen, passes: four.passes, mapTop,
      map: [average(inside), average(outside)], calibrated: [calibrated.certainty.factor, calibrated.certainty.width90[5] / calibrated.certainty.std[5]],
      wrong: [await failure(s.restore(f, { samples: 0 })), await failure(s.restore(f, { samples: 65 }))],
    };
  });
  assert.deepEqual([r.first, r.none, r.count, r.different, r.sizes, r.factor], [true, [undefined, undefined], 4, true, [12288, 12288, 64, 64], undefined]);
  assert.ok(Math.abs(r.deviation[0] - r.deviation[1]) < 0.01 && r.deviation[0] > 0.01, `${r.deviation}`);
  assert.ok(Math.abs(r.deviation[2] / r.deviation[0] - 2 * 2.3534 * Math.sqrt(1.25)) < 0.001, "Student's 95 % quantile for 3 degrees of freedom is 2.3534");
  assert.deepEqual([r.seen.length, r.seen[0], r.seen.at(-1)], [24, [1, 4, 1, 1, 24], [4, 4, 6, 24, 24]]);
  assert.ok(r.map[0] > 2 * r.map[1] && r.mapTop > 0, `opacity of the map inside and outside the box: ${r.map}`);
  assert.ok(Math.abs(r.calibrated[0] - 1.057) < 0.001, `${r.calibrated}`);
  assert.ok(Math.abs(r.calibrated[1] / (2 * 6.3138 * Math.sqrt(1.5) * r.calibrated[0]) - 1) < 0.001, `Student's quantile for 1 degree of freedom, times the factor: ${r.calibrated}`);
  for (const e of r.wrong) assert.match(e?.message ?? "", /samples is \d+, a number from 1 to 64/);
});
