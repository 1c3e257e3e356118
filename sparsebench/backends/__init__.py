"""Backends: the runtimes that run a compressed network. Importing them costs no import of torch."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from sparsebench.backends.base import Backend, Compressed, Export, Offer, Parameter
from sparsebench.errors import SparsebenchError
from sparsebench.registry import BACKENDS, Entry, import_reference

__all__ = ["Backend", "Compressed", "Export", "Offer", "Parameter", "build_backend", "build_offer"]


def build_backend(name: str, options: Mapping[str, Any] | None = None) -> Backend:
    """Return the backend called ``name``.

    Raises:
        UnknownNameError: where no such backend is registered.
        SparsebenchError: where it does not take these options.
    """
    return cast("Backend", _built(name, BACKENDS.load(name), options))


def build_offer(name: str, options: Mapping[str, Any] | None = None) -> Offer:
    """Return what the backend called ``name`` can do here; of a backend of this package, without importing torch.

    Raises:
        UnknownNameError: where no such backend is registered.
        SparsebenchError: where it does not take these options.
    """
    found = BACKENDS.facts(name)
    factory = import_reference(f"sparsebench.{found.offer}") if isinstance(found, Entry) else found
    return cast("Offer", _built(name, factory, options))


def _built(name: str, factory: Callable[..., Any], options: Mapping[str, Any] | None) -> Any:
    try:
        return factory(**dict(options or {}))
    except TypeError as error:
        takes = ", ".join(inspect.signature(factory).parameters) or "no options"
        raise SparsebenchError(
            f"Backend {name!r} cannot be built with these options: {error}. It takes {takes}."
        ) from error
