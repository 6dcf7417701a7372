// Says how large files are when compressed by brotli, each and together, and fails above a bound: node size.mjs BOUND FILE…
import { readFileSync } from "node:fs";
import { brotliCompressSync, constants as c } from "node:zlib";

const [bound, ...files] = process.argv.slice(2);
let total = 0;
for (const f of files) {
  const raw = readFileSync(f);
  const { length } = brotliCompressSync(raw, { params: { [c.BROTLI_PARAM_QUALITY]: 11, [c.BROTLI_PARAM_LGWIN]: 24, [c.BROTLI_PARAM_SIZE_HINT]: raw.length } });
  console.log(`${f}: ${raw.length} bytes, ${length} compressed`);
  total += length;
}
console.log(`${files.length} files, compressed: ${total} bytes of at most ${bound}`);
process.exit(total <= Number(bound) ? 0 : 1);
