"""What a scheme is, what all schemes share, and how libraries are kept from telling people what helps nobody."""

import copy
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
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
            warnings.filterwarnings("ignore", category=category, message=r"torch\.inf detected in input tensor")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_RUNTIMES = (
    *("torch", "transformers", "onnxscript", "onnx_ir", "onnx", "onnxruntime", "openvino", "nncf"),
    "ai_edge_litert",
)
_CHATTER_OF_EXPORT = (
    # The first is attributed to contextlib, the others to code that torch.fx generated.
    "The tensor attributes",
    "_check_is_size will be removed",
    "guard_size_oblivious",
)


@contextmanager
def quiet_runtimes(told: list[warnings.WarningMessage] | None = None) -> Iterator[None]:
    """Silence libraries that export, convert and calibrate: their warnings, logs, prints, bars and telemetry.

    Warnings from anywhere else, such as the user's own network while it is followed, are given when the block ends.

    Args:
        told: is given every warning that was silenced, for callers that must know.
    """
    handlers = [handler for name in ("", *_RUNTIMES) for handler in logging.getLogger(name).handlers]
    levels = [handler.level for handler in handlers]
    # OpenVINO and NNCF ask for no consent before they report their use; in continuous integration they do not report.
    ci = os.environ.get("CI")
    os.environ["CI"] = "true"
    caught: list[warnings.WarningMessage] = []
    # Logging prints what has no handler, as libraries that log to the root logger cause it to do.
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(silent)
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
        del os.environ["CI"]
        if ci is not None:
            os.environ["CI"] = ci
        for warning in caught:
            if not _is_theirs(warning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            elif told is not None:
                told.append(warning)


def _is_theirs(warning: warnings.WarningMessage) -> bool:
    text = str(warning.message)
    traced = warning.filename.startswith("<eval_with_key>") or warning.category.__name__ == "TracerWarning"
    if traced or text.startswith(_CHATTER_OF_EXPORT):
        return True
    parts = Path(warning.filename).parts
    return "site-packages" in parts and bool(set(parts) & set(_RUNTIMES))
