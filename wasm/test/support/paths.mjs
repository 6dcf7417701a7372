import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
/** The built package. */
export const dist = join(root, "wasm", "npm", "dist");
