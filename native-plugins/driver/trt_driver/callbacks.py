"""Python subclasses of TensorRT's logger and progress monitor that turn its calls into events."""

import re

from . import describe
from .events import Progress

_SEVERITIES = ("internal_error", "error", "warning", "info", "verbose")
# A failed build logs tens of errors; a hostile graph could log millions.
_MAX_MESSAGES = 500
# "Total Activation Memory: 8193536 bytes", once a profile: what a context of that profile takes on the device.
_MEMORY = re.compile(r"Total (Weights|Activation) Memory: (\d{1,18}) bytes")


def callbacks(target, events, verbose):
    """(logger, progress monitor, the progress that both feed) for one build."""
    trt = target.trt
    progress = Progress(events)

    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.messages = []
            self.engine_text = ""
            self.memory = {"weights": 0, "activation": 0}
            self.nodes = 0
            self.parsed = 0

        def log(self, severity, text):
            level = int(severity)
            if level < 4 or verbose:
                events.emit("log", severity=_SEVERITIES[level], text=text)
            if level < 3 and len(self.messages) < _MAX_MESSAGES:
                self.messages.append({"severity": _SEVERITIES[level], "text": text})
            elif level == 3 and text.startswith("Total "):
                for kind, count in _MEMORY.findall(text):
                    self.memory[kind.lower()] = max(self.memory[kind.lower()], int(count))
            elif level == 4 and text.startswith("Parsing node: "):
                self.parsed += 1
                progress.parsed(min(self.parsed, self.nodes), self.nodes)
            elif level == 4 and text.startswith(describe.ENGINE_TEXTS):
                self.engine_text = text

    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name, parent_phase, num_steps):
            progress.start(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name):
            progress.finish(phase_name)

        def step_complete(self, phase_name, step):
            progress.step(phase_name, step)
            return True

    return Logger(), Monitor(), progress
