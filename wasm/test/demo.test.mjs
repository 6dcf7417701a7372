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
async function visit(t, options) {
  const context = await launch(options);
  t.after(() => context.close());
  return open(context, server.url + "/");
}

const done = (page) => page.waitForFunction(() => /^(Done|It did not work)/.test(document.querySelector("#status").textContent), null, { timeout: 120_000 });

/** opened waits until the device is known, not for the pictures. */
const opened = (page) => page.waitForFunction(() => /WebAssembly|WebGPU/.test(document.querySelector("#device").textContent), null, { timeout: 60_000 });

/** stopped ends the first restoration, which begins by itself. */
async function stopped(page) {
  await opened(page);
  await page.locator("#stop").press("Enter");
  await page.waitForFunction(() => document.querySelector("#status").textContent === "Stopped.");
}

/** fewer steps than a visitor's, for the tests' time. */
async function fewSteps(page) {
  await page.evaluate(() => { document.querySelector("#steps").min = "2"; document.querySelector("#steps").value = "2"; });
}

test("a visit: the first face is restored, another task and face, a download, the comparison", async (t) => {
  const page = await visit(t, { acceptDownloads: true });
  await page.evaluate(() => { globalThis.violations = []; document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective)); });
  await done(page);
  const psnrs = await page.$$eval("figure[data-view=dps] figcaption span, figure[data-view=cmi] figcaption span", (all) => all.map((s) => parseFloat(s.textContent)));
  assert.ok(psnrs.every((db) => db > 22), `${psnrs} dB after 30 steps`);
  assert.match(await page.getAttribute("#information svg", "aria-label"), /CMI \+ DPS: [\d.]+ at step \d+, [\d.]+ at step 30 of 30/);
  assert.equal(await page.locator("#residual path.line").count(), 2);

  await fewSteps(page);
  await page.getByRole("radio", { name: /One pixel in ten/ }).check();
  await page.waitForFunction(() => !/^Done/.test(document.querySelector("#status").textContent));
  await done(page);
  await page.getByRole("radio", { name: "Sample face 4" }).check();
  await page.waitForFunction(() => !/^Done/.test(document.querySelector("#status").textContent));
  await done(page);
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator("figure[data-view=cmi] button").click()]);
  assert.equal(file.suggestedFilename(), "04-cmi.png");
  assert.deepEqual([...readFileSync(await file.path()).subarray(1, 4)], [...Buffer.from("PNG")]);

  await page.locator("#split").focus();
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowLeft");
  assert.equal(await page.locator(".stage").evaluate((s) => s.style.getPropertyValue("--split")), "45%");
  assert.deepEqual([await page.evaluate(() => violations), page.log.filter((l) => l.startsWith("error"))], [[], []]);
});

test("with the keyboard alone: paint a hole, restore, stop", async (t) => {
  const page = await visit(t);
  await stopped(page);
  await fewSteps(page);
  await page.locator("input[name=task]").first().focus();
  for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowDown"); // "What you leave"
  await page.waitForSelector("#painter:not([hidden])");
  await page.locator("#restore").press("Enter");
  assert.match(await page.textContent("#status"), /Paint over a part/);
  await page.locator("#paint").focus();
  for (let i = 0; i < 6; i++) await page.keyboard.press("Shift+ArrowRight");
  await page.locator("#restore").press("Enter");
  await page.waitForFunction(() => !document.querySelector("#stop").disabled);
  await done(page);
  const transparent = await page.$eval("figure[data-view=measurement] canvas", (c) => {
    const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
    return data.filter((v, i) => i % 4 === 3 && v === 0).length;
  });
  assert.ok(transparent > 40 && transparent < 400, `${transparent} of 4096 pixels are missing`);

  await page.evaluate(() => { document.querySelector("#steps").value = "200"; });
  await page.locator("#restore").press("Enter");
  await page.waitForFunction(() => /step/.test(document.querySelector("figure[data-view=dps] figcaption span").textContent));
  await page.locator("#stop").press("Enter");
  await page.waitForFunction(() => document.querySelector("#status").textContent === "Stopped.");
});

test("everything that is operated has a name, and text has contrast", async (t) => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await visit(t, { colorScheme });
    await stopped(page);
    await page.evaluate(() => { document.querySelector("details").open = true; document.querySelector("#painter").hidden = false; });
    const problems = await page.evaluate(() => {
      const out = [];
      for (const e of document.querySelectorAll("input, select, button, canvas[tabindex], svg[role=img], figure canvas, progress, img")) {
        const labelled = e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby"))?.textContent;
        const name = e.getAttribute("aria-label") || labelled || e.labels?.[0]?.textContent.trim() || e.labels?.[0]?.querySelector("img")?.alt || (e.matches("button") && e.textContent.trim()) || (e.matches("img") && e.hasAttribute("alt"));
        if (!name && e.closest("[aria-hidden]") === null) out.push(`no name: ${e.outerHTML.slice(0, 90)}`);
      }
      // Contrast of text on what is painted below it.
      const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const rgba = (c) => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = c; probe.fillRect(0, 0, 1, 1); return [...probe.getImageData(0, 0, 1, 1).data]; };
      const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
      for (const e of document.querySelectorAll("body *")) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility() || e.matches(":disabled, option, script, .unseen, .skip, svg *") || e.closest("noscript")) continue;
        let under = e, ground = [0, 0, 0, 0];
        while (under && ground[3] < 255) { ground = rgba(getComputedStyle(under).backgroundColor); under = under.parentElement; }
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) out.push(`contrast ${ratio.toFixed(1)}: ${e.textContent.trim().slice(0, 40)}`);
      }
      return out;
    });
    assert.deepEqual(problems, [], colorScheme);
  }
});

test("on a phone nothing is cut off, and targets are large enough", async (t) => {
  const page = await visit(t, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await stopped(page);
  const r = await page.evaluate(() => ({
    over: document.documentElement.scrollWidth - innerWidth,
    outside: [...document.querySelectorAll("main *")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("svg")).map((e) => e.outerHTML.slice(0, 80)),
    small: [...document.querySelectorAll("button, .tasks label, .samples label, .drop")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 36).map((e) => e.outerHTML.slice(0, 80)),
  }));
  assert.deepEqual(r, { over: 0, outside: [], small: [] });
});

test("after the first visit it works offline", async (t) => {
  const page = await visit(t);
  await stopped(page);
  await page.evaluate(async () => { await navigator.serviceWorker.ready; while (!navigator.serviceWorker.controller) await new Promise((f) => setTimeout(f, 100)); });
  await page.context().setOffline(true);
  await page.reload();
  await stopped(page);
  await fewSteps(page);
  await page.locator("#restore").press("Enter");
  await page.waitForFunction(() => !document.querySelector("#stop").disabled);
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
