import { isJsonObject, type Json } from "./json.ts";

/** Whether `target` of a manifest has the form of an EngineTarget. */
export function isTarget(value: Json | undefined): boolean {
  if (value === null) return true;
  if (!isJsonObject(value)) return false;
  const { tensorrt, sm, plugin_abi, plugin_libraries = [] } = value;
  const isLibrary = (entry: Json): boolean =>
    isJsonObject(entry) && typeof entry.file === "string" && typeof entry.sha256 === "string";
  const areLibraries = Array.isArray(plugin_libraries) && plugin_libraries.every(isLibrary);
  return typeof tensorrt === "string" && areSms(sm) && isTextOrNull(plugin_abi) && areLibraries;
}

/** Whether `built` of a part has the form of a BuiltEngine. */
export function isBuilt(value: Json | undefined): boolean {
  if (value === null || value === undefined) return true;
  if (!isJsonObject(value)) return false;
  const { bytes, builder, tensorrt, sm, seconds, io_from, layers, engine_layers, memory_bytes: memory } = value;
  return (
    isSize(bytes) &&
    typeof builder === "string" &&
    isTextOrNull(tensorrt) &&
    areSms(sm) &&
    typeof seconds === "number" &&
    isTextOrNull(io_from) &&
    [layers, engine_layers].every(isCounted) &&
    (memory === null || (isJsonObject(memory) && isSize(memory.weights) && isSize(memory.activation)))
  );
}

function areSms(value: Json | undefined): boolean {
  return Array.isArray(value) && value.every(isSize);
}

function isCounted(value: Json | undefined): boolean {
  return value === null || (isJsonObject(value) && Object.values(value).every(isSize));
}

function isTextOrNull(value: Json | undefined): boolean {
  return value === null || typeof value === "string";
}

function isSize(value: Json | undefined): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
