"""The course's studies by name, and where their results are."""

import importlib.util
import sys
from pathlib import Path

from bnnlib.studies import cifar, fashion, ideas, regularisation, speaker_gender, stability, wake_word, widths, words
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore

__all__ = ["STUDIES", "all_kept", "find", "get", "kept", "own_results", "results", "results_folder", "store_of"]

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        *(fashion.GRID, fashion.HEADLINE, fashion.ABLATION),
        *(ideas.TUNING, ideas.METHODS),
        *(widths.TUNING, widths.METHODS),
        *(regularisation.TUNING, regularisation.METHODS),
        *(words.TUNING, words.METHODS, words.VARIANTS, words.SPLIT),
        stability.STABILITY,
        *(wake_word.TUNING, wake_word.METHODS),
        *(speaker_gender.TUNING, speaker_gender.METHODS, speaker_gender.FOLDED),
        *(cifar.TUNING, cifar.DECAY_TUNING, cifar.BRANCHES, cifar.CARRY_OVER, cifar.TEACHER),
        *(cifar.MOBILENET_DECAY, cifar.MOBILENET),
        *(cifar.METHODS_DECAY, cifar.AUGMENTATION, cifar.METHODS, cifar.METHODS_BLOCK, cifar.PRECISION),
    )
}


_READ: set[str] = set()  # names of the study files that were read in this process


def get(name: str) -> Study:
    """The study of that name.

    Raises:
        ValueError: there is none; the known ones are listed.
    """
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}; known: {', '.join(STUDIES)}, or a Python file that defines STUDY")
    return STUDIES[name]


def find(name: str) -> tuple[Study, Path | None]:
    """A study of the course by its name, or that of a Python file, with the file, which workers must import too.

    Raises:
        ValueError: there is no such study or file, or the file ends in an error or defines no ``STUDY``.
    """
    if not name.endswith(".py"):
        return get(name), None
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"no file {name}; a study is a name ({', '.join(STUDIES)}) or a Python file that defines STUDY"
        )
    known = None if path.stem in _READ else importlib.util.find_spec(path.stem)
    if known is not None and Path(known.origin or "").resolve() != path.resolve():
        raise ValueError(f"{name} has the name of a Python module, {path.stem}, which workers import: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    _READ.add(path.stem)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file does
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"{name} ends in an error: {type(error).__name__}: {error}{where}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(f"{name} must define STUDY, a bnnlib.studies.Study; received {study!r}")
    return study, path


def store_of(study: str | Study, folder: Path | None = None) -> ResultsStore:
    """The results of a study, of the runs that it has now: below ``folder``, the course's own results by default."""
    study = get(study) if isinstance(study, str) else study
    return ResultsStore((folder or results_folder()) / study.name, only=[run.id for run in study.runs])


def all_kept(folder: Path | None = None, study: Study | None = None) -> dict[str, tuple[Study, Run, Path]]:
    """The runs of the course, or of a study, whose trained weights are kept, by their ids: study, run and weights."""
    found = {}
    for each in STUDIES.values() if study is None else (study,):
        runs = {run.id: run for run in each.runs}
        for path in sorted(((folder or results_folder()) / each.name / "latent").glob("*.safetensors")):
            if path.stem in runs:
                found[path.stem] = each, runs[path.stem], path
    return found


def kept(run_id: str, folder: Path | None = None, study: Study | None = None) -> tuple[Study, Run, Path]:
    """A run of the course, or of a study, whose trained weights are kept, with its study and the file of its weights.

    Raises:
        ValueError: none are kept of a run of that id; those of which they are, are listed.
    """
    found = all_kept(folder, study)
    if run_id not in found:
        raise ValueError(f"no weights are kept of a run {run_id!r}; they are of: {', '.join(sorted(found)) or 'none'}")
    return found[run_id]


def own_results(module: Path | None) -> Path | None:
    """Where the results of a study file go: ``results`` below the current folder, not among the book's own."""
    return None if module is None else Path("results")


def results(name: str, folder: Path | None = None) -> ResultsStore:
    """The stored results of a study; says on standard output if some of its runs are missing.

    Args:
        name: of a study of the course, or a Python file that defines ``STUDY``.
        folder: where results lie; the course's own by default, of a study file ``./results``.
    """
    study, module = find(name)
    store, total = store_of(study, folder or own_results(module)), len(study.runs)
    if missing := total - len(store.finished()):
        print(f"{missing} of {total} runs are not finished yet: bnnlib study run {name}")
    return store


def results_folder() -> Path:
    """Where the course keeps its results: ``book/results`` of the source tree, else below the current folder."""
    tree = Path(__file__).parent.parent.parent / "book"
    return (tree if tree.is_dir() else Path.cwd()) / "results"
