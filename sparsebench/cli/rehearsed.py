"""What ``sparsebench run --dry-run`` prints: the plan, what there is to do, and how long that takes here."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sparsebench.cli.conventions import width_to_fill
from sparsebench.cli.foreground import prints_to_stderr
from sparsebench.cli.listing import plan_text
from sparsebench.config import SweepConfig
from sparsebench.progress.forecast import clock
from sparsebench.runner.graph import StageStatus, stage_status
from sparsebench.runner.plan import Plan, Stage, missing_baselines, training_of
from sparsebench.runner.sequencer import check_sweep, plan_sweep
from sparsebench.runner.sharing.shards import Shard, part_of
from sparsebench.store.run_directory import Store
from sparsebench.wording.text import counted

if TYPE_CHECKING:
    from sparsebench.runner.rehearsal import Pace

Paces = Mapping[tuple[str, str], "Pace"]

_CONVERSION_SECONDS = 0.5
"""What a conversion takes beside reading batches, about: 0.05 s on eager to 2 s for an export to ONNX."""

_FAKE_QUANTIZED = 2.0
"""How much longer a training step takes with fake quantization, about."""


def rehearse(config: SweepConfig, root: Path, shard: Shard | None, *, check: bool, jobs: int) -> None:
    """Print the plan of a sweep, check one batch unless told otherwise, and print how long the sweep takes.

    Raises:
        ConfigError: with every problem found.
    """
    whole = plan_sweep(config)
    plan = part_of(whole, shard) if shard else whole
    status = stage_status(plan, Store(root, writable=False))
    typer.echo(plan_text(plan, root, status, width_to_fill()))
    for text in missing_baselines(whole):
        typer.echo(f"sparsebench: {text}", err=True)
    paces: Paces = {}
    if check:
        with prints_to_stderr():
            paces = check_sweep(config, root)
    typer.echo(f"\n{effort_text(Effort.of(plan, status, paces), jobs)}")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is left to do of a plan.

    Attributes:
        counts: how many stages of each kind.
        epochs: of all trainings together.
        sessions: timing sessions; all networks of one are timed together.
        seconds: how long stages of each kind take one after another, about; None where no pace is known. Of timing it
            is the most that it may take.
    """

    counts: Mapping[str, int]
    epochs: int
    sessions: int
    seconds: Mapping[str, float | None]

    @classmethod
    def of(cls, plan: Plan, status: Mapping[str, StageStatus], paces: Paces) -> "Effort":
        """Return what is left to do of a plan whose stages stand where they do."""
        stages = {stage.key: stage for stage in plan.stages}
        left = [stage for stage in plan.stages if status[stage.key] == "pending"]
        caps = {stage.session: float(stage.settings["seconds_cap"]) for stage in left if stage.kind == "measure"}
        seconds: dict[str, float | None] = {"measure": sum(caps.values())}
        for stage in left:
            if stage.kind != "measure":
                about = stages[training_of(stage, stages)].settings
                pace = paces.get((about["model"]["name"], about["data"]["name"]))
                so_far = seconds.get(stage.kind, 0.0)
                seconds[stage.kind] = (
                    None if pace is None or so_far is None else so_far + _seconds(stage, about["train"], pace)
                )
        trained = [stage for stage in left if stage.kind == "train" and not stage.settings.get("weights")]
        return cls(
            counts=Counter({**Counter(stage.kind for stage in left), "train": len(trained)}),
            epochs=sum(stage.settings["train"]["epochs"] for stage in trained),
            sessions=len(caps),
            seconds=seconds,
        )


def _seconds(stage: Stage, train: Mapping[str, int | None], pace: "Pace") -> float:
    """Return how long a stage takes, about."""
    settings = stage.settings
    steps = train["steps_per_epoch"] or pace.batches["train"]
    epoch = steps * pace.step + pace.batches["val"] * pace.batch
    match stage.kind:
        case "train":
            return 0.0 if settings.get("weights") else pace.start + settings["train"]["epochs"] * epoch
        case "evaluate":
            return pace.batches[settings["split"]] * pace.batch
    if "qat" in settings:
        return float(_CONVERSION_SECONDS + _FAKE_QUANTIZED * settings["qat"]["epochs"] * epoch)
    asked = settings["quantize"]["calibration_batches"] if settings.get("quantize") else 0
    return float(_CONVERSION_SECONDS + min(asked, pace.batches["train"]) * pace.batch)


_NAMES = {"train": "training", "compress": "conversion", "evaluate": "evaluation"}


def effort_text(effort: Effort, jobs: int = 1) -> str:
    """Return what is left to do, and how long it takes with so many stages at once."""
    counts = effort.counts
    if not any(counts.values()):
        return "Nothing is left to do."
    parts = [
        counts["train"] and f"{counted(counts['train'], 'training')} ({counted(effort.epochs, 'epoch')})",
        counts["compress"] and counted(counts["compress"], "conversion"),
        counts["evaluate"] and counted(counts["evaluate"], "evaluation"),
        effort.sessions
        and f"{counted(effort.sessions, 'timing session')} ({counted(counts['measure'], 'latency', 'latencies')})",
    ]
    todo = f"To do: {', '.join(part for part in parts if part)}."
    timing = effort.seconds["measure"] or 0.0
    told = {kind: effort.seconds.get(kind, 0.0) for kind in _NAMES}
    unknown = [kind for kind, seconds in told.items() if seconds is None]
    if unknown:
        at_most = f" Timing takes {clock(timing)} at most." if timing else ""
        return f"{todo}{at_most} How long the rest takes is told where one batch is checked and trained."
    shared = {kind: (seconds or 0.0) / jobs for kind, seconds in told.items()}
    each = [f"{_NAMES[kind]} {clock(seconds)}" for kind, seconds in shared.items() if counts[kind]]
    each += [f"timing {clock(timing)} at most"] if timing else []
    return f"{todo}\nTakes about {clock(sum(shared.values()) + timing)} here: {', '.join(each)}."
