import gzip

import pytest
import torch

from bnnlib import data
from bnnlib.data import DataNotFound, samples
from bnnlib.data.images import ShiftFlip


def have(name):
    from bnnlib.data import sources

    return all(sources.find(name, file) for file in sources.SOURCES[name].files)


def test_the_sample_has_its_sizes_and_equal_classes(sample):
    assert (len(sample.train), len(sample.validation), len(sample.test)) == (5500, 500, 1000)
    assert sample.train.values.shape == (5500, 1, 28, 28)
    assert sample.train.values.dtype == torch.uint8
    both = torch.cat([sample.train.labels, sample.validation.labels])
    assert both.bincount().tolist() == [600] * 10
    assert sample.test.labels.bincount().tolist() == [100] * 10


def test_splits_are_disjoint_and_the_same_every_time(sample):
    ids = torch.cat([sample.train.ids, sample.validation.ids])
    assert len(ids.unique()) == 6000
    again = data.load("FashionMNIST", "quick")
    assert torch.equal(again.validation.ids, sample.validation.ids)


def test_the_validation_images_are_those_of_all_stored_results(sample):
    # NumPy does not promise its generators' streams for ever; a new stream would mix training and validation images
    assert sample.validation.ids[:5].tolist() == [4390, 5995, 4378, 43, 824]


def test_smaller_training_sets_are_contained_in_larger_ones(sample):
    small = data.load("FashionMNIST", "quick", train_size=100)
    assert torch.equal(small.train.ids, sample.train.ids[:100])
    assert torch.equal(small.validation.ids, sample.validation.ids)


def test_normalised_training_images_are_centred_and_scaled(sample):
    normal = sample.train.inputs()
    assert normal.dtype == torch.float32
    assert abs(normal.mean().item()) < 0.02
    assert abs(normal.std().item() - 1) < 0.02


def test_tuning_does_not_see_the_test_split():
    assert data.load("FashionMNIST", "quick", test=False).test is None


@pytest.mark.parametrize("size", [0, -1, 5501, 2.5, True])
def test_an_impossible_training_size_is_refused_with_its_range(size):
    with pytest.raises(ValueError, match=rf"1\.\.5500, received {size}"):
        data.load("FashionMNIST", "quick", train_size=size)


def test_unknown_names_and_profiles_are_listed():
    with pytest.raises(ValueError, match="known: quick, full"):
        data.load("FashionMNIST", "medium")
    with pytest.raises(ValueError, match="known: FashionMNIST, MNIST"):
        data.load("KMNIST")
    with pytest.raises(ValueError, match="FashionMNIST has no option trainsize; known: train_size, augment"):
        data.load("FashionMNIST", trainsize=100)
    with pytest.raises(ValueError, match="no augmentation 'mixup' of images; known: none, shift, flip, shift-flip"):
        data.load("FashionMNIST", augment="mixup")
    with pytest.raises(DataNotFound, match='profile "quick" knows FashionMNIST'):
        data.load("MNIST", "quick")


@pytest.mark.parametrize("name", ["FashionMNIST", "MNIST"])
def test_the_whole_set_has_its_official_sizes(name):
    if not have(name):
        pytest.skip(f"{name} is not on this machine (bnnlib data fetch {name})")
    splits = data.load(name, "full")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (55_000, 5_000, 10_000)
    pixels = splits.train.values.double()
    assert pixels.mean().item() == pytest.approx(splits.train.prepare.mean, abs=0.3)
    assert pixels.std().item() == pytest.approx(splits.train.prepare.deviation, abs=0.3)


def test_the_sample_is_cut_from_the_whole_set(sample):
    if not have("FashionMNIST"):
        pytest.skip("FashionMNIST is not on this machine (bnnlib data fetch FashionMNIST)")
    whole = data.load("FashionMNIST", "full")
    for c in range(10):
        cut = sample.test.values[sample.test.labels == c]
        assert torch.equal(cut, whole.test.values[whole.test.labels == c][:100])


def test_the_sample_can_be_made_again(tmp_path):
    if not have("FashionMNIST"):
        pytest.skip("FashionMNIST is not on this machine (bnnlib data fetch FashionMNIST)")
    for path in samples.make(to=tmp_path):
        stored = samples.FOLDER / path.relative_to(tmp_path)
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(stored.read_bytes())


def test_shifts_move_a_picture_by_at_most_two_pixels():
    picture = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    picture[:, :, 4, 4] = 255
    rows, columns = ShiftFlip(shift=2)(picture, torch.Generator().manual_seed(1)).nonzero()[:, 2:].T
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_flips_mirror_about_half_of_the_pictures():
    picture = torch.zeros(400, 1, 1, 3, dtype=torch.uint8)
    picture[..., 0] = 9
    out = ShiftFlip(flip=True)(picture, torch.Generator().manual_seed(2))
    flipped = out[..., 2].flatten() == 9
    assert 150 < flipped.sum() < 250
    assert torch.equal(out[~flipped], picture[~flipped])


def test_augmentation_belongs_to_training_and_needs_a_generator():
    splits = data.load("FashionMNIST", "quick", augment="shift-flip")
    index = torch.arange(20)
    plain = splits.train.inputs(index)
    drawn = [splits.train.inputs(index, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], plain)
    for split in (splits.validation, splits.test):
        assert torch.equal(split.inputs(index, torch.Generator().manual_seed(3)), split.inputs(index))
