"""Studies: lists of runs with a question, run anywhere, resumable, their results in plain files."""

from pathlib import Path

from bnnlib.studies import fashion, mnist
from bnnlib.studies.execute import execute, run_one
from bnnlib.studies.ledger import claims, ledger
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore

__all__ = [
    "STUDIES", "ResultsStore", "Run", "Study", "claims", "execute", "get", "ledger", "results",
    "results_folder", "run_one",
]  # fmt: skip

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (fashion.TUNING, fashion.METHODS, fashion.ABLATION, mnist.TUNING, mnist.REGULARISATION)
}


def get(name: str) -> Study:
    """The study of that name.

    Raises:
        ValueError: there is none; the known ones are listed.
    """
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}; known: {', '.join(STUDIES)}")
    return STUDIES[name]


def results(name: str) -> ResultsStore:
    """The course's stored results of a study; says on standard output if some of its runs are missing."""
    study = get(name)
    store = ResultsStore(results_folder() / name)
    if missing := len({run.id for run in study.runs} - store.finished()):
        print(f"{missing} of {len(study.runs)} runs are not finished yet: bnnlib study run {name}")
    return store


def results_folder() -> Path:
    """Where the course keeps its results: ``book/results`` of the source tree, else below the current folder."""
    tree = Path(__file__).parent.parent.parent / "book"
    return (tree if tree.is_dir() else Path.cwd()) / "results"
