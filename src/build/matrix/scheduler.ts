import { EventQueue } from "../event-queue.ts";

/** What a task holds while it runs. Bytes; GPUs are whole. */
export interface Cost {
  readonly memory: number;
  readonly disk: number;
  readonly gpus: number;
}

export interface Task<T> {
  readonly id: string;
  /** Ids of tasks that must be done before. */
  readonly needs: readonly string[];
  readonly cost: Cost;
  /** Higher goes first. */
  readonly priority: number;
  readonly step: T;
}

export type Outcome<T> =
  /** With the tasks that are only known now. `cached`: somebody else made it between the look and the lock. */
  | { readonly state: "done"; readonly tasks?: readonly Task<T>[]; readonly cached?: boolean }
  /** Another process is at it: to be looked at again later. */
  | { readonly state: "elsewhere" }
  | { readonly state: "failed"; readonly error: unknown; readonly transient: boolean };

export interface TaskRunner<T> {
  /** Whether the result is there already: takes no worker and no budget. */
  lookup(task: Task<T>): Promise<(Outcome<T> & { readonly state: "done" }) | undefined>;
  /** `slot` counts from 0 below `workers`; `gpus` are the numbers of those that it may use. */
  run(task: Task<T>, place: { readonly slot: number; readonly gpus: readonly number[] }): Promise<Outcome<T>>;
}

export interface Limits {
  readonly workers: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes that the whole run may write. */
  readonly disk: number;
  readonly gpus: number;
  /** Times that a task is tried again after a failure that may pass. */
  readonly retries: number;
  /** A failure stops what depends on it, and nothing else. */
  readonly keepGoing: boolean;
}

export interface Clock {
  /** Milliseconds. */
  now(): number;
  /** Resolves early, without an error, when the signal is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export type ScheduleEvent<T> =
  | { readonly event: "start"; readonly task: Task<T>; readonly slot: number }
  | { readonly event: "done"; readonly task: Task<T>; readonly seconds: number; readonly cached: boolean }
  | { readonly event: "elsewhere"; readonly task: Task<T> }
  | { readonly event: "retry"; readonly task: Task<T>; readonly error: unknown; readonly attempt: number }
  | { readonly event: "failed"; readonly task: Task<T>; readonly error: unknown; readonly seconds: number }
  /** Not run: something it needs failed, or the run was stopped. */
  | { readonly event: "skipped"; readonly task: Task<T> };

/** Results are looked up this many at a time: it is all waiting for the file system. */
const LOOKUPS = 8;
const LOOK_AGAIN_MS = 500;
const RETRY_MS = 1000;

type State = "blocked" | "new" | "ready" | "busy" | "done" | "failed" | "skipped";

interface Node<T> {
  task: Task<T>;
  state: State;
  attempts: number;
  /** After it was killed for memory: with nothing beside it. */
  alone: boolean;
}

/**
 * Runs tasks as soon as what they need is done, within the limits, the most urgent first. Tasks may bring new tasks. A task
 * that alone is larger than a budget runs with nothing beside it, except for disk: `tooLarge` is then its failure.
 */
export async function* schedule<T>(
  tasks: readonly Task<T>[],
  runner: TaskRunner<T>,
  limits: Limits,
  options: { readonly signal: AbortSignal; readonly clock: Clock; tooLarge(task: Task<T>, left: number): unknown },
): AsyncGenerator<ScheduleEvent<T>, void> {
  const scheduler = new Scheduler(runner, limits, options);
  scheduler.add(tasks);
  scheduler.advance();
  yield* scheduler.events;
}

class Scheduler<T> {
  readonly events = new EventQueue<ScheduleEvent<T>>();
  readonly #nodes = new Map<string, Node<T>>();
  readonly #runner: TaskRunner<T>;
  readonly #limits: Limits;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #tooLarge: (task: Task<T>, left: number) => unknown;
  readonly #running = new Map<Node<T>, { readonly slot: number; readonly gpus: readonly number[] }>();
  #lookups = 0;
  #sleeping = 0;
  #diskLeft: number;
  #stopped = false;

  constructor(
    runner: TaskRunner<T>,
    limits: Limits,
    options: { signal: AbortSignal; clock: Clock; tooLarge(task: Task<T>, left: number): unknown },
  ) {
    this.#runner = runner;
    this.#limits = limits;
    this.#signal = options.signal;
    this.#clock = options.clock;
    this.#tooLarge = options.tooLarge;
    this.#diskLeft = limits.disk;
    options.signal.addEventListener("abort", () => this.advance());
  }

  /** A task that is known already is the same step for another cell. */
  add(tasks: readonly Task<T>[]): void {
    for (const task of tasks) {
      const known = this.#nodes.get(task.id);
      if (known === undefined) this.#nodes.set(task.id, { task, state: "blocked", attempts: 0, alone: false });
    }
  }

