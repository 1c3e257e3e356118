"""The performance suite: what its rows and its page say, and that its scripts run."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def row_in(folder, name="speed", **row):
    (folder / f"{name}.json").write_text(json.dumps({"rows": [{"what": "a", "command": "python a.py", **row}]}))


def table(folder):
    from performance_page import page

    lines = [line for line in page(folder).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (
            {"figure": 31.26, "low": 30, "high": 33, "unit": "×", "target": 25, "at_least": True, "met": True},
            ["31.3× [30.0×, 33.0×]", "≥ 25×", "yes"],
        ),
        (
            {"figure": 1.4, "low": 1.2, "high": 1.6, "unit": "×", "target": 1.5, "at_least": True, "met": False},
            ["1.40× [1.20×, 1.60×]", "≥ 1.5×", "no, not certain"],
        ),
        (
            {"figure": 0.041, "low": None, "high": None, "unit": "%", "target": 0.05, "at_least": False, "met": True},
            ["4.10 %", "≤ 5 %", "yes"],
        ),
        ({"figure": 2, "unit": "s", "target": None, "met": None}, ["2.00 s"]),
        ({"figure": "18 of 20", "target": "≥ 18 of 20", "met": True}, ["18 of 20", "≥ 18 of 20", "yes"]),
        ({"figure": "not measured: | no", "unit": "×", "met": None}, ["not measured: \\| no"]),
        (
            {"figure": "not here", "unit": "×", "target": 2.5, "at_least": True, "met": None},
            ["not here", "≥ 2.5×", "–"],
        ),
    ],
)
def test_a_row_shows_its_figure_its_target_and_whether_it_is_met(tmp_path, row, shown):
    row_in(tmp_path, **row)
    (cells,) = table(tmp_path)
    assert cells == ["a", *shown, "`python a.py`"]


def test_figures_without_a_target_stand_apart_from_those_that_have_one(tmp_path):
    from performance_page import page

    rows = [{"what": "plain", "figure": 1}, {"what": "aimed", "figure": 2, "target": 3, "at_least": False, "met": True}]
    (tmp_path / "a.json").write_text(json.dumps({"rows": rows}))
    first, folded = page(tmp_path).split("<summary>figures without a target (1)</summary>")
    assert "| aimed |" in first
    assert "| plain |" not in first
    assert "| plain | 1.00 | – |" in folded


def test_the_page_gathers_all_files_with_rows_and_names_their_machines(tmp_path):
    from performance_page import page

    environment = {"cpu": "Example CPU", "logical_cores": 2, "versions": {"torch": "2.15.0"}}
    for name in ("a", "b"):
        content = {"rows": [{"what": name, "figure": 1}], "environment": environment}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "b.md").write_text("more")
    (tmp_path / "other.json").write_text('{"cases": []}')
    (tmp_path / "list.json").write_text("[]")
    assert [cells[0] for cells in table(tmp_path)] == ["a", "b"]
    assert "[a.json](a.json), [b.json](b.json) ([details](b.md)): Example CPU; 2 cores; torch 2.15.0." in page(tmp_path)


def test_the_committed_page_is_made_from_the_committed_files():
    from performance_page import page

    folder = ROOT / "reports" / "performance"
    assert (folder / "README.md").read_text() == page(folder)


def test_rounds_are_complete_in_random_order_and_the_warm_up_is_left_out():
    from measuring import interleaved

    called = []
    ways = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = interleaved(ways, rounds=20, seed=1, warm_up=2)
    rounds = [tuple(called[place : place + 3]) for place in range(0, 66, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 20, "b": 20, "c": 20}


def test_an_estimate_is_a_median_with_an_interval_where_there_are_rounds():
    from measuring import Estimate, Row, estimate

    many = estimate([1.0, 2.0, 3.0] * 20)
    assert many.median == 2
    assert 1 <= many.low <= 2 <= many.high <= 3
    assert estimate([4.0]) == Estimate(4.0, None, None)
    assert Row("x", Estimate(2, 1, 3), "s", 2, at_least=False).met is True
    assert Row("x", Estimate(2, 1, 3), "×", 2.5).met is False
    assert Row("x", None, "×", 2.5, why_not="no GPU").met is None
    assert Row("x", None, "×", 2.5, why_not="no GPU").as_json("c")["figure"] == "no GPU"


@pytest.mark.slow
def test_a_scaled_run_is_done_to_the_last_trial_and_can_be_reported(tmp_path):
    from scaled_run import axes, write_scaled_run

    from sparsebench import load_config, load_run, write_report
    from sparsebench.runner.graph import stage_status
    from sparsebench.store.run_directory import Store

    config = load_config(None, axes(seeds=2, thresholds=3))
    plan, records = write_scaled_run(config, tmp_path, tiny=("model.options={width=8}", "train.epochs=1"))
    assert len(plan.trials) == (1 + 4 * 3) * 4 * 2
    assert records == len(list((tmp_path / "scaled").glob("*/*/result.json")))
    assert set(stage_status(plan, Store(tmp_path / "scaled")).values()) == {"done"}
    run = load_run(tmp_path / "scaled")
    assert {trial.status for trial in run.trials} == {"done"}
    assert len({trial.evaluated.correct_bits for trial in run.trials}) == len(run.trials)
    assert "Timing is " in write_report(run, tmp_path / "report").read_text()


def test_several_writers_at_once_are_timed_from_the_moment_at_which_all_are_ready(tmp_path):
    from handmade import stage_record
    from perf_scale import WRITERS, writes_per_second

    from sparsebench.store.run_directory import Store

    source = Store(tmp_path / "source")
    source.write(stage_record())
    assert writes_per_second(tmp_path / "target", tmp_path / "source", count=5) > 0
    assert len(list((tmp_path / "target").glob("evaluate/*/result.json"))) == WRITERS * 5


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # as the document has it
def test_the_document_s_loop_and_the_trainer_do_the_same_work(tmp_path):
    import torch
    from perf_training import THRESHOLD, RandomImages, in_memory, sparsity, train_as_the_document, train_with_trainer
    from torch import nn

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

    images = [RandomImages(count, seed) for seed, count in enumerate((256, 128, 128))]
    document = train_as_the_document(net(), images, epochs=1, folder=str(tmp_path))
    held = in_memory(images)
    assert all(torch.allclose(one[3][0], other[3][0], atol=1e-5) for one, other in zip(images, held, strict=True))
    trainer = train_with_trainer(net(), held, epochs=1, folder=str(tmp_path), amp="none")
    assert sparsity(document) == pytest.approx(THRESHOLD, abs=0.01)
    assert sparsity(trainer) == pytest.approx(THRESHOLD, abs=0.01)


def test_runs_are_compared_without_what_a_clock_measured():
    from dataclasses import replace

    from handmade import Bench
    from perf_jobs import results

    def trained_with(**changes):
        run = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build()
        (trial,) = run.trials
        train = replace(trial.train, seconds=99.0, result=replace(trial.train.result, **changes))
        return results(replace(run, trials=(replace(trial, train=train),)))

    assert trained_with(samples_per_second=1.0) == trained_with(samples_per_second=2.0)
    assert trained_with(prunable_zeros=1) != trained_with(prunable_zeros=2)


def test_the_page_of_several_jobs_says_how_much_time_they_take_and_whether_the_records_are_the_same():
    import numpy as np
    from perf_jobs import markdown, share_of_jobs

    seconds = {
        case: {"one": np.array([10.0, 12.0, 11.0]), "several": np.array([5.0, 6.0, 5.5])}
        for case in ("default", "one thread")
    }
    found = {case: share_of_jobs(taken) for case, taken in seconds.items()}
    text = markdown(2, 3, seconds, found, equal=True)
    assert "| 1 in either case | 11.0 | 5.5 | 0.50× [0.50, 0.50] | 3 |" in text
    assert "the records of one job and of 2 are the same" in text
    assert "are NOT the same" in markdown(2, 3, seconds, found, equal=False)


def test_the_page_of_searches_sets_each_seed_beside_its_own_and_each_box_beside_its_goal():
    from perf_search import BOXES, markdown, summary

    volumes = {"search": [0.66, 0.70, 0.80], "grid": [0.60, 0.70, 0.64], "random": [0.5, 0.5, 0.5]}
    pieces = [
        {
            "task": "digits",
            "seed": seed,
            "arm": arm,
            "seconds": 100.0 + seed,
            "own_seconds": 1.0,
            "networks": 9,
            "volumes": dict.fromkeys(BOXES, volume),
        }
        for arm, found in volumes.items()
        for seed, volume in enumerate(found)
    ]
    rows = summary(pieces)
    assert [(row["box"], row["other"]) for row in rows] == [(box, arm) for box in BOXES for arm in ("grid", "random")]
    assert rows[0]["ratios"] == pytest.approx([1.1, 1.0, 1.25])
    assert rows[0]["low"] < (0.06 + 0 + 0.16) / 3 < rows[0]["high"]
    assert "1.100 |" in markdown(rows)
    assert "≥ 1.15" in markdown(rows)


def test_a_grid_is_spaced_evenly_in_the_logarithm_of_the_weights_that_stay():
    from search_arms import thresholds

    found = thresholds(3)
    assert found[:2] == (0.0, 0.3)
    assert found[-1] == 0.98
    assert 0.7 / (1 - found[2]) == pytest.approx((1 - found[2]) / 0.02, rel=1e-3)
