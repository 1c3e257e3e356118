"""Where the converter of LiteRT lives: an environment of its own, because what it needs would harm the other extras.

Its requirements pin ``xdsl`` and lower ``typing_extensions`` and ``pydantic``, and it takes torch up to 2.14 only. So
they are installed beside this environment, whose packages, torch among them, it sees after its own.
"""

import os
import sys
from pathlib import Path

VARIABLE = "SPARSEBENCH_LITERT_CONVERTER"
"""The environment variable that names another folder."""

INSTALL = "python -m sparsebench.backends.litert.install"


def place() -> Path:
    """Return the folder of the environment, whether it is there or not."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(sys.prefix) / "share" / "sparsebench" / "litert"


def interpreter(folder: Path) -> Path:
    """Return the Python of an environment."""
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def not_there() -> str | None:
    """Return a sentence where there is no converter, with what installs it; None where there is."""
    folder = place()
    whole = any(folder.glob("lib/python*/site-packages/litert_torch/__init__.py")) and any(
        folder.glob("lib/python*/site-packages/ai_edge_quantizer/__init__.py")
    )
    if whole and interpreter(folder).exists():
        return None
    return (
        f"litert converts networks in an environment of its own, and there is none at {folder}; run '{INSTALL}', or "
        f"set {VARIABLE} to where it is."
    )
