"""Where networks run: what a GPU can do, asked of its driver without importing torch, and networks that lie on one."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sparsebench.errors import SparsebenchError

if TYPE_CHECKING:
    import torch
    from torch import nn

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API


def check_device(device: str) -> str:
    """Return ``device`` where it names the CPU or a GPU, such as ``cuda:0``.

    Raises:
        SparsebenchError: otherwise.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise SparsebenchError(f"device = {device!r} is not possible; write 'cpu', 'cuda' or 'cuda:0'.")
    return device


def device_problem(device: str) -> str | None:
    """Return why nothing can run on ``device`` here, a sentence; None where it can, and for the CPU."""
    if device == "cpu" or cuda_capability(_index(device)) is not None:
        return None
    return f"device = {device!r} was asked for, but there is no such CUDA device here; choose 'cpu'."


def cuda_capability(index: int = 0) -> tuple[int, int] | None:
    """Return the compute capability of a GPU, such as (9, 0); None where there is none."""
    return _capabilities().get(index)


@lru_cache(maxsize=1)
def _capabilities() -> dict[int, tuple[int, int]]:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return {}
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return {}
    return {
        number: (_attribute(driver, number, _MAJOR), _attribute(driver, number, _MINOR))
        for number in range(count.value)
    }


def _attribute(driver: Any, number: int, attribute: int) -> int:
    device, value = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return value.value


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def on_device(network: nn.Module, device: str) -> nn.Module:
    """Return ``network`` as it can be given tensors of the CPU and of ``device`` alike; on the CPU, itself.

    Inputs from elsewhere are moved to the device, and outputs back to where the inputs came from.

    Args:
        network: a network that lies on ``device``.
        device: as torch names it.
    """
    import torch
    from torch import nn

    if device == "cpu":
        return network

    class OnDevice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any, **named: Any) -> Any:
            came_from = next((value.device for value in inputs if hasattr(value, "device")), torch.device(device))
            outputs = self.network(*moved(inputs, torch.device(device)), **moved(named, torch.device(device)))
            return moved(outputs, came_from)

    return OnDevice().eval()


def moved(value: Any, device: torch.device | str) -> Any:
    """Return a nested structure with its tensors, packed sequences among them, on ``device``."""
    move: Callable[..., Any] | None = getattr(value, "to", None)
    if move is not None:
        return move(device)
    if isinstance(value, Mapping):
        return {key: moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [moved(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
