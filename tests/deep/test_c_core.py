"""The C core without Python: its own driver, built with sanitizers."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "bnnlib" / "kernels"
X86 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vpopcntdq", "-mavx2", "-mpopcnt"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("sanitizer", ["address,undefined", None])
def test_every_instruction_set_equals_the_reference_on_random_shapes(compiler, sanitizer, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    flags = ["-std=c11", "-O1" if sanitizer else "-O3", "-g", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
    if sanitizer:
        flags += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    x86 = platform.machine() in ("x86_64", "AMD64")
    sources = [p for p in sorted(CORE.glob("*.c")) if x86 or p.stem in ("bits", "bits_portable")]
    sources = [p for p in sources if p.name != "_kernels.c"]
    program = tmp_path / "driver"
    command = [compiler, *flags, *(X86 if x86 else []), *map(str, sources), str(ROOT / "tests/kernels/driver.c")]
    built = subprocess.run([*command, "-o", str(program)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program, "200"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "portable" in done.stdout
