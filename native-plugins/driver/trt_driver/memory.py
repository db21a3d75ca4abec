"""Memory of this process: what it holds, and the most it has held."""

import sys

_MIB = 1 << 20


def memory_mib():
    """{ rss_mib, peak_mib }; None for what the system does not tell."""
    status = _linux_status()
    if status is not None:
        return {"rss_mib": status.get("VmRSS"), "peak_mib": status.get("VmHWM")}
    return {"rss_mib": None, "peak_mib": _peak_of_rusage()}


def _linux_status():
    # Not getrusage: its peak survives exec, so a build started by a large Node would show Node's memory.
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    return {line[0][:-1]: round(int(line[1]) * 1024 / _MIB) for line in lines if line and line[0] in ("VmRSS:", "VmHWM:")}


def _peak_of_rusage():
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / _MIB)
