"""Where a figure was made: commit, versions, machine, threads, date."""

import datetime
import os
import platform
import subprocess
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

import bnnlib

__all__ = ["PeakMemory", "commit", "cpu", "load_average", "provenance"]


def provenance(device: str = "cpu") -> dict[str, str | int]:
    """The circumstances of a measurement made now on a device ("cpu", "cuda" or "mps"), as columns of a results row."""
    return {
        "commit": commit(),
        "bnnlib": bnnlib.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.cuda.get_device_name() if device == "cuda" else cpu() + (", mps" if device == "mps" else ""),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
    }


@cache
def commit() -> str:
    """The commit of the source tree, with "+" after it if the library's files differ from it; "unknown" outside one.

    Asked once in a process: the code that runs is the one that was loaded, whatever is committed meanwhile. A
    repository that happens to lie around an installed copy says nothing about it: only one that tracks the library's
    own files is asked.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "--error-unmatch", "__init__.py", Path(__file__).name):
            return "unknown"
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


def load_average() -> float | None:
    """The machine's load average over the last minute, or None where the system tells none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


class PeakMemory:
    """Follows the resident size of this process while the context lasts.

    Attributes:
        mb: the largest size seen, in MB (10**6 bytes), looked at ten times a second.
    """

    def __init__(self):
        self.mb = 0.0

    def __enter__(self) -> "PeakMemory":
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._follow, daemon=True)
        self._look()
        self._watch.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._watch.join()
        self._look()

    def _look(self) -> None:
        self.mb = max(self.mb, psutil.Process().memory_info().rss / 1e6)

    def _follow(self) -> None:
        while not self._over.wait(0.1):
            self._look()
