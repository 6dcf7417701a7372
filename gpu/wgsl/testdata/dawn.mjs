// Runs a test binary of Go for js/wasm in node, on Dawn, behind the bridge of the
// npm package: node dawn.mjs BINARY ARGUMENT… in the folder where npm has installed
// the package webgpu. Exits 77 where Dawn finds no adapter.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const wasm = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../wasm');
const { build } = await import(path.join(wasm, 'npm/node_modules/esbuild/lib/main.js'));
const here = createRequire(process.cwd() + '/');
const { create, globals } = await import(pathToFileURL(here.resolve('webgpu')));
const gpu = create(['backend=vulkan']);
Object.assign(globalThis, globals, { keptFromCollection: gpu }); // Dawn aborts when it goes before its device
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });

const bundle = await build({ entryPoints: [path.join(wasm, 'npm/src/gpu.ts')], bundle: true, format: 'esm', target: 'es2022', write: false });
const { openGPU } = await import('data:text/javascript;base64,' + Buffer.from(bundle.outputFiles[0].contents).toString('base64'));
const notes = [];
const opened = await openGPU(true, notes, 'f16');
if (!opened) {
  console.log(notes.join('; '));
  process.exit(77);
}
globalThis.gpuForTests = opened.bridge;

const require = createRequire(import.meta.url);
Object.assign(globalThis, { require, fs, path });
require(path.join(execFileSync('go', ['env', 'GOROOT'], { encoding: 'utf8' }).trim(), 'lib/wasm/wasm_exec.js'));
const go = new Go();
go.argv = process.argv.slice(2);
go.env = { TMPDIR: os.tmpdir(), ...process.env };
go.exit = (code) => process.exit(code);
const folder = process.env.CMI_TEST_FOLDER; // that the tests find their files in
const { instance } = await WebAssembly.instantiate(fs.readFileSync(process.argv[2]), go.importObject);
if (folder) process.chdir(folder);
await go.run(instance);
