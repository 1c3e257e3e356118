"""Splits of samples as a table or an archive holds them, turned into datasets: labels, what is held out, inputs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from sparsebench.data.images import hold_out
from sparsebench.data.processing import Inputs, Kind, Maker, Options, maker_of
from sparsebench.errors import DataError
from sparsebench.store.limits import memory_given
from sparsebench.tensors import mapped, tensors_in
from sparsebench.wording.text import counted, first_of

_IN_MEMORY_BYTES = 2**31
_SHARE_OF_MEMORY = 0.25
"""Inputs are kept in memory up to so many bytes, and up to this share of what there is."""

_AT_ONCE = 64
_SHOWN = 5


@dataclass(frozen=True)
class Stored:
    """One split.

    Attributes:
        inputs: what is stored of each sample, read when it is asked for.
        labels: numbers of classes, or their names.
    """

    inputs: Sequence[Any]
    labels: Sequence[Any]


def splits_of(
    stored: Mapping[str, Stored], kind: Kind, options: Options, what: str, names: Sequence[str] | None = None
) -> tuple[list[Dataset[Any]], int]:
    """Return the three splits of samples, and how many classes there are.

    Args:
        stored: ``train``, and ``val`` and ``test`` where there are such splits; ``val`` alone is the test split.
        kind: of the inputs.
        options: as they are asked for.
        what: names the data in an error.
        names: of the classes, where labels are numbers with names.

    Raises:
        DataError: where labels or inputs are not what they should be, or a split cannot be held out.
    """
    labels, classes = _labels(stored, what, names)
    maker = maker_of(kind, options, [split.inputs for split in stored.values()])
    made = {name: _dataset(split.inputs, labels[name], maker, options.in_memory) for name, split in stored.items()}
    if "test" not in made and "val" in made:
        made["test"] = made.pop("val")
    wanted = {name: getattr(options, f"{name}_fraction") for name in ("test", "val") if name not in made}
    if wanted:
        parts = hold_out(labels["train"], list(wanted.values()), options.seed, what)
        train = made["train"]
        for name, rows in zip(("train", *wanted), parts, strict=True):
            made[name] = Subset(train, rows.tolist())
    return [made[name] for name in ("train", "val", "test")], classes


def column(asked: str | None, allowed: Collection[str], guesses: Sequence[str], role: str, what: str) -> str:
    """Return the column of inputs or labels: the one that is asked for, or the first guess that there is.

    Raises:
        DataError: where there is none.
    """
    if asked is not None and asked in allowed:
        return asked
    if asked is None and (found := next((guess for guess in guesses if guess in allowed), None)):
        return found
    shown = first_of(sorted(allowed), 2 * _SHOWN) or "none"
    problem = f"has no column {asked!r}" if asked else f"does not tell which column holds the {role}s"
    raise DataError(f"{what} {problem}; set the option {role} to one of its columns: {shown}.")


def _labels(stored: Mapping[str, Stored], what: str, names: Sequence[str] | None) -> tuple[dict[str, Tensor], int]:
    """Return the labels of each split, int64, and how many classes there are."""
    kinds = {type(label) for split in stored.values() for label in split.labels}
    if kinds and kinds <= {int, bool}:
        found = {name: torch.tensor(split.labels, dtype=torch.int64) for name, split in stored.items()}
        return found, len(names) if names else 1 + max(int(labels.max()) for labels in found.values())
    if kinds != {str}:
        shown = first_of(sorted(kind.__name__ for kind in kinds), _SHOWN) or "nothing"
        raise DataError(f"The labels of {what} are {shown}; give one whole number or one name of a class a sample.")
    classes = sorted(set(stored["train"].labels))
    for name, split in stored.items():
        if strange := sorted(set(split.labels) - set(classes)):
            raise DataError(f"{what}: {name} has the classes {first_of(strange, _SHOWN)}, which train lacks.")
    numbers = {label: number for number, label in enumerate(classes)}
    return {name: torch.tensor([numbers[one] for one in split.labels]) for name, split in stored.items()}, len(classes)


def _dataset(inputs: Sequence[Any], labels: Tensor, maker: Maker, in_memory: bool | None) -> Dataset[Any]:
    if not len(inputs):
        return TensorDataset(torch.empty(0), labels)  # Whoever loads it says that it is empty.
    first = maker([inputs[0]])
    needed = len(inputs) * sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(first))
    few = needed <= min(_IN_MEMORY_BYTES, _SHARE_OF_MEMORY * memory_given())
    if not (few if in_memory is None else in_memory):
        return Unmade(inputs, labels, maker)
    rows = range(0, len(inputs), _AT_ONCE)
    parts = [maker([inputs[row] for row in range(begin, min(begin + _AT_ONCE, len(inputs)))]) for begin in rows]
    if isinstance(first, Tensor):
        return TensorDataset(_joined([part for part in parts if isinstance(part, Tensor)]), labels)
    named = {name: _joined([part[name] for part in parts if not isinstance(part, Tensor)]) for name in first}
    return Made(named, labels)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if len(shapes := {part.shape[1:] for part in parts}) > 1:
        shown = " and ".join(str(tuple(shape)) for shape in sorted(shapes)[:2])
        raise DataError(f"Samples have several shapes, such as {shown}; set the option size, or a processor.")
    return torch.cat(list(parts))


class Made(Dataset[Any]):
    """Inputs in memory that are several tensors by name, each (N, …), and labels (N,)."""

    def __init__(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        self.inputs, self.targets = inputs, labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {name: values[index] for name, values in self.inputs.items()}, self.targets[index]

    def fetch(self, positions: Tensor) -> list[Any]:
        """Return inputs and labels of positions (B,), whole batches at once."""
        chosen = {name: values.index_select(0, positions) for name, values in self.inputs.items()}
        return [chosen, self.targets.index_select(0, positions)]


class Unmade(Dataset[Any]):
    """Samples that are too many for the memory: inputs are made when they are read, in the workers of a loader."""

    def __init__(self, inputs: Sequence[Any], labels: Tensor, maker: Maker) -> None:
        self.inputs, self.targets, self.maker = inputs, labels, maker

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Inputs, Tensor]:
        try:
            made = self.maker([self.inputs[index]])
        except DataError as error:
            raise DataError(f"Sample {index}: {error}") from error
        return mapped(made, lambda tensor: tensor[0]), self.targets[index]


def require_all(missing: Sequence[str], role: str, what: str) -> None:
    """Refuse samples without inputs or labels.

    Raises:
        DataError: with the first of their names.
    """
    if missing:
        raise DataError(
            f"{what}: {counted(len(missing), 'sample')} without {role}: {first_of(missing, _SHOWN)}. Remove them, or "
            f"set the option {role}."
        )
