"""The figures of a report: what they show, and that nothing in them is cut off or covered."""

import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from crowded import crowded
from handmade import Bench
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sparsebench.points.points import sections
from sparsebench.report.answer import named
from sparsebench.report.figures import bars, fronts
from sparsebench.report.figures.canvas import fitting, look, text_width
from sparsebench.report.figures.chart import FAINT
from sparsebench.report.figures.drawings import FIGURES, drawings
from sparsebench.report.figures.fronts import MOST_LOST_PP, latency_interval
from sparsebench.report.figures.heat_maps import interaction, layer_sparsity
from sparsebench.report.figures.pictures import MOST_DISTINCT, picture

SCHEMES = ("fp32", "dynamic", "static", "both")


def section_of(run):
    (section,) = sections(run)
    return section


def picture_of(kind, section):
    """The figure of a kind; drawn in ``look``."""
    return picture(FIGURES[kind].describe(section))


def picked(chart):
    """What the chart rings, by the identity of the point."""
    return {id(spot.point): reason for panel in chart.panels for spot, reason in panel.ringed}


def drawn(figure):
    """The renderer that a figure was drawn with, as it is saved."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def boxes_of(texts, renderer):
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text().strip()]


def covering(boxes):
    """Pairs of texts that cover each other by more than a pixel."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def tick_labels(axis):
    low, high = sorted(axis.get_view_interval())
    pairs = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)  # shared axes have no labels
    return [label for at, label in pairs if low <= at <= high and label.get_visible()]


def faults(figure):
    """What a reader would not accept: texts cut off or covering each other, a legend over a panel."""
    renderer = drawn(figure)
    whole, used = figure.bbox, figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans)
    if used.x0 < -1 or used.y0 < -1 or used.x1 > whole.x1 + 1 or used.y1 > whole.y1 + 1:
        yield f"cut off: {used} of {whole}"
    for axes in figure.axes:
        yield from covering(boxes_of(axes.texts, renderer))
        yield from covering(boxes_of(tick_labels(axes.xaxis), renderer))
        yield from covering(boxes_of(tick_labels(axes.yaxis), renderer))
        for legend in figure.legends:
            if legend.get_window_extent(renderer).overlaps(axes.get_tightbbox(renderer)):
                yield f"the legend covers {axes.get_title()}"
    for legend in figure.legends:
        yield from covering(boxes_of(legend.get_texts(), renderer))
    titles = [*(axes.title for axes in figure.axes), *(axes._left_title for axes in figure.axes)]
    yield from covering(boxes_of([*titles, *filter(None, [figure._suptitle])], renderer))


@pytest.mark.parametrize(("backends", "thresholds"), [(1, 2), (1, 12), (6, 2), (6, 12)])
def test_no_label_is_cut_off_and_no_legend_covers_anything(backends, thresholds):
    several = {"pruners": ("magnitude", "layer_magnitude", "random", "structured")} if thresholds == 2 else {}
    run = crowded(backends, thresholds, seeds=(0, 1), calibrations=(10, 2000), **several)
    section = section_of(run)
    found = {}
    with look():
        for name, kind in FIGURES.items():
            assert kind.describe(section) is not None, name
            found[name] = list(faults(picture_of(name, section)))
    assert found == {name: [] for name in FIGURES}


@pytest.mark.parametrize(("backends", "thresholds"), [(1, 2), (6, 12)])
def test_nothing_touches_the_edge_of_a_picture(backends, thresholds):
    section = section_of(crowded(backends, thresholds, seeds=(0, 1, 2)))
    touching = []
    for drawing in drawings(section):
        pixels = image.imread(io.BytesIO(drawing.files["png"]))[..., :3]
        edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
        if not all((edge == 1).all() for edge in edges):
            touching.append(drawing.kind)
    assert touching == []


def test_long_names_are_cut_where_they_would_not_fit():
    long = "my_company.networks.experimental:a_very_long_name_of_a_network_that_somebody_gave_it"
    run = Bench(
        pairs=((long, long),),
        thresholds=(0.0, 0.8),
        seeds=(0,),
        schemes=("fp32", long),
        backends=("eager", long),
        pruners=(long, f"{long}2"),
        layers=[(f"{long}.{name}", kind, weights) for name, kind, weights in (("a", "Conv2d", 64), ("b", "Linear", 9))],
    ).build()
    with look():
        figures = [picture(chart) for kind in FIGURES.values() if (chart := kind.describe(section_of(run)))]
        assert [fault for figure in figures for fault in faults(figure)] == []


def test_text_is_cut_to_a_width_and_short_text_is_left_alone():
    assert fitting("short", 100, 9) == "short"
    cut = fitting("word " * 50, 100, 9)
    assert cut.endswith("…")
    assert 60 < text_width(cut, 9) <= 100


