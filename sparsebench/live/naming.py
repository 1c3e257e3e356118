"""What objects are called: by their reference where they can be imported, else by what they are."""

import functools
import re
from typing import Any

from sparsebench.live.digests import digest
from sparsebench.live.references import reference_of
from sparsebench.live.table import hold
from sparsebench.registry import Registry

_OTHER = re.compile(r"[^A-Za-z0-9_]+")


def as_named(component: Any, registry: Registry) -> str:
    """Return the name by which a config finds a class, a function or another callable; it is held where it needs one.

    Args:
        component: what is named.
        registry: where it may have a name of its own.

    Raises:
        NoDigestError: where it can neither be imported nor be told from others.
    """
    if reference := reference_of(component):
        registered = (name for name in registry.builtin if registry[name] == reference)
        return next(registered, None) or _of_a_library(reference) or reference
    what = registry.kind
    inner = component.func if isinstance(component, functools.partial) else component
    own = _OTHER.sub("_", getattr(inner, "__name__", type(inner).__name__)).strip("_") or what
    return hold(f"{own}@{digest(component, what)}", component)


def _of_a_library(reference: str) -> str | None:
    """Return the name of a network of torchvision, which knows how it is built for data; None of anything else."""
    module, _, name = reference.partition(":")
    return f"torchvision:{name}" if module.startswith("torchvision.models.") and name.islower() else None


def called(name: str) -> str:
    """Return a name in short, as part of the name of a run: that of a class without module and digest."""
    short = (name.rpartition("@")[0] or name).rpartition(":")[2].rpartition("/")[2]
    return _OTHER.sub("-", short).strip("-_") or "run"
