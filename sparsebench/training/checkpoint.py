"""Where a trained network is saved, and how."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError


def checkpoint_path(folder: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the path a network is saved to, ``folder/name.pth``, and make its folder.

    Raises:
        SparsebenchError: where there is no folder, or the name leads out of it.
    """
    if folder is None:
        raise SparsebenchError("models_path is None, so the network cannot be saved; give the trainer a folder.")
    base = Path(folder).resolve()
    if not str(name) or "\0" in str(name) or base not in (path := (base / f"{name}.pth").resolve()).parents:
        raise SparsebenchError(f"The name {name!r} leads out of models_path; use a plain file name, without '..'.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def save_network(net: nn.Module, path: Path, structure: str = "") -> None:
    """Save the state dict with its tensors on the CPU, so that it loads on machines without a GPU.

    It is renamed into place, so that no half-written file is ever found there.

    Args:
        net: the network.
        path: the file.
        structure: JSON to save beside it as ``.structure.json``; empty for a network that its own code can build.
    """
    beside = path.with_suffix(".structure.json")
    if structure:
        beside.write_text(structure, encoding="utf-8")
    else:
        beside.unlink(missing_ok=True)
    # Contiguous, whatever layout suited training.
    state = {
        key: value.cpu().contiguous() if isinstance(value, Tensor) else value for key, value in net.state_dict().items()
    }
    save_atomically(state, path)


def save_atomically(content: Any, path: Path) -> None:
    """Save with ``torch.save`` so that the file is there whole or not at all.

    Raises:
        OSError: where the disk is full, for example.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except RuntimeError as error:
        # When it cannot write, torch complains about what it finds in the file thereafter.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        partial.unlink(missing_ok=True)
