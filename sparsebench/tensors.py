"""The tensors inside what torch keeps in a state dict."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an entry of a state dict: a tensor, a tuple of them, or packed weights of torch.ao."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, torch.ScriptObject):
        yield from tensors_in(value.__getstate__())
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
