"""What a scheme is, and what all schemes share."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from sparsebench.errors import QuantizationError, reason

TRANSPOSED_CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers that no scheme brings into int8: in torch 2.15 the engines ``x86`` and ``onednn`` compute wrong values where
such a layer has other numbers of input and output channels, and ``fbgemm`` where its stride equals its kernel. The
errors are as large as the values themselves."""


class Scheme(Protocol):
    """A numeric format that torch itself can bring a network into.

    The steps are ``prepare``, then, where it calibrates, training batches through the prepared network on the CPU, then
    ``convert``. Everything that calibration learns stands in ``calibration_state(prepared)``, so that the same float
    network can be converted again elsewhere without the batches. Where a scheme trains, the prepared network is trained
    further before it is converted, and its whole state dict is what is kept.

    Whether it calibrates or trains stands in the registry entry of a scheme of this package. Any other has an attribute
    ``calibrates``, and may have one called ``trains``.

    Attributes:
        name: the name under which configs and records know the scheme.
    """

    name: str

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` on the CPU, in evaluation mode, ready to be calibrated or converted.

        Args:
            net: the trained float network; it is left as it is.
            example: positional arguments of one forward pass, on the CPU; used by schemes that trace the network.

        Raises:
            QuantizationError: where the network cannot be prepared; the text carries torch's reason and a remedy.
        """

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network in this scheme's format. ``prepared`` is used up by it.

        Raises:
            QuantizationError: where the network was not calibrated or torch cannot convert it.
        """


def float_copy(net: nn.Module) -> nn.Module:
    """Return a deep copy of ``net`` on the CPU, in evaluation mode.

    Raises:
        QuantizationError: where the network cannot be copied.
    """
    remedy = (
        "Where masks of torch.nn.utils.prune or a weight normalisation are left in it, make them permanent first "
        "(torch.nn.utils.prune.remove)."
    )
    with failing_as(f"{type(net).__name__} cannot be copied", remedy):
        return copy.deepcopy(net).cpu().eval()


def int8_engine() -> str:
    """Return the int8 engine of this build of torch, such as ``x86`` or ``qnnpack``.

    Raises:
        QuantizationError: where torch was built without one.
    """
    engine = str(torch.backends.quantized.engine)
    if engine in ("", "none"):
        raise QuantizationError(
            "This build of torch has no int8 engine (torch.backends.quantized.engine is 'none'). Install an official "
            "build of torch for x86 or ARM, or use scheme 'fp32'."
        )
    return engine


@contextmanager
def failing_as(problem: str, remedy: str = "", because: Callable[[Exception], str] | None = None) -> Iterator[None]:
    """Raise whatever fails inside as a ``QuantizationError``: the problem, ``because`` of what, and a remedy."""
    try:
        yield
    except QuantizationError:
        raise
    except Exception as error:
        raise QuantizationError(f"{problem}: {(because or reason)(error)} {remedy}".rstrip()) from error


_LIBRARIES = r"torch(ao|\.(ao|_dynamo|_inductor|_functorch|_export|export|fx|utils|sparse))(\.|$)"
_CHATTER = (
    "torch.utils",
    "torch._dynamo",
    "torch._inductor",
    "torch._functorch",
    "torch._export",
    "torch.export",
    "torchao",
)
"""Loggers through which the libraries tell of themselves, such as of a missing CUDA or of an API that will go."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what torch.ao, torchao and the compiler say about themselves: their deprecations, how they build things.

    Nobody who runs a benchmark can act on these. Warnings from anywhere else, such as the user's own network while it
    is traced, pass through, and so do errors that are logged.
    """
    loggers = [logging.getLogger(name) for name in _CHATTER]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=_LIBRARIES)
            # These are attributed to the caller, or to code that torch.fx generated.
            warnings.filterwarnings("ignore", category=category, message=r"torch\.ao\.quantization is deprecated")
            warnings.filterwarnings("ignore", category=category, message=r"torch\.quantize_per_tensor")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
