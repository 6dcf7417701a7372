// Next and SvelteKit, built with the packed tarball from the recipes of docs/browser.md. They are large: `make web-frameworks` fetches them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { open } from "./support/browser.mjs";
import { install, recipe } from "./support/packed.mjs";
import { root } from "./support/paths.mjs";
import { serve } from "./support/server.mjs";
import { browser, cleanup } from "./support/site.mjs";

const frameworks = join(root, "wasm", "test", "frameworks");
const bin = (name) => join(frameworks, "node_modules", ".bin", name);
const there = existsSync(bin("next"));
if (!there && process.env.CMI_NO_SKIP) throw new Error("needs wasm/test/frameworks/node_modules: run make web-frameworks");
const skip = there ? false : "needs wasm/test/frameworks/node_modules: run make web-frameworks";

/** app writes an app into a folder below the frameworks, which it finds there, and installs the tarball. */
function app(name, files) {
  const folder = join(frameworks, "apps", name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  install(folder);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

const run = (folder, command, ...args) => promisify(execFile)(command, args, { cwd: folder, env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1", CI: "1" } })
  .catch((e) => { throw new Error(`${command} ${args.join(" ")}: ${e.stdout}\n${e.stderr}`); });

/** restores serves what was built and waits for the recipe's picture. */
async function restores(built) {
  const server = await serve({ "/": built, "/face.png": () => ({ body: readFileSync(join(root, "examples", "faces", "01.png")), type: "image/png" }) });
  cleanup(server.close);
  const page = await open(await browser({ gpu: false }), server.url + "/");
  await page.waitForFunction(() => document.body.textContent.includes("Done"), null, { timeout: 200_000 }).catch(async (e) => { throw new Error(`${e.message}\n${await page.evaluate(() => document.body.innerText)}\n${page.log.join("\n")}`); });
  const levels = await page.evaluate(() => new Set(document.querySelector("canvas").getContext("2d").getImageData(0, 0, 64, 64).data).size);
  assert.ok(levels > 20, `${levels} levels in the picture`);
  assert.ok(page.workers().some((w) => /worker/.test(w.url())), "no worker");
  await page.close();
}

test("Next", { skip }, async () => {
  const folder = app("next", {
    "app/layout.jsx": `export default function Layout({ children }) {\n  return <html lang="en"><body>{children}</body></html>;\n}\n`,
    "app/page.jsx": recipe("app/page.jsx"),
    "app/restored.jsx": recipe("restored.jsx"),
    "next.config.mjs": `export default { output: "export", reactStrictMode: true, turbopack: { root: ${JSON.stringify(frameworks)} } };\n`,
  });
  await run(folder, bin("next"), "build");
  await restores(join(folder, "out"));
});

test("SvelteKit", { skip }, async () => {
  const folder = app("svelte", {
    "src/routes/+page.svelte": recipe("src/routes/+page.svelte"),
    "src/routes/+layout.js": "export const prerender = true;\n",
    "src/app.html": `<!doctype html><html lang="en"><head><meta charset="utf-8">%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>\n`,
    "svelte.config.js": `import adapter from "@sveltejs/adapter-static";\nexport default { kit: { adapter: adapter() } };\n`,
    "vite.config.js": `import { sveltekit } from "@sveltejs/kit/vite";\nexport default { plugins: [sveltekit()] };\n`,
  });
  await run(folder, bin("vite"), "build");
  await restores(join(folder, "build"));
});
