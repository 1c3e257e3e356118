"""What an exported file really computes, loaded again, against the trial's own network and record."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError
from sparsebench.export import child
from sparsebench.export.formats import Content
from sparsebench.points.exportable import WEIGHTS
from sparsebench.processes.confinement import start_confined
from sparsebench.runner.stages.inputs import seed_everything
from sparsebench.runner.stages.workbench import Workbench
from sparsebench.store.records import TrialResult
from sparsebench.store.scales import Scale
from sparsebench.store.scratch import scratch
from sparsebench.tensors import cloned, flattened, samples_in
from sparsebench.training.contract import check_evaluated, metric_of
from sparsebench.wording.scales import value_text

FLOAT = (1e-3, 0.999)
INT8 = (0.05, 0.99)
"""Largest difference of an output, as a fraction of the largest output, and smallest share of test samples of the same
class, between two ways of computing one network: float kernels differ by rounding; int8 computed as such and emulated
in float differ by whole steps of a grid."""
HALF = {"bf16": (2.0**-5, 0.99), "fp16": (2.0**-8, 0.995)}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How the outputs of an exported file compare with those of the trial's own network over the whole test set.

    Attributes:
        samples: test samples that both computed.
        bit_equal: whether every output had the same bits.
        agreement: fraction of samples with the same top-1 class; None where outputs are no scores of classes.
        max_abs_difference: largest absolute difference of an output.
        max_abs_output: largest absolute output of the trial's own network.
        value: accuracy, or the metric, of the exported file, by the trainer's own evaluation.
        recorded: that in the trial's record.
        scale: what they mean.
    """

    samples: int
    bit_equal: bool
    agreement: float | None
    max_abs_difference: float
    max_abs_output: float
    value: float
    recorded: float
    scale: Scale

    @property
    def relative(self) -> float:
        """Largest difference as a fraction of the largest output."""
        return self.max_abs_difference / self.max_abs_output if self.max_abs_output else self.max_abs_difference


def _start(command: Sequence[str], errors: IO[bytes], folder: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own interpreter and script
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "TMPDIR": folder},
    )


