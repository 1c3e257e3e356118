"""The files that a trial can become, and why others cannot."""

import inspect
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparsebench.backends.probe import not_installed
from sparsebench.errors import QuantizationError, SparsebenchError
from sparsebench.export.trials import KEY_LENGTH, named
from sparsebench.points.baselines import FP32
from sparsebench.store.records import StageRecord
from sparsebench.store.run import TrialResult

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsebench.runner.stages import Workbench

WEIGHTS = "safetensors"
"""The format that holds no network, only the weights of one."""

OPERATIONS = "operations"
"""The setting of a program that names the module to import before it is loaded; as ``child`` reads it."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: as ``--to`` takes it.
        suffix: how the file's name must end.
        backends: those whose networks are such files, whatever their scheme.
        needs: the extra and the modules that write it and load it again.
        companions: endings of files that lie beside it under the same name.
        settings: what the runtime is told for a float network.
    """

    name: str
    suffix: str
    backends: tuple[str, ...]
    needs: tuple[str, ...]
    companions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


FORMATS = {
    "onnx": Format("onnx", ".onnx", ("onnxruntime",), ("onnxruntime", "onnx", "onnxscript", "onnxruntime")),
    # Left to itself, OpenVINO takes bf16 or f16 where the processor has them.
    "openvino": Format(
        "openvino", ".xml", ("openvino",), ("openvino", "openvino"), (".bin",), {"INFERENCE_PRECISION_HINT": "f32"}
    ),
    "pt2": Format("pt2", ".pt2", ("inductor",), ("", "torch")),
    # Weights by name, for the class that they were trained in: no backend's networks are that.
    WEIGHTS: Format(WEIGHTS, ".safetensors", (), ("", "safetensors")),
}

_TORCH_AO = ("dynamic", "static", "both", "qat")
"""Schemes that eager quantizes by torch.ao, whose int8 layers hold weights packed for the CPU they run on."""


@dataclass(frozen=True)
class Content:
    """What is written.

    Attributes:
        files: contents by the ending of the file's name, the main one first.
        exact: whether they are the trial's own files for the runtime that ran them, which then gives the same bits.
        settings: what the runtime must be told to compute as it was measured.
    """

    files: dict[str, bytes]
    exact: bool
    settings: Mapping[str, str] = field(default_factory=dict)


def refusal(found: TrialResult, to: Format) -> str | None:
    """Return why a trial cannot become such a file, a sentence; None where it can. Imports no torch."""
    trial = found.trial
    if to.name == WEIGHTS and trial.scheme == FP32 and found.trained and found.trained.structured:
        return (
            f"{trial.label} has fewer channels than a fresh {trial.model}, so that its weights fit none "
            f"and cannot become {to.suffix}; as .pt2 it keeps its structure."
        )
    if trial.scheme == FP32 or _name(trial.backend) in to.backends:
        return None
    if to.name == WEIGHTS:
        return (
            f"A {trial.scheme} network is no longer the {trial.model} that was trained, so that its weights cannot "
            f"become {to.suffix}; those of fp32 can."
        )
    if trial.backend == "eager" and trial.scheme in _TORCH_AO:
        return (
            f"A {trial.scheme} int8 network of eager cannot become {to.suffix}: its layers are torch.ao's, with "
            "weights packed for this CPU, which neither torch.export nor ONNX knows."
        )
    if to.name == "pt2" and trial.backend == "eager":
        return None
    return f"A {trial.scheme} network of {trial.backend} lives in that runtime alone and cannot become {to.suffix}."


def require_exportable(trial: TrialResult, to: Format, trials: tuple[TrialResult, ...]) -> None:
    """Refuse what cannot be exported, before any work.

    Raises:
        SparsebenchError: with the reason, and the trials that can be exported instead.
    """
    if trial.status not in ("done", "pending") or trial.compressed is None or trial.evaluated is None:
        why = {"not offered": trial.trial.not_offered, "failed": "it failed; the report says why"}.get(trial.status)
        raise SparsebenchError(f"{trial.trial.label} cannot be exported: {why or 'it has not been evaluated yet'}.")
    reason = refusal(trial, to)
    if reason:
        others = [t.trial for t in trials if t.evaluated and t.compressed and refusal(t, to) is None]
        others.sort(key=lambda t: t.train != trial.trial.train)
        instead = "".join(f"\n  {named(other)}" for other in others[:5])
        run_with = f" Run the sweep with backend {to.backends[0]!r} for that." if to.backends else ""
        advice = f" These can be:{instead}" if others else run_with
        raise SparsebenchError(f"{reason}{advice}")
    if missing := not_installed(*to.needs):
        raise SparsebenchError(missing)


