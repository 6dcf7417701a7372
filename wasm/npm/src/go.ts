// The Go program's start, its imports, and calls into it.
import { Go, scope, type GoRuntime } from "./wasm_exec.js";
import { EngineError, type EngineErrorCode } from "./engineerror.js";
import type { GPU } from "./gpu.js";
import { kernelFunctions, type SIMD } from "./simd.js";

/** What a program computes on: a GPU, or the processor's kernels. */
export type Device = { gpu: GPU; simd?: undefined } | { gpu?: undefined; simd: SIMD };

/** Where a program goes when its device is lost. */
export interface Surroundings {
  /** It may leave a GPU for the processor. */
  fallback: boolean;
  /** Opens another GPU in place of the device, or the processor. */
  reopen(processor: boolean): Promise<Device>;
  /** The program goes on on that device, and why. */
  moved(info: DeviceInfo, why: string): void;
}

/** Host is what the program finds of its surroundings, and where it leaves its functions. */
interface Host {
  readonly gpu: unknown;
  /** Of the processor's kernels: what they are, and the bytes that their memory may grow to. */
  readonly kernels: string;
  readonly memory: number;
  readonly fallback: boolean;
  reopen(processor: boolean): Promise<void>;
  moved(info: DeviceInfo, why: string): void;
  /** Calls back from a new task, so that what waits for the event loop gets its turn. */
  soon(callback: () => void): void;
  /** The program can't go on: {code, message}. */
  gone(failure: unknown): void;
  /** The program can be called: its functions, or why it has none. */
  start(program: Record<string, unknown>): void;
}

export interface DeviceInfo {
  device: string;
  description: string;
  software: boolean;
}

/** Token tells the program that a call is to stop. */
export interface Token {
  abort(): void;
}

export interface GoProgram {
  readonly info: DeviceInfo;
  /** It has the conformance suite. */
  readonly verifies: boolean;
  /** call runs a function of the program; it rejects with {code, message}. */
  call(name: string, args: unknown[]): Promise<unknown>;
  token(): Token;
  exit(why: unknown): void;
  /** Why the program is no more: an error, or {code, message}. */
  readonly exited: Promise<unknown>;
}

const hostName = "cmiDiffusionHost";

/** startGo starts a program on a device. */
export async function startGo(program: WebAssembly.Module, first: Device, around: Surroundings): Promise<GoProgram> {
  const go: GoRuntime = new Go();
  let instance: WebAssembly.Instance;
  const memory = () => (instance.exports["mem"] as WebAssembly.Memory).buffer;
  const words = lastWords(go.importObject, memory);
  let device = first;
  let kernels = first.simd?.functions(memory);
  const cmi = Object.fromEntries(kernelFunctions.map((name) => [name, (...args: number[]) => kernels![name](...args)]));
  instance = await instantiate(program, { ...go.importObject, cmi });
  let start!: (program: Record<string, unknown>) => void;
  const started = new Promise<Record<string, unknown>>((resolve) => { start = resolve; });
  let exit!: (why: unknown) => void;
  const exited = new Promise<unknown>((resolve) => { exit = resolve; });
  const channel = new MessageChannel();
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => {
    try {
      waiting.shift()?.();
    } catch (e) {
      exit(words.failure(String(e)));
    }
  };
  const host: Host = {
    get gpu() { return device.gpu?.bridge; },
    get kernels() { return device.simd?.description ?? ""; },
    get memory() { return device.simd?.limit ?? 0; },
    fallback: around.fallback,
    async reopen(processor) {
      device = await around.reopen(processor);
      kernels = device.simd?.functions(memory);
    },
    moved: (info, why) => around.moved(info, why),
    soon(callback) {
      waiting.push(callback);
      channel.port2.postMessage(0);
    },
    gone: exit,
    start: (program) => start(program),
  };
  scope[hostName] = host;
  go.run(instance).then(() => exit(words.failure("it ended")), (e) => exit(words.failure(String(e))));
  delete scope[hostName]; // the program has it by now; the next one gets its own
  void exited.then(() => channel.port1.close());
  const functions = await Promise.race([started, exited.then((failure): Record<string, unknown> => ({ failure }))]);
  if (functions["failure"]) {
    const { code, message } = functions["failure"] as { code: EngineErrorCode; message: string };
    throw new EngineError(code, message);
  }
  return {
    info: functions["info"] as DeviceInfo,
    verifies: functions["verifies"] === true,
    call(name, args) {
      return new Promise((resolve, reject) => (functions[name] as (...a: unknown[]) => void)(resolve, reject, ...args));
    },
    token() {
      const t = { aborted: false, abort() { t.aborted = true; } };
      return t;
    },
    exit,
    exited,
  };
}

async function instantiate(program: WebAssembly.Module, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  try {
    return await WebAssembly.instantiate(program, imports);
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    throw new EngineError("OUT_OF_MEMORY", `the browser has no memory for the program: ${e.message}; close other pages`, { cause: e });
  }
}

/** lastWords listens to what a program writes before it ends, and tells from it why it did. */
function lastWords(imports: WebAssembly.Imports, memory: () => ArrayBuffer) {
  let said = "";
  const decoder = new TextDecoder();
  // func wasmWrite(fd uintptr, p unsafe.Pointer, n int32), its arguments on Go's stack.
  imports["gojs"]!["runtime.wasmWrite"] = (stack: number) => {
    const view = new DataView(memory());
    const text = decoder.decode(new Uint8Array(view.buffer, view.getUint32((stack >>> 0) + 16, true), view.getInt32((stack >>> 0) + 24, true)), { stream: true });
    said = (said + text).slice(0, 1 << 16);
  };
  return {
    failure(how: string): { code: EngineErrorCode; message: string } {
      const first = said.split("\n").find((line) => line.trim()) ?? how;
      if (/out of memory/.test(said)) {
        return { code: "OUT_OF_MEMORY", message: `the program has used up its memory (${first}; 4 GiB at most): a smaller model or batch may fit` };
      }
      if (said) console.error(said);
      return { code: "INTERNAL", message: `the program stopped: ${first}` };
    },
  };
}
