// One restoration in several browsers.

/** run restores a face in a page with the helpers of inpage/page.js. */
export const run = async (threads) => {
  while (!globalThis.cmi) await new Promise((resolve) => setTimeout(resolve, 50));
  const s = await solver({ threads });
  const steps = [];
  const { image, values } = await s.restore(await face(1), { task: "sr4", cmi: true, steps: 4, onProgress(p) { steps.push([p.step, p.preview?.width]); p.preview?.close(); } });
  const { worker, threads: used, isolated, notes } = s.info;
  await closeAll();
  return { width: image.width, info: [worker, used, isolated], notes, steps, values: [...values] };
};

/** psnr of two lists of values in [−1, 1], in dB. */
export function psnr(a, b) {
  if (a.length !== b.length) throw new Error(`${a.length} values beside ${b.length}`);
  return 10 * Math.log10(4 / (a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0) / a.length));
}
