"""Runs made by hand with the keys that a plan would have given their stages, and run directories without digests."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from sparsebench.store.records import Run, StageKind, StageRecord, TrialRecord, TrialResult
from sparsebench.store.results import EvaluateResult
from sparsebench.store.timings import MeasureResult, SpeedupResult
from sparsebench.store.written import stage_key


def with_keys(run: Run) -> Run:
    """Return a run whose stages have the keys and the parents that a plan would have given them."""
    keys: dict[str, str] = {}

    def own(kind: StageKind, name: str | None, parent: str | None = None) -> str | None:
        if name is None:
            return None
        return keys.setdefault(name, stage_key(kind, {"handmade": name}, parent))

    def keyed(trial: TrialRecord) -> TrialRecord:
        starts = [None, *trial.ancestors]
        ancestors = tuple(
            own("train", key, own("train", start)) for key, start in zip(trial.ancestors, starts, strict=False)
        )
        train = own("train", trial.train, ancestors[-1] if ancestors else None)
        compress = own("compress", trial.compress, train)
        return replace(
            trial,
            ancestors=ancestors,
            train=train,
            compress=compress,
            validate=own("evaluate", trial.validate, compress),
            evaluate=own("evaluate", trial.evaluate, compress),
            measure=tuple(own("measure", key, compress) for key in trial.measure),
        )

    def against(found: SpeedupResult | None) -> SpeedupResult | None:
        return found and replace(
            found, compress=keys.get(found.compress) or hashlib.sha256(found.compress.encode()).hexdigest()
        )

    def record(found: StageRecord | None, parent: str | None) -> StageRecord | None:
        if found is None:
            return None
        result = found.result
        if (
            isinstance(result, EvaluateResult) and result.score is None
        ):  # Who changed an accuracy by hand may have left its interval.
            low, high = min(result.top1, result.top1_low), max(result.top1, result.top1_high)
            result = replace(result, top1_low=low, top1_high=high)
        if isinstance(result, MeasureResult):
            result = replace(result, against=against(result.against), against_eager=against(result.against_eager))
        return replace(found, key=keys[found.key], parent=parent, settings={"handmade": found.key}, result=result)

    trials = [keyed(trial.trial) for trial in run.trials]
    made = [
        TrialResult(
            trial=trial,
            ancestors=tuple(
                record(one, start) for one, start in zip(old.ancestors, [None, *trial.ancestors], strict=False)
            ),
            train=record(old.train, trial.ancestors[-1] if trial.ancestors else None),
            compress=record(old.compress, trial.train),
            validate=record(old.validate, trial.compress),
            evaluate=record(old.evaluate, trial.compress),
            measure=tuple(record(one, trial.compress) for one in old.measure),
        )
        for trial, old in zip(trials, run.trials, strict=True)
    ]
    return replace(run, record=replace(run.record, trials=tuple(trials)), trials=tuple(made))


def without_digests(root: Path) -> Path:
    """Make a run directory one of the time when records had no digests."""
    for path in (root / "run.json", *root.glob("*/*/result.json")):
        content = json.loads(path.read_text())
        content.pop("digest", None)
        path.write_text(json.dumps(content, indent=1) + "\n")
    return root
