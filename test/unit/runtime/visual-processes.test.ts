import { existsSync, writeFileSync } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join as joinPath } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { EngineDir } from "../../../src/formats/engine-dir.ts";
import { openEngine } from "../../../src/formats/engine-dir.ts";
import type { PixelValues } from "../../../src/runtime/image/preprocess.ts";
import { type OrtGraph, openGraph } from "../../../src/runtime/ort.ts";
import { encodeImages, sharesOf } from "../../../src/runtime/visual/encode.ts";
import { dismiss, otherEncoder, serveImages } from "../../../src/runtime/visual/processes.ts";
import { gather, join, type Launch } from "../../../src/toolchain/launch/meet.ts";
import type { Peer } from "../../../src/toolchain/launch/peer.ts";
import type { MeetingPlace } from "../../../src/toolchain/launch/place.ts";
import { FIXTURES } from "../../support/describe-parity.ts";
import { Workspace } from "../../support/pipeline.ts";
import { splitEngine } from "../../support/ranks.ts";

const work = new Workspace();
let engine: EngineDir;
let graph: OrtGraph;
let place: MeetingPlace;
const peers: Peer[] = [];

beforeAll(async () => {
  engine = await openEngine(await splitEngine(work, `${FIXTURES}/llava_qwen2`, {}));
  graph = await openGraph(file(), { threads: 1 });
}, 60_000);
afterEach(() => {
  for (const peer of peers.splice(0)) peer.end();
});
afterAll(async () => {
  await graph.close();
  await work.clean();
});

const file = (): string => engine.visualPart?.onnx as string;
const config = (): NonNullable<EngineDir["visual"]> => engine.visual as NonNullable<EngineDir["visual"]>;

function launchOf(rank: number, size: number, given: Partial<Launch> = {}): Launch {
  return { rank, size, place, engine: "one", signal: new AbortController().signal, seconds: 20, ...given };
}

async function newPlace(): Promise<void> {
  const dir = joinPath(await work.dir(), "meet");
  place = { dir, socket: joinPath(dir, "images") };
}

/** Pictures of numbers that no two share. */
function pictures(count: number): readonly PixelValues[] {
  const [channels, height, width] = config().image_shape;
  return Array.from({ length: count }, (_, i) => {
    const data = Float32Array.from({ length: channels * height * width }, (_, at) => Math.sin(at * 0.37 + i * 11.1));
    return { height, width, data };
  });
}

/** The first process of `size`, and the others in this one too. */
async function gathered(size: number): Promise<{ readonly first: readonly Peer[]; readonly done: Promise<unknown> }> {
  await newPlace();
  const others = Array.from({ length: size - 1 }, async (_, i) =>
    serveImages(await join(launchOf(i + 1, size)), file(), config(), { threads: 1 }),
  );
  const first = await gather(launchOf(0, size));
  peers.push(...first);
  return { first, done: Promise.all(others) };
}

