import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync, crc32 as nodeCrc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../../../src/runtime/image/decode.ts";
import { tempFolder } from "../../../support/temp-folder.ts";
import { cases, fixture, inflate } from "./fixtures.ts";

interface DecodeCase {
  readonly file: string;
  readonly size: readonly [number, number];
  readonly rgb: string;
}

function temporary(name: string, bytes: Uint8Array): string {
  const file = join(tempFolder("image"), name);
  writeFileSync(file, bytes);
  return file;
}

/** A PNG header that claims a size; no pixels follow. */
function hollowPng(width: number, height: number): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const magic = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    magic,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.alloc(64))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** node:zlib has crc32 from Node 20.15 on. */
function crc(data: Uint8Array): number {
  return nodeCrc32(data) >>> 0;
}

describe("decoding pictures", () => {
  it.each(cases<DecodeCase>("decode.json"))(
    'gives the pixels of Pillow\'s convert("RGB") for $file',
    async ({ file, size, rgb }) => {
      const image = await decodeImage(fixture(file));
      expect([image.width, image.height]).toEqual(size);
      expect(Buffer.from(image.data).equals(Buffer.from(inflate(rgb)))).toBe(true);
    },
  );

  it("refuses a file that is not there, a directory, text, SVG and nothing at all, each by name", async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
    const files = [
      "/nonexistent/merlion.png",
      tmpdir(),
      temporary("notes.png", Buffer.from("not a picture")),
      temporary("drawing.svg", Buffer.from(svg)),
      temporary("empty.png", new Uint8Array()),
    ];
    for (const file of files) await expect(decodeImage(file)).rejects.toThrow(new RegExp(`RUN001.*${file}`));
  });

  it("refuses a picture cut short anywhere, instead of filling it with grey", async () => {
    for (const name of ["rgb-61x43.png", "progressive.jpg", "lossy.webp"]) {
      const bytes = readFileSync(fixture(name));
      for (const share of [0.2, 0.5, 0.9]) {
        const cut = temporary(name, bytes.subarray(0, Math.floor(bytes.length * share)));
        await expect(decodeImage(cut), `${name} cut at ${share}`).rejects.toThrow(/RUN001/);
      }
    }
  });

  it("refuses a small file that claims a huge picture before it allocates one", async () => {
    await expect(decodeImage(temporary("bomb.png", hollowPng(40_000, 40_000)))).rejects.toThrow(
      /RUN002.*40000 × 40000/,
    );
    await expect(decodeImage(temporary("strip.png", hollowPng(2_000_000, 3)))).rejects.toThrow(/RUN002.*2000000 × 3/);
  });
});
