"""Events: one JSON object a line on the standard output the process was started with."""

import json
import os
import sys
import threading


class Failure(Exception):
    """An expected end: `problems` are {code, what, at, why, fix}, `extra` goes into the error event."""

    def __init__(self, stage, problems=(), exit_code=1, **extra):
        super().__init__(stage)
        self.stage = stage
        self.problems = list(problems)
        self.exit_code = exit_code
        self.extra = extra


def problem(code, what, at, why, fix):
    return {"code": code, "what": what, "at": at, "why": why, "fix": fix}


class Events:
    """Takes over descriptor 1: TensorRT's libraries print there themselves, which would break the event stream."""

    def __init__(self):
        self._lock = threading.Lock()
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def emit(self, event, **data):
        line = json.dumps({"event": event, **data}, ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            try:
                self._out.write(line + "\n")
                self._out.flush()
            except (BrokenPipeError, ValueError):
                # Whoever asked for the engine is gone: nothing is written under its name, so stopping is safe.
                os._exit(1)

    def error(self, failure, messages):
        self.emit("error", stage=failure.stage, problems=failure.problems, messages=messages, **failure.extra)


class Progress:
    """Folds TensorRT's nested phases into one percentage. A child phase fills the current step of its parent."""

    # Nearly all of a build's time goes by in this phase, though it is one of many; then the weights are gathered.
    COSTS = "Computing profile costs"
    PARSED, PREPARED, COMPILED, BUILT = 2.0, 8.0, 80.0, 85.0
    # Thousands of steps may end in a second; a reader needs a few a second.
    SMALLEST_STEP = 0.5

    def __init__(self, events):
        self._events = events
        self._phases = {}
        self._percent = 0.0
        self._shown = -1.0

    def parsed(self, done, total):
        self._show("Parsing", None, done, total, self.PARSED * done / max(total, 1))

    def written(self):
        self._show("Writing", None, 1, 1, 100.0, always=True)

    def start(self, name, parent, steps):
        self._phases[name] = {"parent": parent, "steps": max(steps, 1), "done": 0, "child": 0.0}
        self._show(name, parent, 0, steps, self._overall(), always=True)

    def step(self, name, index):
        phase = self._phases.get(name)
        if phase is None:
            return
        phase["done"], phase["child"] = index + 1, 0.0
        self._carry_up(name)
        self._show(name, phase["parent"], phase["done"], phase["steps"], self._overall())

    def finish(self, name):
        phase = self._phases.get(name)
        if phase is None:
            return
        phase["done"], phase["child"] = phase["steps"], 0.0
        self._carry_up(name)
        del self._phases[name]
        if name == self.COSTS:
            self._show("Gathering weights", None, 0, 1, self.COMPILED)
        elif phase["parent"] is None:
            self._show("Serializing", None, 0, 1, self.BUILT)

    def _carry_up(self, name):
        # TensorRT names a phase's parent; 32 is far deeper than any nesting it reports and stops a cycle of names.
        for _ in range(32):
            phase = self._phases.get(name)
            parent = self._phases.get(phase["parent"]) if phase else None
            if parent is None:
                return
            parent["child"] = self._done(phase)
            name = phase["parent"]

    def _overall(self):
        costs = self._phases.get(self.COSTS)
        if costs:
            return self.PREPARED + (self.COMPILED - self.PREPARED) * self._done(costs)
        roots = [phase for phase in self._phases.values() if phase["parent"] is None]
        return self.PARSED + (self.PREPARED - self.PARSED) * max(map(self._done, roots), default=0.0)

    @staticmethod
    def _done(phase):
        return min((phase["done"] + phase["child"]) / phase["steps"], 1.0)

    def _show(self, phase, parent, step, steps, percent, always=False):
        self._percent = max(self._percent, percent)
        if not always and self._percent - self._shown < self.SMALLEST_STEP:
            return
        self._shown = self._percent
        self._events.emit(
            "progress", phase=phase, parent=parent, step=step, steps=steps, percent=round(self._percent, 1)
        )
