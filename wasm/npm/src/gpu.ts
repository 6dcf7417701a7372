// The browser's WebGPU as the Go program's driver sees it (package
// gpu/wgsl/webgpu/browser): objects by number, commands as one array of words.
// The first failure is kept, and after it nothing more succeeds.
import { messageOf } from "./engineerror.js";

/** How convolutions multiply: "f16" rounds their factors to 11 bits and adds up in float32. */
export type Precision = "f32" | "f16";

export interface GPU {
  /** What the program calls. */
  readonly bridge: Bridge;
  readonly precision: Precision;
  /** Resolves with {code, message} when the device is lost, but not when it is closed. */
  readonly lost: Promise<Failure>;
  close(): void;
}

export interface Failure {
  code: string;
  message: string;
}

const softwareNames = /swiftshader|llvmpipe|lavapipe|basic render|software/i;

/** openGPU opens an adapter; a software one only if WebGPU is what is asked for. Why there is none, or no f16, goes to notes. */
export async function openGPU(asked: boolean, notes: string[], precision: Precision = "f32"): Promise<GPU | undefined> {
  const { gpu } = navigator as { gpu?: WebGPU };
  if (!gpu) {
    const secure = globalThis.isSecureContext === false ? "the page is not served over https or from localhost" : "this browser has none";
    notes.push(`no WebGPU: ${secure}`);
    return undefined;
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) {
    notes.push("no WebGPU: this browser offers no adapter; its GPU may be blocked");
    return undefined;
  }
  const { vendor, architecture, device: name, description } = adapter.info;
  const title = [description || name, vendor, architecture].filter(Boolean).join(" ") || "unnamed adapter";
  const software = adapter.info.isFallbackAdapter === true || adapter.isFallbackAdapter === true || softwareNames.test(title);
  if (software && !asked) {
    notes.push(`no WebGPU: the adapter (${title}) computes on the processor, where the own kernels are faster`);
    return undefined;
  }
  const wanted = ["maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY", "maxComputeWorkgroupsPerDimension"];
  try {
    const device = await adapter.requestDevice({
      requiredLimits: Object.fromEntries(wanted.map((n) => [n, adapter.limits[n]!])),
      requiredFeatures: ["shader-f16", "subgroups"].filter((f) => adapter.features.has(f)),
    });
    // Subgroups are used by their number, which browsers learned later.
    const subgroups = device.features.has("subgroups") && gpu.wgslLanguageFeatures?.has("subgroup_id") === true;
    const f16 = device.features.has("shader-f16");
    if (precision === "f16" && !f16) notes.push(`no f16: the adapter (${title}) has none, f32 is computed`);
    return opened(device, { name: title, vendor, software, subgroups, f16, precision: f16 ? precision : "f32" });
  } catch (e) {
    notes.push(`no WebGPU: the adapter (${title}) gives no device: ${messageOf(e)}`);
    return undefined;
  }
}

/** What is known of an adapter beside its limits. */
interface About {
  name: string;
  vendor: string;
  software: boolean;
  subgroups: boolean;
  f16: boolean;
  precision: Precision; // to compute in
}

function opened(device: GPUDevice, about: About): GPU {
  let closed = false;
  let isLost!: (f: Failure) => void;
  const lost = new Promise<Failure>((resolve) => { isLost = resolve; });
  const bridge = newBridge(device, about, lost);
  void device.lost.then(({ message }) => {
    if (!closed) isLost({ code: "DEVICE_LOST", message: `the GPU was lost: ${message || "no reason is given"}` });
  });
  return {
    bridge,
    precision: about.precision,
    lost,
    close() {
      closed = true;
      device.destroy();
    },
  };
}

export type Bridge = ReturnType<typeof newBridge>;

// The commands of a stream and their operands, see package webgpu.
const dispatch = 0;
const copy = 1;
const operands = [6, 5];

