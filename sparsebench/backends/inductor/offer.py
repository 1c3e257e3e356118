"""What TorchInductor offers."""

import os
import platform
import shlex
import shutil
import sys
from importlib.util import find_spec

from sparsebench.backends.probe import TorchOffer
from sparsebench.registry import SCHEMES

_FLOAT = ("fp32", "bf16", "fp16")
_TORCHAO = ("static", "weight_only")


class InductorOffer(TorchOffer):
    """What TorchInductor offers.

    Args:
        device: where networks run: ``cpu``, or a GPU such as ``cuda:0``.
        reduce_range: whether static int8 uses 7 of 8 bits for activations. Without it a CPU needs VNNI, and results
            differ from those of other CPUs.
    """

    name = "inductor"
    runtime = ("torchao",)  # the passes that make int8 kernels of a graph are its own

    def __init__(self, device: str = "cpu", reduce_range: bool = True) -> None:
        super().__init__(device)
        self.reduce_range = reduce_range

    def problem(self) -> str | None:
        """Return why nothing compiles here: no torch, no C++ compiler, no such device; None where it does."""
        return super().problem() or (_compiler_problem() if self.device == "cpu" else _triton_problem())

    def offers(self, scheme: str) -> str | None:
        """Return why inductor does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme in _FLOAT:
            return None
        if scheme not in _TORCHAO:
            return f"inductor does not offer {scheme}; it offers {', '.join((*_FLOAT, *_TORCHAO))}."
        problem = self.by_torchao(scheme)
        if problem is None and scheme == "static" and platform.machine().lower() not in ("x86_64", "amd64"):
            return f"inductor offers static by int8 kernels for x86 alone, and this is {platform.machine()}."
        return problem


def _compiler_problem() -> str | None:
    """Return why inductor would find no C++ compiler, by the rules by which it looks for one."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    asked = shlex.split(os.environ.get("CXX") or usual)[0]
    missing = f"inductor compiles with a C++ compiler, and {asked} was not found; install one, or name yours in CXX."
    return None if shutil.which(asked) else missing


def _triton_problem() -> str | None:
    missing = "inductor compiles for GPUs with triton, which is not installed; run 'pip install triton'."
    return None if find_spec("triton") else missing
