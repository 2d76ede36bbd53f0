"""Studies: lists of runs with a question, run anywhere, resumable, their results in plain files."""

from bnnlib.studies.execute import StudyFailed, execute, run_one
from bnnlib.studies.ledger import claims, ledger
from bnnlib.studies.registry import STUDIES, get, results, results_folder, store_of
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore

__all__ = [
    "STUDIES", "ResultsStore", "Run", "Study", "StudyFailed", "claims", "execute", "get", "ledger", "results",
    "results_folder", "run_one", "store_of",
]  # fmt: skip
