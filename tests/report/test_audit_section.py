"""What a report says of int8: shares of weights and MACs, layers, and zeros before and after quantization."""

import csv
import io
from dataclasses import replace

import pytest
from handmade import ATTENTION, Bench, stage
from sweeps import tiny

from sparsebench import run_sweep
from sparsebench.points.baselines import Comparer, zeros_of
from sparsebench.points.points import sections
from sparsebench.report.data import csv_text
from sparsebench.report.layers import audit_tables, shares_table, zeros_table
from sparsebench.report.pages import Material, pages
from sparsebench.report.tables import compute_table
from sparsebench.store.records import TrialResult, flat_row
from sparsebench.store.results import LayerAudit, LayerSparsity

MACS = {"conv1": 64 * 144, "conv2": 64 * 4608, "fc": 640}
EVERY = sum(MACS.values()) + ATTENTION


def trial(scheme="static", threshold=0.0, **bench):
    run = Bench(schemes=("fp32", scheme), thresholds=(0.0, 0.8), seeds=(0,), **bench).build()
    return next(t for t in run.trials if (t.trial.scheme, t.trial.threshold) == (scheme, threshold))


def with_layers(found, *changes):
    """Return a trial whose audited layers are changed, one mapping each."""
    packed = found.compressed
    layers = tuple(replace(layer, **change) for layer, change in zip(packed.layers, changes, strict=True))
    return replace(found, compress=stage("compress", "x", replace(packed, layers=layers)))


@pytest.mark.parametrize(
    ("scheme", "in_int8"),
    [
        ("fp32", 0),
        ("dynamic", MACS["fc"]),
        ("static", MACS["conv1"] + MACS["conv2"]),
        ("both", sum(MACS.values())),
    ],
)
def test_macs_in_int8_are_a_share_of_all_macs_those_of_no_layer_included(scheme, in_int8):
    assert trial(scheme).int8_mac_fraction == pytest.approx(in_int8 / EVERY)


def test_weights_in_int8_that_are_multiplied_in_float_are_no_int8_macs():
    found = with_layers(trial(), *[{"bits": 8, "computed_in": "fp32"}] * 3)
    assert (found.int8_mac_fraction, flat_row(found)["int8_fraction"]) == (0.0, 1.0)


def test_macs_that_the_running_network_tells_are_taken_before_those_of_the_trained_one():
    found = with_layers(trial(), {"macs": 10**6}, {}, {})
    assert found.int8_mac_fraction == pytest.approx((10**6 + MACS["conv2"]) / (10**6 + MACS["conv2"] + MACS["fc"]))
    assert [layer.macs for layer in found.audited] == [10**6, MACS["conv2"], MACS["fc"]]


@pytest.mark.parametrize("change", [{"computed_in": ""}, {"name": "packed_0"}])
def test_a_share_that_cannot_be_told_is_unknown_and_not_guessed(change):
    assert with_layers(trial(), change, {}, {}).int8_mac_fraction is None


def test_without_counted_macs_there_is_no_share_of_them():
    assert trial(counted=False).int8_mac_fraction is None


def test_the_report_gives_shares_by_backend_and_layers_with_their_macs():
    (section,) = sections(Bench(backends=("eager", "onnxruntime"), seeds=(0,)).build())
    assert "int8 MACs %" in compute_table(section, section.shown)
    text = "\n".join([shares_table(section), *(table for _, table in audit_tables(section))])
    share = 100 * (MACS["conv1"] + MACS["conv2"]) / EVERY
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    for backend in ("eager", "onnxruntime"):
        assert [backend, "static", "magnitude 0.95", "88.1", f"{share:.1f}", "2 of 3", "int8, fp32"] in rows
    layers = [row for row in rows if row[:4] == ["conv2", "Conv2d", "4,608", f"{MACS['conv2']:,}"]]
    assert len(layers) == 2


# -- zeros --------------------------------------------------------------------------------------------------------


