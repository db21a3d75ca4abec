import { fail } from "../../diagnostics/index.ts";
import { DTYPES, type Dtype } from "../../tensor/index.ts";
import { countElements } from "../stored.ts";
import { Global, StorageRef, TensorRef } from "./objects.ts";
import { MAX_DICTS, type PickleHost, type PickleValue } from "./pickle.ts";

const STORAGES: Readonly<Record<string, Dtype>> = {
  "torch.FloatStorage": "float32",
  "torch.HalfStorage": "float16",
  "torch.BFloat16Storage": "bfloat16",
  "torch.DoubleStorage": "float64",
  "torch.LongStorage": "int64",
  "torch.IntStorage": "int32",
  "torch.ShortStorage": "int16",
  "torch.CharStorage": "int8",
  "torch.ByteStorage": "uint8",
  "torch.BoolStorage": "bool",
};
const UNTYPED = "torch.storage.UntypedStorage";
const CALLS: readonly string[] = [
  "collections.OrderedDict",
  "torch.Size",
  "torch.device",
  "torch._utils._rebuild_tensor",
  "torch._utils._rebuild_tensor_v2",
  "torch._utils._rebuild_tensor_v3",
  "torch._utils._rebuild_parameter",
  "torch._utils._rebuild_parameter_with_state",
];
/** The whole of Python that a checkpoint may name: what `torch.save(model.state_dict())` writes. */
const PERMITTED = new Set([
  ...Object.keys(STORAGES),
  UNTYPED,
  ...CALLS,
  ...Object.keys(DTYPES).map(dtype => `torch.${dtype}`),
]);

/** Rebuilds tensors from a pickle of `path`, and refuses every other global (CKP014). Malformed pickles: CKP013. */
export class TorchHost implements PickleHost {
  readonly #path: string;
  /** OrderedDicts made, and items in them: one list may be copied by every call that mentions it. */
  #copied = 0;

  constructor(path: string) {
    this.#path = path;
  }

  global(module: string, name: string, at: number): PickleValue {
    const path = `${module}.${name}`;
    if (PERMITTED.has(path)) return new Global(path);
    fail({
      code: "CKP014",
      what: `the pickle asks for ${path.slice(0, 200)}, which is not part of a state dict`,
      at: `${this.#path}, byte ${at}`,
      why: "unpickling it would run code of the file's author; only dicts, lists, numbers, text and tensors are read",
      fix: "save the weights alone (safetensors, or torch.save(model.state_dict(), …)); if the name looks like a command, do not trust the file",
    });
  }

  call(callee: PickleValue, args: readonly PickleValue[], at: number): PickleValue {
    if (!(callee instanceof Global)) this.malformed("the pickle calls something that is not a global", at);
    switch (callee.path) {
      case "collections.OrderedDict":
        return this.#orderedDict(args[0], at);
      case "torch.Size":
        return args[0] ?? [];
      case "torch.device":
        return null;
      case "torch._utils._rebuild_parameter":
      case "torch._utils._rebuild_parameter_with_state":
        return args[0] ?? null;
      case "torch._utils._rebuild_tensor":
      case "torch._utils._rebuild_tensor_v2":
        return this.#tensor(args, undefined, at);
      case "torch._utils._rebuild_tensor_v3":
        return this.#tensor(args, this.#dtype(args[6], at), at);
      default:
        return this.malformed(`the pickle calls ${callee.path}`, at);
    }
  }

  /** The only state in a state dict is `_metadata` of its OrderedDict (module versions), which the weights do not need. */
  build(object: PickleValue, _state: PickleValue, at: number): PickleValue {
    return object instanceof Map
      ? object
      : this.malformed("the pickle sets the state of something that is not a dict", at);
  }

  /** ("storage", type, key, location, elements[, view]); view is None or (key, offset, elements). */
  persistent(id: PickleValue, at: number): StorageRef {
    if (!Array.isArray(id)) this.malformed("a persistent id is not a tuple", at);
    const [word, type, key, , elements, view] = id;
    if (word !== "storage" || !(type instanceof Global) || typeof key !== "string" || !isCount(elements)) {
      this.malformed("a persistent id does not describe a storage", at);
    }
    const dtype = STORAGES[type.path];
    if (dtype === undefined && type.path !== UNTYPED) this.malformed(`a storage has type ${type.path}`, at);
    const skip = Array.isArray(view) ? view[1] : 0;
    if (!isCount(skip)) this.malformed("a storage view has an offset that is not a count", at);
    return new StorageRef(key, dtype, elements, skip);
  }

  malformed(message: string, at: number): never {
    fail({
      code: "CKP013",
      what: `the pickle cannot be read: ${message}`,
      at: `${this.#path}, byte ${at}`,
      why: "the file is damaged, or was not written by torch.save",
      fix: "download the file again, or save the weights as safetensors",
    });
  }

  #orderedDict(pairs: PickleValue | undefined, at: number): PickleValue {
    const dict = new Map<string, PickleValue>();
    this.#copied += 1 + (Array.isArray(pairs) ? pairs.length : 0);
    if (this.#copied > MAX_DICTS) this.malformed(`OrderedDicts have more than ${MAX_DICTS} items`, at);
    if (pairs === undefined) return dict;
    if (!Array.isArray(pairs)) this.malformed("an OrderedDict is made from something that is not a list", at);
    for (const pair of pairs) {
      if (!Array.isArray(pair) || typeof pair[0] !== "string" || pair[1] === undefined) {
        this.malformed("an OrderedDict has an item that is not a pair of text and value", at);
      }
      dict.set(pair[0], pair[1]);
    }
    return dict;
  }

  /** (storage, offset, sizes, strides, …) */
  #tensor([storage, offset, shape, strides]: readonly PickleValue[], cast: Dtype | undefined, at: number): PickleValue {
    if (!(storage instanceof StorageRef)) this.malformed("a tensor has no storage", at);
    const dtype = cast ?? storage.dtype;
    if (dtype === undefined) this.malformed("a tensor of an untyped storage has no dtype", at);
    if (!isCount(offset) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length) {
      this.malformed("a tensor's offset, sizes or strides are not counts", at);
    }
    if (countElements(shape) === undefined) this.malformed("a tensor has more elements than can be counted", at);
    return new TensorRef(storage, dtype, offset, shape, strides, at);
  }

  #dtype(value: PickleValue | undefined, at: number): Dtype {
    const name = value instanceof Global ? value.path.slice("torch.".length) : "";
    return Object.hasOwn(DTYPES, name) ? (name as Dtype) : this.malformed("a tensor's dtype is not a dtype", at);
  }
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isCounts(value: PickleValue | undefined): value is number[] {
  // More axes than torch allows would only serve to make shapes slow to walk.
  return Array.isArray(value) && value.length <= 64 && value.every(isCount);
}
