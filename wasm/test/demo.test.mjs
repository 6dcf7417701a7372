// The demo page, as a visitor uses it: on a desktop, on a phone, with the keyboard, offline, without WebGPU.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { launch, open } from "./support/browser.mjs";
import { serve } from "./support/server.mjs";
import { root } from "./support/paths.mjs";
import { browser, cleanup } from "./support/site.mjs";
import { traced } from "./support/trace.mjs";

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
  if (quick) await quickly(context);
  return open(context, `${server.url}/${at}`);
}

/** quickly has the page's workers take two steps in place of a visitor's, for the tests' time. */
async function quickly(context) {
  await context.addInitScript(() => {
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {
      if (message?.job) message.job.steps = 2;
      return post.call(this, message, ...rest);
    };
  });
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
  await page.waitForFunction(() => document.querySelector("#bar").value > 0 && document.querySelector("#bar").value < 0.5, null, { timeout: 120_000 });
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

test("axe finds nothing, light, dark and on a phone", async (t) => {
  for (const options of [{ colorScheme: "light" }, { colorScheme: "dark" }, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }]) {
    const page = await visit(t, options);
    await stopped(page);
    await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; for (const id of ["painter", "answers"]) document.querySelector("#" + id).hidden = false; });
    await page.evaluate(readFileSync(join(root, "wasm", "test", "node_modules", "axe-core", "axe.min.js"), "utf8"));
    const { violations, contrast, unsure } = await page.evaluate(async () => {
      const r = await axe.run();
      const of = (list) => list.filter((v) => v.id === "color-contrast").flatMap((v) => v.nodes.map((n) => n.target.join(" ")));
      return { violations: r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 100) + " " + (n.any[0]?.message ?? "")).join("; ")}`), contrast: of(r.passes), unsure: of(r.incomplete) };
    });
    assert.deepEqual(violations, [], JSON.stringify(options));
    assert.ok(contrast.length > 60, `the contrast of ${contrast.length} texts was measured`);
    // Where axe can't tell: texts of the charts, on their cards, and the names over the pictures, at worst over white.
    const least = await page.evaluate((targets) => {
      const numbers = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
      const light = (c) => c.slice(0, 3).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      return targets.map((target) => {
        const e = document.querySelector(target);
        const style = getComputedStyle(e);
        const [r, g, b, a] = numbers(getComputedStyle(e.closest(".plot") ?? e).backgroundColor);
        const [x, y] = [light(numbers(e.closest(".plot") ? style.fill : style.color)), light([r, g, b].map((v) => v * a + 255 * (1 - a)))].sort((p, q) => q - p);
        return { target, ratio: (x + 0.05) / (y + 0.05) };
      });
    }, unsure);
    assert.deepEqual(least.filter((l) => !(l.ratio >= 4.5)), []);
  }
});

for (const [name, options] of [["a desktop", {}], ["a large screen", { viewport: { width: 1920, height: 1400 } }], ["a phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }]]) {
  for (const at of ["", "#picture=face-01&model=faces64"]) {
    test(`nothing moves by itself on ${name}, from the first paint to the answer, at /${at}`, async (t) => {
      const context = await launch({ serviceWorkers: "block", ...options });
      t.after(() => context.close());
      await quickly(context);
      await context.addInitScript(() => {
        globalThis.shifts = [];
        const name = (n) => n?.id || n?.className || `${n?.nodeName} ${n?.textContent} in ${n?.parentNode?.id}`;
        new PerformanceObserver((list) => {
          for (const e of list.getEntries()) if (!e.hadRecentInput) shifts.push([e.value, e.sources.map((s) => name(s.node)).join(", ")]);
        }).observe({ type: "layout-shift", buffered: true });
      });
      const page = await open(context, `${server.url}/${at}`);
      await done(page);
      await page.waitForFunction(() => document.querySelector("#eight").getAttribute("aria-disabled") === "false");
      const shifts = await page.evaluate(() => new Promise((f) => requestAnimationFrame(() => setTimeout(() => f(shifts)))));
      assert.ok(shifts.reduce((sum, [value]) => sum + value, 0) <= 0.02, JSON.stringify(shifts));
    });
  }
}

// A task's processor time, not the time that passes: other programs on the machine lengthen the latter. The least of three visits counts.
test("no task of the page takes 50 ms of its thread while a worker restores", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "cmi-photo-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const page = await visit(t, { quick: true, serviceWorkers: "block" });
  await stopped(page);
  const photo = join(folder, "holiday.jpg"); // 12 megapixels
  writeFileSync(photo, Buffer.from(await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(4000, 3000);
    canvas.getContext("2d").drawImage(await createImageBitmap(await (await fetch("photos/elk.jpg")).blob()), 0, 0, 4000, 3000);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg" })).arrayBuffer());
    return Array.from(bytes, (b) => String.fromCharCode(b)).join("");
  }), "latin1"));
  for (const [what, at, work] of [
    ["the default photo, from the page's load", "", () => done(page)],
    ["eight answers", "#picture=face-04&model=faces64&task=box", async () => {
      await page.waitForFunction(() => document.querySelector("#eight").getAttribute("aria-disabled") === "false");
      await page.locator("#eight").click();
      await page.waitForFunction(() => /8 possible/.test(document.querySelector("#status").textContent));
      await done(page);
    }],
    ["a photo of 12 megapixels", "", async () => {
      await page.locator("#file").setInputFiles(photo);
      await page.waitForFunction(() => /holiday/.test(document.querySelector("#chosen").textContent) && !/^Done/.test(document.querySelector("#status").textContent));
      await done(page);
    }],
  ]) {
    let longest;
    for (let visits = 0; visits < 3 && !(longest?.ms < 50); visits++) {
      await page.goto("about:blank");
      const found = await tasks(page, async () => {
        await page.goto(`${server.url}/${at}`);
        await done(page);
        await work();
      });
      if (!(longest?.ms <= found.ms)) longest = found;
    }
    t.diagnostic(`${what}: the longest of ${longest.count} tasks takes ${longest.ms.toFixed(0)} ms`);
    assert.ok(longest.count > 20 && longest.ms > 0, `${what}: no tasks were recorded`);
    assert.ok(longest.ms < 50, `${what}: a task of ${longest.ms.toFixed(0)} ms: ${longest.inside}`);
  }
});

/** tasks records the tasks of a page's main thread during work, and gives the one that took most of the processor. */
async function tasks(page, work) {
  const { main, inside } = await traced(page, work);
  const longest = main.reduce((a, b) => (b.tdur > (a?.tdur ?? -1) ? b : a), undefined);
  return { count: main.length, ms: (longest?.tdur ?? 0) / 1000, inside: longest && inside(longest).filter((e) => e.tdur > 5000).map((e) => `${e.name} ${e.args?.data?.functionName ?? ""} ${(e.tdur / 1000).toFixed(0)} ms`).join(", ") };
}

test("with the keyboard all that can be done is reached in order, is seen when it has the focus, and has a name", async (t) => {
  const page = await visit(t, { quick: true, at: "#picture=face-04&model=faces64" });
  await done(page);
  await page.waitForFunction(() => document.querySelector("#eight").getAttribute("aria-disabled") === "false");
  await page.locator("#eight").press("Enter");
  await page.waitForFunction(() => /8 possible/.test(document.querySelector("#status").textContent));
  await done(page);
  await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex"); });
  const reached = [];
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (e === document.body) return null;
      const ring = [e, e.nextElementSibling, e.parentElement, e.parentElement?.parentElement].some((n) => { const s = n && getComputedStyle(n); return s && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2; });
      return { what: e.id || e.name || e.textContent.trim(), ring };
    });
    if (!at) break;
    reached.push(at);
  }
  assert.deepEqual(reached.map((r) => r.what), ["Skip to the result", "Source", "Package", "split", "eight", "stop", "share", "save", "both", "answer", "differ",
    "sample", "file", "model-faces64", "task-sr4", "restore", "Settings", "size", "seed", "dice", "compute", "How does it work?", "steps", "choice", "run", "arXiv 2501.02880"]);
  assert.deepEqual(reached.filter((r) => !r.ring).map((r) => r.what), [], "the focus is not seen");

  const cdp = await page.context().newCDPSession(page);
  const { nodes } = await cdp.send("Accessibility.getFullAXTree");
  const named = nodes.filter((n) => !n.ignored).map((n) => ({ role: n.role?.value, name: n.name?.value ?? "" }));
  const wanted = ["button", "radio", "slider", "textbox", "spinbutton", "combobox", "checkbox", "link", "img", "image", "progressbar", "progressIndicator", "radiogroup", "form", "region", "navigation", "application", "DisclosureTriangle"];
  assert.deepEqual(named.filter((n) => wanted.includes(n.role) && !n.name.trim()), []);
  const has = (role, name) => assert.ok(named.some((n) => n.role === role && name.test(n.name)), `no ${role} ${name} among ${JSON.stringify(named.filter((n) => n.role === role))}`);
  has("heading", /^Restoring pictures/);
  has("navigation", /^Project$/);
  has("region", /^Result$/);
  has("form", /^What to restore$/);
  has("slider", /picture before/);
  has("radio", /^Answer 8$/);
  has("radio", /^Their mean$/);
  has("radio", /^Sample photograph: elk$/);
  has("radiogroup", /^Possible answers$/);
  assert.ok(named.filter((n) => n.role === "status").length >= 3);
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
