"""`make setup` on a bare machine: with the Python that Debian brings, and what it says when pip fails."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from checkout import copy_checkout

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")
LONGEST = 900  # seconds; 120 on two idle cores


def make_setup(folder, python, **variables):
    """`make setup` in a folder, with nothing of the running environment but what pip and make are told by variables."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def checkout(tmp_path):
    """A copy of the tracked files as they stand, removed at the end: its packages take gigabytes."""
    folder = tmp_path / "checkout"
    copy_checkout(folder)
    yield folder
    shutil.rmtree(folder)


def test_set_up_works_with_the_python_of_the_system(checkout):
    """Downloads what is pinned; `make test-deep TORCH_INDEX=...` is passed on."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON} here")
    ask = "import sys; print(sys.version_info >= (3, 11), sys.version); import ensurepip, venv"
    asked = subprocess.run([SYSTEM_PYTHON, "-c", ask], capture_output=True, text=True)
    new_enough, _, its_version = asked.stdout.partition(" ")
    if its_version.strip() == sys.version:
        pytest.skip(f"{SYSTEM_PYTHON} is the Python that runs this test")
    if new_enough != "True":
        pytest.skip(f"{SYSTEM_PYTHON} is older than 3.11")
    if asked.returncode:
        pytest.skip(f"{SYSTEM_PYTHON} cannot make virtual environments (Debian: python3-venv)")
    headers = "import sysconfig, pathlib; print((pathlib.Path(sysconfig.get_path('include')) / 'Python.h').exists())"
    if subprocess.run([SYSTEM_PYTHON, "-c", headers], capture_output=True, text=True).stdout.strip() != "True":
        pytest.skip(f"{SYSTEM_PYTHON} has no headers (Debian: python3-dev)")

    begun = time.monotonic()
    done = make_setup(checkout, SYSTEM_PYTHON)
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stdout + done.stderr

    use = "import bnnlib, bnnlib.kernels, torch; print(bnnlib.__file__, bnnlib.kernels.info()['isa'])"
    used = subprocess.run(
        [checkout / ".venv" / "bin" / "python", "-c", use],
        cwd=checkout,
        env={**os.environ, "PATH": f"{checkout / '.venv' / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert used.returncode == 0, used.stderr
    assert str(checkout) in used.stdout
    print(f"make setup with {SYSTEM_PYTHON} ({its_version.split()[0]}) took {took:.0f} s")
    assert took < LONGEST


def wheel(folder, name, version, requires=()):
    """An empty package as a wheel."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        tags = "Root-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\n{tags}")
        file.writestr(f"{info}/RECORD", "")


def test_when_pins_do_not_fit_together_pip_s_reason_is_shown(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "asking", "1.0", ["given>=2"])
    wheel(wheels, "given", "1.0")
    wheel(wheels, "given", "2.0")
    (tmp_path / "requirements.txt").write_text("-c constraints.txt\nasking==1.0\n")
    (tmp_path / "constraints.txt").write_text("given==1.0\n")
    only_these = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    done = make_setup(tmp_path, sys.executable, **only_these)
    assert done.returncode != 0
    assert "asking 1.0 depends on given>=2" in done.stderr
    assert "(constraint) given==1.0" in done.stderr
    assert "setup.log" in done.stderr
    assert not (tmp_path / ".venv" / ".requirements").exists()  # the next make tries again
