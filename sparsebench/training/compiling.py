"""``torch.compile`` for training, with errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from sparsebench.errors import TrainingError


def compiled(net: nn.Module) -> nn.Module:
    """Return a module that runs ``net`` compiled; they share their parameters. It is compiled when it is first run."""
    return cast("nn.Module", torch.compile(net))


@contextmanager
def compile_errors_in_words(net: nn.Module) -> Iterator[None]:
    """Say what to do where a network cannot be compiled.

    Raises:
        TrainingError: in place of an error of the compiler.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        raise TrainingError(
            f"torch.compile cannot compile {type(net).__name__} ({reason}). Set compile to false to train it as it is; "
            "on a CPU, compiling needs a C++ compiler such as g++."
        ) from error
