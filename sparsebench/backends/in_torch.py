"""What backends share that run networks in PyTorch: networks on a GPU, threads, and files of tensors."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.errors import ModelError
from sparsebench.tensors import moved, read_tensors, tensors_in


class OnDevice(nn.Module):
    """Moves inputs from elsewhere to the device of its network, and outputs back to where the inputs came from."""

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network, self.device = network, torch.device(device)
        self.eval()

    @property
    def stands_for(self) -> nn.Module:
        """The network, by whose parameters it is fed."""
        return self.network

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the network returns."""
        came_from = next((tensor.device for tensor in tensors_in((inputs, named))), self.device)
        return moved(self.network(*moved(inputs, self.device), **moved(named, self.device)), came_from)


def on_device(network: nn.Module, device: str) -> nn.Module:
    """Return a network that lies on ``device`` as it can be given tensors from anywhere; on the CPU, itself."""
    return network if device == "cpu" else OnDevice(network, device)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Give torch so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def written(tensors: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file of tensors."""
    file = io.BytesIO()
    torch.save(dict(tensors), file)
    return file.getvalue()


def read(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    """Return the tensors in an artifact, none where there is no such file.

    Raises:
        ModelError: where it holds anything else.
    """
    if name not in files:
        return {}
    found = read_tensors(files[name].read_bytes(), f"The artifact {name}")
    if not isinstance(found, Mapping):
        raise ModelError(f"The artifact {name} holds {type(found).__name__}, not tensors by name. Start the run again.")
    return dict(found)
