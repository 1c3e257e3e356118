"""Where a trained network is saved, and checkpoints within a training.

One that was killed goes on where it was, to the same result bit for bit. A checkpoint holds tensors, numbers and text
only and is read without unpickling code. It names what it is a checkpoint of: a training of other settings, weights or
random numbers does not take it.
"""

import hashlib
import json
import os
import random
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sparsebench.errors import ModelError, SparsebenchError, TrainingError, reason
from sparsebench.pruning.structure import Structure, apply_structure, changed_structure
from sparsebench.store.disk import replacing
from sparsebench.tensors import memory_of
from sparsebench.training.checkpoint_files import read_checkpoint
from sparsebench.training.steps import BestEpoch, Epoch

_FORMAT = 1
"""Of the file; another one is not read."""

_SHARE_OF_TIME = 0.02
"""Writing checkpoints takes no more of the time between them than this."""


def checkpoint_path(folder: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the path a network is saved to, ``folder/name.pth``, and make its folder; refuse a name outside of it."""
    if folder is None:
        raise SparsebenchError("models_path is None, so the network cannot be saved; give the trainer a folder.")
    base = Path(folder).resolve()
    if not str(name) or "\0" in str(name) or base not in (path := (base / f"{name}.pth").resolve()).parents:
        raise SparsebenchError(f"The name {name!r} leads out of models_path; use a plain file name, without '..'.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def save_network(net: nn.Module, path: Path) -> None:
    """Save the state dict with its tensors on the CPU, so that it loads on machines without a GPU.

    What its own code cannot build is saved with its structure beside it, as ``.structure.json``.
    """
    beside, structure = path.with_suffix(".structure.json"), changed_structure(net)
    if structure:
        structure.save(beside)
    else:
        beside.unlink(missing_ok=True)
    # Contiguous, whatever layout suited training.
    save_atomically(
        {k: v.cpu().contiguous() if isinstance(v, Tensor) else v for k, v in net.state_dict().items()}, path
    )


def save_weights(net: nn.Module, path: Path) -> None:
    """Save the tensors of a network as safetensors, on the CPU; what lies in the same memory is written once."""
    state: dict[str, Tensor] = {}
    seen = set()
    for name, value in net.state_dict().items():
        if isinstance(value, Tensor) and (place := memory_of(value)) not in seen:
            seen.add(place)
            # A copy of its own: parts of one storage, as cuDNN has those of an LSTM, are no shared weights.
            state[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    safetensors.torch.save_file(state, path)


def load_saved(net: nn.Module, content: bytes, path: Path) -> None:
    """Load what ``save_weights`` saved into a network of the same layers and sharing, in place.

    Args:
        net: the network.
        content: of the file.
        path: the file, for errors.

    Raises:
        ModelError: where a tensor is missing, or is of another network.
    """
    try:
        state = safetensors.torch.load(content)
    except Exception as error:
        raise ModelError(
            f"The saved network {str(path)!r} cannot be read: {reason(error)} Start the run again under another name."
        ) from error
    _part(net, state)
    own = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    filled = {memory_of(own[name]) for name in state if name in own}
    lost = [name for name, value in own.items() if memory_of(value) not in filled]
    other = [name for name in state if name not in own or own[name].shape != state[name].shape]
    if lost or other:
        raise ModelError(
            f"The saved network {str(path)!r} is not of what its factory builds now: {', '.join([*lost, *other][:5])} "
            "differ. Build it as it was built for the training, or start the run again under another name."
        )
    net.load_state_dict(state, strict=False)


def _part(net: nn.Module, names: Iterable[str]) -> None:
    # Moving a network to a GPU parts two parameters of one memory; what was saved as two is two from then on.
    parameters = dict(net.named_parameters())
    seen = set()
    for name in names:
        parameter = parameters.get(name)
        if parameter is not None and (place := memory_of(parameter)) in seen:
            parameter.data = parameter.data.clone()
        elif parameter is not None:
            seen.add(place)


def save_atomically(content: Any, path: Path) -> None:
    """Save with ``torch.save`` so that the file is there whole or not at all; ``OSError`` where the disk is full."""
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:
        # When it cannot write, torch complains about what it finds in the file thereafter.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


@dataclass(frozen=True)
class Progress:
    """All that changes during a training."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    scaler: torch.amp.GradScaler | None
    best: BestEpoch
    device: torch.device

    def state(self, history: tuple[Epoch, ...]) -> dict[str, Any]:
        """Return everything that a fresh process needs, as tensors, numbers and text."""
        return {
            **{name: part.state_dict() if part else {} for name, part in self._parts().items()},
            "history": [asdict(epoch) for epoch in history],
            "structure": changed_structure(self.model).to_json(),
            "model": self.model.state_dict(),
            "best": vars(self.best),
            "random": _random_states(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> tuple[Epoch, ...]:
        """Bring everything to where it was, in place, and return the epochs that are done."""
        structure = Structure.from_json(state["structure"])
        if structure:
            _take_structure(self.model, self.optimizer, structure)
        self.model.load_state_dict(state["model"])
        for name, part in self._parts().items():
            if part:
                part.load_state_dict(state[name])
        _match_layouts(self.optimizer)
        vars(self.best).update(state["best"])
        _restore_random_states(state["random"], self.device)
        return tuple(Epoch(**epoch) for epoch in state["history"])

    def _parts(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}


class Checkpoints:
    """The checkpoint file of one training.

    Args:
        path: the file.
        of: digest of what the training is, see ``digest``.
        seconds: least time between two writings; 0 for one after each epoch, whatever it costs.
    """

    def __init__(self, path: Path, of: str, seconds: float) -> None:
        self.path = path
        self._of = of
        self._seconds = seconds
        self._written = time.perf_counter()
        self._cost = 0.0

    def resume(self, progress: Progress) -> tuple[Epoch, ...]:
        """Bring a training to where its checkpoint is and return the epochs that are done; none without a checkpoint.

        Warns:
            UserWarning: where there is a checkpoint that cannot be read; training then begins anew.

        Raises:
            TrainingError: where one can be read, and holds something else than this training saves.
        """
        if not self.path.is_file():
            return ()
        try:
            content = read_checkpoint(self.path)
            if (content["format"], content["of"]) != (_FORMAT, self._of):
                return ()
            state = content["state"]
        except Exception as error:
            warnings.warn(
                f"The checkpoint {self.path} cannot be read ({type(error).__name__}), so training begins anew.",
                stacklevel=3,
            )
            return ()
        try:
            return progress.restore(state)
        except SparsebenchError:
            raise
        except Exception as error:
            # Parts of it are in the network already, so that training cannot begin anew from here.
            raise TrainingError(
                f"The checkpoint {str(self.path)!r} is not of what this training saves ({type(error).__name__}: "
                f"{reason(error)}) Delete it, and start the run again: this training begins anew."
            ) from error

    def write_if_due(self, progress: Progress, history: tuple[Epoch, ...]) -> None:
        """Write a checkpoint, unless the last one is so young that it would cost more than it could save.

        Warns:
            UserWarning: where it cannot be written, to a full disk for example; training goes on.
        """
        started = time.perf_counter()
        wait = max(self._seconds, self._cost / _SHARE_OF_TIME) if self._seconds else 0.0
        if started - self._written < wait:
            return
        try:
            save_atomically({"format": _FORMAT, "of": self._of, "state": progress.state(history)}, self.path)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter.
            warnings.warn(f"The checkpoint {self.path} could not be written: {error}.", stacklevel=3)
        self._written = time.perf_counter()
        self._cost = self._written - started


def digest(settings: Mapping[str, Any], *nets: nn.Module | None) -> str:
    """Return the SHA-256 of what a training begins with: settings, weights, and the state of torch's random numbers.

    Of the settings, what is no JSON is taken as it prints.
    """
    found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    found.update(torch.get_rng_state().numpy().tobytes())
    for net in nets:
        for name, value in net.state_dict().items() if net is not None else ():
            found.update(name.encode())
            if isinstance(value, Tensor):
                # As bytes in row-major order: the layout in memory, and the device, make no other training.
                # A copy, for numpy() ties a tensor's memory down, and observers of fake quantization resize theirs.
                found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).clone().numpy().data)
    return found.hexdigest()


def _random_states(device: torch.device) -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        # NumPy's own types are no plain data; int64 holds its unsigned numbers.
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), [float(number) for number in rest]),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _restore_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    random.setstate(states["python"])
    kind, keys, (position, has_gauss, cached) = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)


def _take_structure(net: nn.Module, optimizer: Optimizer, structure: Structure) -> None:
    before = dict(net.named_parameters())
    apply_structure(net, structure)
    now = dict(net.named_parameters())
    replaced = {old: now[name] for name, old in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(parameter, parameter) for parameter in group["params"]]


def _match_layouts(optimizer: Optimizer) -> None:
    # What it holds for each element lies like the parameter itself; fused kernels rely on it.
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
