import type { FilterName } from "./filters.ts";
import type { Triple } from "./key-reader.ts";

/** An image processor's settings with every default filled in; sizes in pixels. */
export interface ImageProcessorConfig {
  /** `shortest` keeps the aspect ratio; undefined: not resized. */
  readonly resize?: { readonly shortest: number } | { readonly height: number; readonly width: number };
  readonly resample: FilterName;
  readonly crop?: { readonly height: number; readonly width: number };
  /** Colour of the bars that make the picture square before it is resized (LLaVA's `do_pad`). */
  readonly squarePad?: readonly [number, number, number];
  /** In place of all of the above but `resample`: how a page is fitted in (Nougat). */
  readonly page?: PageFit;
  /** In place of all of the above but `resample`: how the image is cut into tiles (Idefics3, SmolVLM, InternVL, LLaVA-NeXT). */
  readonly tiles?: TileFit;
  /** In place of all of the above but `resample`: how the image is cut into patches of any number (Qwen2-VL). */
  readonly patches?: PatchFit;
  /** Which library's habits decide where the two differ: the order of the resize passes, and the side of an odd pad. */
  readonly backend: Backend;
  /** Factor on 0…255 pixels; undefined: left as they are. */
  readonly rescale?: number;
  readonly normalize?: { readonly mean: Triple; readonly std: Triple };
}

/** How a page of text is fitted into the encoder's picture: Nougat's processor. Sizes in pixels. */
export interface PageFit {
  readonly height: number;
  readonly width: number;
  readonly cropMargin: boolean;
  readonly resize: boolean;
}

/** Hugging Face's processors named …Fast resize with torchvision, the others with Pillow. */
export type Backend = "pillow" | "torchvision";

/** How an image becomes tiles of `tile` × `tile` pixels: those cut out, row by row, and the whole image behind or before them. */
export type TileFit = LongestEdgeFit | AspectRatioFit | AnyresFit;

/** LLaVA-NeXT and OneVision: fitted with black bars into the grid that keeps most of it; the whole image, squeezed, comes first. */
export interface AnyresFit {
  readonly kind: "anyres";
  readonly tile: number;
  /** Rows and columns of tiles. */
  readonly grids: readonly (readonly [number, number])[];
  /** Colour of the bars that make each of several images of a prompt a square, which is one tile (OneVision). */
  readonly squareSeveral?: readonly [number, number, number];
}

/** InternVL: resized to the grid of `minTiles` to `maxTiles` tiles whose shape is nearest. */
export interface AspectRatioFit {
  readonly kind: "aspect_ratio";
  readonly tile: number;
  readonly minTiles: number;
  readonly maxTiles: number;
}

/** The longest edge to `longestEdge`, then both edges to whole tiles. Pixels. */
export interface LongestEdgeFit {
  readonly kind: "longest_edge";
  readonly longestEdge: number;
  readonly tile: number;
  /** false: the whole image alone, as one tile. */
  readonly splits: boolean;
}

/** Resized within limits, its shape kept, and cut into patches of which `merge` × `merge` make one feature. Pixels. */
export interface PatchFit {
  readonly patch: number;
  readonly merge: number;
  /** Frames of a patch. */
  readonly temporalPatch: number;
  readonly minPixels: number;
  readonly maxPixels: number;
}
