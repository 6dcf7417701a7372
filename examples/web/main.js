// A photo is reduced to 16 × 16 pixels and restored from them, in the browser.
import { createSolver } from "cmi-diffusion";

const input = document.querySelector("#file");
const status = document.querySelector("#status");
const context = document.querySelector("#canvas").getContext("2d");
let solver;

input.addEventListener("change", async () => {
  try {
    status.textContent = "Loading…";
    solver ??= await createSolver();
    const { image } = await solver.restore(input.files[0], {
      task: "sr4",
      cmi: true,
      onProgress({ step, steps, preview }) {
        status.textContent = `Step ${step} of ${steps}`;
        context.drawImage(preview, 0, 0);
        preview.close();
      },
    });
    context.putImageData(image, 0, 0);
    status.textContent = `Done on ${solver.info.description}.`;
  } catch (e) {
    status.textContent = e.message;
  }
});
