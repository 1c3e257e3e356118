"""How much each layer minds being pruned alone: a table and a heat map."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from sparsebench.report.figures.canvas import look, png_and_svg
from sparsebench.report.figures.chart import Cell, HeatMap, grid_of
from sparsebench.report.figures.heat_pictures import draw_heat_map
from sparsebench.report.files import explained, write_files
from sparsebench.report.lines import Line
from sparsebench.statistics.spread import Spread
from sparsebench.store.records import StageRecord, failure_line
from sparsebench.store.results import SensitivityPoint, SensitivityResult
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.scales import in_points, loss_number, spread_number, subject_of, with_unit
from sparsebench.wording.text import clean, counted, escape, slug

Cells = dict[str, dict[float, Spread]]
"""Drop of accuracy in percentage points, by layer and threshold."""

LITTLE_PP = 1.0
"""Percentage points that a layer may lose without being said to mind."""


def write_sensitivity(name: str, records: Sequence[StageRecord], out: Path | str) -> Path:
    """Write ``sensitivity.md``, ``sensitivity.json`` and a heat map for each model and data set.

    Args:
        name: the run's name.
        records: the records of ``sensitivity`` stages.
        out: the folder, made where it is missing.

    Returns:
        The path of ``sensitivity.md``.

    Raises:
        SparsebenchError: where the folder cannot be written.
    """
    folder, groups = Path(out), _groups(records)
    files: dict[str, bytes] = {}
    parts = [f"# {escape(name)}: sensitivity of layers"]
    for (model, data), results in groups.items():
        parts += [f"**{escape(model)} on {escape(data)}**"] if len(groups) > 1 else []
        parts.append("\n".join(f"- **{line.head}:** {line.text}" for line in _lines(results)))
    scales = [_scale(results) for results in groups.values()]
    parts.append(_NOTE.replace("{name}", subject_of(scales[0] if scales else ACCURACY)))
    for (model, data), results in groups.items():
        stem = f"figures/sensitivity-{slug(model)}-{slug(data)}"
        cells, weights = _cells(results)
        dense, scale = Spread.of(result.dense_value for result in results), _scale(results)
        files |= {f"{stem}.{ending}": content for ending, content in _draw(f"{model} on {data}", cells, scale).items()}
        parts += [
            f"## {escape(model)} on {escape(data)}",
            f"Dense validation {_name(scale)} {_spread(dense, scale)} on {results[0].samples:,} samples. "
            f"Loss in {_unit(scale)}, mean ± sample standard deviation over {counted(len(results), 'seed')}:",
            _table(cells, weights, scale),
            f"![Loss of {_name(scale)} by layer and threshold]({stem}.svg)\n\n[PNG]({stem}.png)",
        ]
    failed = [record for record in records if record.status == "failed"]
    if failed:
        parts += ["## Failed", "\n".join(f"- {escape(failure_line(record))}" for record in failed)]
    files["sensitivity.json"] = (json.dumps(_rows(groups), indent=1) + "\n").encode()
    files["sensitivity.md"] = ("\n\n".join(parts) + "\n").encode()
    with explained(folder):
        write_files(folder, files)
    return folder / "sensitivity.md"


_NOTE = (
    "Each layer of the dense network is pruned alone, smallest weights first, without training afterwards. {name} is "
    "read on the validation split. Give a layer that loses much a lower threshold in `prune.per_layer`. Training "
    "usually wins back most of the loss."
)


def answers(records: Sequence[StageRecord]) -> list[tuple[str, list[Line]]]:
    """Return for each model and data set what it is, empty where there is only one, and its answer in three lines."""
    groups = _groups(records)
    return [
        (f"{clean(model)} on {clean(data)}" if len(groups) > 1 else "", _lines(results))
        for (model, data), results in groups.items()
    ]


def threshold_of_its_own(records: Sequence[StageRecord]) -> tuple[str, float] | None:
    """Return the layer that minds most and the highest threshold at which it loses little; None where none minds.

    The last layer is the classifier, which stays dense anyhow.
    """
    groups = list(_groups(records).values())
    if len(groups) != 1:
        return None
    cells, _ = _cells(groups[0])
    little = _little(groups[0])
    rows = dict(list(cells.items())[:-1])
    layer = max(rows, key=lambda name: max(found.mean for found in rows[name].values()), default=None)
    if layer is None or max(found.mean for found in rows[layer].values()) <= little:
        return None
    return layer, max((at for at, found in rows[layer].items() if found.mean <= little), default=0.0)


def _groups(records: Sequence[StageRecord]) -> dict[tuple[str, str], list[SensitivityResult]]:
    groups: dict[tuple[str, str], list[SensitivityResult]] = defaultdict(list)
    for record in records:
        if isinstance(record.result, SensitivityResult):
            groups[str(record.settings["model"]), str(record.settings["data"])].append(record.result)
    return groups


def _lines(results: Sequence[SensitivityResult]) -> list[Line]:
    """Return which layers mind being pruned most and least, and how that was found."""
    cells, _ = _cells(results)
    scale, little = _scale(results), _little(results)
    limit = f"{little:g} point" if scale.share else with_unit(scale, f"{little:g}")
    highest = max(threshold for row in cells.values() for threshold in row)
    ranked = sorted((row[highest].mean, layer) for layer, row in cells.items() if highest in row)
    (least, dull), (most, keen) = ranked[0], ranked[-1]
    much = sum(loss > little for loss, _ in ranked)
    return [
        Line("Most sensitive", f"**{escape(keen)}** loses {in_points(scale, most)} at threshold {highest:g}."),
        Line("Least sensitive", f"**{escape(dull)}** loses {in_points(scale, least)} at threshold {highest:g}."),
        Line(
            "How sure",
            f"{counted(len(results), 'seed')}, {results[0].samples:,} validation samples. {much} of "
            f"{counted(len(ranked), 'layer')} lose more than {limit} when pruned alone; training wins most "
            "of it back.",
        ),
    ]


def _cells(results: Sequence[SensitivityResult]) -> tuple[Cells, dict[str, int]]:
    drops: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    weights = {}
    for result in results:
        for point in result.points:
            lost = result.dense_value - point.value
            drops[point.layer][point.threshold].append(_scale([result]).loss_factor * lost)
            weights[point.layer] = point.weights
    spreads = {layer: {t: Spread.of(values) for t, values in row.items()} for layer, row in drops.items()}
    return {layer: {t: found for t, found in row.items() if found} for layer, row in spreads.items()}, weights


def _table(cells: Cells, weights: dict[str, int], scale: Scale) -> str:
    thresholds = sorted({threshold for row in cells.values() for threshold in row})
    rows = [
        [escape(layer), f"{weights[layer]:,}", *(_text(row.get(threshold), scale) for threshold in thresholds)]
        for layer, row in cells.items()
    ]
    headers = ["layer", "weights", *(f"{threshold:g}" for threshold in thresholds)]
    align = ("left", *("right" for _ in headers[1:]))
    return tabulate(rows, headers=headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _scale(results: Sequence[SensitivityResult]) -> Scale:
    return results[0].scale or ACCURACY


def _name(scale: Scale) -> str:
    return "accuracy" if scale.is_accuracy else scale.short


def _unit(scale: Scale) -> str:
    return "percentage points" if scale.share else scale.unit or scale.short


def _little(results: Sequence[SensitivityResult]) -> float:
    """Return how much a layer may lose without being said to mind: a point of shares, 1 % of other metrics."""
    if _scale(results).share:
        return LITTLE_PP
    return float(f"{0.01 * abs(results[0].dense_value):.2g}")


def _spread(value: Spread | None, scale: Scale) -> str:
    if value is None or not scale.share:
        return " ".join(filter(None, (spread_number(scale, value), scale.unit)))
    text = f"{100 * value.mean:.2f}"
    return f"{text} %" if value.std is None else f"{text} ± {100 * value.std:.2f} %"


def _text(value: Spread | None, scale: Scale) -> str:
    if value is None:
        return "–"
    if not scale.share:
        spread = "" if value.std is None else f" ± {loss_number(scale, value.std)}"
        return f"{loss_number(scale, value.mean)}{spread}"
    text = f"{value.mean:.2f}"
    return text if value.std is None else f"{text} ± {value.std:.2f}"


def _draw(subject: str, cells: Cells, scale: Scale) -> dict[str, bytes]:
    means = {(layer, threshold): found.mean for layer, row in cells.items() for threshold, found in row.items()}
    shown = {
        place: Cell(mean, f"{mean:.1f}" if scale.share else loss_number(scale, mean)) for place, mean in means.items()
    }
    heat_map = HeatMap(
        title=subject,
        grids=(grid_of("", list(cells), shown, most=len(shown)),),
        rows=tuple(cells),
        x_title="threshold of this layer alone",
        colours="cividis",
        low=0.0,
        # The scale spans a whole point at least, so that noise is not painted as if it were a loss.
        high=max(1.0 if scale.share else 1e-9, *means.values()),
        scale_title=f"loss of {_name(scale)}, {'points' if scale.share else scale.unit or scale.short}",
        unit=scale.loss_unit,
    )
    with look():
        return png_and_svg(draw_heat_map(heat_map))


def _rows(groups: dict[tuple[str, str], list[SensitivityResult]]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "data": data,
            "seed_index": index,
            **_plain(result, point),
        }
        for (model, data), results in groups.items()
        for index, result in enumerate(results)
        for point in result.points
    ]


def _plain(result: SensitivityResult, point: SensitivityPoint) -> dict[str, Any]:
    """Return a point with what the dense network has, by the name of the metric where it is no accuracy."""
    kept = {name: value for name, value in asdict(point).items() if name not in ("accuracy", "metric")}
    if result.scale is None:
        return {"dense_accuracy": result.dense_accuracy, **kept, "accuracy": point.accuracy}
    return {"metric": result.scale.metric, "dense_value": result.dense_value, **kept, "value": point.value}
