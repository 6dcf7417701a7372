// The demo page, as a visitor uses it: on a desktop, on a phone, with the keyboard, offline, without WebGPU.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { launch, open } from "./support/browser.mjs";
import { serve } from "./support/server.mjs";
import { root } from "./support/paths.mjs";
import { browser, cleanup } from "./support/site.mjs";

let server;
before(async () => {
  const out = mkdtempSync(join(tmpdir(), "cmi-demo-"));
  execFileSync(process.execPath, [join(root, "wasm", "demo", "build.mjs"), out]);
  server = await serve({ "/": out });
  cleanup(server.close);
  cleanup(() => rmSync(out, { recursive: true, force: true }));
  await browser(); // stays open, so that each test has but a context of it
});

/** visit opens the page as its visitor sees it first, until the test ends. */
async function visit(t, { at = "#picture=face-01&model=faces64", quick, ...options } = {}) {
  const context = await launch(options);
  t.after(() => context.close());
  if (quick) { // two steps in place of a visitor's, for the tests' time
    await context.route("**/main.js", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: (await response.text()).replace(/(method:"[a-z-]+",steps:)\d+/g, "$12").replace(/(method:"pathwise",steps:)[^,]+/g, "$12") });
    });
  }
  return open(context, `${server.url}/${at}`);
}

const done = (page) => page.waitForFunction(() => /^(Done|It did not work)/.test(document.querySelector("#status").textContent), null, { timeout: 400_000 });

/** opened waits until the device is known, not for the pictures. */
const opened = (page) => page.waitForFunction(() => /WebAssembly|WebGPU/.test(document.querySelector("#device").textContent), null, { timeout: 120_000 });

/** stopped ends the first restoration, which begins by itself. */
async function stopped(page) {
  await opened(page);
  await page.locator("#stop").press("Enter");
  await page.waitForFunction(() => document.querySelector("#status").textContent === "Stopped.");
}

/** colours counts the different colours of a canvas. */
const colours = (page, selector) => page.$eval(selector, (c) => new Set(new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)).size);

test("a visit: the default photo is restored, previewed from the first step, at its size", async (t) => {
  const page = await visit(t, { at: "", acceptDownloads: true });
  await page.evaluate(() => { globalThis.violations = []; document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective)); });
  await page.waitForFunction(() => document.querySelector("#plan").textContent, null, { timeout: 120_000 });
  assert.match(await page.textContent("#plan"), /^192 × 144 pixels, 15 windows of 64 × 64, about \d+ MiB of memory and /);
  assert.doesNotMatch(await page.textContent("#status"), /^Done/, "the plan is stated before the work");
  await page.waitForFunction(() => document.querySelector("#bar").value > 0 && document.querySelector("#bar").value < 0.2, null, { timeout: 120_000 });
  assert.ok(await colours(page, "#after") > 500, "no preview");
  await done(page);
  assert.ok(Number(/([\d.]+) dB/.exec(await page.textContent("#status"))?.[1]) > 28, await page.textContent("#status"));
  assert.deepEqual(await page.$eval("#stage", (s) => { const b = s.getBoundingClientRect(); return [b.width > 500, Math.abs(b.width / b.height - 4 / 3) < 0.01]; }), [true, true]);
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator("#both").click()]);
  assert.equal(file.suggestedFilename(), "cardinal-before-after.png");
  const png = readFileSync(await file.path());
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [2 * 768 + 12, 576]);

  await page.locator("#split").focus();
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowLeft");
  assert.equal(await page.locator("#stage").evaluate((s) => s.style.getPropertyValue("--split")), "45%");
  assert.deepEqual([await page.evaluate(() => violations), page.log.filter((l) => l.startsWith("error"))], [[], []]);
});

