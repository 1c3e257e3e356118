"""Arrays in a .npz file as data: which are inputs and labels, how they are split, and what is refused."""

import re

import numpy as np
import pytest
import torch

from sparsebench.data import fingerprint, load_splits
from sparsebench.errors import DataError

LABELS = np.arange(100) % 4


def stored(folder, **arrays):
    path = folder / "samples.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


def values(*shape, dtype=np.float64):
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


def test_samples_without_splits_are_held_out_with_the_classes_in_equal_shares(tmp_path):
    found = load_splits(stored(tmp_path, x=values(100, 5), y=LABELS))
    assert found.samples == {"train": 70, "val": 10, "test": 20}
    assert (found.classes, found.input_shape) == (4, (5,))
    assert torch.bincount(found.test.tensors[1]).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("Train-Data", "Train-Targets", "Testing-Data", "Testing-Targets"),
    ],
)
def test_splits_that_a_file_has_are_its_splits(tmp_path, names):
    inputs = values(100, 5)
    arrays = dict(zip(names, (inputs, LABELS, inputs[:40], LABELS[:40, None]), strict=True))
    found = load_splits(stored(tmp_path, **arrays))
    assert found.samples == {"train": 90, "val": 10, "test": 40}
    assert torch.equal(found.test.tensors[0], torch.from_numpy(inputs[:40]).float())
    assert torch.equal(found.test.tensors[1], torch.from_numpy(LABELS[:40]))


def test_arrays_without_names_are_taken_by_their_places(tmp_path):
    np.savez(tmp_path / "samples.npz", values(100, 5), LABELS)
    assert load_splits(f"npz:{tmp_path / 'samples.npz'}").input_shape == (5,)


def test_bytes_are_scaled_and_channels_put_first(tmp_path):
    images = values(100, 6, 7, 3, dtype=np.uint8)
    found = load_splits(stored(tmp_path, x=images, y=LABELS), {"layout": "hwc"})
    assert found.input_shape == (3, 6, 7)
    every = torch.cat([split.tensors[0] for split in (found.train, found.val, found.test)])
    expected = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    torch.testing.assert_close(every.double().sum(0), expected.sum(0), rtol=1e-6, atol=0)
    grey = load_splits(stored(tmp_path, x=images[..., 0], y=LABELS), {"layout": "hw"})
    assert grey.input_shape == (1, 6, 7)


def test_whole_numbers_are_floats_unless_they_are_tokens(tmp_path):
    name = stored(tmp_path, x=values(100, 9, dtype=np.int32), y=LABELS)
    assert load_splits(name).train.tensors[0].dtype == torch.float32
    assert load_splits(name, {"tokens": True}).train.tensors[0].dtype == torch.int64


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"a": LABELS, "b": LABELS}, "'a', 'b' are no inputs with their labels; call them x and y"),
        ({"x": values(100, 5)}, "'x' are no inputs with their labels"),
        ({"x": values(90, 5), "y": LABELS}, "has 90 inputs and 100 labels"),
        ({"x": values(100, 5), "data": values(100, 5), "y": LABELS}, "Both 'x' and 'data' are inputs; keep one"),
        ({"x": values(100, 5), "y": values(100)}, "labels are one whole number a sample, the index of the class"),
        ({"x": values(100), "y": LABELS}, "has shape (100,), which is not that of samples with layout 'as_is'"),
        ({"x": np.array([{}] * 100), "y": LABELS}, "The array 'x' holds objects, which are not read"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, arrays, why):
    with pytest.raises(DataError, match=re.escape(why)):
        load_splits(stored(tmp_path, **arrays))


def test_a_file_that_is_missing_or_no_npz_says_what_to_give(tmp_path):
    with pytest.raises(DataError, match=r"give the path of a \.npz file"):
        load_splits(f"npz:{tmp_path / 'nothing.npz'}")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"is no \.npz file of plain arrays: .* Write one with numpy\.savez"):
        load_splits(f"npz:{tmp_path / 'text.npz'}")


def test_a_damaged_file_is_refused_in_words(tmp_path):
    name = stored(tmp_path, x=values(100, 5), y=LABELS)
    path = tmp_path / "samples.npz"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is no \.npz file of plain arrays"):
        load_splits(name)


def test_arrays_larger_than_half_of_the_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsebench.data.arrays.memory_given", lambda: 1000.0)
    with pytest.raises(DataError, match=r"take .* GB as floats, more than half of the memory here"):
        load_splits(stored(tmp_path, x=values(100, 5), y=LABELS))


def test_other_arrays_are_other_data(tmp_path):
    before = fingerprint(stored(tmp_path, x=values(100, 5), y=LABELS))
    assert fingerprint(stored(tmp_path, x=values(100, 6), y=LABELS)) != before
