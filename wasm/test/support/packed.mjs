// The packed tarball as a user installs it, and the code that the docs show.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./paths.mjs";
import { cleanup } from "./site.mjs";

/** install packs the package and installs the tarball into a folder, a new one if none is given, which is deleted after the tests. */
export function install(folder = mkdtempSync(join(tmpdir(), "cmi-packed-"))) {
  cleanup(() => rmSync(folder, { recursive: true, force: true }));
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: join(root, "wasm", "npm"), encoding: "utf8" }));
  const tarball = join(folder, packed.filename);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", tarball], { cwd: folder });
  return { folder, packed, tarball };
}

/** blocks gives the fenced code of a document of the repository: { language, name, code }; the name is what follows the language. */
export function blocks(document) {
  const text = readFileSync(join(root, document), "utf8");
  return [...text.matchAll(/^```(\w+)(?: (\S+))?\n(.*?)^```$/gms)].map(([, language, name, code]) => ({ language, name, code }));
}

/** recipe gives the code of docs/browser.md that has this name. */
export function recipe(name) {
  const found = blocks("docs/browser.md").filter((b) => b.name === name);
  if (found.length !== 1) throw new Error(`docs/browser.md has ${found.length} recipes named ${name}, one is wanted`);
  return found[0].code;
}
