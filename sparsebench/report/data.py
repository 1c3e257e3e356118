"""The numbers behind a report, for programs: one CSV row a trial, one JSON object a point and a trial."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sparsebench.records import SCHEMA_VERSION, Run, TrialRecord, TrialResult, flat_row
from sparsebench.report.audit import examples
from sparsebench.report.costs import costs, savings, wall
from sparsebench.report.drops import Drop
from sparsebench.report.latency import Speed, sessions
from sparsebench.report.layers import networks
from sparsebench.report.points import Point, Section, Timing
from sparsebench.report.provenance import environments, facts
from sparsebench.report.zeros import zeros_row

_NOBODY = TrialRecord(model="", data="", pruner=None, threshold=0.0, seed=0, scheme="", backend="", train="")

Row = dict[str, Any]

COLUMNS = (*flat_row(TrialResult(trial=_NOBODY)), *zeros_row(None))
"""Columns of data.csv; they stand there even where a run has no trial."""


def csv_text(run: Run, sections: Sequence[Section], rows: Sequence[Row] | None = None) -> str:
    """Return one row a trial, with a heading; what was not measured is empty.

    Args:
        run: the records.
        sections: the run's models and data sets.
        rows: what ``trial_rows`` returns for them, where that is at hand.
    """
    buffer = _Rows()
    writer = csv.writer(buffer, lineterminator=_Rows.ENDED)
    writer.writerow(COLUMNS)
    writer.writerows(row.values() for row in rows or trial_rows(run, sections))
    return buffer.getvalue()


class _Rows(io.StringIO):
    """Rows of a CSV file that end with a newline.

    Up to Python 3.12 the module csv puts quotation marks around a carriage return only where rows end with one.
    """

    ENDED = "\r\n"

    def write(self, row: str) -> int:
        """Write one row, which is how csv hands them over."""
        return super().write(row.removesuffix(self.ENDED) + "\n")


def trial_rows(run: Run, sections: Sequence[Section]) -> list[Row]:
    """Return one row a trial with ``COLUMNS``, with what only a comparison with the dense network tells."""
    zeros = {id(seed.trial): seed.zeros for section in sections for point in section.points for seed in point.seeds}
    return [_finite({**flat_row(trial), **zeros_row(zeros.get(id(trial)))}) for trial in run.trials]


def _finite(row: Row) -> Row:
    """Return a row of plain values with numbers that are not finite replaced by None."""
    odd = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    return {**row, **dict.fromkeys(odd)} if odd else row


def json_text(run: Run, sections: Sequence[Section], rows: Sequence[Row] | None = None) -> str:
    """Return points, trials, costs, audited and trained layers as JSON; NaN and infinity, which it lacks, are null.

    Of what there may be thousands, each stands on a line of its own. Arguments are those of ``csv_text``.
    """
    record = run.record
    content = {
        "schema_version": SCHEMA_VERSION,
        "run": {
            "name": record.name,
            "command": record.command,
            "config": record.config,
            "sparsebench": record.sparsebench,
            "environment": asdict(record.environment),
            **asdict(facts(run)),
        },
        "environments": [asdict(place) for place in environments(run)],
        "points": [point_row(point) for section in sections for point in section.points],
        "trials": list(rows or trial_rows(run, sections)),
        "sessions": [
            {
                "model": row.model,
                "data": row.data,
                "backend": row.backend,
                "batch_size": row.measured.batch_size,
                "threads": row.measured.threads,
                "baseline": row.measured.against.baseline,
                **asdict(row.measured.session),
            }
            for row in sessions(run.trials)
        ],
        "costs": [asdict(cost) for cost in costs(run)],
        "savings": asdict(savings(run)),
        "wall": (found := wall(run)) and {**asdict(found), "outside": found.outside},
        "audit": [
            {**_identity(example.point), "seed": example.seed, "layers": [asdict(layer) for layer in example.layers]}
            for section in sections
            for example in examples(section)
        ],
        "networks": [
            {**_network(network.point), "seed": network.seed, "layers": [asdict(x) for x in network.trained.layers]}
            for section in sections
            for network in networks(section)
        ],
    }
    parts = [f"{json.dumps(name)}: {_member(content[name])}" for name in sorted(content)]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _member(value: Any) -> str:
    """Return a member of the whole: a list with a line for each of its objects, anything else indented."""
    if not isinstance(value, list) or not value:
        return _dumped(value, indent=1)
    return "[\n" + ",\n".join(map(_dumped, value)) + "\n]"


def _dumped(value: Any, indent: int | None = None) -> str:
    def dumps(value: Any) -> str:
        return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)

    try:
        return dumps(value)
    except ValueError:  # Hardly ever is there a number that is not finite; looking for one takes longer than writing.
        return dumps(finite(value))


def point_row(point: Point) -> dict[str, Any]:
    """Return an aggregated point as plain values, with units in the names."""
    return {
        **_identity(point),
        "seeds": [seed.trial.trial.seed for seed in point.seeds],
        "planned": point.planned,
        "top1": point.top1 and asdict(point.top1),
        "top5": point.top5 and asdict(point.top5),
        "drop": _drop(point.drop),
        "drop_std_pp": point.drop_std_pp,
        "drop_vs_eager": _drop(point.drop_eager),
        "drop_by_seed": [{"seed": s.trial.trial.seed, **(_drop(s.drop) or {})} for s in point.seeds if s.drop],
        "interaction_pp": point.interaction and asdict(point.interaction),
        "sparsity_asked": point.sparsity_asked,
        "sparsity": point.sparsity and asdict(point.sparsity),
        "file_bytes": point.file_bytes,
        "deflated_file_bytes": point.deflated_file_bytes,
        "payload_bytes": point.payload_bytes,
        "flash_bytes": point.flash_bytes,
        "file_ratio": point.file_ratio,
        "deflated_ratio": point.deflated_ratio,
        "compression_ratio": point.compression_ratio,
        "int8_fraction": point.int8_fraction,
        "int8_mac_fraction": point.int8_mac_fraction,
        **zeros_row(point.zeros),
        "macs": point.macs,
        "effective_macs": point.effective_macs,
        "theoretical_speedup": point.theoretical_speedup,
        "working_memory_bytes": point.working_memory_bytes,
        "latency": [_latency(timing) for timing in point.timings],
    }


def _latency(timing: Timing) -> dict[str, Any]:
    """Return a latency; of each speed the verdict as the report states it, which is INVALID where there is none."""
    speeds = {name: speed and {**asdict(speed), "verdict": speed.said} for name, speed in _speeds(timing)}
    return {**asdict(timing), **speeds}


def _speeds(timing: Timing) -> tuple[tuple[str, Speed | None], ...]:
    return ("own", timing.own), ("eager", timing.eager)


def _identity(point: Point) -> dict[str, Any]:
    batches = point.calibration_batches
    return {**_network(point), "scheme": point.scheme, "backend": point.backend, "calibration_batches_asked": batches}


def _network(point: Point) -> dict[str, Any]:
    return {
        "model": point.model,
        "data": point.data,
        "pruner": "dense" if point.dense else point.pruner,
        "threshold": point.threshold,
    }


def _drop(drop: Drop | None) -> dict[str, Any] | None:
    return drop._asdict() if drop else None


def finite(value: Any) -> Any:
    """Return ``value`` with every number that is not finite replaced by None, in mappings and sequences alike."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
