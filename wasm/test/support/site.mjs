// What most tests share: a server with the package, sample faces and an empty page, and a browser.
import { after } from "node:test";
import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { dist, root } from "./paths.mjs";
import { serve } from "./server.mjs";

const cleanups = [];
after(async () => { for (const close of cleanups.reverse()) await close(); });

/** cleanup does something after the last test of a file; `after` in a hook would do it after the hook. */
export function cleanup(work) {
  cleanups.push(work);
}

const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>test</title><script type="module" src="/test/page.js"></script>`;

/** site serves the package under /pkg/ with headers of choice; folders adds or replaces. */
export async function site(headers = {}, folders = {}) {
  const server = await serve({
    "/pkg/": dist, "/faces/": join(root, "examples", "faces"), "/test/": join(root, "wasm", "test", "support", "inpage"),
    "/": (path) => (path === "/" ? { body: page } : { body: "not found", status: 404, type: "text/plain" }), ...folders,
  }, headers);
  cleanups.push(server.close);
  return server;
}

/** browser opens one for the tests of a file. */
export async function browser(options) {
  const context = await launch(options);
  cleanups.push(() => context.close());
  return context;
}

/** ready opens a page that has the package as `cmi` and the helpers of inpage/page.js. */
export async function ready(context, url) {
  const p = await open(context, url + "/");
  await p.waitForFunction(() => globalThis.cmi);
  return p;
}