function newBridge(device: GPUDevice, about: About, lost: Promise<Failure>) {
  const { queue, limits } = device;
  const buffers = new Map<number, GPUBuffer>();
  const pipelines = new Map<number, { pipeline: object; layout: object; kinds: string }>();
  const groups = new Map<number, object>();
  const layouts = new Map<string, object>();
  const offset = new Uint32Array(1);
  let next = 1;
  let stage = new Uint8Array(1 << 16);
  let failed: Failure | undefined;
  let pending: Promise<unknown>[] = []; // error scopes that have not answered
  let staging: GPUBuffer | undefined; // to read from

  const fail = (f: Failure) => { failed ??= f; };
  const waiting = new Set<(f: Failure) => void>();
  void lost.then((f) => {
    fail(f);
    for (const reject of waiting) reject(f);
  });
  /** whileAlive waits for work, but not for that of a device that is no more. */
  const whileAlive = <T>(work: Promise<T>): Promise<T> => new Promise((resolve, reject) => {
    waiting.add(reject);
    work.then(resolve, reject).finally(() => waiting.delete(reject));
  });
  const failureOf = (e: GPUError): Failure => ({ code: e.constructor.name === "GPUOutOfMemoryError" ? "OUT_OF_MEMORY" : "INTERNAL", message: e.message });
  /** guarded makes a call whose errors, early or late, are kept. */
  const guarded = (call: () => void) => {
    if (failed) return;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    try {
      call();
    } catch (e) {
      fail({ code: "INTERNAL", message: messageOf(e) });
    }
    for (let i = 0; i < 2; i++) pending.push(device.popErrorScope().then((e) => { if (e) fail(failureOf(e)); }, () => {}));
  };
  /** settled waits for what is queued and rejects if something has failed. */
  const settled = async (work: Promise<unknown>) => {
    const waits = pending;
    pending = [];
    try {
      await whileAlive(Promise.all([...waits, work]));
    } catch (e) {
      // What is lost rejects before it is said that it is lost.
      await Promise.race([lost, new Promise((r) => setTimeout(r, 500))]);
      fail({ code: "INTERNAL", message: messageOf(e) });
    }
    if (failed) throw failed;
  };
  const known = <T>(table: Map<number, T>, id: number, what: string): T => {
    const found = table.get(id);
    if (!found) throw new Error(`${what} ${id} is unknown`);
    return found;
  };
  const layoutOf = (kinds: string) => {
    let layout = layouts.get(kinds);
    if (!layout) {
      layout = device.createBindGroupLayout({
        entries: [...kinds].map((kind, binding) => ({
          binding, visibility: 4, // compute
          buffer: kind === "2" ? { type: "uniform", hasDynamicOffset: true } : { type: kind === "0" ? "read-only-storage" : "storage" },
        })),
      });
      layouts.set(kinds, layout);
    }
    return layout;
  };

  return {
    info: {
      ...about, backend: "the browser's WebGPU", maxBinding: limits["maxStorageBufferBindingSize"], maxBuffer: limits["maxBufferSize"],
      maxWorkgroups: limits["maxComputeWorkgroupsPerDimension"], maxInvocations: limits["maxComputeInvocationsPerWorkgroup"],
      maxWorkgroupStorage: limits["maxComputeWorkgroupStorageSize"], maxStorageBuffers: limits["maxStorageBuffersPerShaderStage"],
      uniformAlignment: limits["minUniformBufferOffsetAlignment"],
    },

    /** stage gives the array through which bytes and commands come. */
    stage(bytes: number): Uint8Array {
      if (stage.length < bytes) stage = new Uint8Array(2 * bytes);
      return stage;
    },

    async createBuffer(bytes: number, uniform: boolean): Promise<number> {
      if (failed) throw failed;
      const size = Math.max(4, Math.ceil(bytes / 4) * 4);
      const usage = (uniform ? 0x40 : 0x80) | 0x4 | 0x8; // and copied from and to
      device.pushErrorScope("out-of-memory");
      device.pushErrorScope("validation");
      const buffer = device.createBuffer({ size, usage });
      const errors = await whileAlive(Promise.all([device.popErrorScope(), device.popErrorScope()])).catch(() => []);
      const e = errors.find((e) => e);
      if (failed || e) {
        buffer.destroy();
        throw failed ?? failureOf(e!);
      }
      buffers.set(next, buffer);
      return next++;
    },

    destroyBuffer(id: number): void {
      guarded(() => known(buffers, id, "buffer").destroy());
      buffers.delete(id);
    },

    /** write copies so many bytes from the stage. */
    write(id: number, at: number, bytes: number): void {
      guarded(() => queue.writeBuffer(known(buffers, id, "buffer"), at, stage, 0, bytes));
    },

    async createPipeline(label: string, code: string, entry: string, kinds: string): Promise<number> {
      if (failed) throw failed;
      const layout = layoutOf(kinds);
      device.pushErrorScope("validation");
      const module = device.createShaderModule({ label, code });
      const invalid = device.popErrorScope();
      try {
        const pipeline = await whileAlive(device.createComputePipelineAsync({
          label, layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module, entryPoint: entry },
        }));
        await whileAlive(invalid);
        pipelines.set(next, { pipeline, layout, kinds });
        return next++;
      } catch (e) {
        if (failed) throw failed;
        const why = (await whileAlive(invalid))?.message ?? messageOf(e);
        throw { code: "INTERNAL", message: `pipeline ${label}, entry ${entry}: ${why}` };
      }
    },

    /** createBindGroup takes buffer, offset and size of each binding; it gives a number, or what is wrong. */
    createBindGroup(id: number, ranges: number[]): number | string {
      try {
        if (failed) throw new Error(failed.message);
        const { layout, kinds } = known(pipelines, id, "pipeline");
        if (ranges.length !== 3 * kinds.length) throw new Error(`${ranges.length / 3} buffers for ${kinds.length} bindings`);
        const entries = [...kinds].map((_, binding) => {
          const [b, at, size] = ranges.slice(3 * binding) as [number, number, number];
          const buffer = known(buffers, b, "buffer");
          if (at < 0 || size <= 0 || at + size > buffer.size || size % 4 || at % 256) {
            throw new Error(`binding ${binding}: bytes ${at} to ${at + size} of a buffer of ${buffer.size}`);
          }
          return { binding, resource: { buffer, offset: at, size } };
        });
        guarded(() => groups.set(next, device.createBindGroup({ layout, entries })));
        return next++;
      } catch (e) {
        return messageOf(e);
      }
    },

    destroyBindGroup(id: number): void {
      groups.delete(id);
    },

    /** submit queues so many words of commands from the stage. */
    submit(words: number): void {
      guarded(() => {
        const c = new Int32Array(stage.buffer, 0, words);
        const encoder = device.createCommandEncoder();
        let pass: GPUComputePass | undefined;
        let current: object | undefined;
        for (let i = 0; i < words;) {
          const code = c[i]!;
          const n = operands[code];
          if (n === undefined || i + n >= words) throw new Error("the stream of commands is not well formed");
          if (code === dispatch) {
            pass ??= encoder.beginComputePass();
            const { pipeline } = known(pipelines, c[i + 1]!, "pipeline");
            if (pipeline !== current) pass.setPipeline((current = pipeline));
            const group = known(groups, c[i + 2]!, "bind group");
            if (c[i + 3]! < 0) {
              pass.setBindGroup(0, group);
            } else {
              offset[0] = c[i + 3]!;
              pass.setBindGroup(0, group, offset, 0, 1);
            }
            pass.dispatchWorkgroups(c[i + 4]!, c[i + 5]!, c[i + 6]!);
          } else if (code === copy) {
            pass?.end();
            pass = current = undefined;
            encoder.copyBufferToBuffer(known(buffers, c[i + 1]!, "buffer"), c[i + 2]!, known(buffers, c[i + 3]!, "buffer"), c[i + 4]!, c[i + 5]!);
          }
          i += n + 1;
        }
        pass?.end();
        queue.submit([encoder.finish()]);
      });
    },

    /** read gives bytes that are valid until readDone. */
    async read(id: number, at: number, bytes: number): Promise<Uint8Array> {
      if (!failed && (!staging || staging.size < bytes)) {
        staging?.destroy();
        staging = device.createBuffer({ size: Math.max(bytes, 1 << 16), usage: 0x1 | 0x8 });
      }
      const from = staging!;
      guarded(() => {
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(known(buffers, id, "buffer"), at, from, 0, bytes);
        queue.submit([encoder.finish()]);
      });
      await settled(failed ? Promise.resolve() : from.mapAsync(1, 0, bytes));
      return new Uint8Array(from.getMappedRange(0, bytes));
    },

    readDone(): void {
      staging?.unmap();
    },

    wait: () => settled(queue.onSubmittedWorkDone()),

    /** free gives everything back but the device, which others may use. */
    free(): void {
      staging?.destroy();
      staging = undefined;
      for (const b of buffers.values()) b.destroy();
      for (const table of [buffers, pipelines, groups]) table.clear();
      fail({ code: "INTERNAL", message: "the device is closed" });
    },

    /** again is a new bridge to the same device, as another device for the program. */
    again: (): object => newBridge(device, about, lost),
  };
}