def export_command(run: Sequence[str], trial: TrialResult, trials: tuple[TrialResult, ...]) -> str:
    """Return the command line that exports a trial, to the format of its own backend where that has one.

    Args:
        run: how the run is named on the command line.
        trial: a trial that has been evaluated.
        trials: all trials of its run.

    Raises:
        SparsebenchError: where no format can hold it; the text says why and names trials that can be exported.
    """
    backend = _name(trial.trial.backend)
    # Of no backend of ours, a program of torch.export needs no other library.
    ordered = sorted(FORMATS.values(), key=lambda to: (backend not in to.backends, to.name != "pt2"))
    to = next((to for to in ordered if refusal(trial, to) is None), None)
    if to is None:
        require_exportable(trial, ordered[0], trials)
    if to is None or not trial.trial.evaluate:
        raise SparsebenchError(f"{trial.trial.label} has not been evaluated, so that it cannot be exported.")
    key = trial.trial.evaluate[:KEY_LENGTH]
    return shlex.join(["sparsebench", "export", *run, key, "--to", to.name, "-o", f"network{to.suffix}"])


def content(workbench: "Workbench", trial: TrialResult, to: Format) -> Content:
    """Return the files of a trial in one format.

    A trial whose backend runs such files gives those that were timed and evaluated; fp32 of any other backend is
    exported anew from the trained network, and what eager casts from the network that ran.

    Raises:
        SparsebenchError: where the library cannot export the network; the text carries its reason.
    """
    from torch import Tensor

    record = trial.compress
    assert record is not None  # noqa: S101 - require_exportable has seen to it
    own = _own_files(workbench, record, to) if to.backends else {}
    if own:
        # torch compiles its graph where it runs; as it stands in the file, it computes a little otherwise.
        settings = getattr(workbench.restored(record.key), "settings", {})
        kept = {key: settings[key] for key in to.settings if key in settings}
        return Content(own, exact=to.name != "pt2", settings=kept)
    parent = workbench.store.read("train", record.parent or "")
    if parent is None:
        raise SparsebenchError(f"The trained network of {trial.trial.label} is not there; start the run again.")
    example = workbench.example(parent.key)
    if not isinstance(example, Tensor):
        raise SparsebenchError(
            f"{trial.trial.model} is fed a {type(example).__name__}, not a tensor, and an exported file takes tensors "
            "only. Feed it padded sequences (collate without packing) to export it."
        )
    if to.name == WEIGHTS:
        return Content({to.suffix: workbench.weights_of(parent)}, exact=_name(trial.trial.backend) == "eager")
    net = workbench.trained(parent) if trial.trial.scheme == FP32 else workbench.restored(record.key)
    files = _WRITERS[to.name](net, example)
    # A library registers the operations that an int8 program calls beside torch's own.
    int8 = to.name == "pt2" and _name(trial.trial.backend) == "inductor" and trial.trial.scheme == "static"
    operations = {OPERATIONS: "torchao.quantization.pt2e"} if int8 else {}
    return Content(files, exact=False, settings={**to.settings, **operations})


def _name(backend: str) -> str:
    return backend.partition("(")[0]


def _own_files(workbench: "Workbench", record: StageRecord, to: Format) -> dict[str, bytes]:
    main = [name for name in record.artifacts if name.endswith(to.suffix)]
    if len(main) != 1:
        return {}
    stem = main[0].removesuffix(to.suffix)
    endings = [ending for ending in (to.suffix, *to.companions) if f"{stem}{ending}" in record.artifacts]
    return {ending: workbench.store.artifact(record, f"{stem}{ending}").read_bytes() for ending in endings}


def _pt2(net: "nn.Module", example: "Tensor") -> dict[str, bytes]:
    import torch

    from sparsebench.backends.inductor.network import Compiled

    # What was compiled is code for this machine and batch size; the graph that it was made from is not.
    graphs = [module.graph for module in net.modules() if isinstance(module, Compiled)]
    net = graphs[0] if graphs else net
    if len(example) == 1:
        # A dimension of 1 would be taken for one that is always 1.
        example = torch.cat([example, example])
    batch = {0: torch.export.Dim("batch", min=1)}
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(net.forward).parameters.values())
    try:
        with torch.no_grad():
            program = torch.export.export(net, (example,), dynamic_shapes=((batch,),) if takes_any else (batch,))
    except Exception as error:
        raise QuantizationError(
            f"torch.export cannot follow {type(net).__name__}: {_first_line(error)} Where its forward branches on "
            "data, write the branch with torch.cond or without it."
        ) from error
    written = io.BytesIO()
    torch.export.save(program, written)
    return {".pt2": written.getvalue()}


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _openvino(net: "nn.Module", example: "Tensor") -> dict[str, bytes]:
    from sparsebench.backends.openvino import export

    xml, weights = export.write(export.to_openvino(net, (example,)))
    return {".xml": xml, ".bin": weights}


def _onnx(net: "nn.Module", example: "Tensor") -> dict[str, bytes]:
    from sparsebench.backends.onnxruntime.export import export_onnx

    return {".onnx": export_onnx(net, (example,))}


_WRITERS = {"onnx": _onnx, "pt2": _pt2, "openvino": _openvino}
