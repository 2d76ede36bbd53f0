"""Studies whose processes are killed, share the work or take a worker with them: each starts several clusters."""

import multiprocessing
import os
import signal
from dataclasses import replace

import pandas as pd
import psutil
import pytest
from tiny_studies import run_to_its_end, tiny_run, tiny_study, wait_for, waves

from bnnlib.studies import ResultsStore, StudyFailed, execute


@pytest.fixture
def store(tmp_path):
    return ResultsStore(tmp_path / "results")


def test_a_killed_teacher_and_a_killed_second_step_end_as_uninterrupted_ones(store, tmp_path):
    study, module = waves()
    longer = replace(study.runs[2], settings=replace(study.runs[2].settings, epochs=60))
    pupil = replace(study.runs[1], settings=longer.settings, teacher=longer, start=longer)
    study = replace(study, runs=(longer, pupil))
    expected = ResultsStore(tmp_path / "expected")
    execute(study, expected, tmp_path / "whole", module=module)
    for run in study.runs:  # first the teacher is killed, then its pupil
        process = multiprocessing.get_context("spawn").Process(
            target=run_to_its_end, args=(study, store.folder, tmp_path, module)
        )
        process.start()
        wait_for(tmp_path / "waves" / f"{run.id}.pt")
        workers = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert psutil.wait_procs(workers, timeout=20)[1] == []
        assert run.id not in store.finished()
    execute(study, store, tmp_path, module=module)
    columns = ["train_loss", "validation_accuracy", "test_accuracy", "flips"]
    pd.testing.assert_frame_equal(store.epochs()[["run", *columns]], expected.epochs()[["run", *columns]])
    assert store.runs()["commit"].tolist() == expected.runs()["commit"].tolist()


def test_two_processes_share_a_study(store, tmp_path):
    study = tiny_study(*(tiny_run(seed=s, epochs=12) for s in range(4)))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run_to_its_end, args=(study, store.folder, tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert len(store.finished()) == 4
    assert (store.epochs().groupby("run").size() == 12).all()


def test_a_run_that_kills_its_worker_fails_alone(store, tmp_path):
    """Also where a worker takes longer to start than Dask is willing to wait, as on a busy machine."""
    import dask

    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import os\nfrom bnnlib import data\n"
        "def load(profile, *, test=True, progress=False):\n"
        f"    if os.path.exists({str(tmp_path / 'checked')!r}): os._exit(3)\n"
        f"    open({str(tmp_path / 'checked')!r}, 'w').close()\n"  # the first time is the check before the first run
        "    return data.load('FashionMNIST', 'quick', train_size=200)\n"
        "data.LOADERS['Deadly'] = load\n"
    )
    bad = replace(tiny_run(), dataset="Deadly", data_options={})
    good = [tiny_run(seed=seed) for seed in (1, 2)]
    message = rf"1 of 3 runs of tiny failed.*{bad.id}: KilledWorker"
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 ms"}), pytest.raises(StudyFailed, match=message):
        execute(tiny_study(bad, *good), store, tmp_path, module=deadly)
    assert set(store.finished()) == {run.id for run in good}
