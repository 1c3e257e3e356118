"""What a machine can do, and so what backends offer there, found without importing torch or a runtime."""

import ctypes
import platform
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

from sparsebench.errors import SparsebenchError
from sparsebench.registry import SCHEMES
from sparsebench.store.environment import cpu_flags

_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API


class TorchOffer:
    """What a backend that runs networks in PyTorch can do on this machine.

    Args:
        device: where networks run: ``cpu``, or a GPU such as ``cuda:0``.
    """

    name: str

    def __init__(self, device: str = "cpu") -> None:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise SparsebenchError(f"device = {device!r} is not possible; write 'cpu', 'cuda' or 'cuda:0'.")
        self.device = device

    def problem(self) -> str | None:
        """Return why nothing runs here: torch is not installed, or there is no such device; None where it does."""
        if not find_spec("torch"):
            return "torch is not installed; run 'pip install torch'."
        if self.device != "cpu" and cuda_capability(self.device) is None:
            return f"device = {self.device!r} was asked for, but there is no such CUDA device here; choose 'cpu'."
        return None

    def by_torchao(self, scheme: str) -> str | None:
        """Return why a scheme that torchao brings to CPUs is not offered, None where it is."""
        if self.device != "cpu":
            return f"{self.name} does not offer {scheme} on {self.device}; choose bf16 or fp16 there."
        missing = (
            f"{self.name} offers {scheme} by torchao, which is not installed; run 'pip install sparsebench[torchao]'."
        )
        return None if find_spec("torchao") else missing


class RuntimeOffer:
    """What a backend that runs networks outside of torch can do on this machine.

    Attributes:
        name: its name.
        packages: the modules that it needs.
        schemes: those that it offers.
        reasons: why it does not offer others of this package, as the sentence goes on after the colon.
    """

    name: str
    packages: tuple[str, ...]
    schemes: tuple[str, ...]
    reasons: ClassVar[Mapping[str, str]]

    def problem(self) -> str | None:
        """Return which packages are missing and how to install them; None where all are there."""
        return not_installed(self.name, *self.packages)

    def offers(self, scheme: str) -> str | None:
        """Return why the backend does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme in self.schemes:
            return None
        if scheme in self.reasons:
            return f"{self.name} does not offer {scheme}: {self.reasons[scheme]}"
        if scheme not in SCHEMES:
            return SCHEMES.problem(scheme)
        return f"{self.name} does not offer {scheme}: a scheme of an installed package runs on backend 'eager'."


def not_installed(backend: str, *modules: str) -> str | None:
    """Return which modules are missing, with what to install; None where all are there. Imports none of them."""
    missing = [module for module in modules if not find_spec(module)]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} not installed; run \"pip install 'sparsebench[{backend}]'\"."


def is_x86() -> bool:
    """Whether the processor is one of the x86 family."""
    return platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def int8_saturates() -> bool:
    """Whether int8 products of this processor are added up in 16 bits, which saturate.

    Processors of the x86 family without VNNI multiply unsigned activations with signed weights by ``vpmaddubsw``, and
    two products of 8 bits do not fit its 16-bit sum. Weights of 7 bits do. Where the system does not tell what an x86
    processor can do, the answer is yes, for that costs half a bit and the other error costs the result.
    """
    return is_x86() and not _DOT_PRODUCTS & set(cpu_flags())


def has_amx_int8() -> bool:
    """Whether this processor multiplies int8 in tiles (AMX); not where the system does not tell."""
    return "amx_int8" in cpu_flags()


def cuda_capability(device: str) -> tuple[int, int] | None:
    """Return the compute capability of a GPU, such as (9, 0) of ``cuda:0``; None where there is none."""
    return _capabilities().get(int(device.partition(":")[2] or 0))


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
