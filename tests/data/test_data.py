import os
import subprocess
import sys

import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from sparsebench.data import Splits, fingerprint, labels_of, load_splits
from sparsebench.data.digits import digits as load_digits
from sparsebench.errors import DataError, UnknownNameError


def tensors(*labels) -> TensorDataset:
    return TensorDataset(torch.zeros(len(labels), 2), torch.tensor(labels))


class Lazy(Dataset):
    def __init__(self, samples=4):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return torch.zeros(3, 2), index % 2


def sound(samples=4):
    return [tensors(0, 1), tensors(1, 0), Lazy(samples)], 2


def many_faults():
    return [tensors(), tensors(1, 1), tensors(0, 1, 5)], 3


def wrong_labels():
    return [tensors(0.0, 1.0), tensors(-1, 1), (item for item in ())], 1


def no_classes():
    return [tensors(0, 1)] * 3


def two_splits():
    return [tensors(0, 1)] * 2, 2


def classes_as_names():
    return [tensors(0, 1)] * 3, ["cat", "dog"]


number = 7


def test_digits_are_small_images_in_three_stratified_splits(digits):
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1077, 360, 360)
    assert digits.classes == 10
    assert digits.input_shape == (1, 8, 8)
    images, labels = digits.train.tensors
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    for split in (digits.train, digits.val, digits.test):
        shares = torch.bincount(split.tensors[1]) / len(split)
        assert bool(((shares - 0.1).abs() < 0.01).all())


def test_the_three_splits_of_digits_share_no_sample():
    rows = torch.cat([split.tensors[0].flatten(1) for split in load_digits()[0]])
    assert len(rows) == 1797
    assert len(rows.unique(dim=0)) == 1797


def test_digits_depend_on_their_seed_only():
    first, again, other = (load_digits(seed=seed)[0][2].tensors[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.2), (0.2, -0.1), (0.5, 0.5), (float("nan"), 0.2)])
def test_digits_refuse_fractions_that_leave_a_split_empty(val, test):
    with pytest.raises(DataError, match="each must be above 0 and their sum below 1"):
        load_digits(val_fraction=val, test_fraction=test)


def test_digits_refuse_fractions_too_small_for_every_class():
    with pytest.raises(DataError, match=r"digits cannot be split like this: .* Use larger fractions"):
        load_digits(test_fraction=0.001)


def test_a_loader_of_ones_own_is_given_its_options():
    splits = load_splits("test_data:sound", {"samples": 6})
    assert isinstance(splits, Splits)
    assert len(splits.test) == 6
    assert Splits(Lazy(), Lazy(), Lazy(), 2).input_shape == (3, 2)


def test_every_problem_is_listed_at_once():
    with pytest.raises(DataError) as caught:
        load_splits("test_data:many_faults")
    assert str(caught.value) == (
        "Dataset 'test_data:many_faults' cannot be used:\n"
        "  - the train split is empty; give it at least one sample.\n"
        "  - the val split holds class 1 only; accuracy needs two classes or more.\n"
        "  - the test split has labels from 0 to 5; with 3 classes they must be from 0 to 2. "
        "Correct the labels or the number of classes."
    )


def test_labels_and_lengths_of_the_wrong_kind_are_problems():
    with pytest.raises(DataError) as caught:
        load_splits("test_data:wrong_labels")
    text = str(caught.value)
    assert "it says it has 1 classes; at least 2 are needed" in text
    assert "the train split has labels of type torch.float32; give whole numbers" in text
    assert "the val split has labels from -1 to 1" in text
    assert "the test split has no length; give a map-style dataset" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_classes", r"must return \(\[train, val, test\], number_of_classes\); it returned list of 3"),
        ("two_splits", r"in place of the three splits it returned list of 2"),
        ("classes_as_names", r"in place of the number of classes it returned \['cat', 'dog'\]"),
        ("number", r"is 'int', which cannot be called; give a function"),
    ],
)
def test_a_wrong_return_value_is_told(name, text):
    with pytest.raises(DataError, match=text):
        load_splits(f"test_data:{name}")


def test_unknown_names_and_options_are_told():
    with pytest.raises(UnknownNameError, match=r"dataset 'digit' is not known\. Did you mean 'digits'"):
        load_splits("digit")
    with pytest.raises(DataError, match=r"'val_frac'\. It takes val_fraction, test_fraction, seed\."):
        load_splits("digits", {"val_frac": 0.1})


def test_labels_are_found_without_loading_samples():
    whole = tensors(0, 1, 2, 3)
    assert labels_of(whole).tolist() == [0, 1, 2, 3]
    assert labels_of(Subset(whole, [3, 1])).tolist() == [3, 1]
    assert labels_of(Subset(Subset(whole, [3, 1]), [1])).tolist() == [1]
    assert labels_of(ConcatDataset([whole, Subset(whole, [2])])).tolist() == [0, 1, 2, 3, 2]
    vision = Lazy(3)
    vision.targets = [2, 1, 0]
    assert labels_of(vision).tolist() == [2, 1, 0]


def test_labels_that_cannot_be_known_are_none():
    vision = Lazy(3)
    assert labels_of(vision) is None
    assert labels_of(ConcatDataset([tensors(0, 1), vision])) is None
    vision.targets = ["cat", "dog", "cat"]
    assert labels_of(vision) is None
    vision.targets = [0, 1]  # As a wrapper that keeps the labels of all samples, of another number.
    assert labels_of(vision) is None
    assert labels_of(TensorDataset(torch.zeros(3, 2))) is None


def test_a_fingerprint_tells_name_version_and_options():
    assert fingerprint("digits", {"seed": 1}) == {
        "name": "digits",
        "version": "1",
        "options": {"seed": 1},
        "files": {},
    }
    assert fingerprint("not_there:loader")["version"] is None


def test_a_fingerprint_changes_with_the_files_below_a_folder(tmp_path):
    (tmp_path / "train").mkdir()
    image = tmp_path / "train" / "a.png"
    image.write_bytes(b"1")
    options = {"root": str(tmp_path), "kind": "train"}
    first = fingerprint("mine:loader", options)
    assert first == fingerprint("mine:loader", {"root": tmp_path, "kind": "train"})
    assert first["files"]["root"]["count"] == 1
    os.utime(image, ns=(0, 0))
    touched = fingerprint("mine:loader", options)
    image.rename(tmp_path / "train" / "b.png")
    renamed = fingerprint("mine:loader", options)
    assert len({f["files"]["root"]["sha256"] for f in (first, touched, renamed)}) == 3


def test_a_fingerprint_costs_no_import_of_torch():
    code = (
        "import sys; from sparsebench.data import fingerprint; fingerprint('digits'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
