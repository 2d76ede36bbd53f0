import json
import lzma
import multiprocessing
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from filelock import FileLock
from safetensors.torch import load_file
from tiny_studies import run_to_its_end, tiny_run, tiny_study, wait_for, waves

import bnnlib
from bnnlib import data, studies
from bnnlib.files import Damaged, replaced
from bnnlib.provenance import commit
from bnnlib.studies import ResultsStore, RunBusy, Study, StudyFailed, execute, run_one, unfinished
from bnnlib.studies.store import OF_SAMPLES, saved_arrays
from bnnlib.training import Settings, scores


def files(store):
    """Whatever lies in the folder of a study's results."""
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path):
    return ResultsStore(tmp_path / "results")


@pytest.fixture(scope="module")
def here():
    """A scheduler whose one worker is a thread of this process: a cluster without a process's start."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


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
    predicted = scores(model, splits.test).argmax(1).numpy()
    assert (predicted == store.outputs(run.id)["test_predicted"]).mean() > 0.995


def test_a_run_of_ie_net_keeps_what_its_branches_learnt(store, tmp_path):
    run = replace(tiny_run("ie-net"), method_options={"branches": 3, "mixing": "scalar"})
    study = tiny_study(run, checkpoints=frozenset({run.arm}))
    run_one(study, run, store, tmp_path)
    kept, weights = store.outputs(run.id), load_file(store.latent_file(run.id))
    shifts = [name for name in weights if name.endswith(".shift")]
    assert shifts
    for name in shifts:
        layer = name.removesuffix(".shift")
        np.testing.assert_array_equal(kept[f"shift/{layer}"], weights[name])
        np.testing.assert_array_equal(kept[f"mix/{layer}"], weights[f"{layer}.mix"])


def test_a_run_on_speech_keeps_whose_clip_each_prediction_is_of(store, tmp_path):
    run = replace(tiny_run("float"), model="command-cnn", dataset="SpeechCommands", data_options={}, model_options={})
    run_one(tiny_study(run), run, store, tmp_path)
    splits = data.load("SpeechCommands", "quick")
    kept = store.outputs(run.id)
    for name, split in (("validation", splits.validation), ("test", splits.test)):
        np.testing.assert_array_equal(kept[f"{name}_ids"], split.ids.numpy())  # 56 bits of a hash, none cut off
        np.testing.assert_array_equal(kept[f"{name}_groups"], split.groups.numpy())


def test_further_splits_are_judged_once_at_the_end(store, tmp_path):
    options = {"model": "binary-biometrics", "dataset": "SpeakerGender", "data_options": {"crop": 60}}
    run = replace(tiny_run("float", batch_size=20, select="last"), model_options={}, **options)
    run_one(tiny_study(run), run, store, tmp_path)
    kept, figures = store.outputs(run.id), store.runs().loc[run.id]
    assert figures["test_accuracy"] > 0
    assert pd.isna(figures["best_test_epoch_accuracy"])  # the test split is judged once
    for name, split in data.load("SpeakerGender", "quick").extra.items():
        np.testing.assert_array_equal(kept[f"extra/{name}_groups"], split.groups.numpy())
        np.testing.assert_array_equal(kept[f"extra/{name}_labels"], split.labels.numpy())
        assert set(kept[f"extra/{name}_predicted"]) <= {0, 1}
    run_one(tiny_study(run, test=False), run, ResultsStore(tmp_path / "other"), tmp_path)
    assert not [name for name in ResultsStore(tmp_path / "other").outputs(run.id) if name.startswith("extra")]


def test_where_divergence_is_a_result_the_run_is_kept_without_figures(store, tmp_path):
    wild, tame = tiny_run("lsq-w2a2", learning_rate=1e30), tiny_run("lsq-w2a2")
    with pytest.raises(FloatingPointError):
        run_one(tiny_study(wild), wild, store, tmp_path)
    assert store.finished() == []
    study = tiny_study(wild, tame, divergence=True)
    for run in study.runs:
        run_one(study, run, store, tmp_path)
    runs = store.runs()
    assert runs["diverged"].notna().tolist() == [True, False]
    assert runs["test_accuracy"].isna().tolist() == [True, False]
    assert store.epochs().loc[lambda rows: rows["run"] == wild.id, "train_loss"].isna().all()
    assert unfinished(study, store, tmp_path) == []


def test_tuning_stores_no_test_figure(store, tmp_path):
    run = tiny_run()
    run_one(tiny_study(run, test=False), run, store, tmp_path)
    row = store.runs().loc[run.id]
    assert pd.isna(row["test_accuracy"])
    assert store.epochs()["test_accuracy"].isna().all()
    kept = store.outputs(run.id)
    assert set(kept) == {"validation_ids", "validation_labels", "validation_predicted"}  # and nothing from inside


def test_two_workers_finish_a_study_and_a_second_call_does_nothing(store, tmp_path):
    study = tiny_study(*(tiny_run(seed=s) for s in range(3)))
    seen = []
    done = execute(study, store, tmp_path, workers=2, on_epoch=lambda *what: seen.append(what))
    assert set(done) == {run.id for run in study.runs} == set(store.finished())
    assert sorted(figures[:3] for figures in seen) == sorted((run.id, e, 2) for run in study.runs for e in (1, 2))
    before = {path: path.read_bytes() for path in files(store)}
    assert execute(study, store, tmp_path) == []
    assert {path: path.read_bytes() for path in files(store)} == before


def test_a_run_that_fails_is_told_and_does_not_stop_the_others(store, tmp_path):
    good, bad = tiny_run(), tiny_run(seed=1, batch_size=301)
    told = {}
    with pytest.raises(StudyFailed, match=rf"1 of 2 runs of tiny failed.*{bad.id}: ValueError: batch_size 301"):
        execute(tiny_study(bad, good), store, tmp_path, on_run=lambda run_id, error: told.update({run_id: error}))
    assert store.finished() == [good.id]
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
    process = multiprocessing.get_context("spawn").Process(target=run_to_its_end, args=(study, store.folder, tmp_path))
    process.start()
    wait_for(tmp_path / "tiny" / f"{study.runs[0].id}.pt")
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    process.join(15)
    assert process.exitcode is not None
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_a_resumed_run_tells_all_its_seconds_and_sessions(store, tmp_path):
    run = tiny_run(epochs=3)
    study = tiny_study(run)

    def stop(run_id, epoch, *rest):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(study, run, store, tmp_path, on_epoch=stop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnnlib.provenance.commit", lambda: "another")
        run_one(study, run, store, tmp_path)
    row = store.runs().loc[run.id]
    whole = store.epochs()["seconds"]
    assert len(whole) == 3
    assert row["seconds"] >= round(whole.sum(), 2)
    assert row["commit"] == f"{commit()}; another"


def test_rows_of_settings_that_a_study_no_longer_has_are_left_out(store, tmp_path, here):
    old, new = tiny_run(learning_rate=0.5), tiny_run()
    execute(tiny_study(old, new), store, tmp_path, scheduler=here)
    assert set(store.finished()) == {old.id, new.id}
    assert ResultsStore(store.folder, only=[new.id]).finished() == [new.id]


def test_run_ids_stay_what_they_are():
    # results are filed under them: a change of this value orphans every stored row
    assert studies.get("fashion-headline").runs[0].id == "deterministic-s0-704886a9"


def test_the_defaults_that_ids_leave_out_stay_what_they_are():
    # an id is made of what differs from these: a new field may come, a default must not change
    assert vars(Settings()).items() >= {
        "epochs": 15, "batch_size": 128, "learning_rate": 1e-3, "optimizer": "adam", "momentum": 0.9,
        "schedule": "cosine", "warmup_epochs": 0, "weight_decay": 0.0, "latent_weight_decay": 0.0,
        "label_smoothing": 0.0, "distillation": 0.0, "temperature": 4.0, "select": "accuracy", "seed": 0,
        "precision": "32-true",
    }.items()  # fmt: skip


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)
def test_a_description_is_the_same_after_it_was_written_and_read(study):
    for run in {run.arm: run for run in study.runs}.values():
        assert json.loads(json.dumps(run.describe())) == run.describe()


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)
def test_every_stored_row_resolves(study):
    store = studies.ResultsStore(studies.results_folder() / study.name)  # whatever lies there
    wanted = {run.id: run for run in study.runs}
    assert set(store.finished()) == set(wanted)
    judged_on = set()
    for run_id in wanted:
        kept_arrays = saved_arrays(store.outputs_file(run_id))
        judged_on |= {str(array) for name, array in kept_arrays.items() if name.endswith(OF_SAMPLES)}
    there = {path.name.removesuffix(".npz.xz") for path in (store.folder / "samples").iterdir()}
    assert judged_on == there, "no file that no run needs"
    runs, epochs = store.runs(), store.epochs()
    assert {epochs[name].dtype.kind for name in ("train_loss", "flips", "test_accuracy")} == {"f"}  # to be drawn
    for run_id, run in wanted.items():
        kept = store.run(run_id)
        assert kept["description"] == run.describe()
        settings = vars(run.settings)
        assert kept["settings"] == {name: value for name, value in settings.items() if name != "device"}
        if kept["figures"].get("diverged"):
            assert study.divergence
            continue
        outputs = store.outputs(run_id)
        for part in ("validation", "test") if study.test else ("validation",):
            right = 100 * (outputs[f"{part}_predicted"] == outputs[f"{part}_labels"]).mean()
            assert right == pytest.approx(runs.loc[run_id, f"{part}_accuracy"])
        by_epoch = epochs[epochs["run"] == run_id].set_index("epoch")
        reported = by_epoch.loc[runs.loc[run_id, "reported_epoch"]]
        assert reported["validation_accuracy"] == runs.loc[run_id, "validation_accuracy"]


def test_an_option_at_its_default_is_no_other_run():
    run = tiny_run("float")
    same = replace(
        run, data_options={**run.data_options, "augment": "none"}, model_options={"width": 16, "dropout": 0.0}
    )
    assert same.id == run.id
    assert tiny_run(learning_rate=1).id == tiny_run(learning_rate=1.0).id
    assert replace(run, data_options={**run.data_options, "augment": "flip"}).id != run.id


def test_a_changed_record_is_another_run():
    run = tiny_run("bnn")
    before = run.id
    changed = replace(bnnlib.methods["bnn"], real_layers=frozenset({"first"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bnnlib.methods._records, "bnn", changed)
        assert run.id != before
    told = replace(bnnlib.methods["bnn"], title="another title")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bnnlib.methods._records, "bnn", told)
        assert run.id == before


def test_where_a_run_happens_does_not_change_what_it_gives(store, tmp_path, here):
    study = tiny_study(tiny_run(), tiny_run(seed=1))
    execute(study, store, tmp_path / "a", workers=2)
    other = ResultsStore(tmp_path / "other")
    execute(study, other, tmp_path / "b", scheduler=here)
    columns = ["test_accuracy", "validation_accuracy", "test_ensemble"]
    pd.testing.assert_frame_equal(store.runs()[columns].sort_index(), other.runs()[columns].sort_index())


def test_a_killed_study_goes_on_where_it_stopped(store, tmp_path):
    run = tiny_run(epochs=40)
    study = tiny_study(run)
    process = multiprocessing.get_context("spawn").Process(target=run_to_its_end, args=(study, store.folder, tmp_path))
    process.start()
    wait_for(tmp_path / "tiny" / f"{run.id}.pt")
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []  # no worker outlives the study
    assert store.finished() == []
    epochs = []
    execute(study, store, tmp_path, on_epoch=lambda run_id, epoch, *rest: epochs.append(epoch))
    assert epochs[0] > 1
    assert epochs[-1] == 40
    assert list(store.epochs()["epoch"]) == list(range(1, 41))


def test_a_full_disk_leaves_the_old_results(store, tmp_path, monkeypatch):
    run = tiny_run()
    study = tiny_study(run, tiny_run(seed=1))
    run_one(study, run, store, tmp_path)
    before = {path: path.read_bytes() for path in files(store)}

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"no space left for .*are needed, .* are free .* make room and run the same"):
        run_one(study, study.runs[1], store, tmp_path)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in files(store)} == before
    assert not list(store.folder.rglob("*.partial"))
    assert (tmp_path / "tiny" / f"{study.runs[1].id}.pt").exists()
    run_one(study, study.runs[1], store, tmp_path)  # with space again, the run is finished from its checkpoint
    assert len(store.finished()) == 2


def test_a_run_counts_only_once_its_row_is_written(store, tmp_path, monkeypatch):
    run = tiny_run()

    def killed(path, write):
        if path == store.run_file(run.id):
            raise KeyboardInterrupt
        replaced(path, write)

    monkeypatch.setattr("bnnlib.studies.store.replaced", killed)
    with pytest.raises(KeyboardInterrupt):
        run_one(tiny_study(run), run, store, tmp_path)
    monkeypatch.undo()
    assert store.outputs_file(run.id).exists()
    assert store.finished() == []
    run_one(tiny_study(run), run, store, tmp_path)
    assert len(store.epochs()) == 2  # not four


def altered(store, run_id, change):
    """Rewrites a stored run's text."""
    path = store.run_file(run_id)
    path.write_text(change(path.read_text()))
    return path.name


