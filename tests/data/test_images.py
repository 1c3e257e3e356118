"""Images in memory: normalised, shifted and mirrored by whole batches, and the same one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import functional

from sparsebench.data import labels_of
from sparsebench.data.images import Augmentation, ImageTensors, augment
from sparsebench.training.loaders import build_loader

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def images(samples=20, height=6, width=8):
    return torch.randint(0, 256, (samples, 3, height, width), dtype=torch.uint8)


def dataset(rows=None, augmentation=None, samples=20):
    return ImageTensors(images(samples), torch.arange(samples) % 4, rows, MEAN, STD, augmentation)


def test_images_are_normalised_as_torchvision_does():
    data = dataset()
    image, label = data[5]
    expected = functional.normalize(data.images[5].float() / 255, MEAN, STD)
    assert torch.allclose(image, expected, atol=1e-6)
    assert (label, type(label)) == (1, int)


def test_rows_select_images_and_labels_together():
    data = dataset(rows=torch.tensor([7, 2, 9]))
    assert len(data) == 3
    assert data.targets.tolist() == [3, 2, 1]
    assert labels_of(data).tolist() == [3, 2, 1]
    assert labels_of(Subset(data, [1])).tolist() == [2]
    assert torch.equal(data[1][0], dataset_of(data)[2][0])


def dataset_of(data):
    return ImageTensors(data.images, data.labels, None, MEAN, STD)


def shifts_of(original, augmented, padding, flip):
    """Every (top, left, mirrored) that makes the augmented image of the original, found by trying."""
    padded = functional.pad(original, [padding])
    height, width = original.shape[1:]
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[:, top : top + height, left : left + width]
            found += [(top, left, False)] * torch.equal(augmented, window)
            found += [(top, left, True)] * (flip and torch.equal(augmented, functional.hflip(window)))
    return found


@given(
    padding=st.integers(0, 3),
    flip=st.booleans(),
    shape=st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(2, 6), st.integers(2, 6)),
    seed=st.integers(0, 2**31),
)
def test_every_augmented_image_is_a_window_of_the_padded_one(padding, flip, shape, seed):
    torch.manual_seed(seed)
    batch = torch.randint(1, 256, shape, dtype=torch.uint8)
    changed = augment(batch, Augmentation(padding, flip))
    assert changed.shape == batch.shape
    for before, after in zip(batch, changed, strict=True):
        assert shifts_of(before, after, padding, flip)


def test_all_shifts_and_both_sides_come_up_equally_often():
    torch.manual_seed(1)
    one = torch.arange(1, 31, dtype=torch.uint8).view(1, 1, 5, 6)
    changed = augment(one.expand(3600, 1, 5, 6), Augmentation(1, True))
    counts = {}
    for image in changed.unique(dim=0):
        (found,) = shifts_of(one[0], image, 1, True)
        counts[found] = int((changed == image).flatten(1).all(1).sum())
    assert len(counts) == 3 * 3 * 2
    assert all(130 < count < 270 for count in counts.values())  # 200 are expected, with a deviation of 14


def test_augmentation_is_drawn_anew_and_depends_on_the_seed_alone():
    data = dataset(augmentation=Augmentation())
    rows = torch.arange(20)
    torch.manual_seed(3)
    first, second = data.fetch(rows)[0], data.fetch(rows)[0]
    torch.manual_seed(3)
    assert torch.equal(data.fetch(rows)[0], first)
    assert not torch.equal(first, second)


def test_loaders_read_whole_batches_without_workers():
    data = dataset()
    loader = build_loader(data, "test", 8, None)
    assert loader.num_workers == 0
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [8, 8, 4]
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.targets)
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), data.fetch(torch.arange(20))[0])
    (inputs, labels), *_ = build_loader(Subset(data, [3, 1]), "val", 8, None)
    assert labels.tolist() == [3, 1]
    assert torch.equal(inputs[1], data[1][0])


def test_training_reads_every_image_once_and_drops_the_last_batch():
    data = dataset(augmentation=Augmentation())
    loader = build_loader(data, "train", 8, None)
    assert len(loader) == 2
    assert sum(len(labels) for _, labels in loader) == 16


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_of_ones_own_gets_the_same_samples(workers):
    data = dataset()
    (inputs, labels), *_ = DataLoader(data, batch_size=20, num_workers=workers)
    assert torch.equal(inputs, data.fetch(torch.arange(20))[0])
    assert labels.dtype == torch.int64
    assert torch.equal(labels, data.targets)


def test_a_collate_function_of_ones_own_gets_samples():
    def collate(samples):
        return torch.stack([image for image, _ in samples]).mean(1), torch.tensor([label for _, label in samples])

    loader = build_loader(dataset(), "test", 8, collate)
    (inputs, _), *_ = loader
    assert inputs.shape == (8, 6, 8)
    assert loader.num_workers == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_are_made_on_the_device_of_the_images():
    here = dataset()
    there = here.to(torch.device("cuda"))
    rows = torch.arange(20)
    inputs, labels = there.fetch(rows)
    assert inputs.device.type == labels.device.type == "cuda"
    assert torch.allclose(inputs.cpu(), here.fetch(rows)[0], atol=1e-6)
