import multiprocessing
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from bnnlib import data, studies
from bnnlib.files import replaced
from bnnlib.studies import ResultsStore, Run, Study, execute, run_one
from bnnlib.studies.execute import RunBusy, StudyFailed
from bnnlib.training import Settings, scores

TINY = Settings(epochs=2, batch_size=100, device="cpu")


def tiny_run(method="binaryconnect-stochastic", seed=0, **settings):
    return Run(
        arm=method,
        method=method,
        model="mlp",
        dataset="FashionMNIST",
        settings=replace(TINY, seed=seed, **settings),
        profile="quick",
        train_size=300,
        model_options={"width": 16},
    )


def tiny_study(*runs, **options):
    return Study("tiny", "does it run?", runs or (tiny_run(), tiny_run("float")), **options)


@pytest.fixture
def store(tmp_path):
    return ResultsStore(tmp_path / "results")


def test_a_run_leaves_its_row_epochs_and_outputs(store, tmp_path):
    run = tiny_run()
    study = tiny_study(run, scores=frozenset({run.arm}), checkpoints=frozenset({run.arm}))
    run_one(study, run, store, tmp_path)
    row = store.runs().loc[run.id]
    assert row["arm"] == "binaryconnect-stochastic"
    assert row["reported_epoch"] == 2
    assert 0 <= row["test_accuracy"] <= 100
    provenance = {"commit", "torch", "python", "processor", "threads", "date", "seconds", "peak_memory_mb"}
    forms = {
        "test_binary_as_trained",
        "test_binary_reestimated",
        "test_real_as_trained",
        "test_sampled_mean",
        "test_ensemble",
    }
    assert row[sorted(provenance | forms)].notna().all()
    assert row["test_binary_reestimated"] == pytest.approx(row["test_accuracy"])
    for form in ("binary_as_trained", "real_reestimated", "ensemble"):
        predicted = store.outputs(run.id)[f"test_predicted/{form}"]
        labels = store.outputs(run.id)["test_labels"]
        assert 100 * (predicted == labels).mean() == pytest.approx(row[f"test_{form}"])
    assert list(store.epochs()["epoch"]) == [1, 2]
    outputs = store.outputs(run.id)
    assert 100 * (outputs["test_predicted"] == outputs["test_labels"]).mean() == pytest.approx(row["test_accuracy"])
    chosen = np.take_along_axis(outputs["test_scores"], outputs["test_predicted"][:, None].astype(int), 1)[:, 0]
    np.testing.assert_array_equal(chosen, outputs["test_scores"].max(1))  # float16 may tie, never reverse
    assert outputs["test_scores"].dtype == np.float16
    assert len(np.unique(outputs["validation_ids"])) == 500
    assert outputs["histogram/layers.0"].shape == (3, 41)
    assert store.latent_file(run.id).exists()
    assert not list(tmp_path.glob("tiny/*.pt"))


def test_the_checkpoint_of_a_convolutional_run_gives_its_predictions_again(store, tmp_path):
    run = replace(tiny_run("binaryconnect-deterministic"), model="compact-cnn", model_options={})
    study = tiny_study(run, checkpoints=frozenset({run.arm}))
    run_one(study, run, store, tmp_path)
    model = run.build_model()
    model.load_state_dict(load_file(store.latent_file(run.id)))
    splits = data.load("FashionMNIST", "quick")
    predicted = scores(model, splits.test, splits).argmax(1).numpy()
    assert (predicted == store.outputs(run.id)["test_predicted"]).mean() > 0.995


def test_tuning_stores_no_test_figure(store, tmp_path):
    run = tiny_run()
    run_one(tiny_study(run, test=False), run, store, tmp_path)
    row = store.runs().loc[run.id]
    assert pd.isna(row["test_accuracy"])
    assert store.epochs()["test_accuracy"].isna().all()
    assert not [name for name in store.outputs(run.id) if name.startswith("test")]


def test_two_workers_finish_a_study_and_a_second_call_does_nothing(store, tmp_path):
    study = tiny_study(*(tiny_run(seed=s) for s in range(3)))
    seen = []
    done = execute(study, store, tmp_path, workers=2, on_epoch=lambda *what: seen.append(what))
    assert set(done) == {run.id for run in study.runs} == store.finished()
    assert len(seen) == 6
    before = store.runs_file.read_bytes()
    assert execute(study, store, tmp_path) == []
    assert store.runs_file.read_bytes() == before


def test_a_run_that_fails_is_told_and_does_not_stop_the_others(store, tmp_path):
    good, bad = tiny_run(), tiny_run(seed=1, batch_size=301)
    told = {}
    with pytest.raises(StudyFailed, match=rf"1 of 2 runs of tiny failed.*{bad.id}: ValueError: batch_size 301"):
        execute(tiny_study(bad, good), store, tmp_path, on_run=lambda run_id, error: told.update({run_id: error}))
    assert store.finished() == {good.id}
    assert told[good.id] is None
    assert "batch_size 301" in told[bad.id]


def test_a_second_process_at_the_same_run_is_refused(store, tmp_path):
    run = tiny_run()
    study = tiny_study(run)
    (tmp_path / "tiny").mkdir()
    with (
        FileLock(tmp_path / "tiny" / f"{run.id}.lock"),
        pytest.raises(RunBusy, match=f"another process is at run {run.id}"),
    ):
        run_one(study, run, store, tmp_path)