test("eight possible answers, where they differ, and each above", async (t) => {
  const page = await visit(t, { quick: true, at: "#picture=face-04&model=faces64&task=box", acceptDownloads: true });
  await done(page);
  await page.waitForFunction(() => document.querySelector("#eight").getAttribute("aria-disabled") === "false", null, { timeout: 120_000 });
  assert.match(await page.textContent("#eight"), /^Eight possible answers \((less than a second|\d+ s|\d+ minutes)\)$/);
  await page.locator("#eight").click();
  await page.waitForFunction(() => /8 possible/.test(document.querySelector("#status").textContent));
  await done(page);
  assert.equal(await page.locator("#choices input").count(), 9);
  assert.equal(await page.locator("#overlay").isVisible(), true);
  assert.match(await page.textContent("#differ-hint"), /\d+ % of the way from black to white/);
  const opacity = await page.$eval("#overlay", (c) => {
    const { width: w, height: h } = c, data = c.getContext("2d").getImageData(0, 0, w, h).data;
    const mean = (inside) => { let [sum, n] = [0, 0]; for (let y = 0; y < h; y += 7) for (let x = 0; x < w; x += 7) if ((x > 0.3 * w && x < 0.7 * w && y > 0.3 * h && y < 0.7 * h) === inside) { sum += data[4 * (y * w + x) + 3]; n++; } return sum / n; };
    return [mean(true), mean(false)];
  });
  assert.ok(opacity[0] !== opacity[1] && opacity[0] > 0, `${opacity}`);
  const shown = () => page.$eval("#after", (c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.reduce((a, b, i) => (a * 31 + b + i) % 1e9, 7));
  const first = await shown();
  await page.locator("#choices input").first().focus();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await shown(), first);
  await page.locator("#differ").uncheck();
  assert.equal(await page.locator("#overlay").isVisible(), false);
});

test("with the keyboard alone: paint a hole, restore, stop, and the focus stays", async (t) => {
  const page = await visit(t, { quick: true });
  await stopped(page);
  await page.locator("#task-sr4").focus();
  for (let i = 0; i < 2; i++) await page.keyboard.press("ArrowDown"); // "What you leave"
  await page.waitForSelector("#painter:not([hidden])");
  await page.locator("#restore").press("Enter");
  assert.match(await page.textContent("#status"), /Paint over a part/);
  await page.locator("#paint").focus();
  for (let i = 0; i < 6; i++) await page.keyboard.press("Shift+ArrowRight");
  await page.locator("#painter button[type=submit]").press("Enter");
  await page.waitForFunction(() => document.querySelector("#stop").getAttribute("aria-disabled") === "false");
  await done(page);
  const holes = await page.$eval("#before", (c) => {
    const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
    return data.filter((v, i) => i % 4 === 3 && v === 0).length / (c.width * c.height);
  });
  assert.ok(holes > 0.01 && holes < 0.1, `${holes} of the pixels are missing`);
  await page.locator("#restore").press("Enter");
  await page.locator("#stop").focus();
  await page.waitForFunction(() => document.querySelector("#stop").getAttribute("aria-disabled") === "false");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /^(Stopped|Done)/.test(document.querySelector("#status").textContent));
  assert.equal(await page.evaluate(() => document.activeElement.id), "stop");
});

test("how does it work: DPS beside CMI+DPS, with labels that are not cut", async (t) => {
  const page = await visit(t);
  await stopped(page);
  assert.equal(await page.locator("figure[data-view=dps]").isVisible(), false);
  await page.locator("#how > summary").press("Enter");
  await page.evaluate(() => { document.querySelector("#steps").min = "3"; document.querySelector("#steps").value = "3"; });
  await page.locator("#run").click();
  await page.waitForFunction(() => /^(Done|It did not)/.test(document.querySelector("#how-status").textContent), null, { timeout: 300_000 });
  assert.match(await page.textContent("#how-status"), /^Done/);
  assert.match(await page.getAttribute("#information svg", "aria-label"), /CMI \+ DPS: [\d.]+ at step \d+, [\d.]+ at step 3 of 3/);
  assert.equal(await page.locator("#residual path.line").count(), 4); // two lines, and two in the legend
  const cut = await page.$$eval(".plot svg", (all) => all.flatMap((svg) => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].filter((x) => { const b = x.getBoundingClientRect(); return b.left < box.left || b.right > box.right || b.top < box.top || b.bottom > box.bottom; }).map((x) => x.textContent);
  }));
  assert.deepEqual(cut, []);
});

