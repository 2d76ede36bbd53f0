import io
import os
import pickle
import pickletools
import tarfile

import numpy as np
import pytest
import torch

from bnnlib import data
from bnnlib.data import cifar, sources


@pytest.fixture
def place(monkeypatch, tmp_path):
    """An empty data folder and cache folder."""
    folder = tmp_path / "data" / "CIFAR10"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(cifar, "SIZES", {"train": 30, "test": 10})
    monkeypatch.setattr(cifar, "HELD_OUT", 5)
    return folder


def images(count, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.permutation(np.arange(count) % 10)


def tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def official(place, monkeypatch, file, files):
    """An archive that passes for the official one."""
    tar(place / file, files)
    content = sources.Content((place / file).stat().st_size, sources.sha256(place / file))
    known = sources.Source(
        "CIFAR10", "http://127.0.0.1:9/", {cifar.BINARY: content}, "none", (), {cifar.PYTHON: content}
    )
    monkeypatch.setitem(sources.SOURCES, "CIFAR10", known)


def binary(pixels, labels):
    return np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(len(pixels), -1)], axis=1).tobytes()


def python_2(value):
    """A pickle whose strings are those of Python 2, as the official files' are."""
    content = bytearray(pickle.dumps(value, protocol=3))
    of_python_2 = {"SHORT_BINBYTES": b"U", "BINBYTES": b"T", "BINUNICODE": b"T"}  # of the same length fields
    for operation, _, at in pickletools.genops(bytes(content)):
        content[at : at + 1] = of_python_2.get(operation.name, content[at : at + 1])
    content[1] = 2
    return bytes(content)


def jpeg(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def jpegs(place, train=3, test=1, **more):
    """A copy with so many images of each class; each is of one colour, by class."""
    for part, count in (("train", train), ("test", test)):
        files = {
            f"{part}/{name}/{at:04}.jpg": jpeg(np.full((32, 32, 3), 20 * label + at, np.uint8))
            for label, name in enumerate(cifar.CLASSES)
            for at in range(1, count + 1)
        }
        tar(place / cifar.JPEG[part], files | (more if part == "train" else {}), "w:xz")


@pytest.mark.parametrize("file", [cifar.BINARY, cifar.PYTHON])
def test_both_official_archives_give_the_same_images(place, monkeypatch, file):
    pixels, labels = images(30, 1)
    batches = {"data_batch_1": (pixels[:15], labels[:15]), "data_batch_2": (pixels[15:], labels[15:])}
    batches["test_batch"] = images(10, 9)
    if file == cifar.BINARY:
        files = {f"cifar-10-batches-bin/{name}.bin": binary(*batch) for name, batch in batches.items()}
    else:  # as Python 2 wrote them
        files = {
            f"cifar-10-batches-py/{name}": python_2({b"data": x.reshape(len(x), -1), b"labels": y.tolist()})
            for name, (x, y) in batches.items()
        }
    official(place, monkeypatch, file, files | {"cifar-10-batches/batches.meta.txt": b"airplane\n"})
    splits = data.load("CIFAR10", "full")
    assert "official files" in splits.description
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (25, 5, 10)
    ids = torch.cat([splits.train.ids, splits.validation.ids])
    assert sorted(ids.tolist()) == list(range(30))
    assert np.array_equal(splits.train.values.numpy(), pixels[splits.train.ids])
    assert np.array_equal(splits.validation.labels.numpy(), labels[splits.validation.ids])
    assert np.array_equal(splits.test.values.numpy(), batches["test_batch"][0])


def test_a_jpeg_copy_is_read_once_and_named(place, monkeypatch):
    jpegs(place)
    splits = data.load("CIFAR10", "full", train_size=20, augment="crop-flip")
    assert "JPEG copy" in splits.description
    assert len(splits.train) == 20
    means = splits.train.values.float().mean((1, 2, 3)).round().long()
    assert torch.equal(means, 20 * splits.train.labels + splits.train.ids % 3 + 1)  # sorted by class and number
    monkeypatch.setattr(cifar, "_decoded", None)  # the cache has them now
    assert torch.equal(data.load("CIFAR10", "full", train_size=20).train.values, splits.train.values)


def test_a_crop_moves_the_image_within_its_margin(place):
    jpegs(place)
    train = data.load("CIFAR10", "full", augment="crop").train
    bright = int(train.labels.argmax())
    seen = train.inputs(torch.tensor([bright] * 200), torch.Generator().manual_seed(0))
    dark = (seen[:, 0] < seen[:, 0].max() - 0.5).sum((1, 2))  # pixels of the margin
    assert dark.min() < 5 * 32
    assert 200 < dark.max() <= 32 * 32 - 28 * 28
    assert torch.equal(seen[:, 0].amax((1, 2)), seen[:, 0].amax((1, 2))[:1].expand(200))


def test_a_flip_mirrors_half_of_the_images_and_changes_nothing_else(place, monkeypatch):
    files = {"data_batch_1.bin": binary(*images(30, 1)), "test_batch.bin": binary(*images(10, 9))}
    official(place, monkeypatch, cifar.BINARY, {f"cifar-10-batches-bin/{name}": file for name, file in files.items()})
    train = data.load("CIFAR10", "full", augment="flip").train
    as_it_is = cifar.PIXELS(train.values[:1])
    seen = train.inputs(torch.zeros(200, dtype=torch.long), torch.Generator().manual_seed(0))
    mirrored = (seen == as_it_is.flip(-1)).flatten(1).all(1)
    assert torch.equal((seen == as_it_is).flatten(1).all(1), ~mirrored)
    assert 70 < mirrored.sum() < 130


def test_colours_are_centred_and_scaled_each_by_itself():
    grey = torch.full((1, 3, 1, 1), 128, dtype=torch.uint8)
    wanted = [(128 - mean) / deviation for mean, deviation in ((125.31, 62.99), (122.95, 62.09), (113.87, 66.70))]
    assert cifar.PIXELS(grey).flatten().tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("cat", np.zeros((32, 33, 3), np.uint8)), r"cat/0009.jpg must have 32 x 32 .*\(32, 33, 3\)"),
        (("cat", np.zeros((32, 32), np.uint8)), r"must have 32 x 32 .* it has \(32, 32\)"),
        (("cat", None), "cat/0009.jpg can't be decoded as an image"),
        (("lynx", np.zeros((32, 32, 3), np.uint8)), "lies in no folder of a class"),
        (("cat", np.zeros((32, 32, 3), np.uint8)), "3 train images of each class, .* cat 4, deer 3"),
    ],
)
def test_what_is_wrong_with_a_copy_is_named(place, more, message):
    folder, pixels = more
    jpegs(place, **{f"train/{folder}/0009.jpg": b"no image" if pixels is None else jpeg(pixels)})
    with pytest.raises(data.DataCorrupt, match=message):
        data.load("CIFAR10", "full")


