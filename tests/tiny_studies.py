"""Studies of seconds, and processes that run them, for the tests."""

import signal
import time
from dataclasses import replace
from pathlib import Path

from bnnlib import studies
from bnnlib.studies import ResultsStore, Run, Study, execute
from bnnlib.training import Settings

TINY = Settings(epochs=2, batch_size=100, device="cpu")


def tiny_run(method="binaryconnect-stochastic", seed=0, **settings):
    return Run(
        arm=method,
        method=method,
        model="mlp",
        dataset="FashionMNIST",
        settings=replace(TINY, seed=seed, **settings),
        profile="quick",
        data_options={"train_size": 300},
        model_options={"width": 16},
    )


def tiny_study(*runs, **options):
    return Study("tiny", "does it run?", runs or (tiny_run(), tiny_run("float")), **options)


def waves():
    """The study of tests/studies/waves.py, with its file."""
    return studies.find(str(Path(__file__).parent / "studies" / "waves.py"))


def wait_for(path):
    """The path, once there is a file."""
    deadline = time.time() + 90
    while not path.exists() and time.time() < deadline:
        time.sleep(0.02)
    assert path.exists()
    return path


def run_to_its_end(study, folder, work, module=None):
    """The body of a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started ignoring it
    execute(study, ResultsStore(folder), work, workers=1, module=module)