@contextmanager
def _running(kind: str, file: Path, threads: int, settings: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    """Give out an exported file, loaded by its runtime in a process of its own, as a function of its inputs.

    Raises:
        SparsebenchError: when it is called and the process died; the text carries the last line that it wrote.
    """
    # -P: what lies beside the script must not stand in for other modules.
    command = [sys.executable, "-P", child.__file__, kind, str(file), str(threads), json.dumps(dict(settings))]
    with (
        tempfile.TemporaryFile() as errors,
        scratch() as folder,
        start_confined(partial(_start, command, errors, str(folder)), folder) as process,
    ):

        def call(*arguments: Any) -> Any:
            inputs = tuple(value.contiguous() for value in flattened(arguments))
            try:
                child.write(process.stdin, inputs)  # type: ignore[arg-type] # both are pipes
                outputs = child.read(process.stdout)  # type: ignore[arg-type]
            except (OSError, EOFError) as error:
                raise died() from error
            if outputs is None:
                raise died()
            return outputs

        def died() -> SparsebenchError:
            process.wait()
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            said = lines[-1] if lines else f"it ended with code {process.returncode}"
            return SparsebenchError(f"The exported file was written, but does not run in a fresh process: {said}")

        try:
            yield call
            # Worker processes of a loader hold the pipe open too, so that closing it here would not end it.
            with suppress(OSError):
                child.end(process.stdin)  # type: ignore[arg-type] # a pipe
        except BaseException:
            process.kill()
            raise


class Side(nn.Module):
    """Gives out what the exported file does, and compares it with the trial's own network on the way."""

    def __init__(self, own: nn.Module, exported: Callable[..., Any], has_classes: bool = True) -> None:
        super().__init__()
        # Held apart from the module, so that a trainer which moves or casts its network leaves it alone.
        self._pair = (own, exported)
        self._has_classes = has_classes
        self.samples = 0
        self.same_class: int | None = 0
        self.bit_equal = True
        self.difference = 0.0
        self.largest = 0.0

    @property
    def stands_for(self) -> nn.Module:
        """The trial's own network, by whose parameters it is fed."""
        return self._pair[0]

    def forward(self, *arguments: Any) -> Any:
        """Run one batch through both."""
        own, exported = self._pair
        with torch.no_grad():
            ours = own(*cloned(arguments))
            theirs = exported(*cloned(arguments, "cpu"))
        first, second = _tensors(ours), _tensors(theirs)
        if [tensor.shape for tensor in first] != [tensor.shape for tensor in second]:
            raise SparsebenchError(
                f"The exported file gives out shapes {_shapes(second)}, and the trial's network {_shapes(first)}."
            )
        self.samples += samples_in(arguments) or 0
        for a, b in zip(first, second, strict=True):
            self.bit_equal &= a.dtype == b.dtype and torch.equal(a, b)
            if a.numel():
                gap = float((a.double() - b.double()).abs().max())
                self.difference = gap if math.isnan(gap) else max(self.difference, gap)
                self.largest = max(self.largest, float(a.double().abs().max()))
        if self.same_class is not None and self._has_classes and first[0].dim() == 2:
            self.same_class += int((first[0].argmax(1) == second[0].argmax(1)).sum())
        else:
            self.same_class = None
        return theirs


def verify(workbench: Workbench, trial: TrialResult, kind: str, file: Path, made: Content) -> Verification:
    """Load an exported file again and run the whole test set through it and the trial's own network.

    It is loaded in a fresh process by its runtime alone; weights are loaded into a freshly built network.

    The trainer's own ``evaluate`` reads the test set and computes the metric. Nothing is chosen by it: the test set
    is read again to see that the file gives what ``evaluate`` recorded.

    Args:
        workbench: rebuilds the trial's network.
        trial: the trial.
        kind: name of the format.
        file: the file that was written.
        made: what was written.

    Raises:
        SparsebenchError: where the file does not run, or gives out something else than the trial's network.
    """
    packed, scored = trial.compress, trial.evaluated
    parent = workbench.store.believed("train", trial.trial.train)
    if packed is None or scored is None or parent is None:
        raise SparsebenchError(f"{trial.trial.label} has not been evaluated; run the sweep first.")
    torch.set_num_threads(workbench.threads)
    trainer = workbench.trainer_of(parent)
    seed_everything(parent.settings["seed"])
    with ExitStack() as stack:
        exported: Callable[..., Any]
        if kind == WEIGHTS:
            # Only with its class, which may be the user's own, are weights a network.
            exported = workbench.fresh(parent, file)
        else:
            exported = stack.enter_context(_running(kind, file, workbench.threads, made.settings))
        metric = metric_of(trainer)
        side = Side(workbench.restored(packed.key), exported, metric is None or metric.of_classes)
        value, _ = check_evaluated(trainer.evaluate(net=side, quant_mode=False), metric)
    found = Verification(
        samples=side.samples,
        bit_equal=side.bit_equal,
        agreement=None if side.same_class is None else side.same_class / side.samples,
        max_abs_difference=side.difference,
        max_abs_output=side.largest,
        value=value,
        recorded=scored.value,
        scale=scored.scale,
    )
    problem = _problem(found, trial.trial.scheme, made.exact)
    if problem:
        raise SparsebenchError(f"The exported file is not what was measured: {problem}. Nothing was kept.")
    return found


def _problem(found: Verification, scheme: str, exact: bool) -> str | None:
    difference, agreement = HALF.get(scheme, FLOAT if scheme == "fp32" else INT8)
    if exact and not found.bit_equal:
        return f"its outputs should have the same bits, and differ by up to {found.max_abs_difference:.3g}"
    if not found.relative <= difference:
        return f"its outputs differ by up to {found.max_abs_difference:.3g}, of {found.max_abs_output:.3g} at most"
    same = 1.0 if found.agreement is None else found.agreement
    if same < agreement:
        return f"it puts {100 * (1 - same):.2f} % of the test samples into other classes"
    # As many samples as changed class may be gained or lost, no more; another metric may move as outputs may.
    room = 1.0 - same + 1e-9 if found.scale.is_accuracy else difference * max(abs(found.recorded), 1e-9)
    if abs(found.value - found.recorded) > room:
        name = "accuracy" if found.scale.is_accuracy else found.scale.title
        return (
            f"its {name} is {value_text(found.scale, found.value)}, and {value_text(found.scale, found.recorded)} was "
            "recorded; where torch or the runtime has changed since, run the sweep again under another name"
        )
    return None


def _tensors(value: Any) -> list[Tensor]:
    return list(flattened(value))


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
