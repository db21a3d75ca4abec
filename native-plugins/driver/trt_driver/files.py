"""Writing the engine: whole under its name, or not at all, also when time runs out."""

import os
import threading

from .events import Failure, problem


def place_problems(engine):
    """Found now, and not after the minutes that a build takes."""
    folder = os.path.dirname(os.path.abspath(engine))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        yield write_problem(engine, f"{folder} is not a folder that can be written to")


def write_problem(path, said):
    return problem("TRT013", f"{path} cannot be written: {said}", path, "an engine is stored whole or not at all", "free space, or choose another directory")


def write(path, data):
    """All of `data` under `path`: written beside it, flushed to disk, renamed. Failure leaves nothing."""
    aside = f"{path}.partial"
    try:
        with open(aside, "wb", buffering=0) as file:
            rest = memoryview(data).cast("B")
            while len(rest):
                # The system writes at most 2 GiB at a time.
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        try:
            os.unlink(aside)
        except OSError:
            pass
        raise Failure("write", [write_problem(path, str(error))]) from None


def watchdog(seconds, engine, events):
    """Ends the process after `seconds`; TensorRT cannot be interrupted from outside, and nothing of the engine is written yet."""

    def stop():
        events.error(Failure("time_limit", [time_problem(seconds)]), [])
        try:
            os.unlink(f"{engine}.partial")
        except OSError:
            pass
        os._exit(1)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    return timer


def time_problem(seconds):
    return problem(
        "TRT009",
        f"the build took longer than its limit of {seconds} s and was stopped",
        "time_limit_seconds",
        "how long a build takes depends on the graph, the optimization level and the machine",
        "raise the limit, or lower the optimization level",
    )
