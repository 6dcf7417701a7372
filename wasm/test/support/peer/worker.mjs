// onnxruntime-web in a worker, timed as ours is: each run copies its input in and its output out.
addEventListener("message", async ({ data }) => {
  try {
    postMessage({ result: await work(data) });
  } catch (e) {
    postMessage({ error: String(e) });
  }
});

/** work times one file. capture: on the GPU, a run is recorded once and replayed. */
async function work({ work, provider, threads, reps, capture = false }) {
  const ort = await import(provider === "webgpu" ? "/ort/ort.webgpu.min.mjs" : "/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const reference = await (await fetch("/onnx/network.json")).json();
  const inputs = {
    conv: { x: { type: "float32", data: Float32Array.from({ length: 128 * 4096 }, (_, i) => Math.sin(i * 1.7)), dims: [1, 128, 64, 64] } },
    forward: { x: { type: "float32", data: Float32Array.from(reference.x), dims: [1, 3, 64, 64] }, t: { type: "int64", data: BigInt64Array.of(300n), dims: [1] } },
  };
  const session = await ort.InferenceSession.create(`/onnx/${work === "conv" ? "conv" : "network"}.onnx`, {
    executionProviders: [provider], ...(capture && { enableGraphCapture: true, preferredOutputLocation: "gpu-buffer" }),
  });
  const feeds = {}, writes = [];
  for (const [name, { type, data, dims }] of Object.entries(inputs[work])) {
    if (!capture) { feeds[name] = new ort.Tensor(type, data, dims); continue; }
    const device = await ort.env.webgpu.device; // a recording reads its input from a buffer
    const buffer = device.createBuffer({ size: Math.max(16, data.byteLength), usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC });
    feeds[name] = ort.Tensor.fromGpuBuffer(buffer, { dataType: type, dims });
    writes.push(() => device.queue.writeBuffer(buffer, 0, data));
  }
  let y;
  const run = async () => {
    for (const write of writes) write();
    const made = (await session.run(feeds)).y;
    y = await made.getData();
  };
  await run();
  const seconds = [];
  for (let i = 0; i < reps; i++) {
    const start = performance.now();
    await run();
    seconds.push((performance.now() - start) / 1000);
  }
  await session.release();
  return { [work]: Math.min(...seconds), ...(work === "forward" && { output: y }) };
}
