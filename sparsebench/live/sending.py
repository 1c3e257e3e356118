"""Objects on their way to processes that this one starts itself: as bytes in a pipe, never as a file."""

import pickle
from collections.abc import Iterable

from sparsebench.errors import SparsebenchError, reason
from sparsebench.live.table import among, take


def packed(names: Iterable[str]) -> bytes:
    """Return the objects of those names that are of objects as bytes for a process of our own; empty without any.

    Classes and functions of a script's ``__main__``, a notebook or a lambda travel whole, others by their name.

    Raises:
        SparsebenchError: where one cannot be sent.
    """
    objects = among(names)
    if not objects:
        return b""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(objects))
    except Exception as error:  # Whatever a __reduce__ raises.
        called = ", ".join(objects)
        raise SparsebenchError(
            f"Other processes are needed here, and one of {called} cannot be sent to them: {type(error).__name__}: "
            f"{reason(error)} Keep what is open (files, locks, connections) out of it, or do without such processes: "
            'jobs=1 and measure={"workers": False}.'
        ) from error


def unpack(payload: bytes) -> None:
    """Hold what the process that started this one has packed a moment ago.

    Raises:
        SparsebenchError: where an object cannot be made here.
    """
    if not payload:
        return
    try:
        take(pickle.loads(payload))  # noqa: S301 - our own process has just written it
    except Exception as error:
        raise SparsebenchError(
            f"A process that was started for this run cannot make its objects: {type(error).__name__}: {reason(error)} "
            "Modules that they need must be found in the folder of the run, or be installed."
        ) from error
