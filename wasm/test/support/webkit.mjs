// WebKit, the engine of Safari, as WebKitGTK has it, in a virtual display, driven by the W3C's WebDriver protocol.
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createServer } from "node:net";

const libraries = "/usr/lib";
const browser = () => readdirSync(libraries).flatMap((arch) => ["4.1", "4.0"].map((v) => `${libraries}/${arch}/webkit2gtk-${v}/MiniBrowser`)).find(existsSync);

/** missing says what is to be installed, if anything. */
export function missing() {
  const there = ["/usr/bin/WebKitWebDriver", "/usr/bin/Xvfb"].every(existsSync) && browser();
  return there ? undefined : "needs WebKitGTK and a display: install the packages webkit2gtk-driver and xvfb";
}

/** webkit gives a page; threads: it shares memory between threads in isolated pages, as Safari does and WebKitGTK does not of itself. */
export async function webkit({ threads }) {
  const display = `:${90 + Math.floor(Math.random() * 900)}`;
  const port = await free();
  const env = {
    ...process.env, DISPLAY: display, LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_COMPOSITING_MODE: "1",
    WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1", JSC_useSharedArrayBuffer: threads ? "1" : "0",
  };
  const processes = [spawn("/usr/bin/Xvfb", [display, "-screen", "0", "1280x900x24"], { stdio: "ignore" })];
  const end = () => { for (const p of processes.reverse()) p.kill(); };
  try {
    processes.push(spawn("/usr/bin/WebKitWebDriver", [`--port=${port}`], { env, stdio: "ignore" }));
    const session = await eventually(() => command(port, "POST", "/session", {
      capabilities: { alwaysMatch: { "webkitgtk:browserOptions": { binary: browser(), args: ["--automation"] } } },
    }));
    const path = `/session/${session.sessionId}`;
    await command(port, "POST", `${path}/timeouts`, { script: 300_000, pageLoad: 120_000 });
    return {
      goto: (url) => command(port, "POST", `${path}/url`, { url }),
      /** evaluate runs an async function of the page and gives what it returns. */
      async evaluate(f, ...args) {
        const script = `const done = arguments[arguments.length - 1]; (${f})(...arguments[0]).then((value) => done({ value }), (e) => done({ error: String(e) }));`;
        const { value, error } = await command(port, "POST", `${path}/execute/async`, { script, args: [args] });
        if (error) throw new Error(error);
        return value;
      },
      async close() {
        await command(port, "DELETE", path).catch(() => undefined);
        end();
      },
    };
  } catch (e) {
    end();
    throw e;
  }
}

async function command(port, method, path, body) {
  const { value } = await (await fetch(`http://127.0.0.1:${port}${path}`, { method, ...(body && { body: JSON.stringify(body) }) })).json();
  if (value?.error) throw new Error(`WebDriver: ${value.error}: ${value.message}`);
  return value;
}

/** eventually tries again for half a minute: display and driver take their time. */
async function eventually(work) {
  for (let left = 60; ; left--) {
    try {
      return await work();
    } catch (e) {
      if (left === 0) throw e;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

const free = () => new Promise((resolve, reject) => {
  const server = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
