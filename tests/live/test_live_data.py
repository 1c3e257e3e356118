"""Data as people have them, as the three splits that everything works with."""

import os

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from sparsebench.data import load_splits
from sparsebench.errors import DataError
from sparsebench.live.data import take_data


def pairs(samples, classes=3):
    labels = torch.arange(samples) % classes
    return torch.randn(samples, 4, generator=torch.Generator().manual_seed(samples)), labels


class Listed(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, place):
        return self.samples[place]


class Streamed(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


def listed(samples):
    return Listed(list(zip(*pairs(samples), strict=True)))


def taken(data):
    given = take_data(data)
    return given, load_splits(given.table["name"])


def sizes(splits):
    return [splits.samples[name] for name in ("train", "val", "test")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (pairs(100), [70, 15, 15]),
        ((pairs(100), pairs(30)), [85, 15, 30]),
        ((pairs(90), pairs(20), pairs(30)), [90, 20, 30]),
        ({"train": pairs(90), "validation": pairs(20), "test": pairs(30)}, [90, 20, 30]),
        ({"train": pairs(100), "val": pairs(20)}, [85, 20, 15]),
        ((pairs(100), None, pairs(30)), [85, 15, 30]),
        (TensorDataset(*pairs(100)), [70, 15, 15]),
        ([listed(100), listed(30)], [85, 15, 30]),
        (DataLoader(TensorDataset(*pairs(100)), batch_size=8), [70, 15, 15]),
        (tuple(np.asarray(part) for part in pairs(100)), [70, 15, 15]),
    ],
)
def test_splits_come_as_people_have_them_and_missing_ones_are_held_out(data, expected):
    _, splits = taken(data)
    assert sizes(splits) == expected
    assert splits.classes == 3


def test_held_out_samples_are_in_no_other_split_and_always_the_same():
    inputs, labels = torch.arange(100.0)[:, None], torch.arange(100) % 2
    first, second = taken((inputs, labels)), taken((inputs.clone(), labels.clone()))
    assert first[0].table == second[0].table
    values = [{float(x) for x, _ in getattr(first[1], name)} for name in ("train", "val", "test")]
    assert set.union(*values) == set(range(100))
    assert sum(map(len, values)) == 100
    assert first[0].notes == (
        "data: there is no validation and no test split: 15 of the 100 training samples are held out for each, drawn "
        "with seed 0. What a network was trained on before is no test of it.",
    )


def test_of_a_loader_its_batch_size_data_and_collate_function_are_used():
    def together(samples):
        return torch.stack([x for x, _ in samples]) * 2, torch.stack([y for _, y in samples])

    loader = DataLoader(listed(90), batch_size=6, collate_fn=together, sampler=WeightedRandomSampler([1.0] * 90, 90))
    given, splits = taken({"train": loader, "val": listed(20), "test": listed(30)})
    assert given.batch_size == 6
    assert splits.collate is together
    assert given.notes[0].startswith("data: the WeightedRandomSampler of the train loader is not used")
    assert given.notes[-1] == (
        "data: of the train loader, batch size 6 and collate function and data set are used; loaders are made anew of "
        "these."
    )


def test_what_can_only_be_iterated_is_read_once_and_said():
    samples = list(zip(*pairs(60), strict=True))
    batches = [pairs(10), pairs(10)]
    streamed = DataLoader(Streamed(samples), 8)
    given, splits = taken({"train": Streamed(samples), "val": streamed, "test": iter(batches)})
    assert sizes(splits) == [60, 60, 20]
    assert torch.equal(splits.train[7][0], samples[7][0])
    assert sum("it was read once, and is held in memory" in note for note in given.notes) == 3


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "The train split is a int; give a data set with __len__"),
        ((torch.ones(3), torch.ones(3), torch.ones(3)), "The data are 3 tensors or arrays; give (inputs, labels)"),
        ({"test": pairs(9)}, "The data have test and no train split; give one."),
        ({"train": pairs(9), "tset": pairs(9)}, "Split 'tset' is not known. Did you mean 'test'?"),
        ((torch.ones(3, 2), torch.ones(4)), "give one label for each input."),
        (pairs(2), "too few to hold out val and test; give these splits."),
        (iter([{"image": 1}]), "The train split could not be read"),
        (tuple([pairs(9)] * 4), "The data are 4 splits; give train, (train, test) or (train, val, test)"),
        (Listed([{"image": 1}] * 9), "The number of classes cannot be told"),
    ],
)
def test_what_is_no_data_is_answered_with_what_is(data, text):
    with pytest.raises(DataError) as raised:
        take_data(data)
    assert text in str(raised.value)


def test_other_data_have_another_name():
    names = {take_data(pairs(count)).table["name"] for count in (30, 31, 32)}
    assert len(names) == 3


def test_images_in_files_are_others_where_a_file_is(tmp_path):
    def images(**times):
        for label in ("a", "b"):
            for number in range(8):
                path = tmp_path / label / f"{number}.png"
                path.parent.mkdir(exist_ok=True)
                Image.new("L", (4, 4), number).save(path)
                os.utime(path, (1, times.get(f"{label}{number}", 1)))
        return take_data(torchvision.datasets.ImageFolder(tmp_path, torchvision.transforms.ToTensor())).table["name"]

    assert images() == images() != images(b3=2)
