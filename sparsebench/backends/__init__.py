"""Backends: the runtimes that run a compressed network. Importing them costs no import of torch."""

import inspect
from collections.abc import Mapping
from typing import Any

from sparsebench.backends.base import Backend, Compressed, Export, Parameter
from sparsebench.errors import SparsebenchError
from sparsebench.registry import BACKENDS

__all__ = ["Backend", "Compressed", "Export", "Parameter", "build_backend"]


def build_backend(name: str, options: Mapping[str, Any] | None = None) -> Backend:
    """Return the backend called ``name``; imports no torch.

    Raises:
        UnknownNameError: where no such backend is registered.
        SparsebenchError: where it does not take these options.
    """
    factory = BACKENDS.load(name)
    try:
        backend: Backend = factory(**dict(options or {}))
    except TypeError as error:
        takes = ", ".join(inspect.signature(factory).parameters) or "no options"
        raise SparsebenchError(
            f"Backend {name!r} cannot be built with these options: {error}. It takes {takes}."
        ) from error
    return backend
