"""The report of a search, ``search.md``: its front, how it got there, and what stands beside it."""

from collections.abc import Sequence
from pathlib import Path

from sparsebench.decide.criteria import MEASURED, limits_of
from sparsebench.points.exportable import export_words
from sparsebench.points.points import Point, sections
from sparsebench.report.figures.progress import progress_figure
from sparsebench.report.files import explained, marked, require_ours, write_files
from sparsebench.report.tables import lost_cell, lost_heading
from sparsebench.search.beside import Beside
from sparsebench.search.finals import Finals, identity
from sparsebench.search.fronts import hypervolume
from sparsebench.search.judging import LEAST_SHARE, METRIC, MOST_LOST_PP, MOST_LOST_SHARE, Judge
from sparsebench.search.sequence import Searched
from sparsebench.wording.numbers import DASH, decimal, significant
from sparsebench.wording.scales import heading, value_number
from sparsebench.wording.text import clean, counted, escape, fence, rows_table

NAME = "search.md"

_FIGURE = "figures/search-hypervolume"
_COSTS = ("deflated_size", "flash", "memory", "macs", "latency")
_TEXT = {"network", "format", "limit", "what", "search or sweep"}


def write_page(found: Searched, out: Path, others: Sequence[Beside] = ()) -> Path:
    """Write ``search.md`` and its figure.

    Args:
        found: the search.
        out: the folder; it is made if it is missing.
        others: sweeps to stand beside it.

    Returns:
        The path of ``search.md``.

    Raises:
        SparsebenchError: where the folder cannot be written, or has a ``search.md`` that is not ours.
    """
    name = escape(found.run.record.name)
    parts = [f"# {name}: search", _summary(found), *_front(found), *_progress(found, others), *_what_matters(found)]
    parts += _how(found)
    line = [(moment.seconds, moment.volume) for moment in found.rounds.moments]
    marks = {f"sweep {one.name}": (one.seconds, one.volume) for one in others}
    marks["front, trained in full"] = (found.seconds, front_volume(found))
    figure = progress_figure(f"{found.section.title}: hypervolume", line, marks)
    files = {f"{_FIGURE}.{ending}": content for ending, content in figure.items()}
    with explained(out):
        require_ours(out, [NAME])
        write_files(out, {**files, NAME: marked("\n\n".join(parts) + "\n").encode()})
    return out / NAME


def front_volume(found: Searched) -> float:
    """Return the hypervolume of the final front, on validation, trained in full."""
    finals = _finals(found)
    values = [value for point in found.front if (value := finals.values(point)) is not None]
    return hypervolume(values, found.rounds.judge.reference)


def front_lines(found: Searched) -> list[str]:
    """Return the front in a line a point, as a terminal shows it."""
    lines = []
    for point, tested in _tested(found):
        criteria = [MEASURED[name] for name in found.rounds.judge.objectives if name != METRIC]
        readings = ((criterion, criterion.read(found.section, point)) for criterion in criteria)
        costs = ", ".join(f"{criterion.noun} {criterion.shown(r.value)}" for criterion, r in readings if r)
        scale = found.section.scale
        value = value_number(scale, tested.value.mean) if tested and tested.value else DASH
        unit = "%" if scale.share else scale.unit
        lines.append(f"{clean(point.label)}: {scale.short} on test {value} {unit}".rstrip() + f", {costs}")
    return lines


def _summary(found: Searched) -> str:
    judge, rounds = found.rounds.judge, found.rounds
    limits = _limits(judge) or "none"
    objectives = ", ".join(found.section.scale.title if n == METRIC else MEASURED[n].noun for n in judge.objectives)
    front = counted(len(found.front), "network") if found.front else f"none keeps the limits. {escape(found.why_none)}"
    return "\n".join(
        [
            f"- **Front:** {front}{', chosen on validation, then read once on test.' if found.front else ''}",
            f"- **Objectives:** {objectives}. **Limits:** {limits}.",
            f"- **Work:** {counted(len(rounds.networks), 'network')} trained briefly "
            f"({' and '.join(map(str, rounds.rungs))} epochs), {len(found.finalists)} in full; "
            f"{rounds.refused} proposals broke a limit that can be computed and were not trained.",
        ]
    )


def _limits(judge: Judge) -> str:
    known = limits_of(judge.scale)
    return ", ".join(f"{known[name].noun} ≤ {known[name].shown(most)}" for name, most in judge.limits.items())


