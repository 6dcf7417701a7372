// Joins the data segments of WebAssembly modules, in place: node segments.mjs FILE…
// Go's linker starts a segment after every eight zeros; their headers are a fifth of the data and compress badly, zeros well.
import { readFileSync, writeFileSync } from "node:fs";

const gap = 64; // zeros that are written out rather than skipped by a new segment

for (const file of process.argv.slice(2)) {
  const module = readFileSync(file);
  const parts = [module.subarray(0, 8)];
  for (let at = 8; at < module.length; ) {
    const id = module[at];
    const [size, from] = unsigned(module, at + 1);
    const section = module.subarray(from, from + size);
    const body = id === 11 ? joined(file, section) : section;
    parts.push(Buffer.of(id), leb(body.length), body);
    at = from + size;
  }
  writeFileSync(file, Buffer.concat(parts));
}

// joined is a data section with fewer segments.
function joined(file, section) {
  const segments = [];
  let [count, at] = unsigned(section, 0);
  for (; count > 0; count--) {
    if (section[at] !== 0 || section[at + 1] !== 0x41) throw new Error(`${file}: a data segment that is not at a constant of memory 0`);
    const [offset, end] = unsigned(section, at + 2);
    const [size, from] = unsigned(section, end + 1); // after the end of the constant expression
    segments.push({ offset, data: section.subarray(from, from + size) });
    at = from + size;
  }
  segments.sort((a, b) => a.offset - b.offset);
  const runs = [];
  for (const { offset, data } of segments) {
    const last = runs.at(-1);
    if (last && offset - last.end <= gap) {
      last.data.push(Buffer.alloc(offset - last.end), data);
      last.end = offset + data.length;
    } else {
      runs.push({ offset, end: offset + data.length, data: [data] });
    }
  }
  return Buffer.concat([leb(runs.length), ...runs.flatMap(({ offset, end, data }) =>
    [Buffer.of(0, 0x41), leb(offset, true), Buffer.of(0x0b), leb(end - offset), ...data])]);
}

// unsigned reads a number in LEB128, of a positive one in signed LEB128 too, and says where it ends.
function unsigned(bytes, at) {
  for (let value = 0, unit = 1; ; unit *= 128) {
    const byte = bytes[at++];
    value += (byte & 127) * unit;
    if (byte < 128) return [value, at];
  }
}

// leb is a number from 0 in LEB128; signed, its highest bit is a sign.
function leb(value, signed = false) {
  const bytes = [];
  for (; value >= (signed ? 64 : 128); value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
