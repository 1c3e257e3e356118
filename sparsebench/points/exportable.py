"""Which files a trial can become, told from its record alone: what is named in an answer must be among them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.points.baselines import FP32
from sparsebench.store.records import TrialRecord, TrialResult
from sparsebench.trust import trust_options

WEIGHTS = "safetensors"
"""The format that holds no network, only the weights of one."""

KEY_LENGTH = 12
"""Digits of a key that a list shows; enough to tell trials apart, and short enough to type."""


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
    "tflite": Format("tflite", ".tflite", ("litert",), ("litert", "ai_edge_litert")),
    "pt2": Format("pt2", ".pt2", ("inductor",), ("", "torch")),
    # Weights by name, for the class that they were trained in: no backend's networks are that.
    WEIGHTS: Format(WEIGHTS, ".safetensors", (), ("", "safetensors")),
}

_TORCH_AO = ("dynamic", "static", "both", "qat")
"""Schemes that eager quantizes by torch.ao, whose int8 layers hold weights packed for the CPU they run on."""


def refusal(found: TrialResult, to: Format) -> str | None:
    """Return why a trial cannot become such a file, a sentence; None where it can. Imports no torch."""
    trial = found.trial
    if to.name == WEIGHTS and trial.scheme == FP32 and found.trained and found.trained.structured:
        return (
            f"{trial.label} has fewer channels than a fresh {trial.model}, so that its weights fit none "
            f"and cannot become {to.suffix}; as .pt2 it keeps its structure."
        )
    if trial.scheme == FP32 or backend_of(trial) in to.backends:
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


def backend_of(trial: TrialRecord) -> str:
    """Return the name of a trial's backend, without its options."""
    return trial.backend.partition("(")[0]


def formats_in_order(trial: TrialRecord) -> list[Format]:
    """Return all formats, that of the trial's own backend first."""
    # Of no backend of ours, a program of torch.export needs no other library.
    backend = backend_of(trial)
    return sorted(FORMATS.values(), key=lambda to: (backend not in to.backends, to.name != "pt2"))


def format_of(found: TrialResult) -> Format | None:
    """Return the format that a trial is best exported to; None where there is none, or where it was not evaluated."""
    if found.compressed is None or found.evaluated is None or not found.trial.evaluate:
        return None
    return next((to for to in formats_in_order(found.trial) if refusal(found, to) is None), None)


def export_words(run: Sequence[str], found: TrialResult, stem: str = "network") -> str | None:
    """Return the command that exports a trial, as it is typed into a shell; None where it cannot be exported.

    Args:
        run: how the run is named on the command line.
        found: the trial.
        stem: the name of the file, without its ending.
    """
    to, key = format_of(found), found.trial.evaluate
    if to is None or key is None:
        return None
    trust = trust_options(found.train.settings if found.train else None)
    words = ["sparsebench", "export", *run, key[:KEY_LENGTH], "--to", to.name, "-o", f"{stem}{to.suffix}", *trust]
    return shlex.join(words)
