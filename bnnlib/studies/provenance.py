"""Where a figure was made: commit, versions, machine, threads, date."""

import datetime
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import bnnlib


def provenance(device: str = "cpu") -> dict[str, str | int]:
    """The circumstances of a measurement made now on a device ("cpu", "cuda" or "mps"), as columns of a results row."""
    return {
        "commit": commit(),
        "bnnlib": bnnlib.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.cuda.get_device_name() if device == "cuda" else cpu() + (", mps" if device == "mps" else ""),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
    }


@cache
def commit() -> str:
    """The commit of the source tree, with "+" behind it if the library's files differ from it; "unknown" outside one.

    Asked once in a process: the code that runs is the one that was loaded, whatever is committed meanwhile.
    """
    folder = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if git("status", "--porcelain", "--", str(folder)) else "") if head else "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def cpu() -> str:
    """Model name of the processor, with family and model number where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.machine()
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB (10**6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
