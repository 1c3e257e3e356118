"""The text of a report, from top to bottom."""

from collections.abc import Mapping, Sequence

from sparsebench.points.drops import UNPAIRED
from sparsebench.points.latency import setting_text
from sparsebench.points.points import Point, Section
from sparsebench.report.answer import NOT_TIMED, answer, subject, timing_note
from sparsebench.report.caveats import findings
from sparsebench.report.checklist import checklist, checklist_markdown
from sparsebench.report.costs import costs_markdown
from sparsebench.report.figures.drawings import Drawing
from sparsebench.report.layers import audit_tables, layer_tables, shares_table, zeros_table
from sparsebench.report.provenance import provenance
from sparsebench.report.tables import (
    calibration_note,
    calibration_table,
    excerpt,
    excerpt_note,
    latency_table,
    points_table,
    seeds_table,
    unfinished_table,
)
from sparsebench.store.records import Run
from sparsebench.wording.sessions import percent_text
from sparsebench.wording.text import counted, escape, folded

MOST_POINTS = 60
"""Points from which on the main table is folded by backend."""

MOST_SEED_ROWS = 600
"""Trials up to which every one has its row in the details; beyond, they are in data.csv only."""

UNSTRUCTURED = (
    "Unstructured zeros do not speed up dense kernels: without removed channels, convolutions and matrix products take "
    "as long as in the dense network. fp32 networks with such zeros are therefore controls of their session, beside "
    "the copies of the baseline: where one of them takes another time, as max-pooling may where pruning has silenced "
    "channels, the session is NOISY or INVALID."
)
TIMED = (
    "All networks of one backend, batch size and number of threads are timed together, by at least six fresh processes "
    "in rounds of random order. **Speedup**: latency of the dense fp32 network of the same backend / latency, above 1 "
    "is faster; the mean over processes, with a 95 % interval over them (Student's t). **Latency**: that of dense fp32 "
    "on eager / speedup over it, so that latencies and speedups agree, whichever session timed them. The intervals "
    "hold for all networks of a session together (Bonferroni), and verdicts are read off them. FASTER and SLOWER: all "
    "of it lies beyond the band of differences that do not matter; EQUIVALENT: all of it lies inside; INCONCLUSIVE: "
    "neither; TOO FEW ROUNDS: neither, and fewer than six processes timed: raise measure.seconds_cap. A session has "
    "four copies of the baseline as controls. VALID: their intervals lie inside the band; NOISY: one reaches out of "
    "it, so that differences below the session's resolution are not found, while the verdicts that it gives hold, for "
    "their intervals contain the noise; INVALID: one lies outside, so that nothing is said."
)


def readme(
    run: Run, sections: Sequence[Section], figures: Mapping[int, Sequence[Drawing]], benchmarks: str = ""
) -> str:
    """Return the report as Markdown.

    ``figures`` are those of each section, by its place; ``benchmarks`` those of pytest-benchmark, empty without any.
    """
    several = len(sections) > 1
    parts = [f"# {escape(run.record.name)}: pruning and quantization", *_answers(sections)]
    warnings = findings(run, sections)
    if warnings:
        parts += ["## Warnings", "\n".join(f"- {text}" for text in warnings)]
    for place, section in enumerate(sections):
        parts += [f"## {subject(section)}"] if several else []
        parts += _results(section, figures.get(place, ()), "###" if several else "##")
    if benchmarks:
        parts += ["## Latency by pytest-benchmark", benchmarks]
    parts += ["## Failed and not offered", unfinished_table(run) or "Every trial is done and none was left out."]
    parts += ["## Reporting practice", _PRACTICE, checklist_markdown(checklist(run, sections))]
    parts += ["## Costs", "Each stage is counted once, however many trials share it.", costs_markdown(run)]
    parts += ["## Details", *_details(sections, several)]
    parts += ["## Provenance", provenance(run)]
    return "\n\n".join(parts) + "\n"


