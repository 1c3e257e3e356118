"""Which trial of a run a person means, what is written of it, and why others cannot be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.backends.probe import not_installed
from sparsebench.errors import SparsebenchError
from sparsebench.points.exportable import KEY_LENGTH, Format, export_words, formats_in_order, refusal
from sparsebench.registry import SCHEMES
from sparsebench.store.records import TrialRecord, TrialResult

OPERATIONS = "operations"
"""The setting of a program that names the module to import before it is loaded; as ``child`` reads it."""


SHOWN = 10
"""Candidates that an error lists."""

_KEY = re.compile(r"[0-9a-f]{4,64}")
_WORD = re.compile(r"[^\s,·(]+(?:\([^)]*\))?")
_SEED = re.compile(r"seeds?[\s=:]*(\d+)", re.IGNORECASE)
_BATCHES = re.compile(r"(\d+)\s*(?:calibration[\s_]*)?batch(?:es)?", re.IGNORECASE)


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
    command = export_words(run, trial)
    if command is None:
        require_exportable(trial, formats_in_order(trial.trial)[0], trials)
        raise SparsebenchError(f"{trial.trial.label} has not been evaluated, so that it cannot be exported.")
    return command


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
