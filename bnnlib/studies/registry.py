"""The course's studies by name, and where their results are."""

from pathlib import Path

from bnnlib.studies import fashion, mnist
from bnnlib.studies.run import Study
from bnnlib.studies.store import ResultsStore

__all__ = ["STUDIES", "get", "results", "results_folder", "store_of"]

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


def store_of(name: str, folder: Path | None = None) -> ResultsStore:
    """The results of a study, of the runs that it has now: below ``folder``, the course's own results by default."""
    return ResultsStore((folder or results_folder()) / name, only=[run.id for run in get(name).runs])


def results(name: str) -> ResultsStore:
    """The course's stored results of a study; says on standard output if some of its runs are missing."""
    store, total = store_of(name), len(get(name).runs)
    if missing := total - len(store.finished()):
        print(f"{missing} of {total} runs are not finished yet: bnnlib study run {name}")
    return store


def results_folder() -> Path:
    """Where the course keeps its results: ``book/results`` of the source tree, else below the current folder."""
    tree = Path(__file__).parent.parent.parent / "book"
    return (tree if tree.is_dir() else Path.cwd()) / "results"
