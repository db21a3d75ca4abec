import type { ConfigReader } from "../config-reader.ts";

/** Where the settings of image processor and processor stand in a config that was opened from a directory. */
const [IMAGE_PROCESSOR, PROCESSOR] = ["image_processor_cfg", "processor_cfg"];

/**
 * The image processor's settings, for what decides how many tiles an image has. Its other keys are about pixels: `run` reads them, and
 * refuses those it does not know. `otherwise` says how images are cut where the directory has no such file.
 */
export function readImageProcessorKeys(c: ConfigReader, otherwise: string): ConfigReader {
  if (!c.has(IMAGE_PROCESSOR))
    c.warn(
      "SPC001",
      IMAGE_PROCESSOR,
      `is not there; images are cut into ${otherwise}`,
      "how many tiles an image has stands in preprocessor_config.json, which the model's directory lacks",
      "put preprocessor_config.json or processor_config.json beside config.json",
    );
  return withoutUnread(c, IMAGE_PROCESSOR);
}

/** The same without a word where there are none: for models whose config.json says how images are cut. */
export function optionalImageProcessorKeys(c: ConfigReader): ConfigReader {
  return withoutUnread(c, IMAGE_PROCESSOR);
}

/** `key` of the processor, which counts placeholders by it, where it is given. */
export function checkProcessorKey(c: ConfigReader, key: string, expected: unknown, of: string): void {
  const processor = withoutUnread(c, PROCESSOR);
  const value = processor.raw(key) ?? expected;
  if (value === expected) return;
  processor.problem(
    "SPC005",
    key,
    `is ${JSON.stringify(value)}, but ${of} is ${JSON.stringify(expected)}`,
    "the processor would make other placeholders than the model has features",
    "use the processor_config.json that belongs to these weights",
  );
}

/** `key` of the processor: so often it repeats its placeholder for each tile, whatever the model computes. */
export function checkSequenceLength(c: ConfigReader, key: string, features: number): void {
  const processor = withoutUnread(c, PROCESSOR);
  const length = processor.has(key) ? processor.integer(key) : features;
  if (length === features) return;
  processor.problem(
    "SPC005",
    key,
    `is ${length}, but a tile has ${features} visual features`,
    "the prompt has one token for each feature",
    "use the processor_config.json that belongs to these weights",
  );
}

/** Tiles of another size than the tower's would look up the positions of other patches. */
export function checkTile(image: ConfigReader, key: string, tile: unknown, imageSize: number): void {
  if (tile === imageSize) return;
  image.problem(
    "SPC005",
    key,
    `is ${JSON.stringify(tile)}, but image_size of the tower is ${imageSize}`,
    "the tower would look up the positions of other patches than it was trained with",
    "use the preprocessor_config.json that belongs to these weights",
  );
}

function withoutUnread(c: ConfigReader, key: string): ConfigReader {
  const keys = Object.keys((c.raw(key) ?? {}) as object);
  return c.object(key).ignore(...keys);
}
