"""The house keeps its shape: floors, laziness, declared packages, no stubs, no large files."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bnnlib"

# From the top down: a module may import from its own floor's entry and from any floor below it. `bnnlib` itself (lazy)
# and `bnnlib._torchvision` stand outside.
FLOORS = [
    {"cli"},
    {"bench"},
    {"studies", "checking", "broken_networks"},
    {"report"},
    {"training", "models"},
    {"packed.compile", "packed.summary"},
    {"convert"},
    {"catalogue"},
    {"graph"},
    {"layers", "losses", "torch_ops"},
    {"quantizers", "data"},
    {"packed.trained", "packed.export"},
    {"packed.biometrics", "packed.runtime"},
    {"packed.file", "packed.prepared"},
    {"packed.plan"},
    {"packed.network"},
    {"packed.thresholds"},
    {"packed.operations"},
    {"kernels", "provenance", "packed.layout"},
    {"files"},
]


def floor_of(unit):
    return next(i for i, floor in enumerate(FLOORS) if unit in floor)


def unit_of(dotted):
    """The unit that stands on a floor: the first name below the package, in `packed` the first two."""
    parts = dotted.split(".")
    return ".".join(parts[1:3]) if parts[1] == "packed" else parts[1]


def imported_units(path):
    """Units of bnnlib that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bnnlib":
            if "." in node.module:
                yield unit_of(node.module)
            else:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (unit_of(a.name) for a in node.names if a.name.startswith("bnnlib."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_looks_upward(path):
    unit = unit_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if unit in ("__init__", "__main__", "_torchvision", "packed.__init__"):
        return
    for other in set(imported_units(path)) - {unit, "__version__"}:
        assert floor_of(other) > floor_of(unit), (
            f"{unit} (floor {floor_of(unit)}) imports {other} (floor {floor_of(other)})"
        )


def test_importing_the_package_or_its_kernels_does_not_load_torch():
    code = "import sys, bnnlib, bnnlib.kernels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_torchvision_imports_after_bnnlib():
    code = "import bnnlib, torchvision.datasets, torchvision.models; from torchvision.transforms import v2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_resolve_and_unknown_ones_are_attribute_errors():
    import bnnlib

    for name in bnnlib.__all__:
        assert getattr(bnnlib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bnnlib.nothing


def pins(file="requirements.txt"):
    lines = (ROOT / file).read_text().splitlines()
    return {r.name: r for r in map(Requirement, (line for line in lines if line and line[0] not in "#-"))}


def pins_by_canonical_name():
    """Canonical name -> pinned version, of both files; they may not differ."""
    pinned = {}
    for file in ("requirements.txt", "constraints.txt"):
        for name, pin in pins(file).items():
            exact = str(pin.specifier).removeprefix("==")
            assert pinned.setdefault(canonicalize_name(name), exact) == exact, f"{name}: the two files differ"
    return pinned


def brought_along():
    """Canonical names of what is installed because requirements.txt asks for it, directly or through others."""
    seen, waiting = set(), [(name, frozenset()) for name in pins()]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for requirement in map(Requirement, distribution(name).requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return {canonicalize_name(name) for name, _ in seen}


def test_every_pin_is_exact_and_installed():
    for name, pin in pins().items():
        specifier = str(pin.specifier)
        assert specifier.startswith("=="), f"{name} is not pinned exactly"
        assert version(name).split("+")[0] == specifier[2:], f"{name}: pinned {specifier}, installed {version(name)}"


def test_every_constraint_is_exact_and_what_is_installed():
    for name, pin in pins("constraints.txt").items():
        assert str(pin.specifier).startswith("=="), f"{name} is not pinned exactly"
    for name, exact in pins_by_canonical_name().items():
        try:
            installed = version(name).split("+")[0]
        except PackageNotFoundError:
            continue  # for another system or Python
        assert installed == exact, f"{name}: pinned {exact}, installed {installed}"


def test_everything_that_is_brought_along_is_pinned():
    left_out_by_pip_freeze = {"pip", "setuptools", "wheel"}
    unpinned = brought_along() - set(pins_by_canonical_name()) - left_out_by_pip_freeze
    of_torch_itself = ("nvidia-", "cuda-", "triton")
    assert {name for name in unpinned if not name.startswith(of_torch_itself)} == set()


def test_every_pinned_package_accepts_the_oldest_python_that_is_promised():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    refusing = {}
    for name in pins_by_canonical_name():
        try:
            accepted = distribution(name).metadata.get("Requires-Python") or ""
        except PackageNotFoundError:
            continue  # for another system or Python
        if not SpecifierSet(accepted).contains(oldest):
            refusing[name] = accepted
    assert not refusing, f"these do not install on Python {oldest}: {refusing}"


# Extras that no chapter and no test needs: large, wanted on a machine that measures, and not pinned.
UNPINNED_EXTRAS = ("rivals",)


def test_pyproject_declares_what_is_pinned_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [project["build-system"]["requires"], project["project"]["dependencies"]]
    extras = project["project"]["optional-dependencies"]
    lists += [requirements for extra, requirements in extras.items() if extra not in UNPINNED_EXTRAS]
    declared = [Requirement(line) for requirements in lists for line in requirements]
    pinned = pins()
    assert {r.name for r in declared} == set(pinned)
    for requirement in declared:
        exact = str(pinned[requirement.name].specifier)[2:]
        assert requirement.specifier.contains(exact), f"{requirement} leaves out the pinned {exact}"


def test_unpinned_extras_exist_and_are_pinned_nowhere():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in UNPINNED_EXTRAS:
        declared = [Requirement(line) for line in extras[extra]]
        assert all(str(requirement.specifier).startswith(">=") for requirement in declared)
        assert not {canonicalize_name(requirement.name) for requirement in declared} & set(pins_by_canonical_name())


def test_environment_yml_installs_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-r requirements.txt"]
    assert {"pip", "c-compiler", "make"} <= set(plain)
    python = next(d for d in plain if d.startswith("python="))
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Requirement(f"python{required}").specifier.contains(python.removeprefix("python="))


def test_imports_of_the_library_are_declared():
    import_name = {"lightning-fabric": "lightning_fabric", "scikit-learn": "sklearn", "pillow": "PIL"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {import_name.get(Requirement(d).name, Requirement(d).name) for d in project["dependencies"]}
    extras = project["optional-dependencies"]
    optional = {Requirement(d).name for extra in ("bench", "rivals", "onnx") for d in extras[extra]}
    for path in PACKAGE.rglob("*.py"):
        allowed = declared | (optional if path.parent.name == "bench" else set())
        allowed |= {"onnx"} if path.name == "onnx.py" else set()
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in getattr(node, "names", [])]
                if isinstance(node, ast.Import)
                else []
            )
            for top in {n.split(".")[0] for n in names} - {"bnnlib", ""} - sys.stdlib_module_names:
                assert top in allowed, f"{path.name} imports {top}, which pyproject.toml does not declare"


def test_no_stub_is_left_in_the_library():
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.c")]:
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text()), path


def test_no_tracked_file_is_large():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\0")[:-1]:
        path = ROOT / name
        if path.exists() and not name.startswith("bnnlib/data/samples/"):
            assert path.stat().st_size <= 1_500_000, f"{name} is {path.stat().st_size:,} bytes"


def test_results_stay_small():
    sizes = [p.stat().st_size for p in (ROOT / "book" / "results").rglob("*") if p.is_file()]
    assert sum(sizes) < 40_000_000


def test_no_private_paths_in_tracked_text():
    listed = subprocess.run(
        [
            "git",
            "-C",
            str(ROOT),
            "grep",
            "-lIE",
            "/(home|Users|root)/[a-z]|(^|[^.[:alnum:]-])/(opt|mnt|srv|work|private)/[a-z]",
        ],
        capture_output=True,
        text=True,
    )
    assert [f for f in listed.stdout.split() if f != "tests/test_structure.py"] == []


def test_the_kernels_use_the_terms_of_the_field():
    """Epilogue, tail, buffer, unroll, past the end: not words of our own for them."""
    private = re.compile(r"[Ww]ay[ _]out|\bfew_|\b[Rr]ooms?\b|\bTOGETHER\b|\b[Bb]ehind\b")
    for path in sorted(p for folder in ("kernels", "bench") for p in (PACKAGE / folder).glob("*.*")):
        found = private.findall(path.read_text())
        assert not found, f"{path.name}: {found}"
