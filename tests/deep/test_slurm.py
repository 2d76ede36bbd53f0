"""A study on SLURM, by the script that the book gives, through a killed worker and a job sent back to the queue."""

import contextlib
import os
import re
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from slurm import SlurmCluster

from bnnlib.studies import ResultsStore

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "book" / "study.sbatch"
EPOCHS = 120  # about 7 s, time enough to be interrupted
STUDY = f"""
from bnnlib.studies import Run, Study
from bnnlib.training import Settings

STUDY = Study("small", "does a cluster change what a run gives?", tuple(
    Run(
        arm="stochastic",
        method="binaryconnect-stochastic",
        model="mlp",
        dataset="FashionMNIST",
        settings=Settings(epochs={EPOCHS}, batch_size=50, device="cpu", seed=seed),
        profile="quick",
        data_options={{"train_size": 600}},
        model_options={{"width": 64}},
    )
    for seed in range(3)
))
"""
FIGURES = ["reported_epoch", "validation_accuracy", "test_accuracy", "test_ensemble", "threads"]

pytestmark = pytest.mark.skipif(SlurmCluster.missing() is not None, reason=str(SlurmCluster.missing()))


@pytest.fixture(scope="module")
def cluster():
    """The cluster; jobs find the python and the bnnlib of this test."""
    with SlurmCluster() as cluster:
        bin_folder = Path(sys.executable).parent
        cluster.environment["PATH"] = os.pathsep.join([str(bin_folder), cluster.environment["PATH"]])
        yield cluster
    assert cluster.processes() == []


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "small.py"
    file.write_text(STUDY)
    return file


@pytest.fixture(scope="module")
def at_home(study_file, cluster):
    """The results of the same study without a scheduler."""
    folder = study_file.parent
    command = ["bnnlib", "study", "run", study_file, "--workers", "2", "--threads", "1"]
    cluster.run(*command, "--results", folder / "results", "--work", folder / "work", timeout=600)
    return ResultsStore(folder / "results" / "small")


class Job:
    """A study in the cluster's queue, in a folder of its own."""

    def __init__(self, cluster: SlurmCluster, study_file: Path, folder: Path):
        self.cluster, self.folder, self.log = cluster, folder, folder / "job.log"
        self.store = ResultsStore(folder / "results" / "small")
        self.id = cluster.run(
            "sbatch", "--parsable", f"--chdir={folder}", f"--output={self.log}", "--ntasks=2", SCRIPT, study_file
        )

    def facts(self) -> dict[str, str]:
        """What SLURM knows of the job."""
        text = self.cluster.run("scontrol", "show", "job", self.id)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def run_in_training(self) -> tuple[str, psutil.Process] | None:
        """The id of a run that has a checkpoint, and the process that trains it, which holds the run's lock."""
        assert not self.finished(), self.told()
        for checkpoint in (self.folder / "work" / "small").glob("*.pt"):
            for process in self.cluster.processes():
                with contextlib.suppress(psutil.Error):
                    if str(checkpoint.with_suffix(".lock")) in {file.path for file in process.open_files()}:
                        return checkpoint.stem, process
        return None

    def wait(self, condition, seconds: float = 600):
        """What the condition gives, once it gives anything."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.1)
        return value

    def finished(self) -> bool:
        return self.facts()["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    def told(self) -> str:
        """The job as SLURM tells it, then as its own log does."""
        log = self.log.read_text() if self.log.exists() else ""
        record = self.cluster.run("scontrol", "show", "job", self.id)
        controller = "\n".join(line for line in self.cluster.logs().splitlines() if self.id in line)
        return f"{record}\n\n{controller}\n\n{log}"


def assert_the_same(store: ResultsStore, expected: ResultsStore) -> None:
    """Every row and every epoch's losses and accuracies are the same, whoever trained them."""
    assert store.finished() == expected.finished()
    assert len(expected.finished()) == 3
    figures, expected_figures = (each.runs()[FIGURES].sort_index() for each in (store, expected))
    pd.testing.assert_frame_equal(figures, expected_figures, check_exact=True)
    one, two = (each.epochs().sort_values(["run", "epoch"]).reset_index(drop=True) for each in (store, expected))
    clocks = [column for column in one if "seconds" in column]
    pd.testing.assert_frame_equal(one.drop(columns=clocks), two.drop(columns=clocks), check_exact=True)


def assert_told_and_gone(job: Job, restarts: int) -> None:
    """The job has ended well, began no run twice, and left no process behind. Its log is printed (pytest -rP)."""
    print(job.told())
    facts = job.facts()
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", str(restarts))
    begun = [line.split()[0] for line in job.log.read_text().splitlines() if re.search(rf"epoch +1/{EPOCHS}\b", line)]
    assert len(begun) == len(set(begun))
    job.wait(lambda: not job.cluster.processes())


def test_a_killed_worker_is_replaced_and_its_run_goes_on(cluster, study_file, at_home, tmp_path):
    job = Job(cluster, study_file, tmp_path)
    _, process = job.wait(job.run_in_training)
    process.kill()
    job.wait(job.finished)
    assert_told_and_gone(job, restarts=0)
    assert f"Worker process {process.pid} was killed by signal 9" in job.log.read_text()
    assert_the_same(job.store, at_home)


def test_a_job_that_nears_its_time_limit_goes_on_in_its_next_turn(cluster, study_file, at_home, tmp_path):
    job = Job(cluster, study_file, tmp_path)
    run_id, process = job.wait(job.run_in_training)
    cluster.run("scancel", "--batch", "--signal=USR1", job.id)  # what SLURM sends two minutes before the end
    psutil.wait_procs([process], timeout=30)
    assert run_id not in job.store.finished()
    job.wait(job.finished)
    assert_told_and_gone(job, restarts=1)
    assert_the_same(job.store, at_home)