def test_latencies_have_error_bars_of_their_speedups_and_the_baseline_has_none():
    section = section_of(Bench(seeds=(0,), thresholds=(0.0, 0.5), schemes=("fp32", "static")).build())
    intervals = {(p.threshold, p.scheme): latency_interval(section, p) for p in section.shown}
    middle, low, high = intervals[0.5, "static"]
    assert (middle, low, high) == pytest.approx((0.8, 0.8 * 0.995, 0.8 * 1.005))
    assert intervals[0.0, "fp32"] == (2.0, 2.0, 2.0)
    shown = fronts.against_latency(section)
    spot = next(s for s in shown.spots if (s.point.threshold, s.point.scheme) == (0.5, "static"))
    assert (spot.x_low, spot.x_high) == pytest.approx((low, high))
    bar = next(bar for bar in bars.latency(section).bars if bar.scheme == "static")
    assert (bar.low, bar.high) == pytest.approx((0.8 * 0.995, 0.8 * 1.005))
    assert [(mark.low, mark.high) for mark in bar.marks] == [pytest.approx((low, high))]


def test_the_networks_of_the_answer_are_ringed_and_named():
    section = section_of(crowded(3, 12))
    found = named(section)
    shown = fronts.against_latency(section)
    assert set(picked(shown)) == {id(point) for point in found.points}
    with look():
        figure = picture(shown)
        texts = [text.get_text() for text in figure.axes[0].texts]
    for point, name in ((found.smallest, "smallest"), (found.fastest[0].point, "fastest")):
        amount = "dense" if point.dense else f"{point.threshold:g}"
        assert any(text.startswith(f"{amount}: ") and name in text for text in texts), texts


def test_all_backends_stand_in_one_panel_and_are_told_apart_by_their_markers():
    shown = fronts.against_size(section_of(crowded(3, 2, seeds=(0,))))
    (panel,) = shown.panels
    marker = {series.spots[0].point.backend: series.look.marker for series in panel.series}
    assert len(set(marker.values())) == len(marker) == 3
    schemes, backends, pruners = ([key.label for key in group] for group in shown.legend)
    assert (schemes, backends, pruners) == (list(SCHEMES), ["eager", "inductor", "onnxruntime"], [])


def test_what_has_broken_down_is_left_out_of_trade_offs_and_counted():
    run = Bench(thresholds=(0.0, 0.5, 0.99), schemes=("fp32", "static"), seeds=(0,)).build()
    broken = tuple(
        replace(t, evaluate=replace(t.evaluate, result=replace(t.evaluate.result, top1=0.4, correct_bits=None)))
        if t.trial.threshold == 0.99
        else t
        for t in run.trials
    )
    section = section_of(replace(run, trials=broken))
    shown = fronts.against_size(section)
    assert shown.left_out == 2
    assert all(spot.point.threshold < 0.99 for spot in shown.spots)
    assert shown.y.ends[0] > 90
    captions = {drawing.kind: drawing.caption for drawing in drawings(section)}
    assert captions["pareto-size"].endswith(f"Not shown: 2 more than {MOST_LOST_PP:g} points below the best.")


def test_percentiles_do_not_stretch_the_axis_of_latencies():
    section = section_of(Bench(seeds=(0,), thresholds=(0.0, 0.5)).build())
    slow = [bar.end for bar in bars.latency(section).bars]
    assert max(slow) < 2.1, "the 95th percentile of the slowest is 2.5 ms"


def test_dominated_points_are_faint_and_the_front_is_joined():
    section = section_of(crowded(1, 12, seeds=(0,)))
    shown = fronts.against_size(section)
    best = fronts.front(shown.spots)
    with look():
        axes = picture(shown).axes[0]
    faint = [line for line in axes.lines if line.get_alpha() == FAINT]
    dense = {id(point) for point in section.shown if point.is_baseline}
    leading = {id(spot.point) for spot in best} | picked(shown).keys() | dense
    assert sum(len(line.get_xdata()) for line in faint) == len(shown.spots) - len(leading)
    joined = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(joined.get_xdata()) == pytest.approx([spot.x for spot in best])


def test_schemes_of_one_network_stand_apart_where_they_need_the_same_compute():
    shown = fronts.against_macs(section_of(Bench(thresholds=(0.0, 0.9)).build()))
    at = sorted(spot.x for spot in shown.spots)
    assert len(set(at)) == len(at) == 8
    assert max(at[:4]) < min(at[4:])


def test_interactions_are_mapped_by_scheme_and_threshold():
    shown = interaction(section_of(Bench().build()))
    (grid,) = shown.grids
    assert (shown.rows, grid.columns) == (("dynamic", "static", "both"), ("0.5", "0.8", "0.9", "0.95"))
    assert grid.cells[1].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.5])
    assert grid.texts[1][3] == "0.50 ± 0.00"
    assert grid.outlined == {(1, 3)}
    assert (shown.low, shown.high) == (-1.0, 1.0)


