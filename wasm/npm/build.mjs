// Builds the JavaScript of the package into dist/: node build.mjs. The WebAssembly files are put there by `make wasm`.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const dist = join(here, "dist");
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

/** Go's own glue, from the Go that compiles the program: the two must fit. */
export const goGlue = {
  name: "go-glue",
  setup(b) {
    const file = join(execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim(), "lib", "wasm", "wasm_exec.js");
    b.onResolve({ filter: /\/wasm_exec\.js$/ }, () => ({ path: file, sideEffects: true }));
  },
};

/** The factors of intervals that the native tool has built in, for runs at their usual options. */
const calibrations = JSON.parse(readFileSync(join(root, "cmd", "native", "calibrations.json"), "utf8")).filter((c) => !c.options)
  .map(({ name, task, method, steps, sigmaY, factor }) => ({ prior: name, task, method, steps, sigmaY, factor: Number(factor.toPrecision(5)) }));

const intervals = execFileSync("go", ["run", "./tools/intervals"], { cwd: root, encoding: "utf8" }).trim();

export const options = {
  bundle: true, format: "esm", target: "es2022", platform: "browser", legalComments: "none",
  define: { PACKAGE_VERSION: JSON.stringify(version), CALIBRATIONS: JSON.stringify(calibrations), INTERVALS: intervals }, plugins: [goGlue],
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dist, { recursive: true });
  for (const entry of ["index", "local", "worker", "pool"]) {
    // The page's entry loads local.js only when it is asked to compute in the page.
    await build({ ...options, entryPoints: [join(here, "src", entry + ".ts")], outfile: join(dist, entry + ".js"), minify: true, external: entry === "index" ? ["./local.js"] : [] });
  }
  rmSync(join(dist, "types"), { recursive: true, force: true });
  execFileSync(join(here, "node_modules", ".bin", "tsc"), ["-p", here], { stdio: "inherit" });
  for (const prior of ["faces64", "photos64"]) copyFileSync(join(root, "sdk", "checkpoint", prior, prior + ".safetensors"), join(dist, prior + ".safetensors"));
  copyFileSync(join(root, "LICENSE"), join(here, "LICENSE"));
  writeFileSync(join(here, "NOTICE"), execFileSync("go", ["run", "./tools/notices", "./wasm/engine"], { cwd: root }));
}
