import { describe, expect, it } from "vitest";
import {
  type Clock,
  type Limits,
  type Outcome,
  type ScheduleEvent,
  schedule,
  type Task,
  type TaskRunner,
} from "../../../../src/build/matrix/scheduler.ts";

/** Seconds that a step takes, and how it ends. */
interface Fake {
  readonly seconds: number;
  readonly outcomes?: readonly Outcome<Fake>[];
}

type FakeTask = Task<Fake>;

const task = (id: string, seconds: number, given: Partial<Omit<FakeTask, "step">> & Partial<Fake> = {}): FakeTask => ({
  id,
  needs: given.needs ?? [],
  cost: given.cost ?? { memory: 1, disk: 1, gpus: 0 },
  priority: given.priority ?? 0,
  step: { seconds, ...(given.outcomes && { outcomes: given.outcomes }) },
});

const LIMITS: Limits = { workers: 2, memory: 100, disk: 100, gpus: 1, retries: 1, keepGoing: false };

/** Time passes when nothing else is left to do: sleepers wake in the order of their hours. */
class VirtualClock implements Clock {
  #now = 0;
  readonly #sleepers: { readonly at: number; wake(): void }[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      this.#sleepers.push({ at: this.#now + ms, wake: resolve });
      signal.addEventListener("abort", () => resolve());
      setImmediate(() => this.#pass());
    });
  }

  #pass(): void {
    this.#sleepers.sort((a, b) => a.at - b.at);
    const next = this.#sleepers.shift();
    if (next === undefined) return;
    this.#now = Math.max(this.#now, next.at);
    next.wake();
  }
}

class FakeRunner implements TaskRunner<Fake> {
  readonly order: string[] = [];
  readonly places: { readonly id: string; readonly slot: number; readonly gpus: readonly number[] }[] = [];
  readonly peak = { memory: 0, gpus: 0, tasks: 0 };
  readonly found: ReadonlySet<string>;
  readonly #clock: VirtualClock;
  readonly #signal: AbortSignal;
  readonly #running = new Set<FakeTask>();
  readonly #tries = new Map<string, number>();

  constructor(clock: VirtualClock, signal: AbortSignal, found: readonly string[]) {
    this.#clock = clock;
    this.#signal = signal;
    this.found = new Set(found);
  }

  async lookup({ id }: FakeTask): Promise<{ readonly state: "done" } | undefined> {
    return this.found.has(id) ? { state: "done" } : undefined;
  }

