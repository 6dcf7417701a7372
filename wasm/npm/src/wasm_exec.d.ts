// Go's own glue, from the Go release that compiles the program; see build.mjs.
export interface GoRuntime {
  argv: string[];
  importObject: WebAssembly.Imports;
  run(instance: WebAssembly.Instance): Promise<void>;
}
export const Go: new () => GoRuntime;
/** What the program takes for the global object: the page's, with Go's stand-ins for fs, process and path. */
export const scope: Record<string, unknown>;
