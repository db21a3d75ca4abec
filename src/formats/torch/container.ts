import { fail, type Problem } from "../../diagnostics/index.ts";
import { DTYPES } from "../../tensor/index.ts";
import { Cursor, Overrun, parseGrowing } from "../cursor.ts";
import { cutShort, type SourceFile } from "../file.ts";
import { TorchHost } from "./host.ts";
import type { StorageRef, TensorRef } from "./objects.ts";
import { type PickleValue, readPickle } from "./pickle.ts";
import { badZip, entryOffset, readEntry, readZip, type ZipEntry } from "./zip.ts";

/** A PyTorch file opened: the object that was saved, and where the bytes of a storage lie. */
export interface TorchFile {
  readonly root: PickleValue;
  /** Byte of the file where the storage begins. Errors: CKP012 absent, CKP015 too small. */
  locate(storage: StorageRef, user: TensorRef): Promise<number>;
}

/** Pickles of real models have some hundred kilobytes; one tensor takes about 200 bytes. */
const MAX_PICKLE = 64 << 20;
/** What legacy files begin with, as a pickled integer. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;

/** The zip archive that PyTorch writes since 1.6, or the stream of pickles from before. Errors: CKP012–CKP014. */
export async function openTorchFile(file: SourceFile): Promise<TorchFile> {
  const head = Buffer.from(await file.read(0, Math.min(file.size, 512)));
  if (head.subarray(0, 2).toString("latin1") === "PK") return openZip(file);
  if (head[0] === 0x80) return openLegacy(file);
  const tar = head.subarray(257, 262).toString("latin1") === "ustar";
  fail(
    notTorch(
      file,
      tar
        ? "it is a tar archive, the format from before PyTorch 0.1.10"
        : "it begins like neither a zip archive nor a pickle",
    ),
  );
}

async function openZip(file: SourceFile): Promise<TorchFile> {
  const entries = await readZip(file);
  const pickle = [...entries.values()].find(entry => /^[^/]*\/data\.pkl$/.test(entry.name));
  if (pickle === undefined) badZip(file, 0, "it holds no data.pkl");
  const prefix = pickle.name.slice(0, -"data.pkl".length);
  if (entries.has(`${prefix}constants.pkl`)) badZip(file, 0, "it is a TorchScript program, not weights");
  await checkByteOrder(file, entries.get(`${prefix}byteorder`));
  const root = await readZipPickle(file, pickle);
  return {
    root,
    locate: async (storage, user) => {
      const entry = entries.get(`${prefix}data/${storage.key}`);
      if (entry === undefined) badZip(file, user.at, `storage ${storage.key.slice(0, 200)} of a tensor is missing`);
      if (bytesOf(storage) > entry.size) fail(tooSmall(file, storage, entry.size, user));
      return entryOffset(file, entry);
    },
  };
}

async function readZipPickle(file: SourceFile, entry: ZipEntry): Promise<PickleValue> {
  if (entry.size > MAX_PICKLE)
    badZip(file, entry.headerOffset, `data.pkl has ${entry.size} bytes; at most ${MAX_PICKLE} are read`);
  const cursor = await readEntry(file, entry);
  const host = new TorchHost(file.path);
  try {
    return readPickle(cursor, host);
  } catch (error) {
    if (error instanceof Overrun) host.malformed("it ends in the middle", error.at);
    throw error;
  }
}

async function checkByteOrder(file: SourceFile, entry: ZipEntry | undefined): Promise<void> {
  if (entry === undefined || entry.size > 16) return;
  const order = (await readEntry(file, entry)).text(entry.size);
  if (order !== "little")
    badZip(file, entry.headerOffset, `its byte order is ${JSON.stringify(order)}, not little-endian`);
}

