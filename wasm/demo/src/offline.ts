// Keeps the page's files, so that it works offline after the first visit. The model is kept by the package.
declare const FILES: string[];
declare const VERSION: string;
declare const self: ServiceWorkerGlobalScope & typeof globalThis;

const name = `cmi-demo-${VERSION}`;

self.addEventListener("install", (e) => {
  e.waitUntil(caches.open(name).then((c) => c.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (e) => {
  e.waitUntil((async () => {
    for (const other of await caches.keys()) if (other.startsWith("cmi-demo-") && other !== name) await caches.delete(other);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (e) => {
  if (e.request.method !== "GET") return;
  e.respondWith(caches.open(name).then((c) => c.match(e.request, { ignoreSearch: true })).then((r) => r ?? fetch(e.request)));
});