describe("images shared by the processes of a launch", () => {
  it.each([
    [0, 3, [0, 0, 0]],
    [1, 3, [1, 0, 0]],
    [5, 3, [2, 2, 1]],
    [7, 2, [4, 3]],
  ])("are dealt out evenly: %i over %i", (count, size, expected) => {
    const items = Array.from({ length: count }, (_, i) => i);
    const shares = sharesOf(items, size);
    expect(shares.map(({ length }) => length)).toEqual(expected);
    expect(shares.flat()).toEqual(items);
  });

  it.each([1, 2, 5, 11])("%i over 3 processes have the bits of one process doing the same batches", async count => {
    const { first, done } = await gathered(3);
    expect(existsSync(place.dir)).toBe(false);
    const images = pictures(count);
    const others = first.map(peer => otherEncoder(peer, config()));
    const shared = await encodeImages(graph, config(), images, { others });
    const alone = [];
    for (const share of sharesOf(images, 3)) alone.push(...(await encodeImages(graph, config(), share)).values);
    expect(shared.values).toEqual(Float32Array.from(alone));
    expect(shared).toMatchObject({ rows: count * config().num_visual_features, hidden: 36 });
    // The same processes answer the next request.
    expect(await encodeImages(graph, config(), images, { others })).toEqual(shared);
    await dismiss(first);
    await done;
  });

  it("fail with RUN042 when a process ends, and end the others when the first does", async () => {
    await newPlace();
    const joining = [join(launchOf(1, 3)), join(launchOf(2, 3))];
    const [ended, left] = await Promise.all([
      joining[0],
      joining[1],
      gather(launchOf(0, 3)).then(found => peers.push(...found)),
    ]);
    const serving = serveImages(left as Peer, file(), config(), { threads: 1 });
    (ended as Peer).end();
    const others = peers.map(peer => otherEncoder(peer, config()));
    await expect(encodeImages(graph, config(), pictures(3), { others })).rejects.toThrow(/RUN042.*process 1 of 3/s);
    for (const peer of peers) peer.end();
    await expect(serving).rejects.toThrow(/RUN042.*process 0 of 3/s);
  });

  it("tell the first process that a graph cannot be opened", async () => {
    await newPlace();
    const broken = joinPath(await work.dir(), "model.onnx");
    writeFileSync(broken, "no graph");
    const serving = join(launchOf(1, 2)).then(peer => serveImages(peer, broken, config(), { threads: 1 }));
    peers.push(...(await gather(launchOf(0, 2))));
    const others = peers.map(peer => otherEncoder(peer, config()));
    await expect(encodeImages(graph, config(), pictures(2), { others })).rejects.toThrow(/RUN011.*model\.onnx/s);
    await dismiss(peers);
    await serving;
  });

  it("refuse features of another size and tiles that are none with RUN043", async () => {
    await newPlace();
    const [helper, [first]] = await Promise.all([join(launchOf(1, 2)), gather(launchOf(0, 2))]);
    peers.push(helper, first as Peer);
    const other = otherEncoder(first as Peer, config());
    await helper.send({ kind: "features" }, [
      { name: "features", dtype: "float32", shape: [1], bytes: new Uint8Array(4) },
    ]);
    await expect(encodeImages(graph, config(), pictures(2), { others: [other] })).rejects.toThrow(/RUN043/);
    const serving = serveImages(helper, file(), config(), { threads: 1 });
    await (first as Peer).send({ kind: "encode" }, [
      { name: "tile 0", dtype: "float32", shape: [1], bytes: new Uint8Array(4) },
    ]);
    await expect(serving).rejects.toThrow(/RUN043.*bytes/s);
  });
});

describe("the meeting of a launch's processes", () => {
  it("passes over whoever says something else, and lets the right one in", async () => {
    await newPlace();
    const gathering = gather(launchOf(0, 2));
    for (let up = false; !up; up = existsSync(place.socket)) await new Promise(resolve => setImmediate(resolve));
    const stranger = connect(place.socket);
    stranger.end("GET / HTTP/1.1\r\n\r\n");
    await new Promise(resolve => stranger.once("close", resolve));
    const [one] = await Promise.all([join(launchOf(1, 2)), gathering.then(found => peers.push(...found))]);
    peers.push(one);
    expect(peers).toHaveLength(2);
    expect(existsSync(place.dir)).toBe(false);
  });

  it("says which processes have not come, on both sides, and leaves nothing behind", async () => {
    await newPlace();
    await expect(gather(launchOf(0, 3, { seconds: 0.2 }))).rejects.toThrow(/RUN041.*process 1, 2 of 3/s);
    expect(existsSync(place.dir)).toBe(false);
    await expect(join(launchOf(1, 3, { seconds: 0.2 }))).rejects.toThrow(/RUN041.*process 0 of 3/s);
  });

  it("refuses another engine, a directory that others may open, and a launch that is going", async () => {
    await newPlace();
    const other = join(launchOf(1, 2, { engine: "another" })).then(peer => peers.push(peer));
    await expect(gather(launchOf(0, 2))).rejects.toThrow(/RUN041.*process 1 of the launcher runs another engine/s);
    await other;
    await mkdir(place.dir);
    await chmod(place.dir, 0o755);
    await expect(gather(launchOf(0, 2))).rejects.toThrow(/RUN041.*not a directory of this user alone/s);
    await expect(join(launchOf(1, 2))).rejects.toThrow(/RUN041/);
    await chmod(place.dir, 0o700);
    const server = createServer();
    await new Promise<void>(resolve => server.listen(place.socket, resolve));
    await expect(gather(launchOf(0, 2))).rejects.toThrow(/RUN041.*the same launch is going/s);
    await new Promise(resolve => server.close(resolve));
  });

  it("takes over what a run that was killed has left", async () => {
    await newPlace();
    await mkdir(place.dir, { mode: 0o700 });
    writeFileSync(place.socket, "");
    const [one] = await Promise.all([gather(launchOf(0, 2)), join(launchOf(1, 2)).then(peer => peers.push(peer))]);
    expect(one).toHaveLength(1);
    peers.push(...one);
  });
});
