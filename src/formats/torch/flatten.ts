import { fail, type Problem } from "../../diagnostics/index.ts";
import type { SourceFile } from "../file.ts";
import { TensorRef } from "./objects.ts";
import type { PickleDict, PickleValue } from "./pickle.ts";

/** What training code wraps the weights in; the optimizer's state beside them is not the model. */
const WRAPPERS = ["state_dict", "model_state_dict", "model", "module"] as const;
const MAX_DEPTH = 16;
/** Shared dicts may be mentioned many times each, so the count of items seen is bounded too. */
const MAX_VISITS = 1_000_000;

/** The tensors of a saved object by dotted name; numbers and texts between them are left out. Errors: CKP012, CKP024. */
export function flattenTensors(file: SourceFile, root: PickleValue): ReadonlyMap<string, TensorRef> {
  const found = new Map<string, TensorRef>();
  let visits = 0;
  const visit = (value: PickleValue, name: string, depth: number): void => {
    if (depth > MAX_DEPTH) fail(tooDeep(file));
    if (value instanceof TensorRef) {
      if (found.has(name)) fail(sameName(file, name, value));
      found.set(name, value);
    }
    const items = value instanceof Map ? value : Array.isArray(value) ? value.entries() : [];
    for (const [key, item] of items) {
      if (++visits > MAX_VISITS) fail(tooDeep(file));
      if (item instanceof TensorRef || item instanceof Map || Array.isArray(item))
        visit(item, name === "" ? String(key) : `${name}.${key}`, depth + 1);
    }
  };
  visit(unwrap(root), "", 0);
  if (found.size === 0) fail(noTensors(file));
  return found;
}

/** Steps into the first wrapper that is a dict, while the dict itself holds no tensors. */
function unwrap(root: PickleValue): PickleValue {
  let value = root;
  for (let depth = 0; depth < MAX_DEPTH && value instanceof Map; depth++) {
    const dict: PickleDict = value;
    if ([...dict.values()].some(item => item instanceof TensorRef)) break;
    const inner = WRAPPERS.map(key => dict.get(key)).find(item => item instanceof Map);
    if (inner === undefined) break;
    value = inner;
  }
  return value;
}

function noTensors(file: SourceFile): Problem {
  return {
    code: "CKP012",
    what: `${file.path} holds no tensors`,
    at: file.path,
    why: "a checkpoint is a dict from names to tensors, possibly inside state_dict or model",
    fix: "save the weights with torch.save(model.state_dict(), …) or as safetensors",
  };
}

function tooDeep(file: SourceFile): Problem {
  return {
    code: "CKP012",
    what: `the dicts of ${file.path} nest deeper than ${MAX_DEPTH} levels, or hold more than ${MAX_VISITS} values`,
    at: file.path,
    why: "no state dict of a real model does; the file may be made to exhaust memory",
    fix: "save the weights alone with torch.save(model.state_dict(), …)",
  };
}

function sameName(file: SourceFile, name: string, tensor: TensorRef): Problem {
  return {
    code: "CKP024",
    what: `two tensors are called ${name.slice(0, 200)}`,
    at: `${file.path}, byte ${tensor.at}`,
    why: "nested dicts are joined with dots, and two paths gave the same name",
    fix: "save one flat state dict",
  };
}
