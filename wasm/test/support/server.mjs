// A static server for tests: one or more folders at paths, headers of choice, and a log of what was asked for.
import { createServer } from "node:http";
import { readFile, stat } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const types = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm", ".png": "image/png", ".svg": "image/svg+xml", ".safetensors": "application/octet-stream", ".webmanifest": "application/manifest+json",
};

export const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/** serve gives { url, requests, close } for folders like { "/": dir }; a value that is a function answers (path) → { body, type, status, headers } itself. */
export async function serve(folders, headers = {}, port = 0) {
  const requests = [];
  const mounts = Object.entries(folders).sort(([a], [b]) => b.length - a.length);
  const server = createServer(async (request, response) => {
    const send = (status, type, body, more = {}) => {
      response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body), "cache-control": "max-age=3600", ...headers, ...more });
      response.end(body);
    };
    let path;
    try {
      path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    } catch {
      return send(400, "text/plain", "bad request");
    }
    requests.push(path);
    const [mount, source] = mounts.find(([m]) => path.startsWith(m)) ?? [];
    if (typeof source === "function") {
      const { body, type = "text/html; charset=utf-8", status = 200, headers: more } = await source(path, request);
      return send(status, type, body, more);
    }
    try {
      let file = join(source, normalize("/" + path.slice(mount.length)));
      if ((await stat(file)).isDirectory()) file = join(file, "index.html");
      send(200, types[extname(file)] ?? "application/octet-stream", await readFile(file));
    } catch {
      send(404, "text/plain", "not found: " + path);
    }
  });
  await new Promise((ready, failed) => server.once("error", failed).listen(port, "127.0.0.1", ready));
  return {
    url: `http://localhost:${server.address().port}`,
    requests,
    close: () => { server.closeAllConnections(); return new Promise((done) => server.close(done)); },
  };
}