def zeros(*, dense, pruned):
    """Return the zeros of a pruned trial; each network is (zeros trained, zeros running) of two layers of 100."""

    def made(threshold, counts):
        found = trial("static", threshold)
        before, after = counts
        rows = tuple(
            LayerSparsity(name=name, kind="Conv2d", weights=100, zeros=n, prunable=True)
            for name, n in zip("ab", before, strict=True)
        )
        audits = tuple(
            LayerAudit(name=name, kind="Conv2d", weights=100, zeros=n, bits=8, reason="")
            for name, n in zip("ab", after, strict=True)
        )
        return replace(
            found,
            train=stage("train", "t", replace(found.trained, layers=rows)),
            compress=stage("compress", "c", replace(found.compressed, layers=audits)),
        )

    return zeros_of(made(0.8, pruned), made(0.0, dense) if dense else None)


def test_zeros_that_quantization_makes_in_the_dense_network_are_subtracted():
    found = zeros(dense=((0, 0), (3, 1)), pruned=((80, 40), (81, 42)))
    assert found == pytest.approx((120 / 200, 123 / 200, 4 / 200, 119 / 200))


def test_zeros_that_quantization_loses_show_as_well():
    found = zeros(dense=((0, 0), (0, 0)), pruned=((80, 80), (79, 80)))
    assert found == pytest.approx((0.8, 0.795, 0.0, 0.795))


def test_without_the_dense_network_in_that_scheme_nothing_is_subtracted():
    found = zeros(dense=None, pruned=((80, 80), (81, 80)))
    assert found[:2] == pytest.approx((0.8, 0.805))
    assert found[2:] == (None, None)


def test_removed_channels_are_no_zeros_of_the_network_that_runs():
    found = trial("static", 0.8)
    rows = (LayerSparsity(name="a", kind="Conv2d", weights=100, zeros=60, prunable=True),)
    audits = (LayerAudit(name="a", kind="Conv2d", weights=50, zeros=11, bits=8, reason=""),)
    found = replace(
        found,
        train=stage("train", "t", replace(found.trained, layers=rows)),
        compress=stage("compress", "c", replace(found.compressed, layers=audits)),
    )
    assert zeros_of(found, None)[:2] == pytest.approx((10 / 50, 11 / 50))


def test_layers_that_no_name_joins_have_no_zeros_to_compare():
    found = with_layers(trial(), {"name": "x"}, {"name": "y"}, {"name": "z"})
    assert zeros_of(found, None) is None
    assert zeros_of(TrialResult(trial=found.trial), None) is None


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return run_sweep(tiny("schemes=static", "measure.all_seeds=false"), runs_dir=tmp_path_factory.mktemp("runs"))


def test_static_int8_keeps_the_zeros_of_a_pruned_network_and_makes_some_in_a_dense_one(swept):
    compare = Comparer(swept.trials).compare
    dense, pruned = (compare(t).zeros for t in sorted(swept.trials, key=lambda t: t.trial.threshold))
    counted = {t.trial.threshold: t for t in swept.trials}
    assert dense.before == 0
    assert dense.alone == dense.after > 0  # rounding loses small weights
    assert dense.owed == 0
    layers = counted[0.8].trained.layers
    assert pruned.before == pytest.approx(sum(x.zeros for x in layers) / sum(x.weights for x in layers))
    assert pruned.after >= pruned.before
    assert pruned.owed == pytest.approx(pruned.after - dense.after)


def test_zeros_stand_in_the_report_and_in_the_data(swept):
    (section,) = found = sections(swept)
    assert "| magnitude 0.8 | static" in zeros_table(section.shown)
    assert zeros_table(section.shown) in pages(Material(swept, found, {}))["layers.md"]
    rows = {float(row["threshold"]): row for row in csv.DictReader(io.StringIO(csv_text(swept, found)))}
    for point in section.shown:
        row = rows[point.threshold]
        assert float(row["zeros_by_quantization_alone"]) == pytest.approx(point.zeros.alone)
        assert float(row["sparsity_before_quantization"]) == pytest.approx(point.zeros.before)
        assert float(row["sparsity_after_quantization"]) == pytest.approx(point.zeros.after)
        assert float(row["sparsity_without_those"]) == pytest.approx(point.zeros.owed)
