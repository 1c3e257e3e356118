"""Where downloads and what was made of a user's files are kept."""

import os
from pathlib import Path


def cache_folder(given: str | os.PathLike[str] | None = None, own: str = "") -> Path:
    """Return the folder that a user chose, or ``own`` in the one that the system keeps for such things.

    ``SPARSEBENCH_CACHE`` sets another for all datasets; by default it is ``~/.cache/sparsebench``.
    """
    if given is not None:
        return Path(given).expanduser()
    if chosen := os.environ.get("SPARSEBENCH_CACHE"):
        return Path(chosen).expanduser() / own
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsebench" / own