def test_an_interrupt_ends_a_study_within_seconds(store, tmp_path):
    study = tiny_study(tiny_run(epochs=2000), tiny_run(epochs=2000, seed=1))
    process = multiprocessing.get_context("spawn").Process(target=_forever, args=(study, store.folder, tmp_path))
    process.start()
    wait_for(tmp_path / "tiny" / f"{study.runs[0].id}.pt")
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    process.join(15)
    assert process.exitcode is not None
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_a_resumed_run_tells_all_its_seconds_and_keeps_its_threads(store, tmp_path):
    run = tiny_run(epochs=3)
    study = tiny_study(run)

    def stop(run_id, epoch, *rest):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(study, run, store, tmp_path, on_epoch=stop)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(ValueError, match=f"was begun with {threads} threads and would go on with {threads + 1}"):
            run_one(study, run, store, tmp_path)
    finally:
        torch.set_num_threads(threads)
    run_one(study, run, store, tmp_path)
    row = store.runs().loc[run.id]
    whole = store.epochs()["seconds"]
    assert len(whole) == 3
    assert row["seconds"] >= round(whole.sum(), 2)


def test_rows_of_settings_that_a_study_no_longer_has_are_left_out(store, tmp_path):
    old, new = tiny_run(learning_rate=0.5), tiny_run()
    execute(tiny_study(old, new), store, tmp_path)
    assert store.finished() == {old.id, new.id}
    assert ResultsStore(store.folder, only=[new.id]).finished() == {new.id}


def test_run_ids_stay_what_they_are():
    # results are filed under them: a change of this value orphans every stored row
    assert studies.get("fashion-binaryconnect").runs[0].id == "float-s0-02173552"


def test_where_a_run_happens_does_not_change_what_it_gives(store, tmp_path):
    study = tiny_study(tiny_run(), tiny_run(seed=1))
    execute(study, store, tmp_path / "a", workers=2)
    other = ResultsStore(tmp_path / "other")
    execute(study, other, tmp_path / "b", workers=1)
    columns = ["test_accuracy", "validation_accuracy", "test_ensemble"]
    pd.testing.assert_frame_equal(store.runs()[columns].sort_index(), other.runs()[columns].sort_index())


def wait_for(path):
    """The path, once there is a file."""
    deadline = time.time() + 90
    while not path.exists() and time.time() < deadline:
        time.sleep(0.02)
    assert path.exists()
    return path


def _forever(study, folder, work):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started ignoring it
    execute(study, ResultsStore(folder), work, workers=1)


def test_a_killed_study_goes_on_where_it_stopped(store, tmp_path):
    run = tiny_run(epochs=40)
    study = tiny_study(run)
    process = multiprocessing.get_context("spawn").Process(target=_forever, args=(study, store.folder, tmp_path))
    process.start()
    wait_for(tmp_path / "tiny" / f"{run.id}.pt")
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []  # no worker outlives the study
    assert store.finished() == set()
    epochs = []
    execute(study, store, tmp_path, on_epoch=lambda run_id, epoch, *rest: epochs.append(epoch))
    assert epochs[0] > 1
    assert epochs[-1] == 40
    assert list(store.epochs()["epoch"]) == list(range(1, 41))


def test_a_full_disk_leaves_the_old_results(store, tmp_path, monkeypatch):
    run = tiny_run()
    study = tiny_study(run, tiny_run(seed=1))
    run_one(study, run, store, tmp_path)
    before = {p.name: p.read_bytes() for p in (store.runs_file, store.epochs_file)}

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space left"):
        run_one(study, study.runs[1], store, tmp_path)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in (store.runs_file, store.epochs_file)} == before
    assert not list(store.folder.rglob("*.partial"))
    assert (tmp_path / "tiny" / f"{study.runs[1].id}.pt").exists()
    run_one(study, study.runs[1], store, tmp_path)  # with space again, the run is finished from its checkpoint
    assert len(store.finished()) == 2


def test_a_run_counts_only_once_its_row_is_written(store, tmp_path, monkeypatch):
    run = tiny_run()
    append = ResultsStore._append

    def killed(self, path, rows, run_id):
        if path == self.runs_file:
            raise KeyboardInterrupt
        append(self, path, rows, run_id)

    monkeypatch.setattr(ResultsStore, "_append", killed)
    with pytest.raises(KeyboardInterrupt):
        run_one(tiny_study(run), run, store, tmp_path)
    monkeypatch.undo()
    assert store.finished() == set()
    run_one(tiny_study(run), run, store, tmp_path)
    assert len(store.epochs()) == 2  # not four


def test_a_torn_table_is_named(store):
    store.folder.mkdir()
    store.runs_file.write_text('run,arm\n"a,b\n')
    with pytest.raises(ValueError, match=r"runs\.csv is not a whole table"):
        store.runs()


def test_writing_into_place_is_all_or_nothing(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(partial):
        partial.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replaced(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)
def test_every_run_of_a_study_can_be_built(study):
    for arm in {run.arm: run for run in study.runs}.values():
        arm.build_model()
        assert arm.profile == "full"


def test_a_description_fixes_the_id_and_the_device_does_not():
    run = tiny_run()
    assert run.id == tiny_run().id == run.on("cuda").id
    assert run.id != tiny_run(seed=1).id
    assert run.id != tiny_run(learning_rate=0.5).id


def test_studies_refuse_double_runs_and_unknown_names(store, tmp_path):
    with pytest.raises(ValueError, match="holds runs twice"):
        tiny_study(tiny_run(), tiny_run())
    with pytest.raises(ValueError, match="known: fashion-tuning"):
        studies.get("cifar")
    with pytest.raises(ValueError, match="has no run nope"):
        execute(tiny_study(), store, tmp_path, only=["nope"])