  async run(
    task: FakeTask,
    place: { readonly slot: number; readonly gpus: readonly number[] },
  ): Promise<Outcome<Fake>> {
    this.order.push(task.id);
    this.places.push({ id: task.id, ...place });
    this.#running.add(task);
    const held = [...this.#running];
    this.peak.memory = Math.max(
      this.peak.memory,
      held.reduce((sum, { cost }) => sum + cost.memory, 0),
    );
    this.peak.gpus = Math.max(
      this.peak.gpus,
      held.reduce((sum, { cost }) => sum + cost.gpus, 0),
    );
    this.peak.tasks = Math.max(this.peak.tasks, held.length);
    await this.#clock.sleep(task.step.seconds * 1000, this.#signal);
    this.#running.delete(task);
    const tries = this.#tries.get(task.id) ?? 0;
    this.#tries.set(task.id, tries + 1);
    return task.step.outcomes?.[tries] ?? { state: "done" };
  }
}

interface Ran {
  readonly events: readonly ScheduleEvent<Fake>[];
  readonly runner: FakeRunner;
  readonly seconds: number;
}

async function run(
  tasks: readonly FakeTask[],
  limits: Partial<Limits> = {},
  options: { readonly found?: readonly string[]; stopAt?: string } = {},
): Promise<Ran> {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const runner = new FakeRunner(clock, stop.signal, options.found ?? []);
  const events: ScheduleEvent<Fake>[] = [];
  const all = schedule(
    tasks,
    runner,
    { ...LIMITS, ...limits },
    {
      signal: stop.signal,
      clock,
      tooLarge: ({ id }, left) => new Error(`${id} is too large for ${left}`),
    },
  );
  for await (const event of all) {
    events.push(event);
    if (event.event === "start" && event.task.id === options.stopAt) stop.abort();
  }
  return { events, runner, seconds: clock.now() / 1000 };
}

const ids = ({ events }: Ran, name: ScheduleEvent<Fake>["event"]): readonly string[] =>
  events.filter(({ event }) => event === name).map(({ task: { id } }) => id);

describe("the scheduler", () => {
  it("starts a step when all that it needs is done, the most urgent first", async () => {
    const ran = await run([
      task("last", 1, { needs: ["a", "b"] }),
      task("a", 3, { priority: 1 }),
      task("b", 1, { priority: 2 }),
      task("c", 1),
    ]);
    expect(ran.runner.order).toEqual(["b", "a", "c", "last"]);
    expect(ran.seconds).toBe(4);
  });

  it("keeps every worker busy: the longest first leaves no long tail", async () => {
    const seconds = [1, 9, 2, 8, 3, 7, 4, 6, 5];
    const ran = await run(
      seconds.map((s, i) => task(`t${i}`, s, { priority: s })),
      { workers: 3 },
    );
    const sum = seconds.reduce((a, b) => a + b);
    expect(ran.runner.peak.tasks).toBe(3);
    expect(ran.seconds).toBeLessThanOrEqual((sum / 3) * 1.25);
    expect(ran.runner.places.every(({ slot }) => slot < 3)).toBe(true);
  });

  it("never holds more memory or GPUs than there are, and gives each step GPUs of its own", async () => {
    const heavy = (id: string, memory: number, gpus: number): FakeTask =>
      task(id, 1, { cost: { memory, disk: 0, gpus } });
    const ran = await run(
      [heavy("a", 60, 1), heavy("b", 60, 0), heavy("c", 40, 2), heavy("d", 30, 1), heavy("e", 99, 0), heavy("f", 1, 1)],
      { workers: 6, gpus: 3 },
    );
    expect(ran.runner.peak.memory).toBeLessThanOrEqual(100);
    expect(ran.runner.peak.gpus).toBeLessThanOrEqual(3);
    expect(ran.runner.peak.tasks).toBeGreaterThan(1);
    expect(ran.runner.places.map(({ gpus }) => gpus.length)).toEqual(
      ran.runner.order.map(id => ({ c: 2, b: 0, e: 0 })[id] ?? 1),
    );
    expect(ids(ran, "done").toSorted()).toEqual(["a", "b", "c", "d", "e", "f"]);
  });

  it("runs what is larger than the whole memory alone instead of never", async () => {
    const ran = await run([
      task("small", 1),
      task("huge", 1, { cost: { memory: 1e6, disk: 0, gpus: 0 }, priority: 9 }),
    ]);
    expect(ran.runner.order).toEqual(["huge", "small"]);
    expect(ran.runner.peak.tasks).toBe(1);
  });

  it("fails a step that would write more than is left of the disk, before it writes", async () => {
    const disk = (id: string, bytes: number): FakeTask => task(id, 1, { cost: { memory: 0, disk: bytes, gpus: 0 } });
    const ran = await run([disk("a", 70), disk("b", 40), disk("c", 30)], { keepGoing: true });
    expect(ran.runner.order).toEqual(["a", "c"]);
    expect(ran.events.find(({ event }) => event === "failed")).toMatchObject({
      task: { id: "b" },
      error: new Error("b is too large for 0"),
    });
  });

  it("takes no worker for a result that is there", async () => {
    const ran = await run([task("a", 5), task("b", 1, { needs: ["a"] })], {}, { found: ["a"] });
    expect(ran.runner.order).toEqual(["b"]);
    expect(ran.events.filter(({ event }) => event === "done")).toMatchObject([{ cached: true }, { cached: false }]);
  });

  it("stops starting steps after a failure, and lets those that run end", async () => {
    const bad = { state: "failed", error: new Error("no"), transient: false } as const;
    const ran = await run([
      task("bad", 1, { outcomes: [bad], priority: 3 }),
      task("long", 5, { priority: 2 }),
      task("later", 1),
      task("after", 1, { needs: ["bad"] }),
    ]);
    expect(ids(ran, "failed")).toEqual(["bad"]);
    expect(ids(ran, "done")).toEqual(["long"]);
    expect(ids(ran, "skipped").toSorted()).toEqual(["after", "later"]);
  });

  it("skips with keep_going only what needs what failed, however far down", async () => {
    const bad = { state: "failed", error: new Error("no"), transient: false } as const;
    const ran = await run(
      [
        task("bad", 1, { outcomes: [bad] }),
        task("next", 1, { needs: ["bad"] }),
        task("cell", 1, { needs: ["next", "good"] }),
        task("good", 1),
        task("other", 1, { needs: ["good"] }),
      ],
      { keepGoing: true },
    );
    expect(ids(ran, "done")).toEqual(["good", "other"]);
    expect(ids(ran, "skipped").toSorted()).toEqual(["cell", "next"]);
  });

  it("tries a failure that may pass again, alone and after a pause, and gives up in the end", async () => {
    const killed = { state: "failed", error: new Error("killed"), transient: true } as const;
    const once = await run([task("a", 1, { outcomes: [killed], priority: 1 }), task("b", 1), task("c", 1)]);
    expect(ids(once, "retry")).toEqual(["a"]);
    expect(ids(once, "done").toSorted()).toEqual(["a", "b", "c"]);
    const always = await run([task("a", 1, { outcomes: [killed, killed, killed] })], { retries: 2 });
    expect(always.runner.order).toEqual(["a", "a", "a"]);
    expect(ids(always, "failed")).toEqual(["a"]);
    // 3 tries of 1 s with pauses of 1 and 2 s between them.
    expect(always.seconds).toBe(6);
  });

  it("gives its worker back while another process does a step, and looks again later", async () => {
    const elsewhere = { state: "elsewhere" } as const;
    const ran = await run([task("theirs", 0, { outcomes: [elsewhere, elsewhere], priority: 9 }), task("ours", 2)], {
      workers: 1,
    });
    expect(ids(ran, "elsewhere")).toEqual(["theirs", "theirs"]);
    expect(ids(ran, "done")).toEqual(["ours", "theirs"]);
  });

  it("takes up the steps that a step brings, and a step that two bring only once", async () => {
    const shared = task("shared", 1);
    const bring = (own: FakeTask): Outcome<Fake> => ({ state: "done", tasks: [shared, own] });
    const ran = await run([
      task("plan1", 1, { outcomes: [bring(task("cell1", 1, { needs: ["shared"] }))] }),
      task("plan2", 1, { outcomes: [bring(task("cell2", 1, { needs: ["shared"] }))] }),
    ]);
    expect(ran.runner.order.toSorted()).toEqual(["cell1", "cell2", "plan1", "plan2", "shared"]);
    expect(ids(ran, "done")).toHaveLength(5);
  });

  it("ends when it is stopped, with nothing started after it", async () => {
    const ran = await run([task("a", 5, { priority: 1 }), task("b", 5, { needs: ["a"] })], {}, { stopAt: "a" });
    expect(ran.runner.order).toEqual(["a"]);
    expect(ids(ran, "skipped")).toEqual(["b"]);
  });
});
