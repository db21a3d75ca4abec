import { FILTERS, type Filter, type FilterName } from "./filters.ts";
import type { Backend } from "./processor-config.ts";
import { type RgbImage, rgbImage } from "./rgb.ts";

/** Part of the resized picture: [left, right) × [top, bottom) in output pixels. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface ResizeOptions {
  readonly window?: Window;
  readonly backend?: Backend;
}

/** Pillow's fixed point: 32 bits − 8 of a pixel − 2 for weights that sum above 1. */
const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);

interface Taps {
  /** First input pixel and number of taps for each output pixel of the window. */
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** `stride` fixed-point weights for each output pixel. */
  readonly weights: Int32Array;
  readonly stride: number;
}

/** One axis: which input pixels an output pixel sums, and with what weights. Arithmetic and rounding are Pillow's. */
function taps(filter: Filter, inSize: number, outSize: number, from: number, to: number): Taps {
  const scale = inSize / outSize;
  const filterScale = Math.max(1, scale);
  const support = filter.support * filterScale;
  // Pillow allots 2·ceil(support)+1; taps outside the picture are cut, so a row never needs more than inSize.
  const stride = Math.min(inSize, Math.ceil(support) * 2 + 1);
  const first = new Int32Array(to - from);
  const count = new Int32Array(to - from);
  const weights = new Int32Array((to - from) * stride);
  const row = new Float64Array(stride);
  for (let out = from; out < to; out++) {
    const centre = (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const length = Math.min(inSize, Math.trunc(centre + support + 0.5)) - start;
    let sum = 0;
    for (let i = 0; i < length; i++) {
      const weight = filter.weight((i + start - centre + 0.5) * (1 / filterScale));
      row[i] = weight;
      sum += weight;
    }
    for (let i = 0; i < length; i++) {
      const weight = (sum !== 0 ? (row[i] as number) / sum : (row[i] as number)) * 2 ** PRECISION_BITS;
      weights[(out - from) * stride + i] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    first[out - from] = start;
    count[out - from] = length;
  }
  return { first, count, weights, stride };
}

function clip8(sum: number): number {
  return Math.max(0, Math.min(255, sum >> PRECISION_BITS));
}

/** Input pixels [from, to) along one axis. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** The input pixels that any tap touches; the last output pixel reaches furthest. */
function touched(t: Taps): Span {
  const last = t.first.length - 1;
  return { from: t.first[0] ?? 0, to: last < 0 ? 0 : (t.first[last] as number) + (t.count[last] as number) };
}

/** Each of `rows` stretched to the taps' width; row 0 of the result is row `rows.from`. Taps count from column `origin`. */
function horizontal(image: RgbImage, t: Taps, rows: Span, origin: number): RgbImage {
  const width = t.first.length;
  const out = rgbImage(width, rows.to - rows.from);
  const { data } = image;
  let to = 0;
  for (let y = rows.from; y < rows.to; y++) {
    for (let x = 0; x < width; x++) {
      let from = (y * image.width + (t.first[x] as number) - origin) * 3;
      const firstWeight = x * t.stride;
      const lastWeight = firstWeight + (t.count[x] as number);
      let r = HALF;
      let g = HALF;
      let b = HALF;
      for (let k = firstWeight; k < lastWeight; k++, from += 3) {
        const weight = t.weights[k] as number;
        r += (data[from] as number) * weight;
        g += (data[from + 1] as number) * weight;
        b += (data[from + 2] as number) * weight;
      }
      out.data[to++] = clip8(r);
      out.data[to++] = clip8(g);
      out.data[to++] = clip8(b);
    }
  }
  return out;
}

/** Each of `columns` squeezed to the taps' height; column 0 of the result is `columns.from`. Taps count from row `origin`. */
function vertical(image: RgbImage, t: Taps, columns: Span, origin: number): RgbImage {
  const out = rgbImage(columns.to - columns.from, t.first.length);
  const rowBytes = image.width * 3;
  const { data } = image;
  let to = 0;
  for (let y = 0; y < out.height; y++) {
    const firstByte = ((t.first[y] as number) - origin) * rowBytes;
    const firstWeight = y * t.stride;
    const lastWeight = firstWeight + (t.count[y] as number);
    for (let x = columns.from * 3; x < columns.to * 3; x++) {
      let sum = HALF;
      for (let k = firstWeight, from = firstByte + x; k < lastWeight; k++, from += rowBytes) {
        sum += (data[from] as number) * (t.weights[k] as number);
      }
      out.data[to++] = clip8(sum);
    }
  }
  return out;
}

/**
 * Pillow 13 starts with the height when it shrinks by more than twice what the width does; up to Pillow 12 the width
 * always came first, as it does in torchvision. The order shows, because the picture between the passes is rounded to 8 bits.
 */
function verticalFirst(image: RgbImage, width: number, height: number): boolean {
  const shrink = image.height - height;
  return shrink > 0 && width !== image.width && shrink > 2 * (image.width - width);
}

/** Input index of each output pixel. Pillow adds the step up instead of multiplying, which decides ties. */
function nearestIndex(inSize: number, outSize: number, from: number, to: number): Int32Array {
  const step = inSize / outSize;
  const index = new Int32Array(to - from);
  let position = step * 0.5;
  for (let out = 0; out < to; out++, position += step) {
    if (out >= from) index[out - from] = Math.min(inSize - 1, Math.trunc(position));
  }
  return index;
}

function nearest(image: RgbImage, width: number, height: number, window: Window): RgbImage {
  const xs = nearestIndex(image.width, width, window.left, window.right);
  const ys = nearestIndex(image.height, height, window.top, window.bottom);
  const out = rgbImage(xs.length, ys.length);
  let to = 0;
  for (const y of ys) {
    for (const x of xs) {
      const from = (y * image.width + x) * 3;
      out.data[to++] = image.data[from] as number;
      out.data[to++] = image.data[from + 1] as number;
      out.data[to++] = image.data[from + 2] as number;
    }
  }
  return out;
}

/**
 * `PIL.Image.resize((width, height), filter)` bit for bit (torchvision's within one step of 255), of which only `window` is computed: a 1 × 65535 strip
 * whose short edge becomes 336 is 22 million pixels long, and the centre crop keeps 336 of them.
 */
export function resizeWindow(
  image: RgbImage,
  width: number,
  height: number,
  name: FilterName,
  { window = { left: 0, top: 0, right: width, bottom: height }, backend = "pillow" }: ResizeOptions = {},
): RgbImage {
  if (name === "nearest") return nearest(image, width, height, window);
  const filter = FILTERS[name];
  const x = taps(filter, image.width, width, window.left, window.right);
  const y = taps(filter, image.height, height, window.top, window.bottom);
  // An axis whose size does not change has one tap of weight 1 a pixel: that pass is the identity, as in Pillow.
  if (backend === "pillow" && verticalFirst(image, width, height)) {
    const columns = touched(x);
    const rows = { from: 0, to: y.first.length };
    return horizontal(vertical(image, y, columns, 0), x, rows, columns.from);
  }
  const rows = touched(y);
  return vertical(horizontal(image, x, rows, 0), y, { from: 0, to: x.first.length }, rows.from);
}