def test_an_interaction_that_seeds_do_not_agree_on_is_not_outlined():
    run = Bench(thresholds=(0.0, 0.95), schemes=("fp32", "static")).build()
    scored = [t.evaluate.result.top1 for t in run.trials if t.trial.threshold and t.trial.scheme == "static"]
    last = run.trials[-1]
    better = replace(last.evaluate.result, top1=scored[-1] + 0.04, correct_bits=None)
    trials = (*run.trials[:-1], replace(last, evaluate=replace(last.evaluate, result=better)))
    (grid,) = interaction(section_of(replace(run, trials=trials))).grids
    assert not grid.outlined
    assert not np.isnan(grid.cells).any()


@pytest.mark.parametrize(("samples", "outlined"), [(2, True), (1, False)])
def test_seeds_that_agree_are_no_more_certain_than_whole_test_samples_allow(samples, outlined):
    run = Bench(thresholds=(0.0, 0.95), schemes=("fp32", "static")).build()  # together they cost two samples more
    trials = []
    for trial in run.trials:
        result = trial.evaluate.result
        if trial.trial.threshold and trial.trial.scheme == "static":
            top1 = result.top1 + (2 - samples) / result.samples
            result = replace(result, top1=top1, correct_bits=None)
        trials.append(replace(trial, evaluate=replace(trial.evaluate, result=result)))
    (grid,) = interaction(section_of(replace(run, trials=tuple(trials)))).grids
    assert grid.cells.tolist() == [[pytest.approx(100 * samples / result.samples)]]
    # Of three seeds that agree, the limit is 4.30 · √(4 / 12) / √3 = 1.43 samples.
    assert bool(grid.outlined) is outlined


def test_without_quantization_there_is_no_interaction_to_draw():
    assert interaction(section_of(Bench(schemes=("fp32",)).build())) is None


def test_collapsed_layers_are_outlined_and_the_classifier_stands_in_brackets():
    shown = layer_sparsity(section_of(Bench(collapsed={"conv1": 0.9}, thresholds=(0.0, 0.5, 0.9)).build()))
    (grid,) = shown.grids
    assert shown.rows == ("conv1", "conv2", "(fc)")
    assert grid.outlined == {(0, 2)}
    assert grid.texts[0] == ("0", "50", "100")


def test_heat_maps_of_a_pruner_have_the_thresholds_that_it_was_asked_for():
    run = Bench(pruners=("magnitude", "random"), thresholds=(0.0, 0.5, 0.8, 0.9), schemes=("fp32", "static")).build()
    trials = tuple(t for t in run.trials if (t.trial.pruner, t.trial.threshold) != ("random", 0.8))
    section = section_of(replace(run, trials=trials))
    assert [grid.columns for grid in interaction(section).grids] == [("0.5", "0.8", "0.9"), ("0.5", "0.9")]
    layers = layer_sparsity(section).grids
    assert [grid.columns for grid in layers] == [("0", "0.5", "0.8", "0.9"), ("0", "0.5", "0.9")]
    assert not any(np.isnan(grid.cells).any() for grid in layers)


def test_many_thresholds_are_drawn_as_lines_in_bands_and_thousands_of_points_without_bars():
    many = tuple(n / 400 for n in range(400))
    section = section_of(Bench(thresholds=many, seeds=(0, 1), schemes=("fp32", "static")).build())
    with look():
        lines = picture_of("accuracy-sparsity", section)
        assert len(lines.axes[0].collections) == 2  # one band a scheme, no error bars
        (axes,) = picture_of("pareto-size", section).axes
        faint = [line for line in axes.lines if line.get_alpha() == FAINT]
        assert sum(len(line.get_xdata()) for line in faint) > 500
        crowds = [line for line in faint if len(line.get_xdata()) > MOST_DISTINCT]
        assert crowds
        assert all(line.get_rasterized() for line in crowds)
        assert len(axes.texts) < 30
    with look():
        maps = [picture_of(kind, section) for kind in ("interaction", "layer-sparsity")]
        assert [fault for figure in maps for fault in faults(figure)] == []
    heavy = {d.kind: len(d.files["svg"]) for d in drawings(section)}
    assert max(heavy.values()) < 600_000, heavy


def test_alternative_texts_say_what_is_shown_and_what_is_best():
    section = section_of(Bench(seeds=(0,), thresholds=(0.0, 0.9)).build())
    alts = {drawing.kind: drawing.alt for drawing in drawings(section)}
    assert all(alt.startswith("small_cnn on digits: ") for alt in alts.values())
    best = r"On the front \(deflated file, kB\): [\d.]+ at [\d.]+ % \(magnitude 0.9 · both · eager\); "
    assert re.search(best, alts["pareto-size"])


def test_the_same_scheme_looks_alike_whatever_stands_beside_it():
    colours = []
    for schemes in (SCHEMES, SCHEMES[::2]):
        with look():
            section = section_of(Bench(schemes=schemes, seeds=(0,)).build())
            (legend,) = picture_of("pareto-size", section).legends
        pairs = zip(legend.get_texts(), legend.legend_handles, strict=True)
        colours.append({text.get_text(): handle.get_color() for text, handle in pairs})
    assert colours[1]["static"] == colours[0]["static"] == "#0072B2"
