"""Drops, picks, gates and reports of a metric that is no accuracy: its unit, and positive where it got worse."""

import csv
import json
from dataclasses import replace

import pytest
from handmade import Bench, stage_record, stored
from measured import AUROC, MAE, R2, judged_by

from reports import everything
from sparsebench import load_run
from sparsebench.decide.changes_text import json_text, table_text
from sparsebench.decide.choosing import default_limit
from sparsebench.decide.compare import compare_runs
from sparsebench.decide.gates import judge, parse_gates
from sparsebench.decide.pick import decide
from sparsebench.decide.pick_text import decision_json, decision_text
from sparsebench.decide.question import ask
from sparsebench.errors import ProblemsError
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.figures.fronts import against_size
from sparsebench.store.checks import fault_of
from sparsebench.store.results import EvaluateResult, Score
from sparsebench.store.sealing import written

BENCH = Bench(thresholds=(0.0, 0.5, 0.9), schemes=("fp32", "static"), samples=2000)
RUN = judged_by(BENCH.build(), MAE)


def point_of(run, threshold, scheme="fp32"):
    (section,) = sections(run)
    return next(p for p in section.points if (p.threshold, p.scheme) == (threshold, scheme))


@pytest.mark.parametrize("scale", [MAE, R2, AUROC], ids=lambda scale: scale.short)
@pytest.mark.parametrize("whole", [False, True])
def test_a_drop_is_positive_where_the_metric_got_worse_whichever_way_it_has(scale, whole):
    drop = point_of(judged_by(BENCH.build(), scale, whole), 0.9).drop
    lost = 100 * 10 / 2000  # test samples that pruning to 0.9 costs
    assert drop.loss == pytest.approx(lost, rel=1e-4)
    assert drop.low < lost < drop.high
    assert (drop.paired, drop.scale, drop.unchanged) == (True, scale, False)
    assert drop.another_training.p_value <= 1
    assert drop.these_networks.p_value < 0.05


def test_an_unpaired_interval_is_wider_and_without_one_nothing_is_proved():
    paired = point_of(RUN, 0.9).drop
    unknown = point_of(judged_by(BENCH.build(), MAE, left=False), 0.9).drop
    assert not unknown.paired
    assert unknown.loss == pytest.approx(paired.loss)
    assert unknown.these_networks.p_value == 1.0
    assert unknown.high == float("inf")
    assert unknown.another_training.p_value == 1.0


def test_the_network_that_ships_has_the_lowest_error_in_validation():
    point = point_of(RUN, 0.0)
    best = min(point.seeds, key=lambda seed: seed.trial.validated.value)
    assert point.ships is best


def test_a_metric_and_its_drop_are_named_with_their_unit_in_data(tmp_path):
    write_report(RUN, tmp_path)
    rows = list(csv.DictReader((tmp_path / "data.csv").open()))
    assert (rows[0]["metric"], rows[0]["unit"], rows[0]["higher_is_better"]) == ("mean_absolute_error", "mm", "False")
    assert float(rows[-1]["value_low"]) < float(rows[-1]["value"]) < float(rows[-1]["value_high"])
    assert {"drop", "drop_low", "mean_drop_another_training_high"} <= set(rows[0])
    assert not [name for name in rows[0] if name.endswith("_pp") or "top1" in name]
    points = json.loads((tmp_path / "data.json").read_text())["points"]
    assert points[-1]["drop"]["loss"] > 0
    assert set(points[-1]["drop"]["these_networks"]) == {"low", "high", "p_value"}
    assert points[-1]["metric"]["unit"] == "mm"


def test_a_share_keeps_percentage_points(tmp_path):
    write_report(judged_by(BENCH.build(), AUROC, whole=True), tmp_path)
    point = json.loads((tmp_path / "data.json").read_text())["points"][-1]
    assert {"pp", "these_networks"} <= set(point["drop"])
    assert "drop_std_pp" in point
    assert "AUROC %" in everything(tmp_path / "README.md")


@pytest.mark.parametrize("scale", [MAE, R2], ids=lambda scale: scale.short)
def test_no_page_of_a_report_speaks_of_accuracy_or_points(tmp_path, scale):
    write_report(judged_by(BENCH.build(), scale), tmp_path)
    text = everything(tmp_path / "README.md").replace("accuracy.md", "").replace("accuracy-", "")
    lines = text.splitlines()
    wrong = [line for line in lines if "top-1" in line.lower() or "percentage point" in line or " pp" in line]
    assert wrong == []
    assert scale.short in text


def test_the_axis_says_which_way_is_better_and_the_front_goes_that_way():
    (section,) = sections(RUN)
    chart = against_size(section)
    assert chart.y.title == "mean absolute error, mm (lower is better)"
    front = chart.panels[0].front
    assert [spot.y for spot in front] == sorted((spot.y for spot in front), reverse=True)
    assert "mm (" in chart.spoken


def picked(run=RUN, **options):
    return decide(run, *ask(sections(run), **options))


def test_a_pick_keeps_its_limit_in_the_unit_of_the_metric():
    decision = picked(limits={"drop": "1.5mm"}, minimize="deflated_size")
    text = decision_text(decision, "export it")
    assert "drop ≤ 1.50 mm" in text
    assert "within the limit of 1.50" in text
    assert decision.outcome == "picked"
    proof = json.loads(decision_json(decision, "export it", True))["proof"]
    assert proof["limit"] == 1.5
    assert proof["loss"] <= proof["high"] <= 1.5
    assert "Mean absolute error on validation" in text


