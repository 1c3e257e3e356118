"""What an exported network takes, and what it is fed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Input:
    """One input as its file describes it.

    Attributes:
        name: in the file.
        dtype: as NumPy names it, or ``bfloat16``.
        shape: sizes; None where the file leaves one open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Feed(Input):
    """One input with all its sizes."""

    shape: tuple[int, ...]

    def values(self) -> NDArray[Any]:
        """Return values to run on, the same for the same shape: normal ones, or zeros and ones for whole numbers.

        Whole numbers are often places in a table; every table has a place 0 and a place 1. ``bfloat16``, which NumPy
        lacks, comes as ``float32``.
        """
        random = np.random.default_rng(0)
        if self.dtype == "bfloat16":
            return random.standard_normal(self.shape, dtype=np.float32)
        kind = np.dtype(self.dtype)
        if kind.kind in "fc":
            return random.standard_normal(self.shape).astype(kind)
        return random.integers(0, 2, self.shape).astype(kind)


def feeds_for(
    inputs: Sequence[Input], batch: int | None, shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[Feed, ...], list[str]]:
    """Decide on the sizes of inputs.

    Args:
        inputs: of one file.
        batch: samples in one call; None for what the file says, or 1 where it leaves that open.
        shapes: whole shapes, for the first inputs in their order.

    Returns:
        The feeds, and what is wrong, as sentences without the file's name. Where something is wrong the feeds are
        not to be used.
    """
    problems = []
    if len(shapes) > len(inputs):
        problems.append(f"has {len(inputs)} inputs, but {len(shapes)} shapes were given.")
    feeds = []
    for place, one in enumerate(inputs):
        wanted = shapes[place] if place < len(shapes) else None
        is_open = one.shape[:1] == (None,)
        sized = (batch or 1, *one.shape[1:]) if is_open else one.shape
        shape = sized if wanted is None else wanted
        feeds.append(Feed(one.name, one.dtype, tuple(size or 1 for size in shape)))
        if problem := _misfit(one, shape, batch, given=wanted is not None):
            problems.append(problem)
    return tuple(feeds), problems


def _misfit(one: Input, shape: tuple[int | None, ...], batch: int | None, given: bool) -> str | None:
    described = _written(one.shape)
    if None in shape:
        return f"input {one.name!r} has the shape {described}; say all of it with --input-shape, e.g. 1,3,224,224."
    if given:
        same_length = len(shape) == len(one.shape)
        if not same_length or any(known not in (None, size) for known, size in zip(one.shape, shape, strict=True)):
            return f"input {one.name!r} has the shape {described}, which --input-shape {_written(shape)} does not fit."
    if batch is not None and shape and shape[0] != batch:
        return (
            f"input {one.name!r} has the shape {_written(shape)}, so that a batch of {batch} cannot be run; leave "
            "--batch away, or export the network with an open first size."
        )
    return None


def _written(shape: tuple[int | None, ...]) -> str:
    return ",".join("?" if size is None else str(size) for size in shape) or "of a single number"
