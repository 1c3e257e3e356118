"""Searches of tiny networks: what is trained, what never is, and what the front is made of."""

import importlib
import math
import sys
from dataclasses import replace

import pytest
from quick import QUICK, QUICK_TIMED, load, network
from sweeps import stage_files

from sparsebench import load_config, load_run, run_search, run_sweep
from sparsebench.decide import criteria
from sparsebench.decide.criteria import MEASURED, Reading
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.points.points import sections
from sparsebench.runner.watcher import Watcher
from sparsebench.search.finals import Finals
from sparsebench.search.judging import Judge
from sparsebench.search.sequence import search
from sparsebench.store.scales import ACCURACY

SEARCH = (
    "thresholds=0",
    "pruners=magnitude",
    "train.epochs=2",
    "search.trials=8",
    "search.batch=4",
    "search.finalists=2",
    "search.thresholds=[0.4, 0.9]",
)


def quick_search(*overrides):
    return load_config(None, [*QUICK, *SEARCH, *overrides])


class Stages(Watcher):
    """Notes the stages that were carried out."""

    def __init__(self):
        self.ran = []

    def finished(self, stage, record):
        assert record.status == "done", record.failure
        self.ran.append((stage, record))

    def of(self, kind):
        return [(stage, record) for stage, record in self.ran if stage.kind == kind]


def looked_for(folder, *overrides):
    watcher = Stages()
    return search(quick_search(*overrides), runs_dir=folder, watcher=watcher), watcher


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return (folder, *looked_for(folder))


def front_of(found):
    return [(point.label, point.value.mean, point.deflated_file_bytes) for point in found.front]


def test_one_training_serves_every_scheme(found):
    _, result, stages = found
    briefly = [stage for stage, _ in stages.of("train") if stage.settings["train"]["epochs"] == 1]
    assert len({stage.key for stage in briefly}) == len(result.rounds.networks) == 8
    compressed = [(stage.parent, stage.settings["scheme"]) for stage, _ in stages.of("compress")]
    assert len(set(compressed)) == len(compressed)
    assert all({(stage.key, "fp32"), (stage.key, "static")} <= set(compressed) for stage in briefly)


def test_the_front_is_not_dominated_by_any_other_point_that_was_trained_in_full(found):
    _, result, _ = found
    points = [point for point in result.section.shown if point.value]
    assert result.front
    for point in result.front:
        others = [other for other in points if other is not point]
        assert not any(
            other.drop
            and other.value.mean >= point.value.mean
            and other.deflated_file_bytes < point.deflated_file_bytes
            for other in others
        )


def test_test_data_are_read_once_for_the_final_front_and_dense_fp32_alone(found):
    _, result, stages = found
    read = [stage.parent for stage, _ in stages.of("evaluate") if stage.settings["split"] == "test"]
    assert len(read) == len(set(read))
    chosen = {seed.trial.trial.compress for point in result.front for seed in point.seeds}
    controls = {trial.trial.compress for trial in result.run.trials if trial.trial.threshold == 0}
    assert set(read) == chosen | controls
    last = max(place for place, (stage, _) in enumerate(stages.ran) if stage.settings.get("split") == "val")
    first = min(place for place, (stage, _) in enumerate(stages.ran) if stage.settings.get("split") == "test")
    assert first > last, "by then everything was chosen"


def test_the_run_of_a_search_is_one_that_all_commands_read(found):
    folder, result, _ = found
    run = load_run(folder / "quick")
    assert [trial.status for trial in run.trials] == ["done"] * len(run.trials)
    labels = {point.label for section in sections(run) for point in section.shown}
    assert {point.label for point in result.front} <= labels
    assert run.pick(max_drop="100pp").trial is not None


def test_a_search_that_is_started_again_does_nothing_and_says_the_same(found):
    folder, result, _ = found
    before = stage_files(folder / "quick")
    again, stages = looked_for(folder)
    assert stages.ran == []
    assert stage_files(folder / "quick") == before
    assert front_of(again) == front_of(result)
    assert again.importances == result.importances


@pytest.mark.slow
def test_what_is_proposed_follows_from_the_seed(found, tmp_path):
    _, result, _ = found
    other, _ = looked_for(tmp_path, "search.seed=1")
    assert list(other.rounds.networks)[:3] == list(result.rounds.networks)[:3], "first proposals are no chance"
    assert list(other.rounds.networks) != list(result.rounds.networks)


