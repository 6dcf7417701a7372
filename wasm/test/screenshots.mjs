// Draws the pictures of docs/browser.md: node screenshots.mjs FOLDER, after `make web`.
import { join } from "node:path";
import { launch, open } from "./support/browser.mjs";
import { root } from "./support/paths.mjs";
import { serve } from "./support/server.mjs";

const folder = process.argv[2] ?? join(root, "docs");
const server = await serve({ "/": join(root, "out", "web") });
try {
  for (const [name, options] of [
    ["desktop", { viewport: { width: 1240, height: 900 } }],
    ["phone", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true }],
  ]) {
    const context = await launch({ reducedMotion: "reduce", ...options });
    const page = await open(context, server.url + "/");
    await page.waitForFunction(() => /^(Done|It did not)/.test(document.querySelector("#status").textContent), null, { timeout: 120_000 });
    await page.screenshot({ path: join(folder, `browser-${name}.jpg`), type: "jpeg", quality: 82, fullPage: name === "desktop" });
    console.log(name, await page.textContent("#status"));
    await context.close();
  }
} finally {
  await server.close();
}