def test_stored_runs_that_cannot_be_trusted_are_refused_by_name(store, tmp_path):
    run = tiny_run()
    run_one(tiny_study(run), run, store, tmp_path)
    path = store.run_file(run.id)
    whole = path.read_text()
    copy = store.run_file(run.id.replace("-s0-", "-s5-"))
    for change, message in (
        (lambda text: text[: len(text) // 2], "is not a whole result"),
        (lambda text: "<<<<<<< ours\n" + text, "is not a whole result"),
        (lambda text: "[]", "must hold run, description"),
        (lambda text: text.replace('"batch_size": 100', '"batch_size": 50', 1), "was edited"),
        (lambda text: text.replace('"epoch": [ 1, 2 ]', '"epoch": [ 1 ]'), "was edited"),
        (lambda text: re.sub(r'("test_accuracy": )[0-9.]+', r"\g<1>99.9", text, count=1), "was edited"),
    ):
        path.write_text(change(whole))
        with pytest.raises(Damaged, match=rf"{path.name}.*{message}"):
            store.runs()
    path.write_text(whole)
    copy.write_text(whole)  # a sixth seed by copying the fifth
    with pytest.raises(Damaged, match=rf"{copy.name} holds run {run.id}.*was copied"):
        store.runs()


def test_nothing_is_trained_where_nothing_can_be_written(store, tmp_path, monkeypatch):
    (tmp_path / "results").write_text("a file where the folder should be")
    told = []
    with pytest.raises(OSError, match=r"nothing can be written in .*results"):
        execute(tiny_study(), store, tmp_path, on_epoch=lambda *figures: told.append(figures))
    assert told == []


def test_data_that_is_not_there_fails_once_before_the_first_run(store, tmp_path, here):
    missing = [replace(tiny_run(seed=seed), dataset="MNIST") for seed in range(2)]  # has no built-in sample
    told = []
    with pytest.raises(data.DataNotFound, match="MNIST has no built-in sample"):
        execute(tiny_study(*missing), store, tmp_path, scheduler=here, on_run=lambda *run: told.append(run))
    assert told == []


def test_partial_files_of_killed_processes_are_swept(store, tmp_path, here):
    folder = store.folder / "runs"
    folder.mkdir(parents=True)
    old, young = folder / ".a.json.1.partial", folder / ".b.json.2.partial"
    for path in (old, young):
        path.write_text("{")
    os.utime(old, (time.time() - 7200,) * 2)
    execute(tiny_study(), store, tmp_path, scheduler=here)
    assert not old.exists()
    assert young.exists()  # perhaps somebody is writing it


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)
def test_every_run_of_a_study_can_be_built(study):
    assert {run.profile for run in study.runs} == {"full"}
    parts = ("method", "method_options", "model", "model_options")
    for run in {str([getattr(run, part) for part in parts]): run for run in study.runs}.values():
        run.build_model()


def test_a_description_fixes_the_id_and_the_device_does_not():
    run = tiny_run()
    assert run.id == tiny_run().id == run.on("cuda").id
    assert run.id != tiny_run(seed=1).id
    assert run.id != tiny_run(learning_rate=0.5).id


def test_studies_refuse_double_runs_and_unknown_names(store, tmp_path):
    with pytest.raises(ValueError, match="holds runs twice"):
        tiny_study(tiny_run(), tiny_run())
    with pytest.raises(ValueError, match="known: fashion-grid"):
        studies.get("cifar")
    with pytest.raises(ValueError, match="has no run nope"):
        execute(tiny_study(), store, tmp_path, only=["nope"])


def test_a_study_of_ones_own_data_is_one_short_file(store, tmp_path):
    study, module = waves()
    assert len(module.read_text().splitlines()) < 100
    done = execute(study, store, tmp_path, module=module, workers=2)
    assert len(done) == 3
    runs = store.runs().set_index("arm")
    assert runs.loc["bi-real", "noise"] == 0.5
    assert runs.loc["float", "test_accuracy"] > 60


def test_runs_come_behind_what_they_need_and_learn_from_it(store, tmp_path, here):
    study, _ = waves()
    taught = study.runs[1]
    order = []
    execute(study, store, tmp_path, scheduler=here, only=[taught.id], on_run=lambda run_id, _: order.append(run_id))
    assert order == [study.runs[2].id, taught.id]  # the teacher was asked for by its pupil
    kept = store.run(taught.id)["description"]
    assert kept["teacher"] == kept["start"] == study.runs[2].id
    assert "no temperature" not in kept


def test_a_lost_work_folder_repeats_a_teacher_and_keeps_its_row(store, tmp_path, here):
    study, _ = waves()
    pupil, teacher = study.runs[1], study.runs[2]
    execute(study, store, tmp_path / "one", scheduler=here, only=[teacher.id])
    before = store.run_file(teacher.id).read_bytes()
    assert unfinished(study, store, tmp_path / "two") == [study.runs[0].id, teacher.id, pupil.id]
    execute(study, store, tmp_path / "two", scheduler=here, only=[pupil.id])
    assert store.run_file(teacher.id).read_bytes() == before
    assert set(store.finished()) == {teacher.id, pupil.id}


def test_a_worker_that_dies_is_replaced_and_its_run_goes_on(store, tmp_path):
    run = tiny_run(epochs=60)
    study, killed, epochs = tiny_study(run), [], []

    def kill(run_id, epoch, *rest):
        epochs.append(epoch)
        if not killed and (tmp_path / "tiny" / f"{run.id}.pt").exists():
            busy = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
            killed.append(max(busy, key=lambda p: p.cpu_times().user))
            killed[0].kill()

    execute(study, store, tmp_path, on_epoch=kill)
    assert killed
    assert store.finished() == [run.id]
    assert list(store.epochs()["epoch"]) == list(range(1, 61))


def test_no_image_in_training_and_studies():
    for folder in ("training", "studies"):
        for path in (Path(bnnlib.__file__).parent / folder).glob("*.py"):
            assert "image" not in path.read_text().lower(), path


def test_a_study_file_says_what_it_must_define(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("STUDY = 1")
    with pytest.raises(ValueError, match=r"mine\.py must define STUDY, a bnnlib\.studies\.Study; received 1"):
        studies.find(str(path))
    with pytest.raises(ValueError, match=r"no file .*absent\.py"):
        studies.find(str(tmp_path / "absent.py"))


def test_a_study_must_hold_what_its_runs_need():
    teacher = tiny_run("float")
    with pytest.raises(ValueError, match=f"needs {teacher.id}, which is not among its runs"):
        tiny_study(replace(tiny_run("reactnet"), teacher=teacher))


def test_a_scheduler_that_does_not_answer_is_named(store, tmp_path):
    with pytest.raises(OSError, match="no Dask scheduler answers at tcp://127"):
        execute(tiny_study(), store, tmp_path, scheduler="tcp://127.0.0.1:9")


def test_an_interrupted_study_stops_the_workers_of_another_scheduler_too(store, tmp_path):
    from distributed import LocalCluster

    study = tiny_study(tiny_run(epochs=2000))
    checkpoint = tmp_path / "tiny" / f"{study.runs[0].id}.pt"

    def interrupt(run_id, epoch, *rest):
        raise KeyboardInterrupt

    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        with pytest.raises(KeyboardInterrupt):
            execute(study, store, tmp_path, scheduler=cluster.scheduler_address, on_epoch=interrupt)
        lock = FileLock(checkpoint.with_suffix(".lock"))
        with lock.acquire(timeout=30):  # the worker has let go of the run
            assert checkpoint.exists()


def test_a_study_file_with_the_name_of_a_module_is_refused(tmp_path):
    (tmp_path / "statistics.py").write_text("STUDY = 1")
    with pytest.raises(ValueError, match=r"has the name of a Python module, statistics, .*: rename the file"):
        studies.find(str(tmp_path / "statistics.py"))


def test_a_study_is_checked_when_it_is_made():
    run, teacher = tiny_run("bnn"), tiny_run("float")
    for options, message in (
        ({"name": "../escaped"}, r"letters, digits, - and _; received '\.\./escaped'"),
        ({"runs": ()}, "study tiny has no runs"),
        ({"scores": frozenset({"bnnn"})}, "study tiny has no arm bnnn; its arms: bnn"),
        ({"runs": (replace(run, profile="fast"),)}, "no profile 'fast'; known: quick, full"),
        ({"runs": (tiny_run("reactnet"),)}, r"compares with a teacher: give Run\(teacher="),
        ({"runs": (replace(run, teacher=teacher), teacher)}, "makes no use of its teacher"),
    ):
        with pytest.raises(ValueError, match=message):
            Study(**{"name": "tiny", "question": "?", "runs": (run,), **options})


def test_runs_judged_on_the_same_samples_keep_them_once_and_trust_no_others(store, tmp_path):
    runs = tiny_run(), tiny_run("float")
    for run in runs:
        run_one(tiny_study(*runs), run, store, tmp_path)
    files = sorted((store.folder / "samples").iterdir())
    assert len(files) == 4  # ids and labels of two splits
    first, second = (store.outputs(run.id) for run in runs)
    for name in ("validation_ids", "validation_labels", "test_ids", "test_labels"):
        np.testing.assert_array_equal(first[name], second[name])
    one, other = files[:2]
    other.rename(other.with_suffix(".kept"))
    shutil.copy(one, other)
    with pytest.raises(Damaged, match=rf"{other.name} was edited"):
        store.outputs(runs[0].id)
    other.unlink()
    with pytest.raises(Damaged, match=rf"{runs[0].id} was judged on samples that .*{other.name} does not give"):
        store.outputs(runs[0].id)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"no archive",
        lambda content: lzma.compress(b"no arrays"),
        lambda content: content[:400] + bytes(50) + content[450:],
    ],
    ids=["cut", "empty", "other", "arrays", "bits"],
)
def test_damaged_outputs_are_refused_by_name(store, tmp_path, damage):
    run = tiny_run()
    run_one(tiny_study(run), run, store, tmp_path)
    path = store.outputs_file(run.id)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Damaged, match=rf"{path.name} is not whole .*: restore it from version control"):
        store.outputs(run.id)


def test_a_damaged_result_is_noticed_before_anything_runs(store, tmp_path):
    run = tiny_run()
    run_one(tiny_study(run), run, store, tmp_path)
    store.run_file(run.id).write_text("{")
    with pytest.raises(Damaged, match="is not a whole result"):
        execute(tiny_study(run, tiny_run("float")), store, tmp_path)
