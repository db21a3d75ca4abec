import type { PackedLinear, PackedPlanes, QuantSpec, TensorRecipe } from "../tensor/index.ts";

/** The rank that a tensor is for. */
export interface RankPlace {
  readonly tpRank: number;
  readonly tpSize: number;
  /** Layer of the whole model; the names of tensors count from 0 in every pipeline stage. */
  readonly layer: number;
  /** How the tensor was split: axis 0 of [out, in] for column and qkv, axis 1 for row. */
  readonly split: string;
}

/**
 * What one format makes of a model's tensors. `convert` calls it for every tensor of a decoder layer, reads nothing
 * itself and writes what it is given, so a format works on recipes and streams.
 */
export interface Quantizer {
  readonly spec: QuantSpec;
  /** The source has scales of cached keys and values, which `store` gives; others are measured. */
  readonly storesCacheScales?: boolean;
  /**
   * A float tensor of the whole model before it is split, under its checkpoint name with the model's layer. q, k and v
   * come one after the other as parts 0, 1, 2. For what must see every rank's share: smoothing, scales of whole rows.
   */
  prepare?(name: string, part: TensorRecipe, index: number): TensorRecipe;
  /**
   * Codes that the source has already, of a linear layer of the whole model ("transformer.layers.0.mlp.fc"), part by
   * part; undefined for layers that are made of float weights.
   */
  packed?(module: string): readonly PackedPlanes[] | undefined;
  /**
   * What stands in one rank's file for `recipe`, a tensor named as it is there: itself, or its codes and scales.
   * `share` are the rank's codes where `packed` gave some.
   */
  store(recipe: TensorRecipe, place: RankPlace, share?: PackedPlanes): readonly TensorRecipe[];
}

/** The linear layers of a quantized source by their names in the checkpoint, each with its parts (q, k, v). */
export type PackedModules = ReadonlyMap<string, readonly PackedLinear[]>;