// The part of WebGPU that is used here; TypeScript's libraries do not have it all.
interface WebGPU {
  readonly wgslLanguageFeatures?: ReadonlySet<string>;
  requestAdapter(options?: { powerPreference?: string }): Promise<GPUAdapter | null>;
}
interface GPUAdapter {
  readonly info: { vendor: string; architecture: string; device: string; description: string; isFallbackAdapter?: boolean };
  readonly isFallbackAdapter?: boolean;
  readonly limits: Record<string, number | undefined>;
  readonly features: ReadonlySet<string>;
  requestDevice(options: { requiredLimits: Record<string, number>; requiredFeatures: string[] }): Promise<GPUDevice>;
}
interface GPUError {
  readonly message: string;
}
interface GPUBuffer {
  readonly size: number;
  destroy(): void;
  mapAsync(mode: number, offset: number, size: number): Promise<void>;
  getMappedRange(offset: number, size: number): ArrayBuffer;
  unmap(): void;
}
interface GPUComputePass {
  setPipeline(p: object): void;
  setBindGroup(index: number, group: object, offsets?: Uint32Array, start?: number, length?: number): void;
  dispatchWorkgroups(x: number, y: number, z: number): void;
  end(): void;
}
interface GPUEncoder {
  beginComputePass(): GPUComputePass;
  copyBufferToBuffer(src: GPUBuffer, at: number, dst: GPUBuffer, to: number, size: number): void;
  finish(): object;
}
interface GPUDevice {
  readonly lost: Promise<{ reason: string; message: string }>;
  readonly limits: Record<string, number>;
  readonly features: ReadonlySet<string>;
  readonly queue: {
    writeBuffer(b: GPUBuffer, at: number, data: Uint8Array, from: number, bytes: number): void;
    submit(commands: object[]): void;
    onSubmittedWorkDone(): Promise<void>;
  };
  pushErrorScope(filter: string): void;
  popErrorScope(): Promise<GPUError | null>;
  createBuffer(d: { size: number; usage: number }): GPUBuffer;
  createShaderModule(d: { label: string; code: string }): object;
  createBindGroupLayout(d: object): object;
  createPipelineLayout(d: object): object;
  createComputePipelineAsync(d: object): Promise<object>;
  createBindGroup(d: object): object;
  createCommandEncoder(): GPUEncoder;
  destroy(): void;
}
