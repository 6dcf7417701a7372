// Builds the demo page into a folder of static files: node build.mjs [FOLDER [URL]]. URL is
// where the folder will be served, for the picture that others show beside a link. The package must have been built before.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const here = dirname(fileURLToPath(import.meta.url));
const npm = join(here, "..", "npm");
const { build } = createRequire(join(npm, "package.json"))("esbuild");
const out = resolve(process.argv[2] ?? join(here, "dist"));

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const name of ["style.css", "icon.svg", "preview.jpg", "photos"]) cpSync(join(here, name), join(out, name), { recursive: true, filter: (f) => !f.endsWith(".md") });
const url = process.argv[3]?.replace(/\/?$/, "/") ?? "";
writeFileSync(join(out, "index.html"), readFileSync(join(here, "index.html"), "utf8").replace('content="preview.jpg"', `content="${url}preview.jpg"`));
const faces = join(here, "..", "..", "examples", "faces");
for (const name of readdirSync(faces).filter((n) => n.endsWith(".png"))) cpSync(join(faces, name), join(out, "faces", name));
for (const name of ["index.js", "worker.js", "pool.js", "cmi.wasm", "simd.wasm", "simd-threads.wasm", "faces64.safetensors", "photos64.safetensors"]) {
  cpSync(join(npm, "dist", name), join(out, "cmi-diffusion", name));
}

const options = { bundle: true, format: "esm", target: "es2022", minify: true, legalComments: "none" };
// The package stays as it is, beside the page: what a page without a bundler does.
const beside = { name: "beside", setup: (b) => b.onResolve({ filter: /^cmi-diffusion$/ }, () => ({ path: "./cmi-diffusion/index.js", external: true })) };
await build({ ...options, entryPoints: [join(here, "src", "main.ts")], outfile: join(out, "main.js"), plugins: [beside] });

const files = readdirSync(out, { recursive: true }).filter((f) => statSync(join(out, f)).isFile() && !f.endsWith(".safetensors")).map((f) => relative(out, join(out, f)).replaceAll("\\", "/")).sort();
const hash = createHash("sha256");
for (const f of files) hash.update(f).update(readFileSync(join(out, f)));
await build({
  ...options, entryPoints: [join(here, "src", "offline.ts")], outfile: join(out, "offline.js"),
  define: { FILES: JSON.stringify(["./", ...files]), VERSION: JSON.stringify(hash.digest("hex").slice(0, 16)) },
});
