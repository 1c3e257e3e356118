"""Backends: the runtimes that run a compressed network. Importing them costs no import of torch."""

from sparsebench.backends.base import Backend, Compressed

__all__ = ["Backend", "Compressed"]
