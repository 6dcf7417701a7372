// Builds the JavaScript of the package into dist/: node build.mjs. The WebAssembly files and the models are put there by `make wasm`.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const dist = join(here, "dist");
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

/**
 * Go's own glue, from the Go that compiles the program: the two must fit. It sees a global object of its own, which the module
 * exports as `scope`: what it puts there, stand-ins for Node's fs, process and path, is not the page's, and the page's polyfills
 * of them are not the program's. All else is the page's.
 */
export const goGlue = {
  name: "go-glue",
  setup(b) {
    const file = join(execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim(), "lib", "wasm", "wasm_exec.js");
    b.onResolve({ filter: /\/wasm_exec\.js$/ }, () => ({ path: file, sideEffects: true }));
    b.onLoad({ filter: /[\\/]wasm_exec\.js$/ }, () => ({
      contents: `const own = { fs: undefined, process: undefined, path: undefined };
export const scope = new Proxy(own, { get: (_, name) => (Object.hasOwn(own, name) ? own[name] : globalThis[name]) });
(function (globalThis) {
${readFileSync(file, "utf8")}
})(scope);
export const Go = own.Go;`,
    }));
  },
};

/** The factors of intervals that the native tool has built in, for runs at their usual options. */
const calibrations = JSON.parse(readFileSync(join(root, "cmd", "native", "calibrations.json"), "utf8")).filter((c) => !c.options)
  .map(({ name, task, method, steps, sigmaY, factor }) => ({ prior: name, task, method, steps, sigmaY, factor: Number(factor.toPrecision(5)) }));

const intervals = execFileSync("go", ["run", "./tools/intervals"], { cwd: root, encoding: "utf8" }).trim();

/** What tells this build's files from those of another one that a cache may hold under the same addresses. */
const identity = createHash("sha256");
for (const file of ["cmi.wasm", "faces64.safetensors", "photos64.safetensors"].map((name) => join(dist, name)).filter(existsSync)) identity.update(readFileSync(file));

export const options = {
  bundle: true, format: "esm", target: "es2022", platform: "browser", legalComments: "none",
  define: { PACKAGE_VERSION: JSON.stringify(version), PACKAGE_BUILD: JSON.stringify(`${version}-${identity.digest("hex").slice(0, 16)}`), CALIBRATIONS: JSON.stringify(calibrations), INTERVALS: intervals }, plugins: [goGlue],
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dist, { recursive: true });
  for (const entry of ["index", "local", "worker", "pool"]) {
    // The page's entry loads local.js only when it is asked to compute in the page.
    await build({ ...options, entryPoints: [join(here, "src", entry + ".ts")], outfile: join(dist, entry + ".js"), minify: true, external: entry === "index" ? ["./local.js"] : [] });
  }
  rmSync(join(dist, "types"), { recursive: true, force: true });
  execFileSync(join(here, "node_modules", ".bin", "tsc"), ["-p", here], { stdio: "inherit" });
  copyFileSync(join(root, "LICENSE"), join(here, "LICENSE"));
  writeFileSync(join(here, "NOTICE"), execFileSync("go", ["run", "./tools/notices", "./wasm/engine"], { cwd: root }));
}
