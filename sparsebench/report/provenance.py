"""Where the numbers come from: machine, versions, seeds, config, command."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sparsebench.points.latency import sessions
from sparsebench.report.caveats import loaded_weights, stages, trained_records
from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.records import STAGE_KINDS, Run, StageRecord
from sparsebench.wording.numbers import DASH, decimal, percent
from sparsebench.wording.sessions import percent_text, reach_text
from sparsebench.wording.text import escape, fence, folded, markdown_table, rows_table, shorten

FLAGS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""Processor flags that decide how fast int8 and bf16 run, of x86 and of ARM."""

_SPLITS = {"train": "train_samples", "validation": "val_samples", "test": "test_samples"}


def provenance(run: Run) -> str:
    """Return everything needed to judge and to repeat the run, as Markdown."""
    config = json.dumps(run.record.config, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    places = environments(run)
    parts = [
        _facts(run),
        _several(places) if len(places) > 1 else "",
        f"Command:\n\n{fence(run.record.command, 'sh')}",
        folded("Config", fence(config, "json")),
        *(
            folded(f"Environment {number}", markdown_table(["", ""], _environment_rows(place.environment), [False] * 2))
            for number, place in enumerate(places[1:], start=2)
        ),
    ]
    return "\n\n".join(filter(None, parts))


@dataclass(frozen=True)
class Facts:
    """What was trained on what, and when: trainers, samples of each data set's splits, first and last start.

    ``read`` are the numbers of samples that were really read of these splits in one go, where they are known.
    ``checkpoints`` are the SHA-256 of what dense networks were loaded from, None for what a library publishes.
    """

    seeds: tuple[int, ...]
    trainers: tuple[str, ...]
    splits: dict[str, dict[str, int]]
    read: dict[str, dict[str, list[int]]]
    checkpoints: dict[str, str | None]
    stages_started: tuple[str, ...]


def facts(run: Run) -> Facts:
    """Return what a run's records say of themselves."""
    trained = trained_records(run).values()
    read: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for trial in run.trials:
        record, scored = trial.trained, trial.evaluated
        counts = (
            record.epoch_samples if record else None,
            record.validated_samples if record else None,
            scored.samples if scored else None,
        )
        for split, count in zip(_SPLITS, counts, strict=True):
            if count:
                read[trial.trial.data][split].add(count)
    started = sorted(record.started_at for record in stages(run).values())
    return Facts(
        seeds=tuple(sorted({trial.trial.seed for trial in run.trials})),
        trainers=tuple(dict.fromkeys(record.trainer for _, record in trained)),
        splits={
            trial.trial.data: {split: getattr(record, field) for split, field in _SPLITS.items()}
            for trial, record in trained
        },
        read={data: {split: sorted(counts) for split, counts in splits.items()} for data, splits in read.items()},
        checkpoints={weights.source: weights.sha256 for _, weights in loaded_weights(run.trials)},
        stages_started=tuple(started[:: max(1, len(started) - 1)]),
    )


def _facts(run: Run) -> str:
    found = facts(run)
    rows = [
        *_environment_rows(environments(run)[0].environment),
        ("sparsebench", escape(run.record.sparsebench)),
        ("seeds", ", ".join(map(str, found.seeds)) or "none"),
        ("trainer", ", ".join(map(escape, found.trainers)) or "none"),
    ]
    for data, counts in found.splits.items():
        told = (
            f"{count:,} {split}{_read_text(count, found.read.get(data, {}).get(split, ()))}"
            for split, count in counts.items()
        )
        rows.append((f"samples of {escape(data)}", ", ".join(told)))
    for source, sha256 in found.checkpoints.items():
        content = "as published" if sha256 is None else f"SHA-256 {sha256}"
        rows.append(("dense weights loaded from", f"{escape(shorten(source))}, {content}"))
    started = ("stages started", escape(" to ".join(found.stages_started)) or "none")
    return markdown_table(["", ""], [*rows, started], [False] * 2)


def _read_text(count: int, read: Collection[int]) -> str:
    """Return how many samples of a split were read at once, where that is not all of them."""
    if not read or set(read) == {count}:
        return ""
    low, high = min(read), max(read)
    return f" ({low:,} read)" if low == high else f" ({low:,} to {high:,} read)"


def sessions_table(run: Run) -> str:
    """Return one row a timing session; empty where nothing was timed."""
    rows = [
        {
            "session": escape(session.id),
            "network": escape(f"{row.model} on {row.data}"),
            "backend": escape(row.backend),
            "batch": str(row.measured.batch_size),
            "threads": str(row.measured.threads),
            "baseline": escape(row.measured.against.baseline),
            "networks": str(session.networks),
            "rounds": str(session.rounds),
            "processes": "the sweep's" if session.in_process_because else str(session.processes),
            "s": decimal(session.seconds, 0),
            "stopped": session.stopped,
            "controls differ by [95 %]": reach_text(session.control_limits),
            "state": str(session.state),
            "resolution %": DASH if session.resolution is None else percent_text(session.resolution),
            "load": decimal(session.conditions.get("load_1min"), 1),
            "steal %": percent(session.conditions.get("steal_share"), 1),
            "order seed": str(session.seed),
        }
        for row, session in ((row, row.measured.session) for row in sessions(run.trials))
    ]
    return rows_table(rows, {"session", "network", "backend", "baseline", "stopped", "state"})


@dataclass(frozen=True)
class Place:
    """Where stages ran: an environment, and how many of each kind ran in it."""

    environment: EnvironmentRecord
    stages: dict[str, int]


def environments(run: Run) -> tuple[Place, ...]:
    """Return the distinct environments, that of most stages first; that of the run itself where none has run yet."""
    found: defaultdict[tuple[object, ...], list[StageRecord]] = defaultdict(list)
    for record in stages(run).values():
        here = record.environment
        versions = tuple(sorted(here.versions.items()))
        found[here.machine, here.python, here.threads, here.commit, versions].append(record)
    if not found:
        return (Place(run.record.environment, {}),)
    return tuple(
        Place(records[0].environment, {kind: sum(record.stage == kind for record in records) for kind in STAGE_KINDS})
        for records in sorted(found.values(), key=len, reverse=True)
    )


def _several(places: Sequence[Place]) -> str:
    machines = {place.environment.machine for place in places}
    where = f"on {len(machines)} machines" if len(machines) > 1 else "on one machine, in several environments"
    timed = {place.environment.machine for place in places if place.stages["measure"]}
    latencies = " Latencies of different machines are not compared." if len(timed) > 1 else ""
    usual = places[0].environment.versions
    rows = []
    for number, place in enumerate(places, start=1):
        here = place.environment
        versions = sorted(here.versions.items() - usual.items()) if number > 1 else [("torch", usual.get("torch", "–"))]
        rows.append(
            {
                "": str(number),
                "machine": escape(here.machine),
                "threads": str(here.threads),
                "Python": escape(here.python),
                "versions": ", ".join(f"{escape(name)} {escape(version)}" for name, version in versions) or "the same",
                "commit": escape((here.commit or "unknown")[:12]),
                **{str(kind): f"{place.stages[kind]:,}" for kind in STAGE_KINDS},
            }
        )
    return (
        f"The stages of this run were run {where}; the table above is of the first of these.{latencies}\n\n"
        + rows_table(rows, {"machine", "Python", "versions", "commit"})
    )


def _environment_rows(environment: EnvironmentRecord) -> list[tuple[str, str]]:
    flags = [flag for flag in FLAGS if flag in environment.cpu_flags]
    versions = (f"{escape(name)} {escape(version)}" for name, version in sorted(environment.versions.items()))
    return [
        ("processor", escape(environment.cpu)),
        ("flags of interest", escape(", ".join(flags)) or "none"),
        ("cores", str(environment.logical_cores)),
        ("memory", f"{decimal(environment.memory_bytes / 1e9, 1)} GB"),
        ("GPU", escape(environment.gpu or "none")),
        ("system", escape(environment.os)),
        ("threads", str(environment.threads)),
        ("Python", escape(environment.python)),
        ("versions", ", ".join(versions)),
        ("commit", escape(environment.commit or "unknown")),
    ]