def test_a_search_that_was_stopped_goes_on_to_the_same_front(found, tmp_path):
    class Stopping(Watcher):
        def __init__(self, after):
            self.left = after

        def finished(self, stage, record):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    _, result, stages = found
    for after in (3, 17, 30):
        with pytest.raises(KeyboardInterrupt):
            search(quick_search(), runs_dir=tmp_path, watcher=Stopping(after))
    again, rest = looked_for(tmp_path)
    assert len(rest.ran) < len(stages.ran)
    assert front_of(again) == front_of(result)
    assert list(again.rounds.networks) == list(result.rounds.networks)


def test_points_that_break_a_computed_limit_are_never_trained_and_what_is_returned_keeps_it(tmp_path):
    # fp32 has 4 bytes for each of the 384 prunable weights that stay, and for 24 + 72 + 3 others.
    limit = 4 * (round(0.3 * 384) + 99)
    result, stages = looked_for(tmp_path, f"search.max_flash={limit}B", "schemes=fp32", "train.epochs=1")
    trained = [(stage, record) for stage, record in stages.of("train") if stage.settings["pruner"]]
    assert trained
    for _, record in trained:
        assert 4 * (384 - record.result.prunable_zeros + 99) <= limit
    assert result.front
    assert all(seed.trial.compressed.size.flash_bytes <= limit for point in result.front for seed in point.seeds)
    assert result.rounds.space.thresholds[0] == pytest.approx(0.7, abs=0.002)


def test_a_format_that_cannot_keep_a_limit_is_not_made_of_a_network_that_another_serves(tmp_path):
    # Dense fp32 has 1932 bytes; int8 has a quarter of that, and some in fp32.
    _, stages = looked_for(tmp_path, "search.max_flash=800B", "train.epochs=1", "search.trials=4")
    of_pruned = {stage.key: record for stage, record in stages.of("train") if stage.settings["pruner"]}
    made = {(stage.parent, stage.settings["scheme"]) for stage, _ in stages.of("compress") if stage.parent in of_pruned}
    assert {scheme for _, scheme in made} == {"fp32", "static"}
    for key, record in of_pruned.items():
        fits = 4 * (384 - record.result.prunable_zeros + 99) <= 800
        assert ((key, "fp32") in made) is fits
        assert (key, "static") in made


def test_a_limit_that_no_network_keeps_is_an_error_that_says_how_near_any_comes(tmp_path):
    with pytest.raises(ConfigError, match=r"flash ≤ 0\.1\d* kB is kept by no network: the least is 0\.\d+ kB"):
        search(quick_search("search.max_flash=100B"), runs_dir=tmp_path)


def test_where_nothing_keeps_the_limits_after_training_the_front_is_empty_and_it_is_said(tmp_path):
    # More than all that can be gained: no pruned network nor the dense one is so much better.
    result, stages = looked_for(tmp_path, "search.max_drop=-90pp", "train.epochs=1", "search.trials=4")
    assert result.front == ()
    assert "drop ≤ −90.00 pp: the least is" in result.why_none
    read = [stage for stage, _ in stages.of("evaluate") if stage.settings["split"] == "test"]
    assert len(read) == 1, "dense fp32 alone"


def test_all_that_keeps_a_search_from_beginning_is_said_at_once(tmp_path):
    config = quick_search("train.start_from=scratch", "search.max_latency=2ms", "search.epochs=[1, 5]")
    with pytest.raises(ConfigError) as error:
        search(config, runs_dir=tmp_path)
    text = str(error.value)
    assert "train.start_from = 'scratch'" in text
    assert "search.epochs = 5 is longer than a full training, train.epochs = 2" in text
    assert "measure.batch_sizes = []: nothing is timed" in text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('search.objectives=["metric", "sise"]', "it is no objective. Did you mean 'size'?"),
        ('search.objectives=["size", "macs"]', "objectives without 'metric'"),
        ("search.trial=3", "search.trial is no key of [search]. Did you mean 'trials'?"),
        ("search.thresholds=[0, 0.5]", "0 is the dense network"),
        ('search.groups=["graph", "a"]', "'graph' stands for all groups"),
    ],
)
def test_faults_of_the_section_are_told_when_the_config_is_read(override, told):
    with pytest.raises(ConfigError) as error:
        quick_search(override)
    assert told in str(error.value)


def test_limits_that_cannot_be_read_are_named_by_their_keys(tmp_path):
    config = quick_search("search.max_flash=64kb", "search.max_drop=1")
    with pytest.raises(ConfigError) as error:
        search(config, runs_dir=tmp_path)
    assert "search.max_flash = 64kb: 'kb' is no unit of a number of bytes. Did you mean 64kB?" in str(error.value)
    assert "search.max_drop = 1: the unit is missing" in str(error.value)


def test_a_search_stops_proposing_when_its_seconds_are_spent(tmp_path):
    result, _ = looked_for(tmp_path, "search.seconds=0.001", "train.epochs=1")
    assert len(result.rounds.networks) == 4, "one batch, without which there is no front"
    assert result.front


