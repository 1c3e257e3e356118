"""A trial's network brought back from its run, ready for one batch size, with what is known of it."""

import copy
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sparsebench.backends.in_torch import torch_threads
from sparsebench.errors import SparsebenchError
from sparsebench.runner.stages import Workbench
from sparsebench.store.records import TrialRecord, TrialResult, failure_line, flat_row
from sparsebench.tensors import cloned, moved
from sparsebench.timing.blocks import warm_up
from sparsebench.timing.variants import OwnInputs

__all__ = ["TrialNetwork", "open_trial", "torch_threads", "why_unusable"]

WARM_UP_NS = 50e6
"""First calls allocate, choose kernels and may compile: at least this long comes before what is timed."""

_FACTS = (
    *("model", "data", "pruner", "threshold", "seed", "scheme", "backend"),
    *("top5", "sparsity_asked", "int8_fraction", "deflated_file_bytes"),
)


@dataclass(frozen=True, kw_only=True, repr=False)
class TrialNetwork:
    """The network of a trial; calling it runs one forward pass of its inputs.

    Attributes:
        network: in evaluation mode, on ``device``, made for ``inputs`` where its backend does that.
        inputs: positional arguments of one forward pass: training samples, ``batch_size`` of them, on ``device``.
        record: the trial and the records of its stages.
        batch_size: samples in ``inputs``.
        threads: threads of torch with which it is meant to run.
        device: ``cpu`` or a CUDA device.
    """

    network: nn.Module
    inputs: tuple[Any, ...]
    record: TrialResult
    batch_size: int
    threads: int
    device: str = "cpu"

    def __repr__(self) -> str:
        return f"<{self.trial.label} · batch {self.batch_size} · {self.device}>"

    def __call__(self) -> Any:
        """Run one forward pass without gradients and return its output. On a GPU nothing is waited for."""
        with torch.inference_mode():
            return self._call()

    @cached_property
    def _call(self) -> OwnInputs:
        return OwnInputs(self.network, self.inputs)

    @property
    def trial(self) -> TrialRecord:
        """What the network is: model, data, pruner, threshold, seed, scheme and backend."""
        return self.record.trial

    @property
    def key(self) -> str:
        """The key of the trial: 64 hex digits, the same in every report and JSON of its run."""
        return str(self.row["key"])

    @property
    def row(self) -> dict[str, Any]:
        """All that the records say of the trial, as a row of ``data.csv``."""
        return flat_row(self.record)

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy on the test set, in [0, 1]; of a run with another metric, that."""
        return float(self.row["top1"] if "top1" in self.row else self.row["value"])

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that is zero, in [0, 1]."""
        return float(self.row["sparsity"])

    @property
    def size(self) -> int:
        """Bytes of the saved network."""
        return int(self.row["file_bytes"])

    def facts(self) -> dict[str, Any]:
        """Return what stands beside a latency: key, accuracy, sparsity and size first, as plain values."""
        row = self.row
        return {
            "key": self.key,
            self.row.get("metric", "accuracy"): self.accuracy,
            "sparsity": self.sparsity,
            "size_bytes": self.size,
            **{name: row[name] for name in _FACTS},
            "batch_size": self.batch_size,
            "threads": self.threads,
            "device": self.device,
        }

    def warm_up(self) -> None:
        """Run it until its calls have settled."""
        warm_up(self, time.perf_counter_ns, WARM_UP_NS)


def why_unusable(record: TrialResult) -> str | None:
    """Return why a trial has no network to be had, a sentence; None where it has one. A failed timing is no reason."""
    if record.trial.not_offered:
        return f"Not offered: {record.trial.not_offered}"
    failed = record.failed_stage
    if failed is not None and failed.stage != "measure":
        return failure_line(failed)
    if record.evaluated is None or record.compressed is None:
        return "This trial is not finished; start the run again to resume it."
    return None


def open_trial(
    workbench: Workbench, record: TrialResult, *, batch_size: int, threads: int, device: str = "cpu"
) -> TrialNetwork:
    """Bring back the network of a trial for one batch size.

    Args:
        workbench: at the store of the trial's run.
        record: the trial, for which ``why_unusable`` has no reason.
        batch_size: samples in one call.
        threads: threads of torch with which it is meant to run.
        device: where it runs: ``cpu``, ``cuda`` or ``cuda:0``.

    Raises:
        SparsebenchError: where the network does not run on ``device``; the text says why.
    """
    key = record.trial.compress
    inputs = workbench.inputs(key, batch_size)
    if device == "cpu":
        network = workbench.specialise(str(key), workbench.restored(key), inputs, threads)
    else:
        network, inputs = _moved(workbench.restored(key), inputs, device)
    return TrialNetwork(
        network=network, inputs=inputs, record=record, batch_size=batch_size, threads=threads, device=device
    )


def _moved(network: nn.Module, inputs: tuple[Any, ...], device: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a copy of a network, and its inputs, on a GPU; it is run once there, for int8 kernels may be missing."""
    if not torch.cuda.is_available():
        raise SparsebenchError(f"{device} was asked for, but this machine has no CUDA GPU that torch can use.")
    try:
        # The workbench keeps its networks for the next one who asks; they stay on the CPU.
        copied, there = copy.deepcopy(network).to(device), moved(inputs, device)
        with torch.inference_mode():
            copied(*cloned(there))
        torch.cuda.synchronize(device)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        text = f"This network does not run on {device}: {type(error).__name__}: {reason}"
        raise SparsebenchError(text) from error
    return copied, there
