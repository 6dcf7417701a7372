// The browser's WebGPU as the Go program's driver sees it.

export interface GPU {
  /** What the program calls, see package gpu/wgsl/webgpu/browser. */
  readonly bridge: unknown;
  close(): void;
}

/** openGPU opens an adapter; a software one only if that is what is asked for. Why there is none goes to notes. */
export async function openGPU(_asked: boolean, notes: string[]): Promise<GPU | undefined> {
  notes.push("no WebGPU: this build computes on the processor");
  return undefined;
}
