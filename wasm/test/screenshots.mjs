// Draws the pictures of docs/browser.md, and the one that others show beside a link to the demo page: node screenshots.mjs [FOLDER], after `make web`.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, open } from "./support/browser.mjs";
import { root } from "./support/paths.mjs";
import { serve } from "./support/server.mjs";

const folder = process.argv[2] ?? join(root, "docs");
const server = await serve({ "/": join(root, "out", "web") });
try {
  for (const [name, hash, options] of [
    ["desktop", "", { viewport: { width: 1240, height: 900 } }],
    ["phone", "#picture=face-07&model=faces64", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true }],
  ]) {
    const context = await launch({ reducedMotion: "reduce", ...options });
    const page = await open(context, `${server.url}/${hash}`);
    await page.waitForFunction(() => /^(Done|It did not)/.test(document.querySelector("#status").textContent), null, { timeout: 600_000 });
    // How long it takes is this machine's, on this day: the pictures don't say it.
    await page.waitForFunction(() => document.querySelector("#eight").getAttribute("aria-disabled") === "false", null, { timeout: 600_000 });
    console.log(name, await page.textContent("#status"), await page.textContent("#plan"), await page.textContent("#eight"));
    await page.evaluate(() => {
      for (const [id, time] of [["status", / in [\d.]+ s/], ["plan", / and [^.]+/], ["eight", / \(.*\)/]]) {
        const e = document.getElementById(id);
        e.textContent = e.textContent.replace(time, "");
      }
    });
    if (name === "desktop") {
      const preview = await page.evaluate(async () => {
        const canvas = new OffscreenCanvas(1200, 630);
        const context = canvas.getContext("2d");
        for (const [id, from, to] of [["after", 0, 1200], ["before", 0, 600]]) {
          const picture = document.getElementById(id);
          context.imageSmoothingEnabled = picture.style.imageRendering !== "pixelated";
          const scale = Math.max(1200 / picture.width, 630 / picture.height);
          context.save();
          context.beginPath();
          context.rect(from, 0, to - from, 630);
          context.clip();
          context.drawImage(picture, (1200 - picture.width * scale) / 2, (630 - picture.height * scale) / 8, picture.width * scale, picture.height * scale);
          context.restore();
        }
        context.fillStyle = "#fff";
        context.fillRect(598, 0, 4, 630);
        return [...new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 })).arrayBuffer())];
      });
      writeFileSync(process.argv[2] ? join(folder, "preview.jpg") : join(root, "wasm", "demo", "preview.jpg"), Buffer.from(preview));
    }
    await page.screenshot({ path: join(folder, `browser-${name}.jpg`), type: "jpeg", quality: 82, fullPage: name === "desktop" });
    await context.close();
  }
} finally {
  await server.close();
}
