// Serves the demo page with the headers that give it threads: node serve.mjs FOLDER [PORT], after `make web`.
import { isolation, serve } from "../test/support/server.mjs";

const [folder, port = "8080"] = process.argv.slice(2);
const { url } = await serve({ "/": folder }, { ...isolation, "cache-control": "no-cache" }, Number(port));
console.log(`The demo page is at ${url} until Ctrl-C.`);
