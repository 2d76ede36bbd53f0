import numpy as np
import pytest
import torch

from bnnlib import data, models
from bnnlib.training import Settings, fit


def written(folder, lines, name="train.tsv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def recordings(tmp_path):
    """24 recordings of 12 speakers; low bands are strong in the voices of class 1."""
    rng = np.random.default_rng(0)
    lines = ["file\tlabel\tspeaker"]
    for at in range(24):
        label, speaker = at % 2, at // 4 * 2 + at % 2
        features = rng.normal(0, 1, (64, int(rng.integers(57, 400))))
        features[:20] += 2 * label - 1
        np.save(tmp_path / f"r{at}.npy", features)
        lines.append(f"r{at}{'.npy' if at % 3 else ''}\t{('female', 'male')[label]}\ts{speaker}")
    return tmp_path, lines


def test_who_has_features_of_the_own_trains_exports_and_gets_the_same_classes_back(recordings, tmp_path):
    folder, lines = recordings
    with pytest.warns(UserWarning, match=r"test\.tsv has what .*train\.tsv has as well \(4, the first: speaker s0\)"):
        splits = data.read_feature_lists(written(folder, lines), written(folder, lines[1:9], "test.tsv"), crop=120)
    assert len(splits.train) + len(splits.validation) == 24
    assert not splits.shared_groups() - set(splits.test.groups.tolist())  # the test list repeats training here
    assert set(splits.train.groups.tolist()).isdisjoint(splits.validation.groups.tolist())
    net = models.build("binary-biometrics", "larq-approx-sign")
    settings = Settings(epochs=3, batch_size=8, learning_rate=3e-3, select="last")
    result = fit(net, "larq-approx-sign", splits, settings)
    signs = result.model.sign_network()
    for row in range(len(splits.test)):
        features = splits.test.features[row]
        assert np.array_equal(splits.test.inputs(torch.tensor([row]))[0].numpy(), features)  # handed over as they are
        assert signs.predict(features) == result.test_scores[row].argmax() == (signs.reference_score(features) > 0)


def test_a_shorter_recording_is_repeated_in_training_and_names_in_folders_stay_apart(tmp_path):
    lines = []
    for folder, label in (("f", "female"), ("m", "male")):
        (tmp_path / folder).mkdir()
        for at in range(3):
            np.save(tmp_path / folder / f"{at}.npy", np.arange(64 * 60.0).reshape(64, 60) + at)
            lines.append(f"{folder}/{at}\t{label}")
    path = tmp_path / "list.tsv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")  # as spreadsheets save it
    train = data.read_feature_lists(path, crop=100).train
    assert len(set(train.ids.tolist())) == len(train)
    seen = train.inputs(draw=torch.Generator().manual_seed(0))
    assert seen.shape == (len(train), 64, 100)
    assert torch.equal(seen[:, :, 60:], seen[:, :, :40])


def test_a_crop_is_drawn_anew_in_every_epoch_and_the_same_for_the_same_seed(recordings):
    folder, lines = recordings
    train = data.read_feature_lists(written(folder, lines), crop=57).train
    drawn = [train.inputs(draw=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert drawn[0].shape == (len(train), 64, 57)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r1 female", "line 3: must be a file, a tab, a label"),
        ("r1\tmaybe", "line 3: must be a file, a tab, a label .*received 'r1\\\\tmaybe'"),
        ("", "line 3: must be a file"),
        ("absent\tmale", "absent.npy is missing"),
        (
            "flat\tmale",
            r"flat.npy must hold numbers of shape \(64, t\) with t >= 57, received float64 of shape \(64,\)",
        ),
        ("short\tmale", r"received float64 of shape \(64, 56\)"),
        ("text\tmale", "text.npy is no .npy file of numbers"),
        ("nan\tmale", "nan.npy holds NaN"),
        ("huge\tmale", "huge.npy holds NaN or infinity"),
        ("several\tmale", "several.npy is no .npy file of numbers but an archive"),
        ("broken\tmale", "broken.npy is no .npy file of numbers"),
        ("r1\tfemale\ts1", "line 4: s1 has both labels|line 3: s1 has both labels"),
    ],
)
def test_what_is_wrong_is_named(recordings, line, message):
    folder, lines = recordings
    np.save(folder / "flat.npy", np.zeros(64))
    np.save(folder / "short.npy", np.zeros((64, 56)))
    np.save(folder / "nan.npy", np.full((64, 60), np.nan))
    np.save(folder / "huge.npy", np.full((64, 60), 1e300))
    np.savez(folder / "several.npz", np.zeros((64, 60)))
    (folder / "several.npz").rename(folder / "several.npy")
    (folder / "broken.npy").write_bytes(b"PK\x03\x04 and no more")
    (folder / "text.npy").write_text("0.5 0.25")
    with pytest.raises((data.DataCorrupt, data.DataNotFound), match=message):
        data.read_feature_lists(written(folder, [*lines[:2], line, *lines[2:]]))


def test_wrong_arguments_and_lists_of_one_class_are_refused(recordings):
    folder, lines = recordings
    path = written(folder, lines)
    with pytest.raises(ValueError, match="crop must be a whole number of at least 57 frames, received 56"):
        data.read_feature_lists(path, crop=56)
    latin = folder / "latin.tsv"
    latin.write_bytes("é\tmale".encode("latin-1"))
    with pytest.raises(data.DataCorrupt, match=r"latin\.tsv is no text in UTF-8"):
        data.read_feature_lists(latin)
    with pytest.raises(ValueError, match="held_out must lie between 0 and 1, received 1"):
        data.read_feature_lists(path, held_out=1)
    with pytest.raises(data.DataNotFound, match="no list"):
        data.read_feature_lists(folder / "other.tsv")
    with pytest.raises(ValueError, match="two male speakers or more are needed, found 0"):
        data.read_feature_lists(written(folder, [line for line in lines if "female" in line or "label" in line]))
