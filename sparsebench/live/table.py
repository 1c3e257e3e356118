"""Objects of this process by the names that configs and records have for them, such as ``live:Net@3f2a9b81c0de``.

A name says what the object is, by a digest of its weights, code and data: the same object has the same name tomorrow.
The objects themselves are held here while the process lives, and nowhere else: nothing of them is in a run directory.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.registry import LIVE

_held: dict[str, Any] = {}


def is_live(name: str) -> bool:
    """Whether a name is that of an object."""
    return name.startswith(f"{LIVE}:")


def is_held(name: str) -> bool:
    """Whether this process has the object of a name."""
    return name.partition(":")[2] in _held


def hold(name: str, component: Any) -> str:
    """Hold a component under a name, and return the name with its prefix."""
    _held[name] = component
    return f"{LIVE}:{name}"


def held(rest: str) -> Any:
    """Return the object whose name has ``rest`` behind the prefix; the provider of all registries.

    Raises:
        SparsebenchError: where this process does not have it.
    """
    if rest not in _held:
        what, _, digest = rest.partition("@")
        raise SparsebenchError(
            f"{LIVE}:{rest} is the object {what!r} of the Python session that made this run (digest {digest}), and "
            "not here: a run directory holds no code. Reports, picks and comparisons need none; for the network itself "
            "call sparsebench.sweep with the same objects, which returns at once, and go on from the run that it "
            "returns: run.network(...), run.export(...)."
        )
    return _held[rest]


def among(names: Iterable[str]) -> dict[str, Any]:
    """Return the objects of those names that are of objects, by what follows the prefix."""
    return {rest: held(rest) for name in names if is_live(name) for rest in [name.partition(":")[2]]}


def take(objects: Mapping[str, Any]) -> None:
    """Hold objects that another process has sent."""
    _held.update(objects)
