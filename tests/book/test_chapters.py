"""Every chapter is made as the others are: header, parameters, stored outputs, exercises, alt text, clean outputs."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from bnnlib.studies.ledger import claims

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
LEDGER = claims(BOOK / "results" / "ledger.csv")
LINK = re.compile(r'<a href="ledger\.html#([^"]+)">([^<]+)</a>')
# a percentage or an energy with decimals: a measured figure
FIGURE = re.compile(r"\d+\.\d+(?: ± \d+\.\d+)?\s?(?:%|percent\b|pJ\b)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def markdown(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_a_chapter_has_the_parts_that_readers_expect(notebook):
    text = markdown(notebook)
    assert notebook.cells[0].source.startswith("# ")
    for part in ("What you will be able to do", "**Before:**", "**Time:**", "## What this chapter does not show"):
        assert part in text, part
    assert re.search(r"\*\*Time:\*\*[^.]*\bread\b[^.]*\brun\b[^.]*(teach|taught|class)", text.replace("\n", " "))


def test_parameters_are_the_agreed_ones(notebook):
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == ['profile = "quick"\nseed = 0\ndevice = "auto"']


def test_a_chapter_imports_bnnlib_before_torchvision(notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    for other in ("torchvision", "torchmetrics", "lightning"):
        if f"import {other}" in source:
            assert source.index("import bnnlib") < source.index(f"import {other}")


def test_every_code_cell_was_run_and_none_failed(notebook):
    for cell in code_cells(notebook):
        assert cell.execution_count is not None or not cell.source.strip(), cell.source[:60]
        assert not [o for o in cell.outputs if o.output_type == "error"]


def test_outputs_hold_no_paths_and_no_litter(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.get("name") != "stderr"
            text = output.get("text", "") + "".join(
                v for k, v in output.get("data", {}).items() if k.startswith("text") and isinstance(v, str)
            )
            assert not re.search(r"/(home|root|tmp|Users|work)/|it/s\]|\d+%\|", text), text[:200]
    assert "papermill" not in str(notebook.metadata)
    assert not any("papermill" in str(cell.metadata) for cell in notebook.cells)


def test_every_figure_has_alt_text(notebook):
    for cell in code_cells(notebook):
        if any("image/png" in o.get("data", {}) for o in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 20, cell.source[:80]


def test_solutions_hide_and_belong_to_an_exercise(notebook):
    text = markdown(notebook)
    exercises = re.findall(r":label: (ex-[a-z-]+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} (ex-[a-z-]+)\n:class: dropdown", text)
    assert sorted(exercises) == sorted(solutions)
    assert len(exercises) == len(set(exercises))


def test_quoted_figures_are_links_into_the_ledger_and_agree_with_it(notebook):
    text = markdown(notebook)
    for row, shown in LINK.findall(text):
        assert row in LEDGER.index, f"no ledger row {row}"
        number = re.search(r"[\d.:]+(?: ± [\d.]+)?", shown)
        if number:
            assert number.group() == LEDGER.loc[row, "claimed"], (row, shown)
    prose = re.sub(r"```.*?```", "", LINK.sub("", text), flags=re.S)
    stray = [m.group() for m in FIGURE.finditer(prose)]
    assert stray == [], f"figures in the text that neither a cell printed nor the ledger holds: {stray}"


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {toc["root"]} | {chapter["file"] for part in toc["parts"] for chapter in part["chapters"]}
    pages = {f"book/{p.stem}" for p in BOOK.iterdir() if p.suffix in (".md", ".ipynb")}
    assert listed == pages


def test_every_notebook_has_its_running_time():
    times = (BOOK / "results" / "running-times.csv").read_text()
    for path in NOTEBOOKS:
        assert path.stem in times or path.stem == "using-this-book"
