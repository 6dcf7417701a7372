// Starts workers from wherever the package is: beside the page, at another origin, on a page that enforces Trusted Types.

/** What `new Worker` takes on a page that enforces Trusted Types: a TrustedScriptURL. */
export interface TrustedURL {
  toString(): string;
}

/** What makes one: a TrustedTypePolicy, or an object with its function. */
export interface ScriptURLPolicy {
  createScriptURL(url: string): TrustedURL;
}

/** trust makes an address a worker's script may have. */
export type Trust = (url: string) => string;

/** trustOf gives the trust of a policy. Without one it makes its own, "cmi-diffusion", where the browser has Trusted Types; it blesses nothing but the scripts of a solver. */
export function trustOf(policy?: ScriptURLPolicy): Trust {
  return (url) => {
    policy ??= ownPolicy();
    return policy ? (policy.createScriptURL(url) as string) : url;
  };
}

let own: ScriptURLPolicy | undefined;

function ownPolicy(): ScriptURLPolicy | undefined {
  const { trustedTypes } = globalThis as { trustedTypes?: { createPolicy(name: string, rules: ScriptURLPolicy): ScriptURLPolicy } };
  try {
    own ??= trustedTypes?.createPolicy("cmi-diffusion", { createScriptURL: (url) => url });
  } catch {
    // The page's Content-Security-Policy does not list it: the worker's start says what is missing.
  }
  return own;
}

/**
 * ownScript gives the address of a script that a worker may have: the address itself, or where that is of another origin, whose
 * server allows it (CORS), that of a script of the page's own origin which imports it and is held until release is called.
 */
export function ownScript(url: string): { url: string; release(): void } {
  if (!foreign(url)) return { url, release() {} };
  const script = URL.createObjectURL(new Blob([`import ${JSON.stringify(url)};`], { type: "text/javascript" }));
  return { url: script, release: () => URL.revokeObjectURL(script) };
}

/** foreign says whether a script at an address is of another origin than the page. */
export function foreign(url: string): boolean {
  const { protocol, origin } = new URL(url);
  return protocol.startsWith("http") && origin !== globalThis.origin;
}

/** beside is the address of a file of the package beside this module; bundlers, which look for a literal name, leave it alone. */
export function beside(file: string): string {
  return new URL(file, import.meta.url).href;
}

/** scriptWorker starts a module worker from an address, of another origin too. */
export function scriptWorker(url: string, name: string, trust: Trust): Worker {
  const script = ownScript(url);
  try {
    return new Worker(trust(script.url), { type: "module", name });
  } finally {
    setTimeout(script.release, 10_000);
  }
}

/**
 * packagedWorker starts a worker of the package. bundled has the literal form that bundlers look for; without a bundler the script
 * is the named file beside this module, which is what is started where the literal form can't be.
 */
export function packagedWorker(bundled: () => Worker, file: string, name: string, trust: Trust): Worker {
  const own = () => scriptWorker(beside(file), name, trust);
  if (foreign(import.meta.url)) return own();
  try {
    return bundled();
  } catch (e) {
    if (e instanceof TypeError && "trustedTypes" in globalThis) return own();
    throw e;
  }
}
