"""The one place where OpenVINO is imported: it reports its use from the moment it is, unless it is kept from it."""

from functools import lru_cache

from sparsebench.backends.quiet import quiet

with quiet():
    import openvino as ov

__all__ = ["core", "ov"]


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """Return the runtime, of which a process has one."""
    return ov.Core()