test("a link shows the same, and the page can be shared", async (t) => {
  const page = await visit(t, { at: "#picture=elk&task=blur&seed=77&size=384" });
  await stopped(page);
  const state = () => page.evaluate(() => [new FormData(document.querySelector("#controls")).get("sample"), new FormData(document.querySelector("#controls")).get("task"), document.querySelector("#seed").value, document.querySelector("#size").value]);
  assert.deepEqual(await state(), ["elk", "blur", "77", "384"]);
  assert.match(page.url(), /#picture=elk&task=blur&size=384&seed=77$/);
  await page.getByRole("radio", { name: "Sample face 1" }).check();
  await page.waitForURL(/#picture=face-01&model=faces64&task=blur/);
  await page.locator("#stop").press("Enter");
  await page.goto("about:blank");
  await page.goto(`${server.url}/#picture=nobody&task=sharpen&seed=-3&model=photos64&size=7`);
  await stopped(page);
  assert.deepEqual(await state(), ["cardinal", "sr4", "1", "256"]);
  const meta = await page.evaluate(async () => {
    const image = await createImageBitmap(await (await fetch(document.querySelector("meta[property='og:image']").content)).blob());
    return [image.width, [...document.querySelectorAll("nav a")].map((a) => a.textContent), document.querySelector("meta[property='og:title']").content.length > 10];
  });
  assert.deepEqual(meta, [1200, ["Source", "Package"], true]);
});

test("a photo of one's own keeps its shape, at most as large as the settings say, and what does not fit its model is said", async (t) => {
  const page = await visit(t, { quick: true });
  await stopped(page);
  const bytes = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(800, 500);
    canvas.getContext("2d").drawImage(document.querySelector(".samples img"), 0, 0, 800, 500);
    return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
  });
  await page.selectOption("#size", "192").catch(() => {});
  await page.evaluate(() => { document.querySelector("#size").value = "192"; });
  await page.locator("#file").setInputFiles({ name: "holiday.png", mimeType: "image/png", buffer: Buffer.from(bytes) });
  await page.waitForFunction(() => /192 × 120 pixels/.test(document.querySelector("#plan").textContent), null, { timeout: 120_000 });
  assert.match(await page.textContent("#plan"), /The photo has 800 × 500; the settings choose the size/);
  assert.match(await page.textContent("#chosen"), /holiday\.png, 800 × 500/);
  assert.match(await page.textContent("#models"), /not what things are.*Of anything else it makes a face/s);
  await page.locator("#task-enlarge").check();
  await page.waitForFunction(() => /Enlarging is for small ones/.test(document.querySelector("#status").textContent));
});

test("axe finds nothing, light, dark and on a phone, and nothing shifts", async (t) => {
  for (const options of [{ colorScheme: "light" }, { colorScheme: "dark" }, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }]) {
    const page = await visit(t, options);
    await stopped(page);
    await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; for (const id of ["painter", "answers"]) document.querySelector("#" + id).hidden = false; });
    await page.evaluate(readFileSync(join(root, "wasm", "test", "node_modules", "axe-core", "axe.min.js"), "utf8"));
    const violations = await page.evaluate(async () => (await axe.run()).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 100) + " " + (n.any[0]?.message ?? "")).join("; ")}`));
    assert.deepEqual(violations, [], JSON.stringify(options));
  }
});

test("on a phone nothing is cut off, targets are large enough, and painting and result are together", async (t) => {
  const page = await visit(t, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await stopped(page);
  await page.locator("#task-mask").check();
  await page.waitForSelector("#painter:not([hidden])");
  const r = await page.evaluate(() => ({
    over: document.documentElement.scrollWidth - innerWidth,
    outside: [...document.querySelectorAll("main *")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("svg")).map((e) => e.outerHTML.slice(0, 80)),
    small: [...document.querySelectorAll("button, .tasks label, .samples label, .drop")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 36).map((e) => e.outerHTML.slice(0, 80)),
    together: document.querySelector("#stage").getBoundingClientRect().top - document.querySelector("#painter").getBoundingClientRect().bottom,
    first: document.querySelector("#results").getBoundingClientRect().top < document.querySelector("#controls").getBoundingClientRect().top,
  }));
  assert.deepEqual([r.over, r.outside, r.small, r.first], [0, [], [], true]);
  assert.ok(r.together >= 0 && r.together < 24, `${r.together} pixels between painting and result`);
});

test("after the first visit it works offline", async (t) => {
  const page = await visit(t);
  await stopped(page);
  await page.evaluate(async () => { await navigator.serviceWorker.ready; while (!navigator.serviceWorker.controller) await new Promise((f) => setTimeout(f, 100)); });
  await page.context().setOffline(true);
  await page.reload();
  await stopped(page);
  await page.locator("#restore").press("Enter");
  await page.waitForFunction(() => document.querySelector("#stop").getAttribute("aria-disabled") === "false");
  await done(page);
  assert.match(await page.textContent("#status"), /^Done/);
});

test("without WebGPU, and with a software adapter, it says what computes", async (t) => {
  const page = await visit(t, { gpu: false });
  await opened(page);
  assert.match(await page.textContent("#notice"), /no WebGPU|WebGPU finds no graphics hardware/);
  assert.equal(await page.locator("#notice").isVisible(), true);
  assert.match(await page.textContent("#device"), /WebAssembly SIMD/);
});
