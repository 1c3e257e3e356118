"""What the machine is: processor and its flags, cores, memory, GPU, versions, commit.

Importing this module does not import torch; a GPU is described only once torch has been imported by someone else.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparsebench.store.commit import commit_of
from sparsebench.store.fields import Count, FileName, Small, Text

FLAGS_OF_INTEREST = (
    *("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide how fast, and how exactly, int8 and half precision run."""

PACKAGES = (
    *("sparsebench", "torch", "torchvision", "torch-pruning", "timm", "torchao"),
    *("transformers", "tokenizers", "datasets", "webdataset"),
    *("onnxruntime", "onnx", "onnxscript", "openvino", "nncf"),
    *("ai-edge-litert", "tflite-micro"),
    *("numpy", "scikit-learn", "safetensors"),
)
"""Packages that networks, data and figures come from; records name the versions of those that are installed."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """What a record was made on. No host name, user name or path is kept."""

    cpu: Text
    cpu_flags: tuple[Text, ...]
    logical_cores: Small
    memory_bytes: Count
    gpu: Text | None
    os: Text
    python: Text
    versions: Mapping[FileName, Text]
    threads: Small
    commit: Text | None

    @property
    def machine(self) -> str:
        """The identity of the machine for timing: processor, cores, operating system, GPU."""
        return " / ".join(filter(None, (self.cpu, f"{self.logical_cores} cores", self.os, self.gpu)))


def describe_environment(threads: int | None = None) -> EnvironmentRecord:
    """Return what the current process runs on.

    Args:
        threads: threads of torch inside one operation; by default those of this process, where torch is loaded.
    """
    torch = sys.modules.get("torch")
    if threads is None:
        threads = int(torch.get_num_threads()) if torch is not None else available_cores()
    gpu = str(torch.cuda.get_device_name(0)) if torch is not None and torch.cuda.is_available() else None
    cpu, flags = _processor()
    return EnvironmentRecord(
        cpu=cpu,
        cpu_flags=flags,
        logical_cores=available_cores(),
        memory_bytes=_memory_bytes(),
        gpu=gpu,
        os=_system(),
        python=platform.python_version(),
        versions=versions_of(PACKAGES),
        threads=threads,
        commit=commit_of(Path.cwd()),
    )


def machine_identity() -> dict[str, str]:
    """Return what two latencies must share to be comparable: processor, cores, system and torch's version."""
    return {
        "cpu": _processor()[0],
        "logical_cores": str(available_cores()),
        "os": _system(),
        "torch": _version("torch") or "",
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of these packages that are installed, by package; none of them is imported."""
    return {package: found for package in packages if (found := _version(package))}


def changes(before: EnvironmentRecord, now: EnvironmentRecord) -> tuple[str, ...]:
    """Return in what a machine and its versions differ from those of before; each as ``torch 2.13.0, now 2.14.1``.

    Threads, and the GPU, are known only once torch is loaded, and are left to the records of stages.
    """
    packages = tuple(dict.fromkeys((*before.versions, *now.versions)))
    compared = [
        ("", _machine_of(before), _machine_of(now)),
        ("Python ", before.python, now.python),
        *((f"{name} ", before.versions.get(name), now.versions.get(name)) for name in packages),
    ]
    # What one of them does not name was not installed there, or was not looked for by that version of ours.
    return tuple(f"{what}{old}, now {new}" for what, old, new in compared if old and new and new != old)


def moved(before: EnvironmentRecord, here: EnvironmentRecord) -> tuple[str, ...]:
    """Return what a person should know of a run that was begun elsewhere, or with other versions; nothing otherwise."""
    found = "; ".join(changes(before, here))
    text = (
        f"This run was begun elsewhere ({found}). What is done is kept, and the rest is done here; latencies are "
        "compared only with those of the same machine and versions."
    )
    return (text,) if found else ()


def cpu_flags() -> tuple[str, ...]:
    """Return which of ``FLAGS_OF_INTEREST`` the processor has; none where the system does not tell."""
    return _processor()[1]


def available_cores() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def _processor() -> tuple[str, tuple[str, ...]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine() or "unknown", ()
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    cpu = name[1].strip() if name else platform.machine()
    return cpu, tuple(flag for flag in FLAGS_OF_INTEREST if flag in found)


@lru_cache
def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


@lru_cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine_of(environment: EnvironmentRecord) -> str:
    return f"{environment.cpu} / {environment.logical_cores} cores / {environment.os}"