/** Layout: pickles of magic, protocol, system, object and storage keys; then each storage as uint64 elements and its bytes. */
async function openLegacy(file: SourceFile): Promise<TorchFile> {
  const host = new TorchHost(file.path);
  const storages = new Map<string, StorageRef>();
  const recording = new RecordingHost(file.path, storages);
  const { root, keys, end } = await parseGrowing(
    file,
    0,
    MAX_PICKLE,
    cursor => {
      storages.clear();
      if (readPickle(cursor, host) !== LEGACY_MAGIC)
        fail(notTorch(file, "its first pickle is not PyTorch's magic number"));
      checkSystem(file, readPickle(cursor, host), readPickle(cursor, host));
      return { root: readPickle(cursor, recording), keys: readPickle(cursor, host), end: cursor.at };
    },
    ({ at, needed }) => fail(cutShort(file.path, at, needed, file.size)),
  );
  const offsets = await findStorages(file, keys, storages, end);
  return {
    root,
    locate: async (storage, user) => {
      const offset = offsets.get(storage.key);
      if (offset === undefined)
        fail(notTorch(file, `storage ${storage.key.slice(0, 200)} of the tensor at byte ${user.at} is missing`));
      return offset;
    },
  };
}

/** Remembers the storages by key: their element size is needed to walk the raw bytes at the end of the file. */
class RecordingHost extends TorchHost {
  readonly #storages: Map<string, StorageRef>;

  constructor(path: string, storages: Map<string, StorageRef>) {
    super(path);
    this.#storages = storages;
  }

  override persistent(id: PickleValue, at: number): StorageRef {
    const storage = super.persistent(id, at);
    const known = this.#storages.get(storage.key);
    if (known && (known.dtype !== storage.dtype || known.elements !== storage.elements)) {
      this.malformed(`storage ${storage.key.slice(0, 200)} is described twice, differently`, at);
    }
    this.#storages.set(storage.key, storage);
    return storage;
  }
}

function checkSystem(file: SourceFile, protocol: PickleValue, system: PickleValue): void {
  if (protocol !== 1001) fail(notTorch(file, "its protocol version is not 1001"));
  if (!(system instanceof Map) || system.get("little_endian") !== true)
    fail(notTorch(file, "it was written on a big-endian machine"));
}

async function findStorages(
  file: SourceFile,
  keys: PickleValue,
  storages: ReadonlyMap<string, StorageRef>,
  start: number,
): Promise<ReadonlyMap<string, number>> {
  if (!Array.isArray(keys)) fail(notTorch(file, "its list of storages is not a list"));
  const offsets = new Map<string, number>();
  let at = start;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (storage === undefined) fail(notTorch(file, "its list of storages names one that no tensor uses"));
    const elements = new Cursor(await file.read(at, 8), at).u64();
    if (elements !== BigInt(storage.elements))
      fail(
        notTorch(
          file,
          `storage ${storage.key.slice(0, 200)} at byte ${at} has ${elements} elements instead of ${storage.elements}`,
        ),
      );
    at += 8;
    if (at + bytesOf(storage) > file.size) fail(cutShort(file.path, at, bytesOf(storage), file.size));
    offsets.set(storage.key, at);
    at += bytesOf(storage);
  }
  return offsets;
}

export function bytesOf(storage: StorageRef): number {
  return storage.elements * (storage.dtype === undefined ? 1 : DTYPES[storage.dtype].bits / 8);
}

function tooSmall(file: SourceFile, storage: StorageRef, size: number, user: TensorRef): Problem {
  return {
    code: "CKP015",
    what: `storage ${storage.key.slice(0, 200)} has ${size} bytes; ${bytesOf(storage)} are needed`,
    at: `${file.path}, byte ${user.at}`,
    why: "the archive keeps fewer bytes than its pickle says",
    fix: "download the file again",
  };
}

function notTorch(file: SourceFile, message: string): Problem {
  return {
    code: "CKP012",
    what: `not a usable PyTorch file: ${message}`,
    at: `${file.path}, byte 0`,
    why: "torch.save writes a zip archive, or a stream of pickles when told to use the format from before 1.6",
    fix: "check that this is a checkpoint, and save it again with torch.save or as safetensors",
  };
}