def test_an_archive_that_was_cut_short_or_lacks_a_class_is_refused(place):
    jpegs(place, test=0)
    with pytest.raises(data.DataCorrupt, match="1 test images of each class, it holds airplane 0"):
        data.load("CIFAR10", "full")
    jpegs(place)
    without_deer = [f"test/{name}/1.jpg" for name in cifar.CLASSES if name != "deer"]
    tar(place / cifar.JPEG["test"], dict.fromkeys(without_deer, jpeg(np.zeros((32, 32, 3), np.uint8))), "w:xz")
    with pytest.raises(data.DataCorrupt, match=r"1 test images of each class, .* cat 1, deer 0, dog 1"):
        data.load("CIFAR10", "full")
    content = (place / cifar.JPEG["train"]).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + bytes(40) + content[middle + 40 :]):
        (place / cifar.JPEG["train"]).write_bytes(damaged)
        with pytest.raises(data.DataCorrupt, match="damaged or cut short"):
            data.load("CIFAR10", "full", test=False)
    (place / cifar.BINARY).write_bytes(b"another file")
    with pytest.raises(data.DataCorrupt, match="truncated or altered"):
        data.load("CIFAR10", "full")


class Malicious:
    def __reduce__(self):
        return os.system, ("echo here I am",)


@pytest.mark.parametrize("harm", [Malicious(), {b"data": Malicious(), b"labels": [0]}, np.array([Malicious()], object)])
def test_a_pickle_that_would_run_something_is_refused(place, monkeypatch, harm, capfd):
    files = {"cifar-10-batches-py/data_batch_1": python_2(harm)}
    official(place, monkeypatch, cifar.PYTHON, files)
    with pytest.raises(data.DataCorrupt, match=r"the pickle asks for posix.system, which images don't need"):
        data.load("CIFAR10", "full")
    assert "here" not in capfd.readouterr().out


def test_there_is_no_sample_and_options_are_listed(place):
    with pytest.raises(data.DataNotFound, match="CIFAR10 has no built-in sample"):
        data.load("CIFAR10", "quick")
    with pytest.raises(ValueError, match="no augmentation 'mixup' of CIFAR10; known: none, crop, flip, crop-flip"):
        data.load("CIFAR10", "full", augment="mixup")
    jpegs(place)
    with pytest.raises(ValueError, match=r"1\.\.25, received 26"):
        data.load("CIFAR10", "full", train_size=26)
    os.remove(place / cifar.JPEG["test"])
    with pytest.raises(data.DataNotFound, match="the test images of the JPEG copy"):
        data.load("CIFAR10", "full")
