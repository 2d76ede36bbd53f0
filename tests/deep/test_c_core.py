"""The C core without Python: its own driver, with sanitizers, with another compiler, and for another processor."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "bnnlib" / "kernels"
DRIVER = ROOT / "tests" / "kernels" / "driver.c"
FLAGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
SETS = {
    "x86_64": {
        "popcnt": ["-mpopcnt"],
        "avx2": ["-mavx2", "-mfma", "-mpopcnt"],
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma", "-mpopcnt"],
        "avx512_vpopcntdq": [
            "-mavx512f",
            "-mavx512bw",
            "-mavx512vl",
            "-mavx512vpopcntdq",
            "-mavx512vnni",
            "-mavx2",
            "-mfma",
            "-mpopcnt",
        ],
    },
    "aarch64": {"neon": []},
}
MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


def build(folder, compiler, machine, *flags):
    """The driver, every instruction set's file with its own flags, as the package itself is built."""
    others = {name for m, sets in SETS.items() if m != machine for name in sets}
    objects = []
    for source in [*sorted(CORE.glob("*.c")), DRIVER]:
        if source.stem in others or source.stem == "_kernels":
            continue
        objects.append(folder / f"{source.stem}.o")
        own = SETS[machine].get(source.stem, [])
        run(compiler, *FLAGS, *flags, *own, "-c", source, "-o", objects[-1])
    run(compiler, *flags, *objects, "-Wl,--wrap=malloc,--wrap=calloc,--wrap=free", "-lm", "-o", folder / "driver")
    return folder / "driver"


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], ["-O3"]])
def test_every_instruction_set_equals_the_reference_on_random_shapes(compiler, flags, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }")
    if subprocess.run([compiler, *flags, empty, "-o", tmp_path / "empty"], capture_output=True).returncode:
        pytest.skip(f"{compiler} cannot link with {flags} here (Debian: libclang-rt-dev)")
    assert "portable" in run(build(tmp_path, compiler, MACHINE, *flags), 200)


@pytest.mark.parametrize("flags", [["-O1", "-fopenmp", "-fsanitize=address"], ["-O3"]])
def test_every_allocation_may_fail_and_nothing_is_lost_or_freed_twice(flags, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    report = run(build(tmp_path, "gcc", MACHINE, *flags), 60, "refusing")
    assert int(report.rpartition("allocations refused: ")[2]) > 1000


def test_threads_do_not_race(tmp_path):
    """With OpenMP; under the address sanitizer, for OpenMP's own runtime confuses the thread sanitizer."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    assert "portable" in run(build(tmp_path, "gcc", MACHINE, "-O1", "-fopenmp", "-fsanitize=address"), 100)


def test_neon_equals_the_reference_under_emulation(tmp_path):
    """Debian: gcc-aarch64-linux-gnu, qemu-user."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if MACHINE == "aarch64" or not (compiler and emulator):
        pytest.skip("needs another processor's machine with aarch64-linux-gnu-gcc and qemu-aarch64")
    assert "neon" in run(emulator, build(tmp_path, compiler, "aarch64", "-O3", "-static"), 100)
