"""Image files in the forms in which datasets come, made for tests."""

import struct

import numpy as np
from PIL import Image


def pixels(samples, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (samples, *shape), dtype=np.uint8)


def labels(samples, classes=10):
    return np.arange(samples, dtype=np.uint8) % classes


def write_images(folder, classes=("cat", "dog"), samples=10, size=(8, 8), suffix=".png"):
    """Write one folder a class, and return the folder that holds them."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(pixels(samples, *size, 3, seed=number)):
            Image.fromarray(image).save(folder / name / f"{index:03}{suffix}")
    return folder


def write_grey(root, folder, train=60, test=20):
    """Write images and labels as MNIST and those after it are published, into ``root / folder``."""
    for prefix, samples in (("train", train), ("t10k", test)):
        raw = root / folder / "raw"
        _write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels(samples, 28, 28))
        _write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels(samples))


def _write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())
