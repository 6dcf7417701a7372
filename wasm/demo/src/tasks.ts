import type { Task } from "cmi-diffusion";

/** A task as the page offers it. */
export interface Offer {
  task: Task;
  title: string;
  hint: string;
}

export const offers: Offer[] = [
  { task: "sr4", title: "A sixteenth of the pixels", hint: "4 × super-resolution" },
  { task: "inpaint", title: "One pixel in ten", hint: "random inpainting" },
  { task: "box", title: "All but a box", hint: "box inpainting" },
  { task: "blur", title: "A blurred view", hint: "Gaussian blur" },
  { task: "mask", title: "What you leave", hint: "paint out what is to be filled in" },
  { task: "kernel", title: "A shaken view", hint: "draw how the camera moved" },
];
