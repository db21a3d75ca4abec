import type { Dtype } from "../../tensor/index.ts";
import { Opaque } from "./pickle.ts";

/** A name of Python that a state dict may mention; nothing stands behind it. */
export class Global extends Opaque {
  readonly kind = "global";
  readonly path: string;

  constructor(path: string) {
    super();
    this.path = path;
  }
}

/** A run of elements in the container. */
export class StorageRef extends Opaque {
  readonly kind = "storage";
  /** Finds the bytes in the container. */
  readonly key: string;
  /** Undefined when the storage is untyped; its elements are bytes then. */
  readonly dtype: Dtype | undefined;
  /** Elements of the whole storage. */
  readonly elements: number;
  /** Elements before the part meant here: views in files from before PyTorch 0.4. */
  readonly skip: number;

  constructor(key: string, dtype: Dtype | undefined, elements: number, skip: number) {
    super();
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
    this.skip = skip;
  }
}

/** Sizes, strides and offset in elements. */
export class TensorRef extends Opaque {
  readonly kind = "tensor";
  readonly storage: StorageRef;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  /** Byte of the file where the pickle describes it. */
  readonly at: number;

  constructor(
    storage: StorageRef,
    dtype: Dtype,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
    at: number,
  ) {
    super();
    this.storage = storage;
    this.dtype = dtype;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
    this.at = at;
  }
}
