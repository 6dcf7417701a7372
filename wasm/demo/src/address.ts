// What is shown, as a part of the page's address, so that a link shows the same.
import { models, offers } from "./tasks.js";

export interface State {
  picture: string; // a sample's name; "" is the visitor's own, which no link has
  model: string;
  task: string;
  size: string;
  seed: string;
}

export const usual: State = { picture: "cardinal", model: "photos64", task: "sr4", size: "256", seed: "1" };

/** read gives the state of an address; what it does not say, or says wrongly, is as usual. */
export function read(hash: string, pictures: string[]): State {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const of = (name: keyof State, allowed: (v: string) => boolean) => { const v = given.get(name); return v !== null && allowed(v) ? v : usual[name]; };
  const model = of("model", (v) => models.some((m) => m.prior === v));
  return {
    picture: of("picture", (v) => pictures.includes(v)), model,
    task: of("task", (v) => offers.some((o) => o.name === v && o.of.some((p) => p === model))),
    size: of("size", (v) => ["192", "256", "384", "512", "0"].includes(v)), seed: of("seed", (v) => /^\d{1,10}$/.test(v) && Number(v) < 2 ** 32),
  };
}

/** write puts the state into the address, what is not as usual alone. */
export function write(state: State): void {
  const text = new URLSearchParams(Object.entries(state).filter(([k, v]) => v !== usual[k as keyof State] && v !== "")).toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}
