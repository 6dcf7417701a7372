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
 * scriptWorker starts a module worker from an address. A worker's script must be of the page's own origin, what it imports
 * need not: a script of another origin, whose server allows it (CORS), is imported by a script of the page's.
 */
export function scriptWorker(url: string, name: string, trust: Trust): Worker {
  const { protocol, origin } = new URL(url);
  if (!protocol.startsWith("http") || origin === globalThis.origin) return new Worker(trust(url), { type: "module", name });
  const script = URL.createObjectURL(new Blob([`import ${JSON.stringify(url)};`], { type: "text/javascript" }));
  try {
    return new Worker(trust(script), { type: "module", name });
  } finally {
    setTimeout(() => URL.revokeObjectURL(script), 10_000);
  }
}

/**
 * packagedWorker starts a worker of the package. bundled has the literal form that bundlers look for; without a bundler the script
 * is the named file beside this module, which is what is started where the literal form can't be.
 */
export function packagedWorker(bundled: () => Worker, file: string, name: string, trust: Trust): Worker {
  const here = import.meta.url;
  const beside = () => scriptWorker(new URL(file, here).href, name, trust);
  if (here.startsWith("http") && new URL(here).origin !== globalThis.origin) return beside();
  try {
    return bundled();
  } catch (e) {
    if (e instanceof TypeError && "trustedTypes" in globalThis) return beside();
    throw e;
  }
}
