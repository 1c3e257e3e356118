"""Names of Hugging Face: a network, a processor or data by its name there, or by a folder of this machine.

Nothing here imports torch or transformers before it is asked for: a plan needs to know what a name stands for, no more.
"""

import contextlib
import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from sparsebench.errors import SparsebenchError

PREFIX = "transformers:"
"""With this begin the names of networks and of processors."""

PROCESSOR = "processor"
"""The option of data that names what makes inputs of a network of them."""

OF_NETWORK = "network"
"""As a processor: that of the network."""

NETWORK_FILES = ("config.json",)
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
PROCESSOR_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""Files of a folder that say what a network, its weights and its processor are. Pickles are never read."""

_CHUNK = 2**20


def folder_of(name: str) -> Path | None:
    """Return the folder that a name stands for, or None where it is one of the hub.

    A folder is written as ``./bert``, ``../bert``, ``~/bert`` or ``/models/bert``.
    """
    path = Path(name).expanduser()
    return path if name.startswith((".", "~")) or path.is_absolute() else None


def identity(name: str, patterns: tuple[str, ...] = NETWORK_FILES) -> str | None:
    """Return what tells a folder's content from others: the SHA-256 of the files that count; None for a hub's name.

    Args:
        name: with or without ``transformers:`` before it.
        patterns: which files count.
    """
    folder = folder_of(name.removeprefix(PREFIX))
    if folder is None:
        return None
    digest = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}):
        # A name may be no text, and a file is read in parts: weights may be larger than the memory.
        digest.update(os.fsencode(file.name) + f"\0{file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            while part := content.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()


def processor_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return what tells the processor that options of data name from others, where it is a folder of this machine."""
    named = options.get(PROCESSOR)
    found = identity(named, PROCESSOR_FILES) if isinstance(named, str) and named.startswith(PREFIX) else None
    return {} if found is None else {PROCESSOR: found}


def named_on_the_hub(model: str, data: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what of a run is asked for on the hub: what it is, and its name."""
    processor = str(options.get(PROCESSOR, ""))
    found = [
        (what, name)
        for what, name in (("network of the hub", model), ("processor of the hub", processor))
        if name.startswith(PREFIX) and folder_of(name.removeprefix(PREFIX)) is None
    ]
    return found + [("dataset of the hub", data)] * data.startswith("hf:")


def library(name: str, wanted: str, error: type[SparsebenchError], extra: str = "") -> Any:
    """Import and return a library.

    Raises:
        SparsebenchError: ``error``, where it is not installed; the text says what to install for what is ``wanted``.
    """
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        package = name.partition(".")[0]
        raise error(
            f"{wanted} needs {package}, which is not installed: pip install sparsebench[{extra or package}]"
        ) from missing


@contextmanager
def asked_of_the_hub(what: str, remedy: str, error: type[SparsebenchError]) -> Iterator[None]:
    """Turn whatever a library of Hugging Face raises into ``error``, and let it tell nothing of itself meanwhile.

    Args:
        what: begins the sentence, such as "The processor of transformers:bert".
        remedy: ends it.
        error: its kind.
    """
    loggers = [logging.getLogger(name) for name in ("transformers", "datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with redirect_stdout(sys.stderr), _without_bars():
            yield
    except SparsebenchError:
        raise
    except Exception as failed:  # They raise what any of the libraries below them raises.
        lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
        why = " ".join(lines[:2]).rstrip(".")
        raise error(f"{what} cannot be had ({type(failed).__name__}{': ' * bool(why)}{why}). {remedy}") from failed
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_bars() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in ("transformers.utils.logging", "datasets.utils.logging"):
            module = sys.modules.get(name)
            disable, enable = (getattr(module, f"{verb}_progress_bar", None) for verb in ("disable", "enable"))
            if disable and enable:
                disable()
                stack.callback(enable)
        yield