def test_without_a_limit_it_is_one_percent_of_the_dense_network():
    (section,) = sections(RUN)
    dense = point_of(RUN, 0.0).value.mean
    assert default_limit(section) == pytest.approx(0.01 * dense, rel=0.05)
    assert ask(sections(RUN))[1].limits["drop"] == default_limit(section)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limits": {"drop": "1pp"}}, "'pp' is no unit of a loss of mean absolute error"),
        ({"limits": {"drop": "1pp"}}, "Allowed: mm, as in 0.05mm. It is in the unit of mean absolute error, mm."),
        ({"maximize": "mean_absolute_error"}, "less of it is better; write --minimize mean_absolute_error"),
        ({"maximize": "accuracy"}, "criterion 'accuracy' is not known"),
    ],
)
def test_another_unit_or_direction_is_an_error_that_says_what_is_allowed(options, said):
    with pytest.raises(ProblemsError) as raised:
        picked(**options)
    assert said in str(raised.value)


def test_the_best_by_the_metric_can_be_asked_for_by_its_name():
    assert picked(minimize="mae", limits={"drop": "5"}).outcome == "picked"
    run = judged_by(BENCH.build(), R2)
    assert picked(run, maximize="r2", limits={"drop": "0.05"}).found.point is not None


def test_a_comparison_and_its_gate_speak_of_the_metric():
    worse = judged_by(replace(BENCH, dense_accuracy=0.93).build(), MAE)
    compared = compare_runs(RUN, worse)
    change = compared.rows[0].first("accuracy_drop")
    assert change.change == pytest.approx(2.0, rel=1e-3)
    assert change.low > 0
    text = table_text(compared, [], False)
    assert "MAE," in text
    assert "drop: MAE of the second run − that of the first, in mm; above 0 is a loss" in text
    (gate,) = parse_gates(["mean_absolute_error_drop>0.5mm"], scale=MAE)
    verdict = judge(gate, compared)
    assert verdict.state == "broken"
    assert "+2.00 mm" in table_text(compared, [verdict], False)
    row = json.loads(json_text(compared, [verdict]))["points"][0]["mean_absolute_error_drop"][0]
    assert set(row["these_networks"]) == {"low", "high", "p_value"}
    assert judge(parse_gates(["mean_absolute_error_drop>3"], scale=MAE)[0], compared).state == "kept"
    with pytest.raises(ProblemsError) as raised:
        parse_gates(["accuracy_drop>1pp", "mean_absolute_error_drop>1pp"], scale=MAE)
    assert "metric 'accuracy_drop' is not known" in str(raised.value)
    assert "'pp' is no unit" in str(raised.value)


def test_runs_of_different_metrics_are_not_compared_in_them():
    compared = compare_runs(RUN, BENCH.build())
    assert not compared.rows[0].changes["accuracy_drop"]
    assert any(note.startswith("The metric differs, mean absolute error and top-1") for note in compared.notes)


def test_trackers_get_the_value_and_the_drop_as_numbers_and_what_they_mean_as_tags():
    pytest.importorskip("mlflow")
    from sparsebench.tracking.to_mlflow import trial_entries

    entry = list(trial_entries(RUN))[-1]
    assert entry.metrics["value"] == RUN.trials[-1].evaluated.value
    assert entry.metrics["drop"] > 0
    assert (entry.tags["sparsebench.metric"], entry.tags["sparsebench.unit"]) == ("mean_absolute_error", "mm")
    assert "metric" not in entry.metrics


def test_records_of_another_metric_are_read_as_they_were_written(tmp_path):
    run = load_run(stored(RUN, tmp_path / "mae"))
    assert [t.evaluated.value for t in run.trials] == [t.evaluated.value for t in RUN.trials]
    assert run.left_out == ()


def test_records_of_accuracy_say_nothing_of_metrics():
    told = json.loads(written(stage_record()))["result"]
    assert set(told) == {
        *("kind", "split", "samples", "top1", "top1_low", "top1_high", "top5", "correct_bits"),
        *("largest_class_share", "balanced_accuracy", "worst_class_recall"),
    }


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"value": 9.0}, "is outside of its interval"),
        ({"low": None}, "one end of an interval"),
        ({"values": "AAAA"}, "its samples are not 2000 numbers"),
        ({"replicates": "AAAA", "resamples": 10}, "its resamples are not 10 numbers"),
    ],
)
def test_a_record_that_contradicts_itself_is_not_believed(changes, fault):
    good = RUN.trials[0].evaluated
    assert fault_of(stage_record(result=good)) is None
    found = fault_of(stage_record(result=replace(good, score=replace(good.score, **changes))))
    assert fault in found


def test_a_record_has_one_metric():
    neither = EvaluateResult(samples=8)
    assert "no accuracy, and no other metric" in fault_of(stage_record(result=neither))
    both = EvaluateResult(samples=8, top1=0.5, score=Score(scale=MAE, value=1.0))
    assert "an accuracy beside the metric" in fault_of(stage_record(result=both))
