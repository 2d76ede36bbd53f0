"""Studies: lists of runs with a question, run anywhere, resumable, their results in plain files."""

from bnnlib.studies.choice import COMPARED, NEEDS, Need, compared, recommend
from bnnlib.studies.comparison import comparison
from bnnlib.studies.execute import StudyFailed, execute
from bnnlib.studies.judged import Judged, judged
from bnnlib.studies.ledger import claims, ledger
from bnnlib.studies.registry import STUDIES, all_kept, find, get, kept, own_results, results, results_folder, store_of
from bnnlib.studies.run import Run, Study
from bnnlib.studies.run_one import RunBusy, run_one, unfinished
from bnnlib.studies.store import ResultsStore

__all__ = [
    "COMPARED", "NEEDS", "STUDIES", "Judged", "Need", "ResultsStore", "Run", "RunBusy", "Study", "StudyFailed",
    "all_kept", "claims", "compared", "comparison", "execute", "find", "get", "judged", "kept", "ledger", "own_results",
    "recommend", "results", "results_folder", "run_one", "store_of", "unfinished",
]  # fmt: skip
