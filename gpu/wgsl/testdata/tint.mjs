// Reads names of WGSL files on standard input and has Dawn compile each; exits 1 if
// one has an error. Runs where npm has installed the package webgpu.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const path = createRequire(process.cwd() + '/').resolve('webgpu');
const { create, globals } = await import(pathToFileURL(path));
Object.assign(globalThis, globals);
const gpu = create(['backend=null']); // compiles, computes nothing
globalThis.kept = gpu; // Dawn aborts when it is collected before its device
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });
const files = readFileSync(0, 'utf8').split('\n');
let wrong = 0;
for (const file of files) {
  const code = readFileSync(file, 'utf8');
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const entryPoint = file.replace(/^.*\d{4}_/, '').replace(/\.wgsl$/, '');
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint } });
  const { messages } = await module.getCompilationInfo();
  const error = await device.popErrorScope();
  if (error || messages.some((m) => m.type === 'error')) {
    wrong++;
    console.log(`${file}: ${error?.message ?? messages.map((m) => `${m.lineNum}: ${m.message}`).join('\n')}\n${code}`);
  }
}
console.log(`${files.length} shaders, ${wrong} with errors`);
process.exit(wrong ? 1 : 0);