_PERCENTILES = (
    "p95 and p99 of all timed calls, ‡ of means of several calls where one lasts "
    "less than 0.1 ms. Samples/s at the latency. Peak memory: what running the network adds to the memory of a "
    "process in which it is loaded: activations, scratch memory, what its runtime keeps; median over processes and, in "
    "brackets, the least and the most of them."
)
_PRACTICE = (
    "What Blalock et al. 2020, “What is the State of Neural Network Pruning?”, ask of a report, computed from the "
    "records."
)


def _answers(sections: Sequence[Section]) -> list[str]:
    if not sections:
        return ["**The run has no trials, so there is no answer.**"]
    note = timing_note(sections)
    found = answer(sections[0])
    if len(sections) > 1:
        found = "\n".join(f"- {subject(section)}: {answer(section)}" for section in sections)
    if note == NOT_TIMED and len(sections) == 1:
        return [f"{found} {note}"]
    return [note, found]  # How far latencies can be trusted stands before what is said of them.


def _results(section: Section, drawings: Sequence[Drawing], level: str) -> list[str]:
    """Return one section: main table, then the figures in the order in which questions arise."""
    if not section.shown:
        return [f"{level} Results", "No trial has finished yet; there is nothing to show."]
    shown = {drawing.kind: _image(drawing) for drawing in drawings}
    points = excerpt(section)

    def part(title: str, *blocks: str) -> list[str]:
        return [f"{level} {title}", *filter(None, blocks)] if any(blocks) else []

    def figure(kind: str) -> str:
        return shown.get(kind, "")

    parts = part("Results", excerpt_note(section, points), _main_table(section, points), _notes(section))
    parts += part("Trade-offs", *map(figure, ("pareto-size", "pareto-latency", "pareto-macs")))
    parts += part("Accuracy against sparsity", figure("accuracy-sparsity"))
    parts += part("Interaction of pruning and quantization", figure("interaction"))
    if len(section.calibrations) > 1:
        parts += part(
            "Calibration",
            calibration_note(section),
            figure("accuracy-calibration"),
            folded("Accuracy at every number of calibration batches", calibration_table(section)),
        )
    if section.settings:
        tables = [
            folded(f"Latency{setting_text(setting)}", f"{latency_table(section, setting, points)}\n\n{_PERCENTILES}")
            for setting in section.settings
        ]
        parts += part("Latency", f"{_timed(section)} {UNSTRUCTURED}", figure("latency"), *tables)
    return [*parts, *part("Size", figure("size")), *part("Sparsity by layer", figure("layer-sparsity"))]


def _main_table(section: Section, points: Sequence[Point]) -> str:
    if len(section.shown) <= MOST_POINTS:
        return points_table(section, section.shown)
    return "\n\n".join(
        folded(
            f"{escape(backend)}: {counted(len(section.on(backend)), 'point')}",
            points_table(section, [point for point in points if point.backend == backend]),
        )
        for backend in section.backends
    )