def _tested(found: Searched) -> list[tuple[Point, Point | None]]:
    """Return each point of the front as it was chosen, and as it was read on test."""
    tested = {identity(point): point for section in sections(found.run) for point in section.shown}
    return [(point, tested.get(identity(point))) for point in found.front]


def _front(found: Searched) -> list[str]:
    if not found.front:
        return []
    scale = found.section.scale
    rows = []
    for point, tested in _tested(found):
        costs = {name: MEASURED[name].read(found.section, point) for name in _COSTS}
        rows.append(
            {
                "network": escape(point.pruning),
                "format": escape(f"{point.scheme} · {point.backend}"),
                f"validation {heading(scale)}": value_number(scale, point.value.mean if point.value else None),
                f"test {heading(scale)}": value_number(scale, tested.value.mean if tested and tested.value else None),
                lost_heading(scale): lost_cell(tested) if tested else DASH,
                **{
                    f"{MEASURED[name].noun}": MEASURED[name].shown(reading.value) if reading else DASH
                    for name, reading in costs.items()
                },
            }
        )
    rows = [{key: cell for key, cell in row.items() if any(one[key] != DASH for one in rows)} for row in rows]
    commands = [
        words
        for _, tested in _tested(found)
        if tested and tested.ships and (words := export_words([str(found.root)], tested.ships.trial))
    ]
    text = "Mean over seeds. Loss on test, of the seed that ships, against dense fp32. README.md has the run in full."
    return ["## Front", rows_table(rows, _TEXT), text, *([fence("\n".join(commands), "sh")] if commands else [])]


def _progress(found: Searched, others: Sequence[Beside]) -> list[str]:
    judge = found.rounds.judge
    most = f"{MOST_LOST_PP:g} points" if judge.scale.share else f"{100 * MOST_LOST_SHARE:g} % of dense fp32"
    rows = [
        {"search or sweep": "search, short trainings", **_row(moment.seconds, moment.volume, moment.networks)}
        for moment in found.rounds.moments[-1:]
    ]
    rows.append(
        {
            "search or sweep": "search, front trained in full",
            **_row(found.seconds, front_volume(found), len(found.finalists)),
        }
    )
    rows += [{"search or sweep": escape(one.name), **_row(one.seconds, one.volume, one.points)} for one in others]
    return [
        "## Hypervolume",
        f"What some point dominates, on validation: the loss from {most} to none, the logarithm of each cost from that "
        f"of dense fp32 (0) to {100 * LEAST_SHARE:g} % of it (1). Seconds are those of training, conversion and "
        "evaluation; of a sweep they are without the test.",
        rows_table(rows, _TEXT),
        f"![Hypervolume over seconds]({_FIGURE}.svg)\n\n[PNG]({_FIGURE}.png)",
    ]


def _row(seconds: float, volume: float, points: int) -> dict[str, str]:
    return {"seconds": decimal(seconds, 0), "networks or points": str(points), "hypervolume": decimal(volume, 4)}


def _what_matters(found: Searched) -> list[str]:
    if not found.importances:
        return []
    rows = [{"what": escape(name), "share": decimal(share, 2)} for name, share in found.importances.items()]
    text = "What tells good points from others, of all that were trained (PED-ANOVA; Watanabe et al. 2023)."
    return ["## What matters", text, rows_table(rows, _TEXT)]


def _how(found: Searched) -> list[str]:
    rounds, dense = found.rounds, found.rounds.dense
    groups = "\n".join(
        f"- `{clean(group).replace('`', '')}`: {counted(len(layers), 'layer')}, {dense.weights[group]:,} weights"
        for group, layers in dense.groups.items()
    )
    low, high = rounds.space.thresholds
    lines = [
        f"- thresholds from {significant(low)} to {significant(high)}, sampler {rounds.search.sampler}, seed "
        f"{rounds.search.seed}, {rounds.search.batch} proposals at a time",
        *(f"- {escape(text)}" for text in dense.left_out),
    ]
    if rounds.broken:
        lines.append(f"- {counted(rounds.broken, 'proposal')} could not be pruned")
    return ["## Space", groups, "\n".join(lines)]


def _finals(found: Searched) -> Finals:
    latency = any(point.timings for point in found.front)
    return Finals(found.rounds.judge, found.section, lambda _: True, latency)
