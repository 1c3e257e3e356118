"""Which other backend takes a network that one refuses: found by trying, so that no error sends anybody in vain."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from sparsebench.backends import build_backend
from sparsebench.errors import QuantizationError
from sparsebench.quantization import Recording
from sparsebench.registry import SCHEMES
from sparsebench.tensors import cloned

_ASKED = ("eager", "onnxruntime", "openvino")
"""Backends that are tried; inductor compiles for a minute, and follows what one of these does."""

_asking = ContextVar("_asking", default=False)


@contextmanager
def naming_another(backend: str, scheme: str, net: nn.Module, example: tuple[Any, ...]) -> Iterator[None]:
    """Add to an error that a backend raises of a network which other backend or scheme takes it.

    Args:
        backend: the backend that may refuse it.
        scheme: the scheme that was asked for.
        net: the trained float network.
        example: positional arguments of one forward pass, on the CPU.
    """
    try:
        yield
    except QuantizationError as error:
        if _asking.get():
            raise
        token = _asking.set(True)
        try:
            told = _other(backend, scheme, net, example)
        finally:
            _asking.reset(token)
        raise type(error)(f"{error} {told}".rstrip()) from error


def _other(backend: str, scheme: str, net: nn.Module, example: tuple[Any, ...]) -> str:
    if getattr(SCHEMES.facts(scheme), "trains", False):
        return ""  # One backend trains.
    found = next((name for name in _ASKED if name != backend and _takes(name, scheme, net, example)), None)
    if found:
        return f"Backend {found!r} takes it in {scheme}."
    others = [other for other in ("dynamic", "fp32") if other != scheme and _takes("eager", other, net, example)]
    return f"Backend 'eager' takes it in {others[0]}, which follows no graph." if others else ""


def _takes(name: str, scheme: str, net: nn.Module, example: tuple[Any, ...]) -> bool:
    try:
        backend = build_backend(name)
        if backend.problem() or backend.offers(scheme):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batches = Recording(net, lambda network: network(*cloned(example)), 1)
            made = backend.compress(net, scheme, example, batches)
            layers = made.layers or ()
            return scheme != "dynamic" or any(layer.bits == 8 for layer in layers)
    except Exception:  # Whatever it is, it does not take it.
        return False
