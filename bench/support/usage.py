"""Runs a command and tells what it took: usage.py COMMAND… prints one line of JSON { status, seconds, cpu, rss }."""

import json
import os
import sys
import time

quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
began = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
seconds = time.monotonic() - began
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "cpu": cpu, "rss": usage.ru_maxrss * 1024}))
