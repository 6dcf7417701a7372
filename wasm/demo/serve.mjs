// Serves the demo page with the headers that give it threads: node serve.mjs FOLDER [PORT], after `make web`.
import { isolation, serve } from "../test/support/server.mjs";

const [folder, port = "8080"] = process.argv.slice(2);
try {
  const { url } = await serve({ "/": folder }, { ...isolation, "cache-control": "no-cache" }, Number(port));
  console.log(`The demo page is at ${url} until Ctrl-C.`);
} catch (e) {
  console.error(`no page at port ${port}: ${e.message}; give another: node wasm/demo/serve.mjs ${folder} 8081`);
  process.exit(1);
}
