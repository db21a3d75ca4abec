#!/usr/bin/env python3
"""Builds one TensorRT engine from one ONNX file: request in (JSON), events out (NDJSON). See README.md.

usage: build_engine.py [--request FILE] [--module auto|tensorrt|tensorrt_rtx|tensorrt_rtx_bindings] [--version]
One build a process: a failed build can leave TensorRT in a state that breaks the next one.
Exit: 0 built · 1 not built · 2 request not usable · 3 no TensorRT, or no GPU where one is needed.
"""

import argparse
import platform
import sys

from trt_driver.bindings import find_target
from trt_driver.build import build
from trt_driver.events import Events, Failure
from trt_driver.files import watchdog
from trt_driver.parent import end_with
from trt_driver.request import read_request


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--request", default="-", metavar="FILE", help="JSON request; - is standard input")
    options.add_argument("--module", default="auto", help="bindings to use; tensorrt and tensorrt_rtx also name the backend")
    options.add_argument("--version", action="store_true", help="print which bindings and GPUs there are, and build nothing")
    arguments = options.parse_args()
    events = Events()
    keep = {}
    try:
        request = None if arguments.version else read_request(arguments.request)
        if request is not None and request["parent_pid"]:
            end_with(request["parent_pid"])
        target = find_target(arguments.module)
        events.emit("start", module=target.module, version=target.version, rtx=target.rtx, sms=target.known_sms(), gpus=target.gpus, python=platform.python_version())
        if request is not None:
            timer = watchdog(request["time_limit_seconds"], request["engine"], events) if request["time_limit_seconds"] else None
            build(request, target, events, keep)
            if timer:
                timer.cancel()
    except Failure as failure:
        logger = keep.get("logger")
        events.error(failure, logger.messages if logger else [])
        return 3 if any(p["code"].startswith("ENV") for p in failure.problems) else failure.exit_code
    except Exception as bug:
        # TensorRT's bindings raise for what we did not foresee; the reader of events must still learn why it ended.
        events.emit("error", stage="driver", problems=[], messages=[{"severity": "internal_error", "text": f"{type(bug).__name__}: {bug}"}])
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
