// The Go program's start, its imports, and calls into it.
import "./wasm_exec.js";
import { EngineError, type EngineErrorCode } from "./engineerror.js";
import type { GPU } from "./gpu.js";
import type { SIMD } from "./simd.js";

interface GoRuntime {
  argv: string[];
  importObject: WebAssembly.Imports;
  run(instance: WebAssembly.Instance): Promise<void>;
}

/** Host is what the program finds of its surroundings, and where it leaves its functions. */
interface Host {
  gpu?: unknown;
  threads: number;
  kernels: string;
  /** Calls back from a new task, so that what waits for the event loop gets its turn. */
  soon(callback: () => void): void;
  /** The program can't go on: {code, message}. */
  gone(failure: unknown): void;
  /** The program can be called: its functions, or why it has none. */
  start(program: Record<string, unknown>): void;
}

export interface ProgramInfo {
  device: string;
  description: string;
  software: boolean;
  verifies: boolean;
}

/** Token tells the program that a call is to stop. */
export interface Token {
  abort(): void;
}

export interface GoProgram {
  info(): ProgramInfo;
  /** call runs a function of the program; it rejects with {code, message}. */
  call(name: string, args: unknown[]): Promise<unknown>;
  token(): Token;
  exit(why: unknown): void;
  /** Why the program is no more: an error, or {code, message}. */
  readonly exited: Promise<unknown>;
}

// Go's glue puts stand-ins for Node's fs, process and path on the global object,
// where other code takes them for Node. They are there only while a program starts.
type Globals = Record<string, unknown>;
const globals = globalThis as unknown as Globals;
const names = ["Go", "fs", "process", "path"].filter((n) => n === "Go" || isStandIn(n));
const standIns = new Map(names.map((n) => [n, globals[n]]));
for (const n of names) delete globals[n];

function isStandIn(name: string): boolean {
  return (globals["process"] as { pid?: number } | undefined)?.pid === -1 && name in globals;
}

const hostName = "cmiDiffusionHost";

/** startGo starts a program on a device. */
export async function startGo(program: WebAssembly.Module, gpu: GPU | undefined, simd: SIMD | undefined): Promise<GoProgram> {
  const go = new (standIns.get("Go") as new () => GoRuntime)();
  let instance: WebAssembly.Instance;
  const memory = () => (instance.exports["mem"] as WebAssembly.Memory).buffer;
  const none = () => { throw new Error("the program computes on the GPU"); };
  instance = await WebAssembly.instantiate(program, { ...go.importObject, cmi: simd ? simd.imports(memory) : { run: none, alloc: none, free: none, copyIn: none, copyOut: none } });
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
      exit({ code: "INTERNAL", message: `the program stopped: ${String(e)}` });
    }
  };
  const host: Host = {
    gpu: gpu?.bridge,
    threads: simd?.threads ?? 1,
    kernels: simd?.description ?? "",
    soon(callback) {
      waiting.push(callback);
      channel.port2.postMessage(0);
    },
    gone: exit,
    start: (program) => start(program),
  };
  const shown = [...standIns.keys(), hostName].map((n) => [n, globals[n]] as const);
  for (const [n, v] of standIns) globals[n] = v;
  globals[hostName] = host;
  try {
    const ended = (why: string) => exit({ code: "INTERNAL", message: why });
    go.run(instance).then(() => ended("the program ended: its last words are in the console"), (e) => ended(`the program stopped: ${String(e)}`));
  } finally {
    for (const [n, v] of shown) {
      if (v === undefined) delete globals[n];
      else globals[n] = v;
    }
  }
  void exited.then(() => channel.port1.close());
  const functions = await Promise.race([started, exited.then((failure): Record<string, unknown> => ({ failure }))]);
  if (functions["failure"]) {
    const { code, message } = functions["failure"] as { code: EngineErrorCode; message: string };
    throw new EngineError(code, message);
  }
  return {
    info: () => functions["info"] as ProgramInfo,
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
