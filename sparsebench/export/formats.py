"""Which trial of a run a person means, the files that it can become, and why others cannot."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.backends.probe import not_installed
from sparsebench.errors import SparsebenchError
from sparsebench.points.baselines import FP32
from sparsebench.registry import SCHEMES
from sparsebench.store.records import TrialRecord, TrialResult
from sparsebench.trust import trust_options

WEIGHTS = "safetensors"
"""The format that holds no network, only the weights of one."""

OPERATIONS = "operations"
"""The setting of a program that names the module to import before it is loaded; as ``child`` reads it."""


SHOWN = 10
"""Candidates that an error lists."""

KEY_LENGTH = 12
"""Digits of a key that a list shows; enough to tell trials apart, and short enough to type."""

_KEY = re.compile(r"[0-9a-f]{4,64}")
_WORD = re.compile(r"[^\s,·(]+(?:\([^)]*\))?")
_SEED = re.compile(r"seeds?[\s=:]*(\d+)", re.IGNORECASE)
_BATCHES = re.compile(r"(\d+)\s*(?:calibration[\s_]*)?batch(?:es)?", re.IGNORECASE)


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
    backend = backend_of(trial.trial)
    # Of no backend of ours, a program of torch.export needs no other library.
    ordered = sorted(FORMATS.values(), key=lambda to: (backend not in to.backends, to.name != "pt2"))
    to = next((to for to in ordered if refusal(trial, to) is None), None)
    if to is None:
        require_exportable(trial, ordered[0], trials)
    if to is None or not trial.trial.evaluate:
        raise SparsebenchError(f"{trial.trial.label} has not been evaluated, so that it cannot be exported.")
    key = trial.trial.evaluate[:KEY_LENGTH]
    trust = trust_options(trial.train.settings if trial.train else None)
    return shlex.join(["sparsebench", "export", *run, key, "--to", to.name, "-o", f"network{to.suffix}", *trust])


def backend_of(trial: TrialRecord) -> str:
    """Return the name of a trial's backend, without its options."""
    return trial.backend.partition("(")[0]


def find_trial(trials: Sequence[TrialResult], text: str) -> TrialResult:
    """Return the one trial that ``text`` names.

    Args:
        trials: the trials of a run.
        text: the beginning of the key that data.csv gives, four digits or more, or parts of a label in any order:
            ``magnitude 0.8 static eager seed 0``. Parts that all trials share may be left out.

    Raises:
        SparsebenchError: where no trial or more than one is meant; the text lists those that may be.
    """
    wanted = text.strip()
    if _KEY.fullmatch(wanted):
        keyed = [t for t in trials if any(key.startswith(wanted) for key in _keys(t.trial))]
        if keyed:
            return _only(keyed, text, "Give more digits of the key")
    words, exact = _parts(wanted)
    found = [t for t in trials if words and _fits(t.trial, words, exact)]
    if not found:
        raise SparsebenchError(
            f"No trial of this run is called {text!r}. Give the beginning of a key, or parts of a label such as "
            f"'magnitude 0.8 static eager seed 0'. {_listed(trials)}"
        )
    return _only(found, text, "Name more of its parts, or give a key")


def named(trial: TrialRecord) -> str:
    """Return a trial as a list shows it: the beginning of its key, and its label."""
    key = next(iter(_keys(trial)), "not offered")
    batches = f" · {trial.calibration_batches} calibration batches" if trial.calibration_batches else ""
    return f"{key[:KEY_LENGTH]} ({trial.label}{batches})"


def _keys(trial: TrialRecord) -> list[str]:
    return [key for key in (trial.evaluate, trial.compress) if key]


def _only(found: Sequence[TrialResult], text: str, remedy: str) -> TrialResult:
    if len(found) > 1:
        raise SparsebenchError(f"{text!r} names {len(found)} trials. {remedy}. {_listed(found)}")
    return found[0]


def _listed(trials: Sequence[TrialResult]) -> str:
    if not trials:
        return "The run has no trials."
    lines = "".join(f"\n  {named(trial.trial)}" for trial in trials[:SHOWN])
    more = f"\n  and {len(trials) - SHOWN} more; data.csv of the report lists all" if len(trials) > SHOWN else ""
    return f"Candidates:{lines}{more}"


def _parts(text: str) -> tuple[list[str], dict[str, int]]:
    exact = {}
    for name, pattern in (("seed", _SEED), ("calibration_batches", _BATCHES)):
        match = pattern.search(text)
        if match:
            exact[name] = int(match[1])
            text = f"{text[: match.start()]} {text[match.end() :]}"
    words = [_squeezed(word) for word in _WORD.findall(text)]
    return words or ["" for _ in exact], exact


def _fits(trial: TrialRecord, words: Sequence[str], exact: dict[str, int]) -> bool:
    if any(getattr(trial, name) != value for name, value in exact.items()):
        return False
    pruner = "dense" if trial.pruner is None else trial.pruner
    own = {"", *map(_squeezed, (trial.model, trial.data, pruner, trial.scheme, trial.backend))}
    own |= {alias for alias, scheme in SCHEMES.aliases.items() if scheme == trial.scheme}
    return all(word in own or _is_threshold(word, trial.threshold) for word in words)


def _is_threshold(word: str, threshold: float) -> bool:
    try:
        return float(word) == threshold
    except ValueError:
        return False


def _squeezed(text: str) -> str:
    return "".join(text.lower().split())
