"""Checkpoints in a folder, and which network by name has the weights of one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsebench.errors import ModelError, SparsebenchError
from sparsebench.models import CHECKPOINT_SUFFIXES

FOLDERS = ("*", "checkpoints/*", "weights/*", "models/*")

OF_A_CLASSIFIER = 2
"""Tensors that may differ in shape: weight and bias of a classifier for other classes."""


@dataclass(frozen=True)
class Recognised:
    """A network by name that takes the weights of a checkpoint.

    Attributes:
        model: its name.
        new_head: whether its classifier has to be replaced, because it is for other classes.
    """

    model: str
    new_head: bool


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the files of a folder, and of those that are called after checkpoints, whose names end like theirs."""
    found = (path for pattern in FOLDERS for path in sorted(folder.glob(pattern)))
    return [path for path in found if path.suffix in CHECKPOINT_SUFFIXES and path.is_file()]


def classes_and_channels(path: Path) -> tuple[int, int] | None:
    """Return how many classes and channels of images a checkpoint looks made for; None where it does not tell."""
    from sparsebench.training.state_dicts import read_state_dicts

    try:
        states = read_state_dicts(path)
    except ModelError:
        return None
    weights = [value for value in states[0].state.values() if value.ndim in (2, 4)]
    images = next((value for value in weights if value.ndim == 4), None)
    last = next((value for value in reversed(weights) if value.ndim == 2), None)
    return None if images is None or last is None else (int(last.shape[0]), int(images.shape[1]))


def recognise(path: Path, input_shape: tuple[int, ...], classes: int) -> Recognised | None:
    """Return the network that takes a checkpoint, for samples of that shape and so many classes; None for none."""
    from sparsebench.training.state_dicts import read_state_dicts

    try:
        stored = [Counter(tuple(value.shape) for value in one.state.values()) for one in read_state_dicts(path)]
    except ModelError:
        return None
    for model in _names(input_shape):
        shapes = _shapes(model, input_shape, classes)
        if shapes and any((shapes - own).total() <= OF_A_CLASSIFIER for own in stored):
            for new_head in (False, True):
                if _fits(path, model, input_shape, classes, new_head):
                    return Recognised(model, new_head)
    return None


def _names(input_shape: tuple[int, ...]) -> Iterator[str]:
    """Yield the networks that may be asked for, those of this package first."""
    from sparsebench.registry import MODELS

    yield from MODELS.builtin
    if len(input_shape) == 3 and input_shape[0] == 3:
        from torchvision import models

        yield from (f"torchvision:{name}" for name in models.list_models(module=models))


def _shapes(model: str, input_shape: tuple[int, ...], classes: int) -> Counter[tuple[int, ...]] | None:
    """Return the shapes of the tensors of a network, which is built without memory for them."""
    import torch

    from sparsebench.models import build_model

    try:
        with torch.device("meta"):
            network = build_model(model, classes, input_shape)
    except (SparsebenchError, RuntimeError, NotImplementedError):
        return None
    return Counter(tuple(value.shape) for value in network.state_dict().values())


def _fits(path: Path, model: str, input_shape: tuple[int, ...], classes: int, new_head: bool) -> bool:
    from sparsebench.models import build_model
    from sparsebench.training.weights import load_weights

    network = build_model(model, classes, input_shape)
    try:
        load_weights(network, str(path), model, input_shape, {}, new_head=new_head)
    except ModelError:
        return False
    return True
