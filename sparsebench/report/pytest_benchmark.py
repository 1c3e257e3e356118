"""Figures of pytest-benchmark beside ours, joined by the key of a trial."""

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.store.latencies import Latencies
from sparsebench.store.records import Run, TrialResult, flat_row, latencies_of
from sparsebench.wording.numbers import DASH, ratio, significant
from sparsebench.wording.text import counted, escape, listing, rows_table, shorten

_MOST_NAMED = 5
_HOW = "Run the suite with --sparsebench-run RUN and --benchmark-json FILE, and give that file."


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of pytest-benchmark's JSON: a test's name, and the median and interquartile range of its rounds.

    ``key`` is that of the trial that it timed; it, ``batch_size`` and ``threads`` are None where it does not say.
    """

    name: str
    key: str | None
    batch_size: int | None
    threads: int | None
    device: str
    median_s: float
    iqr_s: float
    rounds: int


def read_benchmarks(path: Path) -> tuple[Benchmark, ...]:
    """Read the JSON that ``pytest --benchmark-json`` (or ``--benchmark-save``) wrote.

    Raises:
        SparsebenchError: where the file cannot be read or is something else; says what it lacks.
    """
    try:
        if path.exists() and not path.is_file():  # Whoever opens a pipe waits for ever.
            raise OSError(errno.EINVAL, "It is no plain file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read: {error.strerror or error}. {_HOW}") from error
    except (ValueError, RecursionError) as error:
        raise SparsebenchError(f"{path} is no JSON: {error}. {_HOW}") from error
    listed = content.get("benchmarks") if isinstance(content, Mapping) else None
    if not isinstance(listed, list):
        raise SparsebenchError(f"{path} is no JSON of pytest-benchmark: it has no list 'benchmarks'. {_HOW}")
    found = []
    for place, one in enumerate(listed):
        try:
            found.append(_benchmark(one))
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise SparsebenchError(
                f"{path} is no JSON of pytest-benchmark: benchmarks[{place}] has no usable {error}. {_HOW}"
            ) from error
    return tuple(found)


def _benchmark(one: Mapping[str, Any]) -> Benchmark:
    stats, extra = one["stats"], one.get("extra_info") or {}
    key = extra.get("key")
    return Benchmark(
        name=str(one["name"]),
        key=key if isinstance(key, str) else None,
        batch_size=_whole(extra, "batch_size"),
        threads=_whole(extra, "threads"),
        device=str(extra.get("device", "cpu")),
        median_s=_seconds(stats, "median"),
        iqr_s=_seconds(stats, "iqr"),
        rounds=int(stats["rounds"]),
    )


def _seconds(stats: Mapping[str, Any], name: str) -> float:
    value = stats[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"stats.{name} ({value!r})")
    return float(value)


def _whole(extra: Mapping[str, Any], name: str) -> int | None:
    value = extra.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def benchmarks_section(run: Run, benchmarks: Sequence[Benchmark]) -> str:
    """Return a table of both figures, and what could not be joined.

    Raises:
        SparsebenchError: where no benchmark is of a trial of this run.
    """
    trials = {str(row["key"]): (trial, row) for trial in run.trials if (row := flat_row(trial))["key"]}
    ours = [one for one in benchmarks if one.key in trials]
    if not ours:
        why = "it has no benchmarks" if not benchmarks else _left_out(benchmarks, trials)
        raise SparsebenchError(f"Nothing of pytest-benchmark's JSON belongs to run {run.record.name!r}: {why} {_HOW}")
    latencies = latencies_of(run.trials)
    rows = [_row(one, *trials[one.key], latencies) for one in ours if one.key]
    note = (
        "Medians by pytest-benchmark are of one network after the other, without pairing: load that changes between "
        "two of them shows as a difference. They check ours for their order of magnitude and carry no verdict. Ours "
        "is shown for the same batch size and threads on the CPU, as everywhere in this report."
    )
    table = rows_table(rows, {"network", "scheme", "backend", "where"})
    rest = [one for one in benchmarks if one.key not in trials]
    return "\n\n".join([note, table, *([escape(f"Left out: {_left_out(rest, trials)}")] if rest else [])])


def _row(one: Benchmark, trial: TrialResult, row: Mapping[str, Any], latencies: Latencies) -> dict[str, str]:
    asked, theirs = (one.batch_size, one.threads, one.device), one.median_s * 1e3
    timed = ((place, m) for place, m in trial.timed if (m.batch_size, m.threads, "cpu") == asked)
    ours = next((latencies.ms(place, m) for place, m in timed), None)
    return {
        "network": escape(f"{trial.trial.model} · {trial.trial.data} · {trial.trial.pruning}"),
        "scheme": escape(str(row["scheme"])),
        "backend": escape(str(row["backend"])),
        "seed": str(row["seed"]),
        "batch": DASH if one.batch_size is None else str(one.batch_size),
        "threads": DASH if one.threads is None else str(one.threads),
        "where": escape(one.device),
        "ours ms": significant(ours),
        "pytest-benchmark ms": significant(theirs),
        "IQR ms": significant(one.iqr_s * 1e3),
        "rounds": f"{one.rounds:,}",
        "theirs / ours": ratio(theirs / ours if ours else None),
    }


def _left_out(benchmarks: Sequence[Benchmark], trials: Mapping[str, Any]) -> str:
    left_out = {
        "no key of a trial": [one.name for one in benchmarks if one.key is None],
        "the key of a trial of another run": [
            one.name for one in benchmarks if one.key is not None and one.key not in trials
        ],
    }
    parts = []
    for why, names in left_out.items():
        shown = [shorten(name, 80) for name in names[:_MOST_NAMED]]
        shown += [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
        parts += [f"{counted(len(names), 'benchmark')} with {why} ({listing(shown)})"] if names else []
    return f"{'; '.join(parts)}."
