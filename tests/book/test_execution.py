"""Chapters run as a student runs them: from another folder, and with a parameter that is wrong."""

import subprocess
import sys
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[2] / "book"


def papermill(tmp_path, *options):
    out = tmp_path / "out.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--cwd",
        str(tmp_path),
        "--no-progress-bar",
        str(BOOK / "ledger.ipynb"),
        str(out),
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True), out


def test_a_chapter_runs_from_another_working_directory(tmp_path):
    done, out = papermill(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any("claims" in str(cell.get("outputs")) for cell in nbformat.read(out, as_version=4).cells)


def test_an_unknown_profile_is_said_with_the_known_ones(tmp_path):
    source = nbformat.read(BOOK / "fashion-mnist.ipynb", as_version=4)
    cells = []
    for cell in source.cells:  # as far as the cell that loads the data
        if cell.cell_type == "code":
            cells.append(cell.source.replace('profile = "quick"', 'profile = "medium"'))
            if "data.load(" in cell.source:
                break
    script = tmp_path / "chapter.py"
    script.write_text("import matplotlib\nmatplotlib.use('agg')\n" + "\n".join(cells))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "no profile 'medium'; known: quick, full" in done.stderr
