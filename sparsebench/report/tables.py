"""Tables of operating points and of trials in Markdown, and which points they show where there are too many."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from sparsebench.decide.choosing import pick
from sparsebench.points.drops import Drop, drop_text, limits_text
from sparsebench.points.latency import PeakMemory, Setting, Timing, speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.statistics.spread import mean
from sparsebench.store.records import Run, TrialResult, failure_line
from sparsebench.wording.numbers import DASH, decimal, kilobytes, mean_percent, percent, ratio, significant
from sparsebench.wording.text import counted, escape, evenly, listing, markdown_table, rows_table, shorten

TOGETHER = "‡"
"""Marks percentiles of calls so short that several are timed together."""

TEXT = {"pruner", "scheme", "backend", "verdict", "against eager"}
"""Columns that hold no numbers."""

WAITING = "not run yet"

_NAMES = ("status", "model", "data", "scheme", "backend")

MOST_ROWS = 200
"""Points up to which every one of a section has its row in each table."""


def points_table(section: Section, points: Sequence[Point]) -> str:
    """Return the main table: one row an operating point; columns that would be empty or say the same twice are not."""
    setting, shown = section.setting, section.shown
    where = f" (batch {setting[0]}, {counted(setting[1], 'thread')})" if setting else ""
    optional = {
        "top-5 %": any(point.top5 for point in shown),
        "theoretical speedup (MACs)": any(point.theoretical_speedup for point in shown),
        "int8 MACs %": any(point.int8_mac_fraction for point in shown),
        "working memory kB": any(point.working_memory_bytes for point in shown),
    }
    rows = [
        {
            "pruner": _pruner(point),
            "sparsity asked": decimal(point.sparsity_asked, 4),
            "reached": decimal(point.sparsity.mean if point.sparsity else None, 4),
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "top-1 % (mean ± std)": mean_percent(point.top1),
            "top-5 %": mean_percent(point.top5),
            "drop pp, these networks [95 %]": "baseline" if point.is_baseline else drop_text(point.drop),
            "another training [95 %]": DASH if point.is_baseline else _another_training(point.drop),
            "interaction pp [95 %]": _judged(point.interaction_drop),
            "file kB": kilobytes(point.file_bytes),
            "× vs fp32 file": ratio(point.file_ratio),
            "deflated kB": kilobytes(point.deflated_file_bytes),
            "compression ratio (non-zero × bits)": ratio(point.compression_ratio),
            "theoretical speedup (MACs)": ratio(point.theoretical_speedup),
            "int8 weights %": percent(point.int8_fraction, 1),
            "int8 MACs %": percent(point.int8_mac_fraction, 1),
            "working memory kB": kilobytes(point.working_memory_bytes),
            f"latency ms{where}": significant(timing.latency_ms.mean if timing else None),
            "p95 ms": significant(timing.p95_ms.mean if timing else None),
            **_speeds(section, timing),
            "n": _seeds(point),
        }
        for point, timing in ((point, point.timing(setting)) for point in points)
    ]
    return rows_table([{name: row[name] for name in row if optional.get(name, True)} for row in rows], TEXT)


def _another_training(drop: Drop | None) -> str:
    return limits_text(drop.another_training, drop.paired) if drop else DASH


def _judged(drop: Drop | None) -> str:
    return f"{decimal(drop.pp)} {limits_text(drop.judged, drop.paired)}" if drop else DASH


def _pruner(point: Point) -> str:
    return "dense" if point.dense else escape(point.pruner or DASH)


def _speeds(section: Section, timing: Timing | None) -> dict[str, str]:
    """Return the cells of a speed, and of that beside eager where there is another backend."""
    own, eager = (timing.own, timing.eager) if timing else (None, None)
    found = {"speedup [95 %]": speedup_text(own), "verdict": verdict_text(own)}
    if any(backend != "eager" for backend in section.backends):
        found |= {"× eager fp32 [95 %]": speedup_text(eager), "against eager": verdict_text(eager)}
    return found


def _seeds(point: Point) -> str:
    evaluated = point.top1.n if point.top1 else 0
    return str(evaluated) if evaluated == point.planned else f"{evaluated} of {point.planned}"


def latency_table(section: Section, setting: Setting, points: Sequence[Point]) -> str:
    """Return all about the latency at one batch size and number of threads; one row an operating point."""
    rows = [
        {
            "pruner": _pruner(point),
            "sparsity asked": decimal(point.sparsity_asked, 4),
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "latency ms": significant(timing.latency_ms.mean),
            "p95 ms": f"{significant(timing.p95_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "p99 ms": f"{significant(timing.p99_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "samples/s": significant(timing.throughput_per_s),
            **_speeds(section, timing),
            "peak memory MB": _peak_text(timing.peak_memory),
        }
        for point in points
        if (timing := point.timing(setting))
    ]
    return rows_table(rows, TEXT)


def _peak_text(peak: PeakMemory | None) -> str:
    """Return the median over processes with the range that they span, in MB."""
    if peak is None:
        return DASH
    middle, low, high = (significant(value / 1e6, 2) for value in peak)
    return f"{middle} ({low}–{high})"


def seeds_table(section: Section) -> str:
    """Return one row a trial that has an accuracy, with its own drop and interval."""
    rows = [
        {
            "pruner": _pruner(point),
            "threshold": f"{point.threshold:g}",
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "seed": str(seed.trial.trial.seed),
            "top-1 %": percent(scored.top1),
            "drop pp [95 %]": "baseline" if point.is_baseline else drop_text(seed.drop),
            "sparsity reached": decimal(trained.sparsity if (trained := seed.trial.trained) else None, 4),
            # The latency in data.csv, where it is of the batch size and number of threads that are shown.
            "latency ms": significant(
                next((t.latency_ms for t in seed.timings[:1] if t.setting == section.setting), None)
            ),
        }
        for point in section.shown
        for seed in point.seeds
        if (scored := seed.trial.evaluated) is not None
    ]
    return rows_table(rows, TEXT)


def unfinished_table(run: Run) -> str:
    """Return failed, not offered and pending trials; those that differ only in seed or threshold share a row.

    Empty where every trial is done.
    """
    grouped: defaultdict[tuple[str, ...], list[TrialResult]] = defaultdict(list)
    several = len({trial.trial.calibration_batches for trial in run.trials} - {None}) > 1
    for trial in run.trials:
        if trial.status != "done":
            t, failed = trial.trial, trial.failed_stage
            pruner = "" if trial.status == "not offered" else t.pruner or "dense"
            batches = f", {t.calibration_batches} batches" if several and t.calibration_batches else ""
            reason = t.not_offered or (failure_line(failed) if failed else WAITING)
            grouped[trial.status, t.model, t.data, pruner, f"{t.scheme}{batches}", t.backend, reason].append(trial)
    order = ("failed", "not offered", "pending")
    rows = [
        {
            **dict(zip(_NAMES, map(escape, (status, model, data, scheme, backend)), strict=True)),
            "networks and seeds": _networks(trials),
            "trials": str(len(trials)),
            "reason": escape(shorten(reason)),
        }
        for (status, model, data, _, scheme, backend, reason), trials in sorted(
            grouped.items(), key=lambda item: order.index(item[0][0])
        )
    ]
    return rows_table(rows, {*_NAMES, "networks and seeds", "reason"})


def _networks(trials: Sequence[TrialResult]) -> str:
    """Return which networks a row stands for: ``magnitude 0.5, 0.9: seeds 0, 1``."""
    seeds: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
    for t in (trial.trial for trial in trials):
        seeds[t.pruner or "dense", t.threshold].append(t.seed)
    same: defaultdict[tuple[str, tuple[int, ...]], list[float]] = defaultdict(list)
    for (pruner, threshold), found in seeds.items():
        same[pruner, tuple(found)].append(threshold)
    texts = []
    for (pruner, found_seeds), thresholds in same.items():
        amounts = "" if thresholds == [0.0] else f" {', '.join(f'{value:g}' for value in thresholds)}"
        plural = "seed" if len(found_seeds) == 1 else "seeds"
        texts.append(f"{escape(pruner)}{amounts}: {plural} {', '.join(map(str, found_seeds))}")
    return "; ".join(texts)


def excerpt(section: Section) -> tuple[Point, ...]:
    """Return all points that are shown, or of too many those between which is decided, in their order.

    These are the dense networks, the picks, and what no other point of its backend beats in accuracy and one of size,
    latency and MACs. The rest of the rows goes to other points, evenly spaced in the order of the table, so that it can
    be seen how things go in between. Of too many of the former, evenly spaced ones are kept too.
    """
    if len(section.shown) <= MOST_ROWS:
        return section.shown
    picks = pick(section)
    kept: set[int] = set()
    costs = (lambda point: point.deflated_file_bytes, section.latency_ms, lambda point: point.effective_macs)
    for points in map(section.on, section.backends):
        most = max(2, MOST_ROWS * len(points) // len(section.shown))
        best = [point for cost in costs for point in unbeaten(points, cost)]
        dense = [point for point in points if point.dense]
        wanted = {id(point) for point in (picks.smallest, picks.fastest, *dense, *best)}
        first = evenly([point for point in points if id(point) in wanted], most)
        room = most - len(first)
        rest = evenly([point for point in points if id(point) not in wanted], room) if room > 1 else []
        kept |= {id(point) for point in (*first, *rest)}
    return tuple(point for point in section.shown if id(point) in kept)


def unbeaten(points: Iterable[Point], cost: Callable[[Point], float | None]) -> list[Point]:
    """Return the points than which no other is both cheaper and more accurate."""
    placed = [(found, -point.top1.mean, point) for point in points if point.top1 and (found := cost(point)) is not None]
    best: list[tuple[float, Point]] = []
    for _, loss, point in sorted(placed, key=lambda one: one[:2]):
        if not best or loss < best[-1][0]:
            best.append((loss, point))
    return [point for _, point in best]


def excerpt_note(section: Section, shown: Sequence[Point]) -> str:
    """Return the sentence that says what tables leave out; empty where they leave out nothing."""
    if len(shown) == len(section.shown):
        return ""
    return (
        f"Tables show {len(shown):,} of {counted(len(section.shown), 'point')}: the dense networks, the picks, what no "
        "other point beats in accuracy and one of size, latency and MACs, and evenly spaced ones of the others. Every "
        "point is in [data.json](data.json), and every trial in [data.csv](data.csv)."
    )


def batches_read(point: Point) -> float | None:
    """Return how many calibration batches were really read, mean over seeds; a training split may have fewer."""
    return mean(packed.calibration_batches for seed in point.seeds if (packed := seed.trial.compressed))


def calibration_note(section: Section) -> str:
    """Return what the numbers of calibration batches mean for the rest of the section, as one paragraph."""
    most = section.calibrations[-1]
    text = (
        "All other tables and figures, and the answer, show "
        f"{counted(most, 'calibration batch', 'calibration batches')}, the largest number asked for; latency was timed "
        "for that one only, since the numbers that calibration finds do not change the work."
    )
    read: defaultdict[float, set[int]] = defaultdict(set)
    for point in section.measured:
        found = batches_read(point) if point.calibration_batches else None
        if found is not None and point.calibration_batches:
            read[found].add(point.calibration_batches)
    for found, asked in sorted(read.items()):
        if len(asked) > 1:
            numbers = listing([f"{number:,}" for number in sorted(asked)])
            text += f" Asked for {numbers}, calibration read {found:g} each time: the training split has no more."
    return text


def calibration_table(section: Section) -> str:
    """Return top-1 accuracy at every number of calibration batches; one row a network and scheme that calibrates."""
    rows: defaultdict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for point in section.measured:
        if point.calibration_batches is not None:
            row = (escape(point.pruning), escape(point.scheme), escape(point.backend))
            rows[row][point.calibration_batches] = mean_percent(point.top1)
    asked = section.calibrations
    headings = ["network", "scheme", "backend", *(f"top-1 %, {number:,} asked" for number in asked)]
    cells = [[*row, *(found.get(number, DASH) for number in asked)] for row, found in rows.items()]
    return markdown_table(headings, cells, [False] * 3 + [True] * len(asked))