  /** Starts what can be started; the end of everything closes the events. */
  advance(): void {
    if (this.#signal.aborted) this.#stopped = true;
    this.#unblock();
    this.#lookUp();
    this.#startReady();
    if (this.#running.size + this.#lookups + this.#sleeping > 0) return;
    for (const node of this.#nodes.values()) if (node.state !== "done" && node.state !== "failed") this.#skip(node);
    this.events.close();
  }

  #unblock(): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const node of this.#nodes.values()) {
        if (node.state !== "blocked") continue;
        const needs = node.task.needs.map(id => this.#nodes.get(id)?.state);
        if (needs.every(state => state === "done")) node.state = "new";
        else if (needs.some(state => state === "failed" || state === "skipped")) this.#skip(node);
        else continue;
        changed = true;
      }
    }
  }

  #lookUp(): void {
    if (this.#stopped) return;
    const waiting = this.#ordered("new");
    for (const node of waiting.slice(0, LOOKUPS - this.#lookups)) {
      node.state = "busy";
      this.#lookups++;
      void this.#runner
        .lookup(node.task)
        .then(
          found => {
            if (found === undefined) node.state = "ready";
            else this.#done(node, found.tasks ?? [], 0, true);
          },
          (error: unknown) => this.#fail(node, error, 0),
        )
        .finally(() => {
          this.#lookups--;
          this.advance();
        });
    }
  }

  #startReady(): void {
    if (this.#stopped) return;
    for (const node of this.#ordered("ready")) {
      if (this.#running.size >= this.#limits.workers) return;
      if (node.task.cost.disk > this.#diskLeft) {
        // What runs may yet turn out to need less, but what is written stays written.
        if (this.#running.size === 0) this.#fail(node, this.#tooLarge(node.task, this.#diskLeft), 0);
        continue;
      }
      if (this.#fits(node)) void this.#run(node);
    }
    this.#unblock();
  }

  #fits({ task: { cost }, alone }: Node<T>): boolean {
    if (this.#running.size === 0) return true;
    if (alone || [...this.#running.keys()].some(other => other.alone)) return false;
    const held = (key: keyof Cost): number =>
      [...this.#running.keys()].reduce((sum, { task }) => sum + task.cost[key], 0);
    return held("memory") + cost.memory <= this.#limits.memory && held("gpus") + cost.gpus <= this.#limits.gpus;
  }

  async #run(node: Node<T>): Promise<void> {
    const { task } = node;
    const place = { slot: this.#freeSlot(), gpus: this.#freeGpus(task.cost.gpus) };
    node.state = "busy";
    node.attempts++;
    this.#running.set(node, place);
    this.#diskLeft -= task.cost.disk;
    this.events.push({ event: "start", task, slot: place.slot });
    const started = this.#clock.now();
    const outcome = await this.#runner
      .run(task, place)
      .catch((error: unknown): Outcome<T> => ({ state: "failed", error, transient: false }));
    this.#running.delete(node);
    const seconds = (this.#clock.now() - started) / 1000;
    const cached = outcome.state === "done" && outcome.cached === true;
    if (outcome.state !== "done" || cached) this.#diskLeft += task.cost.disk;
    if (outcome.state === "done") this.#done(node, outcome.tasks ?? [], cached ? 0 : seconds, cached);
    else if (outcome.state === "elsewhere") this.#lookAgain(node);
    else if (outcome.transient && node.attempts <= this.#limits.retries && !this.#stopped)
      this.#retry(node, outcome.error);
    else this.#fail(node, outcome.error, seconds);
    this.advance();
  }

  #done(node: Node<T>, tasks: readonly Task<T>[], seconds: number, cached: boolean): void {
    node.state = "done";
    this.add(tasks);
    this.events.push({ event: "done", task: node.task, seconds, cached });
  }

  /** Without a worker: other steps go on meanwhile. */
  #lookAgain(node: Node<T>): void {
    node.attempts--;
    this.events.push({ event: "elsewhere", task: node.task });
    this.#later(LOOK_AGAIN_MS, () => {
      node.state = "new";
    });
  }

  #retry(node: Node<T>, error: unknown): void {
    node.alone = true;
    this.events.push({ event: "retry", task: node.task, error, attempt: node.attempts });
    this.#later(RETRY_MS * 2 ** (node.attempts - 1), () => {
      node.state = "new";
    });
  }

  #later(ms: number, then: () => void): void {
    this.#sleeping++;
    void this.#clock.sleep(ms, this.#signal).then(() => {
      this.#sleeping--;
      then();
      this.advance();
    });
  }

  #fail(node: Node<T>, error: unknown, seconds: number): void {
    node.state = "failed";
    this.events.push({ event: "failed", task: node.task, error, seconds });
    if (!this.#limits.keepGoing) this.#stopped = true;
  }

  #skip(node: Node<T>): void {
    if (node.state === "skipped") return;
    node.state = "skipped";
    this.events.push({ event: "skipped", task: node.task });
  }

  #ordered(state: State): Node<T>[] {
    return [...this.#nodes.values()]
      .filter(node => node.state === state)
      .sort((a, b) => b.task.priority - a.task.priority);
  }

  #freeSlot(): number {
    const taken = new Set([...this.#running.values()].map(({ slot }) => slot));
    for (let slot = 0; ; slot++) if (!taken.has(slot)) return slot;
  }

  #freeGpus(count: number): readonly number[] {
    const taken = new Set([...this.#running.values()].flatMap(({ gpus }) => gpus));
    return Array.from({ length: this.#limits.gpus }, (_, i) => i)
      .filter(i => !taken.has(i))
      .slice(0, count);
  }
}
