"""Every chapter is made as the others are: header, parameters, stored outputs, exercises, alt text, clean outputs."""

import ast
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from bnnlib.studies.ledger import claims

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [Path(chapter["file"]).stem for part in TOC["parts"] for chapter in part["chapters"]]
NOTEBOOKS = sorted(path for path in BOOK.glob("*.ipynb") if path.stem in PAGES)  # the landing page is no chapter
LESSONS = ("Ideas", "Machine", "Speech", "Studies")  # parts that are taught; the other pages are to look things up in
TAUGHT = [BOOK / "why-one-bit.ipynb"] + [
    BOOK / f"{Path(chapter['file']).stem}.ipynb"
    for part in TOC["parts"]
    if part["caption"] in LESSONS
    for chapter in part["chapters"]
]
TAUGHT = [path for path in TAUGHT if path.exists()]
LEDGER = claims(BOOK / "results" / "ledger.csv")
LINK = re.compile(r'<a href="ledger\.html#([^"]+)">([^<]+)</a>')
# a percentage or an energy with decimals: a measured figure
FIGURE = re.compile(r"\d+\.\d+(?: ± \d+\.\d+)?\s?(?:%|percent\b|pJ\b)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=TAUGHT, ids=lambda p: p.stem)
def lesson(request):
    return request.param.stem, nbformat.read(request.param, as_version=4)


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


def test_no_figure_is_wider_than_the_text(notebook):
    for cell in code_cells(notebook):
        for width in re.findall(r"figsize=\((\d+\.?\d*)", cell.source):
            assert float(width) <= 6, f"a figure {width} inches wide, of at most 6: {cell.source[:200]}"


def test_solutions_hide_and_belong_to_an_exercise(notebook):
    text = markdown(notebook)
    exercises = re.findall(r":label: (ex-[a-z0-9-]+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} (ex-[a-z0-9-]+)\n:class: dropdown", text)
    assert sorted(exercises) == sorted(solutions)
    assert len(exercises) == len(set(exercises))


def test_a_lesson_ends_in_a_summary_of_five_lines_and_a_way_on(lesson):
    name, notebook = lesson
    text = markdown(notebook)
    summary = text.split("## In five lines")[1].split("##")[0]
    assert len(re.findall(r"^- ", summary, re.M)) == 5
    following = PAGES[PAGES.index(name) + 1]
    assert re.search(rf"\*\*Next:\*\*[^\n]*(\n[^\n#]+)*\]\({following}(\.ipynb)?\)", text), following


def test_a_lesson_has_exercises_of_each_kind_and_one_that_is_graded(lesson):
    _, notebook = lesson
    titles = re.findall(r"\{exercise\} (.+)\n", markdown(notebook))
    for kind in ("easy", "medium", "hard"):
        assert any(title.endswith(f"({kind})") for title in titles), kind
    assert all(re.search(r"\((easy|medium|hard)\)$", title) for title in titles)
    assert any("bnnlib.check(" in cell.source for cell in code_cells(notebook))


def test_an_assert_says_what_it_means(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.Assert) or node.msg is not None, ast.unparse(node)


def test_plumbing_is_folded(notebook):
    for cell in code_cells(notebook):
        plumbing = "parameters" in cell.metadata.get("tags", []) or "report.style()" in cell.source
        assert not plumbing or "hide-input" in cell.metadata["tags"], cell.source


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
    pages = {p.stem for p in BOOK.iterdir() if p.suffix in (".md", ".ipynb")}
    assert {*PAGES, Path(TOC["root"]).stem} == pages


def test_every_notebook_has_its_running_time():
    timed = set(pd.read_csv(BOOK / "results" / "running-times.csv")["chapter"]) | {"using-this-book"}
    missing = {path.stem for path in NOTEBOOKS} - timed
    assert not missing, (
        f"book/results/running-times.csv has no row for {', '.join(missing)}: add one with the seconds that `store` "
        "told, then store using-this-book"
    )
