"""Executes, stores, renders and checks the chapters. `make` calls it; `python tools/book.py --help` explains it."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import nbformat
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
STAGE = ROOT / "_build" / "notebooks"
STORED = ROOT / "_build" / "stored"  # what `check` renders, so that it leaves the book of `make book` alone
RUNNING_TIMES = BOOK / "results" / "running-times.csv"
SLOW_SECONDS = 40.0  # a quick chapter should not take longer, start included; on a busy or slow machine it may
STOPPED_SECONDS = 240.0  # here it is stopped, and has failed
TIMETABLE = "using-this-book.ipynb"  # shows the running times of the others, so `store` runs it after them

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console(highlight=False)


def chapters() -> list[Path]:
    """The notebooks of the book."""
    return sorted(BOOK.glob("*.ipynb"))


def stage() -> None:
    """Copies what a build needs into its folder, so that the tree stays clean."""
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, STAGE / name)
    shutil.copytree(BOOK, STAGE / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.partial", ".lock"))


def execute_one(path: Path, profile: str) -> tuple[Path, float, str]:
    """Runs a staged notebook in place on one thread; (notebook, seconds, what went wrong or nothing)."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--cwd",
        str(path.parent),
        str(path),
        str(path),
        "--no-progress-bar",
        "--log-level",
        "ERROR",
    ]
    if profile != "quick":
        command += ["-p", "profile", profile]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    limit = STOPPED_SECONDS if profile == "quick" else None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=limit
        )
        error = "" if done.returncode == 0 else done.stderr[-4000:]
    except subprocess.TimeoutExpired:
        error = f"stopped after {limit:.0f} s"
    return path, time.perf_counter() - begun, error


def execute_all(todo: list[Path], profile: str, jobs: int) -> dict[str, float]:
    """Executes staged copies of chapters in place; seconds of each. Ends the program if one fails."""
    seconds: dict[str, float] = {}
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(execute_one, STAGE / "book" / path.name, profile) for path in todo]
        for future in as_completed(futures):
            path, took, error = future.result()
            seconds[path.name] = took
            slow = profile == "quick" and took > SLOW_SECONDS
            state = "[red]failed[/]" if error else f"ok, but longer than {SLOW_SECONDS:.0f} s" if slow else "ok"
            console.print(f"[{len(seconds)}/{len(todo)}] {path.name:<32} {took:5.1f} s  {state}")
            if error:
                console.print(error, markup=False)
                failed.append(path.name)
    if failed:
        names = ", ".join(failed)
        console.print(f"[red]{len(failed)} of {len(todo)} chapters failed[/]: {names}")
        raise typer.Exit(1)
    return seconds


@app.command()
def execute(
    profile: Annotated[str, typer.Option(help="quick (built-in samples) or full (whole data sets).")] = "quick",
    jobs: Annotated[int, typer.Option(min=1, help="Chapters at a time, one thread each.")] = 2,
) -> None:
    """Executes copies of all chapters below _build/notebooks."""
    from bnnlib.data import PROFILES

    if profile not in PROFILES:
        console.print(f"[red]no profile {profile!r}; known: {', '.join(PROFILES)}[/]")
        raise typer.Exit(2)
    stage()
    execute_all(chapters(), profile, jobs)


@app.command()
def store(
    names: Annotated[list[str] | None, typer.Argument(help="Chapters, such as three-loops; all by default.")] = None,
    jobs: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Executes the chapters (quick) and stores their outputs in book/, without clocks, paths or stderr."""
    from bnnlib.files import replaced
    from bnnlib.provenance import cpu

    if unknown := set(names or []) - {path.stem for path in chapters()}:
        raise typer.BadParameter(f"no chapter {', '.join(sorted(unknown))} in book/")
    stage()
    chosen = [path for path in chapters() if not names or path.stem in names]
    seconds = execute_all([path for path in chosen if names or path.name != TIMETABLE], "quick", jobs)
    if not names:
        rows = [{"chapter": name.removesuffix(".ipynb"), "seconds": round(took)} for name, took in seconds.items()]
        table = pd.DataFrame(rows).sort_values("chapter").assign(processor=cpu())
        replaced(RUNNING_TIMES, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
        execute_all([BOOK / TIMETABLE], "quick", 1)  # shows the times of the others
    for path in chosen:
        notebook = nbformat.read(STAGE / "book" / path.name, as_version=4)
        cleaned(notebook)
        nbformat.write(notebook, path)
        console.print(f"stored {path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


def cleaned(notebook: nbformat.NotebookNode) -> None:
    """Removes from an executed notebook what changes from run to run and says nothing."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "mystnb") if key in cell.metadata}
        cell["id"] = f"cell-{number:02d}"
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
            for output in cell.outputs:
                output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})


@app.command()
def render(
    executed: Annotated[bool, typer.Option(help="Render the copies made by `execute`.")] = False,
    to: Annotated[Path, typer.Option(help="Folder below which _build/html is made.")] = ROOT,
) -> None:
    """Builds the HTML with warnings as errors: of the stored outputs (executes nothing) or of executed copies."""
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(STAGE if executed else ROOT),
        *("--path-output", str(to), "-W", "-n", "--keep-going", "--quiet", "--all"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        console.print(done.stdout[-6000:] + done.stderr[-6000:], markup=False)
        raise typer.Exit(1)


@app.command()
def check(jobs: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Re-executes the stored notebooks and compares their outputs (nbval), then renders them and checks the pages."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BNNLIB_HTML": str(STORED / "_build" / "html")}
    nbval = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-sanitize-with",
             str(ROOT / "tests/book/sanitize.cfg"), "-n", str(jobs), "--dist", "loadfile"]  # fmt: skip
    steps = [
        ("stored outputs against a new execution", [*nbval, *map(str, chapters())]),
        ("pages of the stored outputs", [sys.executable, __file__, "render", "--to", str(STORED)]),
        ("rendered pages", [sys.executable, "-m", "pytest", str(ROOT / "tests/rendered"), "-n", str(jobs)]),
    ]
    table = Table("check", "seconds", "result")
    for name, command in steps:
        begun = time.perf_counter()
        code = subprocess.run(command, env=environment, cwd=ROOT).returncode
        table.add_row(name, f"{time.perf_counter() - begun:.0f}", "ok" if code == 0 else f"[red]failed ({code})[/]")
        if code:
            console.print(table)
            raise typer.Exit(1)
    console.print(table)


if __name__ == "__main__":
    app()
