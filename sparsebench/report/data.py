"""The numbers behind a report, for programs.

``data.csv`` has one row a trial, with the latency of the first batch size and number of threads; ``latency.csv`` has
one row a trial, batch size and number of threads, and the ``key`` that joins the two. ``data.json`` has one object a
point, a trial, a timing session and a latency, with what each process found.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sparsebench.points.baselines import zeros_row
from sparsebench.points.latency import sessions
from sparsebench.points.points import Section
from sparsebench.points.rows import drop_columns, finite, identity, network_identity, point_row
from sparsebench.report.answer import answer_rows
from sparsebench.report.costs import costs, savings, wall
from sparsebench.report.layers import examples, networks
from sparsebench.report.provenance import environments, facts
from sparsebench.store.records import (
    SCHEMA_VERSION,
    Run,
    TrialRecord,
    TrialResult,
    flat_row,
    latencies_of,
    latency_row,
    latency_rows,
    scale_of,
)
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.store.timings import MeasureResult

Row = dict[str, Any]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

_NOBODY = TrialRecord(model="", data="", pruner=None, threshold=0.0, seed=0, scheme="", backend="", train="")

LATENCY_COLUMNS = tuple(latency_row(_NOBODY, None, None))
"""Columns of latency.csv; they stand there even where nothing was timed."""

_NONE = TrialResult(trial=_NOBODY)


def columns(scale: Scale = ACCURACY) -> tuple[str, ...]:
    """Return the columns of data.csv, which stand there even where a run has no trial."""
    return (*flat_row(_NONE, scale=scale), *zeros_row(None), *drop_columns(None, None, scale))


def csv_text(run: Run, sections: Sequence[Section], rows: Sequence[Row] | None = None) -> str:
    """Return one row a trial, with a heading; what was not measured is empty. ``rows`` are those of ``trial_rows``."""
    return _csv(columns(scale_of(run)), rows or trial_rows(run, sections))


def latency_csv_text(run: Run) -> str:
    """Return one row for each trial, batch size and number of threads that was timed, with a heading."""
    return _csv(LATENCY_COLUMNS, [finite(row) for row in latency_rows(run)])


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    buffer = _Rows()
    csv.writer(buffer).writerows([columns, *(map(_cell, row.values()) for row in rows)])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text that begins like one stands behind an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


class _Rows(io.StringIO):
    # Up to Python 3.12 the module csv puts quotation marks around a carriage return only where rows end with one.
    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")


def trial_rows(run: Run, sections: Sequence[Section]) -> list[Row]:
    """Return one row a trial with ``columns``, with what only a comparison with the dense network tells."""
    compared = {id(seed.trial): (p, seed) for section in sections for p in section.points for seed in p.seeds}
    latencies, scale = latencies_of(run.trials), scale_of(run)
    rows = []
    for trial in run.trials:
        point, seed = compared.get(id(trial), (None, None))
        known = {**zeros_row(seed.zeros if seed else None), **drop_columns(point, seed, scale)}
        rows.append(finite({**flat_row(trial, latencies, scale), **known}))
    return rows


def _latencies(run: Run) -> list[Row]:
    """Return each latency with all that its record keeps of it; its session is named, and listed by itself."""
    return [
        {**row, **_record(measured), "session": measured.session.id}
        for row, measured in zip(
            latency_rows(run), (measured for trial in run.trials for measured in trial.measured), strict=True
        )
    ]


def _record(measured: MeasureResult) -> Row:
    """Return what a row has no column for: the raw median, each process's finding, and the places in the rounds."""
    eager = measured.against_eager
    return {
        **{name: getattr(measured, name) for name in ("protocol", "calls", "calls_together", "median_ms", "places")},
        "fallback_kernels": measured.fallback_kernels,
        "peak_memory_by_process": measured.peak_memory_by_process,
        "against": asdict(measured.against),
        "against_eager": eager and asdict(eager),
    }


def json_text(run: Run, sections: Sequence[Section], rows: Sequence[Row] | None = None) -> str:
    """Return points, trials, costs, audited and trained layers as JSON; NaN and infinity, which it lacks, are null.

    Of what there may be thousands, each stands on a line of its own. ``rows`` are those of ``trial_rows``.
    """
    record = run.record
    content = {
        "schema_version": SCHEMA_VERSION,
        "run": {
            **{name: getattr(record, name) for name in ("name", "command", "config", "sparsebench")},
            "environment": asdict(record.environment),
            **asdict(facts(run)),
        },
        "environments": [asdict(place) for place in environments(run)],
        "answers": [row for section in sections for row in answer_rows(section)],
        "points": [point_row(point) for section in sections for point in section.points],
        "trials": list(rows or trial_rows(run, sections)),
        "sessions": [
            {
                **{name: getattr(row, name) for name in ("model", "data", "backend")},
                **{name: getattr(row.measured, name) for name in ("batch_size", "threads")},
                "baseline": row.measured.against.baseline,
                **asdict(row.measured.session),
            }
            for row in sessions(run.trials)
        ],
        "latencies": _latencies(run),
        "costs": [asdict(cost) for cost in costs(run)],
        "savings": asdict(savings(run)),
        "wall": (found := wall(run)) and {**asdict(found), "outside": found.outside},
        "audit": [
            {**identity(example.point), "seed": example.seed, "layers": [asdict(layer) for layer in example.layers]}
            for section in sections
            for example in examples(section)
        ],
        "networks": [
            {
                **network_identity(network.point),
                "seed": network.seed,
                "layers": [asdict(x) for x in network.trained.layers],
            }
            for section in sections
            for network in networks(section)
        ],
    }
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {_member(content[name])}" for name in sorted(content)) + "\n}\n"


def _member(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _dumped(value, indent=1)
    return "[\n" + ",\n".join(map(_dumped, value)) + "\n]"


def _dumped(value: Any, indent: int | None = None) -> str:
    dumps = partial(json.dumps, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    try:
        return dumps(value)
    except ValueError:  # Hardly ever is there a number that is not finite; looking for one takes longer than writing.
        return dumps(finite(value))
