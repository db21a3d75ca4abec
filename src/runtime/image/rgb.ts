/** Pixels as Pillow's mode RGB: 8 bits a channel, interleaved, rows top to bottom, no padding. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** width × height × 3 bytes. */
  readonly data: Uint8Array;
}

export function rgbImage(width: number, height: number, data = new Uint8Array(width * height * 3)): RgbImage {
  return { width, height, data };
}

/** `image` set at (left, top) of a canvas of one colour; what falls outside the canvas is cut off. */
export function paste(
  image: RgbImage,
  canvas: { readonly width: number; readonly height: number; readonly left: number; readonly top: number },
  fill: readonly [number, number, number] = [0, 0, 0],
): RgbImage {
  const out = rgbImage(canvas.width, canvas.height);
  if (fill.some(value => value !== 0)) for (let i = 0; i < out.data.length; i++) out.data[i] = fill[i % 3] as number;
  const firstX = Math.max(0, canvas.left);
  const lastX = Math.min(canvas.width, canvas.left + image.width);
  if (lastX <= firstX) return out;
  for (let y = Math.max(0, canvas.top); y < Math.min(canvas.height, canvas.top + image.height); y++) {
    const from = ((y - canvas.top) * image.width + firstX - canvas.left) * 3;
    out.data.set(image.data.subarray(from, from + (lastX - firstX) * 3), (y * canvas.width + firstX) * 3);
  }
  return out;
}
