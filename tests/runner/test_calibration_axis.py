"""Several numbers of calibration batches: an axis of the sweep, recorded once, with a section of its own."""

import csv

import pytest
from handmade import Bench
from sweeps import tiny

from reports import everything
from sparsebench import Trainer, run_sweep
from sparsebench.points.points import sections
from sparsebench.report import write_report


class Counting(Trainer):
    """Tells how often training batches were read for calibration, and how many of them."""

    passes: list = []  # noqa: RUF012 - one list for all, read by the test

    def evaluate(self, net, quant_mode):
        if quant_mode:
            self.passes.append(self.calibration_batches)
        return super().evaluate(net, quant_mode)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    Counting.passes.clear()
    config = tiny(
        "train.trainer=test_calibration_axis:Counting",
        "quantize.calibration_batches=2,5,12",
        "schemes=fp32,static,both",
        "thresholds=0.8",
    )
    return run_sweep(config, runs_dir=tmp_path_factory.mktemp("runs"))


def test_the_training_batches_of_a_network_are_read_once_for_all_numbers_of_them(swept):
    assert [trial.status for trial in swept.trials] == ["done"] * 7
    assert [read for read in Counting.passes if read > 1] == [12]  # One for the example of each network.


def test_each_trial_calibrates_on_the_number_that_it_asks_for(swept):
    used = {(t.trial.scheme, t.trial.calibration_batches): t.compressed.calibration_batches for t in swept.trials}
    assert used == {("fp32", None): 0, **{(scheme, n): n for scheme in ("static", "both") for n in (2, 5, 12)}}


def test_what_is_calibrated_on_other_batches_is_another_network(swept):
    static = [t for t in swept.trials if t.trial.scheme == "static"]
    assert len({next(iter(t.compress.artifacts.values())) for t in static}) == 3


def test_no_more_batches_are_read_than_the_run_asks_for(tmp_path):
    Counting.passes.clear()
    config = tiny("train.trainer=test_calibration_axis:Counting", "quantize.calibration_batches=3", "thresholds=0.8")
    run_sweep(config, runs_dir=tmp_path)
    assert max(Counting.passes) == 3


SEVERAL = Bench(backends=("eager", "onnxruntime"), calibrations=(10, 100, 1000, 2000), train_batches=800)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(SEVERAL.build(), tmp_path_factory.mktemp("several"))


def test_tables_and_picks_show_the_largest_number_and_the_calibration_section_the_others(report):
    (section,) = sections(SEVERAL.build())
    assert {point.calibration_batches for point in section.shown} == {None, 2000}
    assert {point.calibration_batches for point in section.measured} == {None, 10, 100, 1000, 2000}
    text = everything(report)
    assert "All other tables and figures show 2,000 calibration batches, the largest number asked for" in text
    assert "Asked for 1,000 and 2,000, calibration read 800 each time: the training split has no more." in text
    assert "top-1 %, 10 asked" in text
    assert (report.parent / "figures/accuracy-calibration.png").stat().st_size > 10_000


def test_accuracy_of_every_number_stands_in_the_data(report):
    rows = list(csv.DictReader((report.parent / "data.csv").open()))
    found = {
        (row["calibration_batches_asked"], row["calibration_batches"]) for row in rows if row["scheme"] == "static"
    }
    assert found == {("10", "10"), ("100", "100"), ("1000", "800"), ("2000", "800")}
    assert {row["calibration_batches_asked"] for row in rows if row["scheme"] == "dynamic"} == {""}


def test_pruning_and_quantization_alone_are_taken_at_the_same_number_of_calibration_batches():
    (section,) = sections(SEVERAL.build())
    interactions = {
        point.calibration_batches: point.interaction.mean
        for point in section.measured
        if (point.scheme, point.backend, point.threshold) == ("static", "eager", 0.95)
    }
    # Batches cost both networks alike, so that the interaction is that of the two samples lost together.
    assert interactions == pytest.approx(dict.fromkeys((10, 100, 1000, 2000), 100 * 2 / SEVERAL.samples))


def test_a_run_with_one_number_has_no_calibration_section(tmp_path):
    readme = write_report(Bench().build(), tmp_path)
    folder = readme.parent
    assert "**Calibration.**" not in everything(readme)
    assert not (folder / "figures/accuracy-calibration.png").exists()


def test_failures_at_one_number_of_calibration_batches_are_told_from_others(tmp_path):
    pending = {(0.9, seed, "static", "eager") for seed in (0, 1, 2)}
    text = everything(write_report(Bench(calibrations=(10, 100), pending=pending).build(), tmp_path))
    assert "static, 10 batches" in text
    assert "static, 100 batches" in text
