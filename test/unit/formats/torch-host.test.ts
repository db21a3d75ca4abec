import { describe, expect, it } from "vitest";
import { TorchHost } from "../../../src/formats/torch/host.ts";
import { Global, StorageRef, TensorRef } from "../../../src/formats/torch/objects.ts";
import type { PickleValue } from "../../../src/formats/torch/pickle.ts";

const host = new TorchHost("model.bin");
const AT = 989;
const global = (path: string): PickleValue =>
  host.global(path.slice(0, path.lastIndexOf(".")), path.split(".").at(-1) ?? "", AT);
const call = (path: string, ...args: readonly PickleValue[]): PickleValue => host.call(global(path), args, AT);

const FLOATS = new StorageRef("0", "float32", 19, 0);
const UNTYPED = new StorageRef("0", undefined, 76, 0);
const V2 = "torch._utils._rebuild_tensor_v2";
const V3 = "torch._utils._rebuild_tensor_v3";
/** torch passes requires_grad and hooks between strides and dtype. */
const v3 = (dtype: PickleValue): readonly PickleValue[] => [UNTYPED, 0, [19], [1], false, null, dtype];

describe("what a state dict may call", () => {
  it("gives sizes, devices and parameters as what they hold", () => {
    expect(call("torch.Size", [19, 1])).toEqual([19, 1]);
    expect(call("torch.Size")).toEqual([]);
    expect(call("torch.device", "cuda:0")).toBeNull();
    expect(call("torch._utils._rebuild_parameter", "w", true)).toBe("w");
    expect(call("torch._utils._rebuild_parameter_with_state")).toBeNull();
    expect(call("collections.OrderedDict", [["w", 1]])).toEqual(new Map([["w", 1]]));
  });

  it("gives a tensor its storage's dtype, or the one that the call names", () => {
    expect(call(V2, FLOATS, 3, [2, 5], [5, 1])).toEqual(new TensorRef(FLOATS, "float32", 3, [2, 5], [5, 1], AT));
    expect(call(V3, ...v3(global("torch.bfloat16")))).toMatchObject({ dtype: "bfloat16", shape: [19] });
  });

  it.each<[string, string, readonly PickleValue[]]>([
    ["calls torch.FloatStorage", "torch.FloatStorage", []],
    ["an OrderedDict is made from something that is not a list", "collections.OrderedDict", [1]],
    ["an item that is not a pair of text and value", "collections.OrderedDict", [[["w"]]]],
    ["an item that is not a pair of text and value", "collections.OrderedDict", [[[19, 1]]]],
    ["OrderedDicts have more than", "collections.OrderedDict", [Array<PickleValue>(1e6 + 1).fill(["w", 1])]],
    ["a tensor has no storage", V2, ["0", 0, [19], [1]]],
    ["a tensor of an untyped storage has no dtype", V2, [UNTYPED, 0, [19], [1]]],
    ["offset, sizes or strides are not counts", V2, [FLOATS, -1, [19], [1]]],
    ["offset, sizes or strides are not counts", V2, [FLOATS, 0, [1.5], [1]]],
    ["offset, sizes or strides are not counts", V2, [FLOATS, 0, [19], [19, 1]]],
    ["offset, sizes or strides are not counts", V2, [FLOATS, 0, Array(65).fill(1), Array(65).fill(1)]],
    ["a tensor has more elements than can be counted", V2, [FLOATS, 0, [2 ** 40, 2 ** 40], [0, 0]]],
    ["a tensor's dtype is not a dtype", V3, v3("float32")],
    ["a tensor's dtype is not a dtype", V3, v3(global("torch.FloatStorage"))],
  ])("is refused with the byte: %s", (message, path, args) => {
    expect(() => call(path, ...args)).toThrow(new RegExp(`CKP013.*${message}.*model\\.bin, byte 989`, "s"));
  });

  it("is nothing but a name that is permitted", () => {
    expect(() => host.call("torch.Size", [], AT)).toThrow(/CKP013.*something that is not a global/s);
    expect(() => global("os.system")).toThrow(/CKP014.*os\.system/s);
  });
});

describe("storages of a pickle", () => {
  const FLOAT = new Global("torch.FloatStorage");

  it("have a dtype, or none when untyped, and begin where a view says", () => {
    expect(host.persistent(["storage", FLOAT, "7", "cpu", 19], AT)).toEqual(new StorageRef("7", "float32", 19, 0));
    const untyped = new Global("torch.storage.UntypedStorage");
    expect(host.persistent(["storage", untyped, "7", "cpu", 76, null], AT)).toMatchObject({ dtype: undefined });
    expect(host.persistent(["storage", FLOAT, "7", "cpu", 19, ["v", 5, 14]], AT)).toMatchObject({ skip: 5 });
  });

  it.each<[string, PickleValue]>([
    ["a persistent id is not a tuple", "storage"],
    ["does not describe a storage", ["module", FLOAT, "7", "cpu", 19]],
    ["does not describe a storage", ["storage", "torch.FloatStorage", "7", "cpu", 19]],
    ["does not describe a storage", ["storage", FLOAT, 7, "cpu", 19]],
    ["does not describe a storage", ["storage", FLOAT, "7", "cpu", -19]],
    ["a storage has type torch.Size", ["storage", new Global("torch.Size"), "7", "cpu", 19]],
    ["an offset that is not a count", ["storage", FLOAT, "7", "cpu", 19, ["v", -5, 14]]],
  ])("are refused: %s", (message, id) => {
    expect(() => host.persistent(id, AT)).toThrow(new RegExp(`CKP013.*${message}`, "s"));
  });

  it("carry state in dicts alone", () => {
    const dict = new Map([["w", 1]]);
    expect(host.build(dict, new Map(), AT)).toBe(dict);
    expect(() => host.build([], new Map(), AT)).toThrow(/CKP013.*state of something that is not a dict/s);
  });
});
