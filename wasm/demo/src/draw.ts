/** Something with pixels that a 2D canvas takes. */
export type Picture = ImageData | ImageBitmap | HTMLCanvasElement | HTMLImageElement;

/** What figures are drawn at: small pictures are enlarged once, smoothly, not by the page's layout. */
const enlarged = 512;

/** show draws a picture into a figure's canvas; pixels stay square where they are the point. */
export function show(canvas: HTMLCanvasElement, picture: Picture, smooth: boolean): void {
  const source = picture instanceof ImageData ? canvasOf(picture) : picture;
  const side = smooth ? enlarged : source.width;
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d")!;
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, side, side);
}

export function blank(canvas: HTMLCanvasElement): void {
  canvas.getContext("2d")!.clearRect(0, 0, canvas.width, canvas.height);
}

export function canvasOf(picture: ImageData): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d")!.putImageData(picture, 0, 0);
  return canvas;
}

/** thumbnail is a picture, or its largest centred square, with a longer side of at most so many pixels. */
export function thumbnail(picture: ImageBitmap, side: number, square: boolean): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  const cut = Math.min(picture.width, picture.height);
  const [w, h] = square ? [cut, cut] : [picture.width, picture.height];
  const scale = Math.min(1, side / Math.max(w, h));
  canvas.width = Math.max(1, Math.round(w * scale));
  canvas.height = Math.max(1, Math.round(h * scale));
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** psnr of two pictures of one size, in dB. */
export function psnr(a: ImageData, b: ImageData): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) {
    if (i % 4 !== 3) sum += (a.data[i]! - b.data[i]!) ** 2;
  }
  return 10 * Math.log10(255 ** 2 / (sum / (a.width * a.height * 3)));
}