def _notes(section: Section) -> str:
    samples = sorted({e.samples for t in section.trials if (e := t.evaluated) is not None})
    read = " or ".join(f"{count:,}" for count in samples) or "no"
    lines = [
        "- **top-1, ±**: mean and sample standard deviation over n training seeds; – where n is 1.",
        f"- **drop**: dense fp32 of the same seed and backend − this, in percentage points (positive: worse), with "
        f"two 95 % intervals. **these networks**: over other test samples than the {read} read here. **another "
        "training**: over other test samples and other seeds; one seed has none. Decide by the second.",
        "- **interaction**: drop − (drop by pruning alone + drop by quantization alone), mean over seeds; positive: "
        "together they cost more than the sum. Its interval is over another training; with one seed, for these "
        "networks.",
        "- **file, deflated**: the saved state as it is, and after DEFLATE; zeros shrink only the latter. kB = 1000 "
        "bytes. **Compression ratio**: dense fp32 weights / (non-zero parameters × bits), without the cost of indices. "
        "Ratios are geometric means over seeds.",
        "- **theoretical speedup (MACs)**: multiply-accumulates of the dense network of the same seed / those with a "
        "non-zero weight, for one sample: convolutions, matrix products, recurrent cells and attention. It is counted "
        f"on the trained network and not measured. {UNSTRUCTURED}",
        "- **working memory**: largest sum of a layer's input and output activations at batch 1, in the widths in "
        "which the network runs. Weights are not part of it; what a scheme fuses into a convolution is no layer of its "
        "own any more.",
        "- **latency, speedup, verdict**: what they mean, and how they were timed, stands under Latency.",
    ]
    if any(point.drop and not point.drop.paired for point in section.shown):
        lines.insert(2, f"- **{UNPAIRED}**: unpaired interval, since per-sample correctness is missing; it is wider.")
    if not section.settings:
        lines[-1] = "- **latency**: nothing was timed."
    return "\n".join(lines)


def _timed(section: Section) -> str:
    """Return how latencies were taken and what is said of them, with the band of the section's sessions."""
    bands = sorted({measured.session.band for trial in section.trials for measured in trial.measured})
    return f"{TIMED} Band: {' or '.join(f'±{percent_text(band)} %' for band in bands)}."


def _image(drawing: Drawing) -> str:
    path = f"figures/{drawing.stem}"
    return f"![{escape(drawing.alt)}]({path}.svg)\n\n*{drawing.caption}* [PNG]({path}.png)"


def _details(sections: Sequence[Section], several: bool) -> list[str]:
    parts = []
    for section in sections:
        where = f"{subject(section)}: " if several else ""
        rows = sum(seed.trial.evaluated is not None for point in section.shown for seed in point.seeds)
        if 0 < rows <= MOST_SEED_ROWS:
            parts.append(folded(f"{where}every seed ({counted(rows, 'trial')})", seeds_table(section)))
        elif rows:
            parts.append(f"{where}{counted(rows, 'trial')}: one row each in [data.csv](data.csv).")
        titled = "**{}**\n\n{}".format
        layers = [titled(*one) for one in layer_tables(section)]
        audited = [titled(*one) for one in audit_tables(section)]
        zeros = zeros_table(excerpt(section))
        folds = {
            "weights and MACs, layer by layer": [_LAYERS, *layers] if layers else [],
            "what was really quantized, layer by layer": [_SHARES, shares_table(section), _AUDIT, *audited]
            if audited
            else [],
            "zeros before and after quantization": [_ZEROS, zeros] if zeros else [],
        }
        parts += [folded(f"{where}{title}", "\n\n".join(blocks)) for title, blocks in folds.items() if blocks]
    return [
        *parts,
        "All numbers: [data.csv](data.csv), one row per trial; [latency.csv](latency.csv), one row per trial, batch "
        "size and number of threads; [data.json](data.json), points, trials, timing sessions, and latencies process by "
        "process.",
    ]


_LAYERS = (
    "The trained networks of one seed, before quantization. MACs are multiply-accumulates for one sample; where two "
    "numbers are given, the first counts those whose weight is not zero."
)
_SHARES = (
    "How much of each network is int8: of its weights, those held in 8 bits; of its multiply-accumulates, those "
    "computed in int8. Weights alone in int8 save memory and are multiplied in float."
)
_ZEROS = (
    "Shares of the weights of all layers that can be found before and after quantization; removed channels are left "
    "out. Rounding to int8 makes zeros of small weights also where nothing was pruned: **by quantization alone** is "
    "what it adds to the dense network of the same seed, scheme and backend. Without those is a lower bound of what "
    "pruning may claim, since most of these weights were pruned already."
)
_AUDIT = (
    "The most pruned network of each scheme, first seed. Width in which a layer's weights are held, its zeros after "
    "quantization, and in brackets why it is not int8."
)
