/**
 * Which beginnings of prompts are known, block by block: a tree whose edges are the keys of blocks and whose nodes own a
 * numbered block each. It holds no keys and values: what block 7 is, a copy in memory or a page of a device's pool, is
 * known to the store behind it (block-store.ts).
 */
export class BlockIndex {
  readonly capacity: number;
  readonly #root: Node = { children: new Map(), parent: undefined, key: "", block: -1, depth: 0, users: 1 };
  readonly #free: number[] = [];
  /** Blocks handed out at least once; those above are free and not in `#free`. */
  #touched = 0;
  /**
   * Nodes that nobody uses, the one to give up first in front. A chain is put back from its end, so a node always comes
   * after the nodes below it: the first one has none, and what is given up is never the middle of a chain.
   */
  readonly #idle = new Set<Node>();
  #evicted = 0;

  /** @param capacity blocks there are; a whole number, 0 keeps nothing. */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Blocks in the tree. */
  get size(): number {
    return this.#touched - this.#free.length;
  }

  /** Blocks that gave way to others so far. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Takes the longest known chain of these keys into use. */
  lookup(keys: readonly string[]): Lease {
    let node = this.#root;
    for (const key of keys) {
      const next = node.children.get(key);
      if (next === undefined) break;
      this.#use(next);
      node = next;
    }
    return new Lease(node);
  }

  /**
   * The block after the lease's last one, in use with it. Undefined where every block is in use: the chain then ends here,
   * and nothing may be added behind it.
   */
  extend(lease: Lease, key: string): { readonly block: number; readonly isNew: boolean } | undefined {
    const { end } = lease;
    const known = end.children.get(key);
    if (known !== undefined) {
      this.#use(known);
      lease.end = known;
      return { block: known.block, isNew: false };
    }
    const block = this.#take();
    if (block === undefined) return undefined;
    const node: Node = { children: new Map(), parent: end, key, block, depth: end.depth + 1, users: 1 };
    end.children.set(key, node);
    lease.end = node;
    return { block, isNew: true };
  }

  /** Ends the use of a lease's chain, which was used just now: it is given up after all that was used before. */
  release(lease: Lease): void {
    let node = lease.end;
    lease.end = this.#root;
    for (; node.parent !== undefined; node = node.parent) {
      node.users -= 1;
      if (node.users === 0) this.#idle.add(node);
    }
  }

  #use(node: Node): void {
    node.users += 1;
    this.#idle.delete(node);
  }

  #take(): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#touched < this.capacity) return this.#touched++;
    const [oldest] = this.#idle;
    if (oldest === undefined) return undefined;
    this.#idle.delete(oldest);
    oldest.parent?.children.delete(oldest.key);
    this.#evicted += 1;
    return oldest.block;
  }
}

interface Node {
  readonly children: Map<string, Node>;
  readonly parent: Node | undefined;
  readonly key: string;
  readonly block: number;
  /** Blocks of the chain that ends here. */
  readonly depth: number;
  /** Leases whose chain goes through this node. */
  users: number;
}

/** A chain of blocks in use. Give it back with `BlockIndex.release`, once. */
export class Lease {
  /** @internal */
  end: Node;

  /** @internal */
  constructor(end: Node) {
    this.end = end;
  }

  /** Blocks in the chain. */
  get length(): number {
    return this.end.depth;
  }

  /** The chain's blocks, from the prompt's beginning. */
  get blocks(): readonly number[] {
    const blocks: number[] = [];
    for (let node = this.end; node.parent !== undefined; node = node.parent) blocks.push(node.block);
    return blocks.reverse();
  }
}
