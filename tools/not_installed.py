"""Lists the files below a folder that are no part of the installed package; meson.build asks.

What is part of it: Python files, `py.typed`, the texts of exports, trained networks, and the built-in samples with
their checksums and their licence. All else that lies there (sources of the compiled kernels, notes, caches) is listed,
one path a line.
"""

import json
import sys
from pathlib import Path


def installed(package: Path) -> set[Path]:
    """The files that are installed, relative to the package's folder."""
    files = {path.relative_to(package) for path in package.rglob("*.py")}
    files |= {Path("packed", "export", name) for name in ("network.c", "network.js")}  # texts that exports are made of
    files |= {path.relative_to(package) for path in (package / "packed" / "weights").glob("*.safetensors")}
    files = {file for file in files if not any(part.startswith(".") for part in file.parts)}
    samples = Path("data", "samples")
    checksums = samples / "checksums.json"
    cut = {samples / name for name in json.loads((package / checksums).read_text(encoding="utf-8"))}
    return files | cut | {checksums, samples / "README.md", Path("py.typed")}


if __name__ == "__main__":
    package = Path(sys.argv[1])
    there = {path.relative_to(package) for path in package.rglob("*") if not path.is_dir()}
    print("\n".join(sorted(file.as_posix() for file in there - installed(package))))