def test_the_folder_of_a_sweep_is_left_to_it(tmp_path):
    config = quick_search("thresholds=0", "schemes=fp32", "train.epochs=1")
    run_sweep(config.model_copy(update={"search": None}), runs_dir=tmp_path, watcher=Watcher())
    with pytest.raises(ConfigError, match=r"holds a sweep.*--set name=quick-search"):
        search(config, runs_dir=tmp_path)


def test_a_search_over_objects_returns_its_run_and_writes_its_page(tmp_path):
    found = run_search(
        network,
        load,
        trials=4,
        schemes=["fp32", "static"],
        epochs=4,
        seeds=[0],
        train={"batch_size": 16, "learning_rate": 0.01},
        measure={"batch_sizes": []},
        search={"finalists": 1, "batch": 2},
        runs_dir=tmp_path,
        progress=False,
    )
    assert found.pick(max_drop="100pp")
    text = found.page(tmp_path / "reports").read_text()
    assert "## Front" in text
    assert "## What matters" not in text or "format" in text
    assert all(point.scheme in text for point in found.searched.front)
    assert (tmp_path / "reports/figures/search-hypervolume.svg").is_file()


def test_a_short_training_may_lose_more_than_the_limit_and_a_full_one_may_not():
    judge = Judge(quick_search("search.max_drop=1pp").search, ACCURACY, {"deflated_size": 100.0}, 0.9, epochs=10)
    assert judge.excesses({}, loss=10.9, epochs=0)["drop"] <= 0 < judge.excesses({}, loss=11.1, epochs=0)["drop"]
    assert judge.excesses({}, loss=5.9, epochs=5)["drop"] <= 0 < judge.excesses({}, loss=6.1, epochs=5)["drop"]
    assert judge.excesses({}, loss=0.9)["drop"] <= 0 < judge.excesses({}, loss=1.1)["drop"]


def test_latency_counts_by_the_upper_end_of_its_interval():

    class Timed:
        """A point whose latency was measured as 1.9 ms, and 2.1 ms at most."""

        value, drop, is_baseline = object(), None, True

    criterion = replace(MEASURED["latency"], read=lambda *_: Reading(1.9, 1.7, 2.1))
    config = quick_search("search.max_latency=2ms", 'search.objectives=["metric", "latency"]')
    judge = Judge(config.search, ACCURACY, {"latency": 4.2}, 0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MEASURED, "latency", criterion)
        criteria.limits_of.cache_clear()
        section = type("Section", (), {"scale": ACCURACY})()
        assert not Finals(judge, section, lambda _: True, latency=True).keeps(Timed())
        assert Finals(judge, section, lambda _: True, latency=True).values(Timed()) == pytest.approx(
            (0.0, 1 + math.log(0.5) / math.log(100))
        )
        assert Finals(judge, section, lambda _: True, latency=False).keeps(Timed())
    criteria.limits_of.cache_clear()


@pytest.mark.slow
def test_where_a_latency_is_asked_for_the_dense_network_is_timed_first_and_the_finalists_in_pairs(tmp_path):
    timed = [*QUICK_TIMED, "measure.batch_sizes=1", 'search.objectives=["metric", "latency"]', "search.max_latency=1s"]
    result, stages = looked_for(tmp_path, *timed, "train.epochs=1", "search.trials=2", "search.batch=2")
    kinds = [stage.kind for stage, _ in stages.ran]
    assert kinds.index("measure") < kinds.index("train", 1), "before any pruned network is trained"
    of = {stage.parent for stage, _ in stages.of("measure")}
    assert {trial.trial.compress for trial in result.run.trials} <= of
    assert all(found.costs["latency"] > 0 for found in result.rounds.points)
    assert all(MEASURED["latency"].read(result.section, point).high <= 1000 for point in result.front)
    baselines = {stage.settings["baseline"]["compress"] for stage, _ in stages.of("measure")}
    assert baselines <= of, "each beside dense fp32"


def test_a_latency_that_no_format_keeps_is_said_before_anything_pruned_is_trained(tmp_path):
    timed = [*QUICK_TIMED, "measure.batch_sizes=1", "search.max_latency=1ns"]
    with pytest.raises(ConfigError, match=r"latency ≤ 0\.0+1\d* ms is kept by no network: the least is 0\.\d+ ms"):
        search(quick_search(*timed, "train.epochs=1"), runs_dir=tmp_path)


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "sparsebench.search.proposing", raising=False)
    with pytest.raises(SparsebenchError, match=r"needs optuna.*pip install 'sparsebench\[search\]'"):
        importlib.import_module("sparsebench.search.proposing")
