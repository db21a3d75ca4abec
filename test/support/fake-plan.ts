/** An engine's first bytes as TensorRT writes them, then zeros. */
export function fakePlan(
  tag: "ftrt" | "vtrt",
  version: readonly [number, number, number, number],
  bytes = 989,
): Buffer {
  const plan = Buffer.alloc(bytes);
  plan.write(tag, "latin1");
  plan.writeBigUInt64LE(BigInt(bytes), 16);
  plan.set(version, 24);
  return plan;
}
