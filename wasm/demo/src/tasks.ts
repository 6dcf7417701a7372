import type { Prior, RestoreOptions, Task } from "cmi-diffusion";

/** What a visitor can have done to the picture. */
export interface Offer {
  name: string; // in the page's address
  task: Task;
  measured?: boolean; // the picture is the measurement
  title: string;
  hint: string;
  of: Prior[]; // the models that are up to it
}

export const offers: Offer[] = [
  { name: "sr4", task: "sr4", title: "A sixteenth of the pixels", hint: "4 × super-resolution", of: ["photos64", "faces64"] },
  { name: "blur", task: "blur", title: "A blurred view", hint: "Gaussian blur", of: ["photos64", "faces64"] },
  { name: "mask", task: "mask", title: "What you leave", hint: "paint out what is to be filled in", of: ["photos64", "faces64"] },
  { name: "kernel", task: "kernel", title: "A shaken view", hint: "draw how the camera moved", of: ["photos64", "faces64"] },
  { name: "enlarge", task: "sr4", measured: true, title: "All of it, as it is", hint: "a small picture, enlarged 4 times", of: ["photos64"] },
  { name: "inpaint", task: "inpaint", title: "One pixel in ten", hint: "random inpainting", of: ["faces64"] },
  { name: "box", task: "box", title: "All but a box", hint: "box inpainting", of: ["faces64"] },
];

export const models: { prior: Prior; title: string; hint: string }[] = [
  { prior: "photos64", title: "Photographs", hint: "at their own size. It knows edges and textures, not what things are: large holes come out plain, lettering stays unreadable" },
  { prior: "faces64", title: "Faces", hint: "64 × 64 pixels, the face filling the frame. Of anything else it makes a face" },
];

/**
 * How one picture is restored, and how samples of what it may have been are drawn. The method is the product's choice for the task, and so is
 * where it starts; of steps a photograph takes as many as one WebAssembly thread does in a few seconds (docs/performance-web.md), more
 * where a hole is to be filled. Samples of a photograph start in the middle, where so few steps suffice.
 */
export function sampler(prior: Prior, { task }: Offer, samples: number): Pick<RestoreOptions, "steps" | "start" | "samples" | "sigmaY"> {
  if (prior === "faces64") return samples > 1 ? { samples } : {};
  const sigmaY = 0.02; // a photograph's own noise
  const hole = task === "mask";
  if (samples > 1) return { sigmaY, samples, ...(hole ? { steps: 12 } : { steps: 8, start: 400 }) };
  return { sigmaY, steps: hole ? 20 : task === "sr4" ? 5 : 6 };
}
