"""The plan: which stages a config needs, what they share, and what their keys depend on."""

from collections import Counter

import pytest
from plans import FACTS, plan

from sparsebench import load_config
from sparsebench.errors import ConfigError
from sparsebench.runner.facts import Facts
from sparsebench.runner.plan import missing_baselines
from sparsebench.runner.sequencer import plan_sweep
from sparsebench.store.written import stage_key


def kinds(plan):
    return Counter(stage.kind for stage in plan.stages)


def keys(plan, kind):
    return [stage.key for stage in plan.stages if stage.kind == kind]


def test_a_key_is_pinned_so_that_a_change_of_keys_is_a_decision():
    assert stage_key("train", {"threshold": 0.5, "seed": 1}, None) == (
        "ce899b78d2c71d3a9368170752b8bc6d675b30e6bd798c5dfb05c7ade8f07fe7"
    )


def test_how_stages_are_run_is_no_part_of_any_key():
    assert plan("run.threads=3", "run.stage_seconds=60").stages == plan().stages


def test_the_default_sweep_trains_each_network_once_and_shares_it_among_all_schemes():
    default = plan()
    assert len(default.trials) == 5 * 4 * 3
    # A dense network per seed to start from, and five thresholds that each continue from it.
    assert kinds(default) == {"train": 3 + 5 * 3, "compress": 60, "evaluate": 2 * 60, "measure": 40}


def test_every_stage_comes_after_its_parent_and_its_baselines():
    seen = set()
    for stage in plan("measure.all_seeds=true").stages:
        assert stage.parent is None or stage.parent in seen
        assert seen.issuperset(stage.baselines)
        seen.add(stage.key)


def test_latency_is_timed_on_the_first_seed_unless_asked_otherwise():
    assert {trial.seed for trial in plan().trials if trial.measure} == {0}
    assert {trial.seed for trial in plan("measure.all_seeds=true").trials if trial.measure} == {0, 1, 2}


def test_batch_sizes_and_threads_multiply_the_measurements():
    assert kinds(plan("measure.batch_sizes=1,32", "measure.threads=1,2"))["measure"] == 2 * 2 * 20
    assert kinds(plan("measure.batch_sizes=1"))["measure"] == 20


def measures(plan):
    return [stage for stage in plan.stages if stage.kind == "measure"]


def test_nothing_is_timed_where_no_batch_size_is_named():
    found = plan("measure.batch_sizes=[]")
    assert kinds(found)["measure"] == 0
    assert all(trial.measure == () for trial in found.trials)


def test_networks_of_one_seed_backend_batch_size_and_number_of_threads_are_timed_together():
    sessions = Counter(stage.session for stage in measures(plan("measure.threads=1,2", "measure.all_seeds=true")))
    assert sorted(sessions.values()) == [20] * (3 * 2 * 2)


def test_latencies_are_compared_with_the_dense_fp32_network():
    found = plan()
    dense = next(trial for trial in found.trials if trial.threshold == 0 and trial.scheme == "fp32")
    for stage in measures(found):
        assert stage.settings["baseline"] == {"network": "dense · fp32 · eager", "compress": dense.compress}
        assert stage.baselines == (dense.compress,)


def test_a_dense_network_that_is_trained_anyway_is_compressed_to_be_the_baseline():
    found = plan("seeds=0", "thresholds=0.5", "schemes=static")
    dense, compressed = (next(s for s in found.stages if s.kind == kind) for kind in ("train", "compress"))
    baselines = [s for s in found.stages if s.kind == "compress" and s.parent == dense.key]
    assert [baseline.settings["scheme"] for baseline in baselines] == ["fp32"]
    assert compressed.key != baselines[0].key
    assert {stage.baselines for stage in measures(found)} == {(baselines[0].key,)}
    assert len(found.trials) == 1


def test_without_a_dense_network_the_least_sparse_fp32_network_is_the_baseline_or_one_of_the_first_scheme():
    scratch = ("seeds=0", "thresholds=0.8,0.5", "train.start_from=scratch")
    for schemes, expected in (
        ("static,fp32", "magnitude 0.5 · fp32 · eager"),
        ("static,both", "magnitude 0.5 · static · eager"),
    ):
        found = plan(*scratch, f"schemes={schemes}")
        assert {stage.settings["baseline"]["network"] for stage in measures(found)} == {expected}
        assert kinds(found)["compress"] == 4


def test_one_more_threshold_leaves_the_keys_of_what_was_timed():
    before, after = plan("thresholds=0,0.5"), plan("thresholds=0,0.5,0.8")
    assert set(keys(before, "measure")) < set(keys(after, "measure"))


def test_another_baseline_makes_new_keys_of_measure():
    before, after = plan("train.dense_control=as_trained"), plan()
    sparse = [
        {trial.measure for trial in found.trials if trial.threshold and trial.measure} for found in (before, after)
    ]
    assert not sparse[0] & sparse[1]


@pytest.mark.parametrize("change", ["precision=0.02", "band=0.02", "block_ms=20", "workers=false", "seconds_cap=60"])
def test_how_it_is_timed_joins_the_keys_of_measure_alone(change):
    before, after = plan(), plan(f"measure.{change}")
    assert keys(before, "evaluate") == keys(after, "evaluate")
    assert not set(keys(before, "measure")) & set(keys(after, "measure"))


def test_how_long_a_worker_may_hang_is_no_part_of_any_key():
    assert plan().stages == plan("measure.hang_seconds=5").stages


def test_every_threshold_the_dense_control_too_continues_from_the_same_dense_network():
    found = plan("seeds=0", "schemes=fp32")
    dense, *others = [stage for stage in found.stages if stage.kind == "train"]
    assert dense.parent is None
    assert {stage.parent for stage in others} == {dense.key}
    assert [stage.settings["threshold"] for stage in others] == [0, 0.5, 0.8, 0.9, 0.95]


def test_the_dense_control_may_be_the_dense_network_as_it_was_trained():
    found = plan("seeds=0", "train.dense_control=as_trained")
    assert kinds(found)["train"] == 5
    assert found.trials[0].train == found.stages[0].key


def test_the_dense_network_may_be_trained_longer_than_what_continues_from_it():
    asked = ("train.epochs=2", "train.dense_epochs=20", "train.dense_learning_rate=0.5")
    found = plan("seeds=0", "schemes=fp32", *asked)
    dense, *others = [stage.settings["train"] for stage in found.stages if stage.kind == "train"]
    assert (dense["epochs"], dense["learning_rate"]) == (20, 0.5)
    assert {(train["epochs"], train["learning_rate"]) for train in others} == {(2, 2e-3)}


def test_a_dense_network_of_its_own_length_is_no_part_of_the_keys_where_it_makes_no_difference():
    longer = ("train.dense_epochs=20", "train.start_from=scratch")
    assert plan("train.start_from=scratch").stages == plan(*longer).stages


def test_training_from_scratch_has_no_parents():
    found = plan("train.start_from=scratch")
    assert kinds(found)["train"] == 15
    assert all(stage.parent is None for stage in found.stages if stage.kind == "train")


def test_training_from_the_previous_threshold_is_a_chain():
    trains = [stage for stage in plan("seeds=0", "train.start_from=previous").stages if stage.kind == "train"]
    assert [stage.parent for stage in trains] == [None, *(stage.key for stage in trains[:-1])]


def test_a_pruner_with_certain_thresholds_only_has_those_in_place_of_the_sweeps():
    facts = Facts(data=FACTS.data, thresholds={"n_m(m=4, n=1)": (0.75,)})
    found = plan('pruners=["magnitude", {name="n_m", options={n=1, m=4}}]', "seeds=0", "schemes=fp32", facts=facts)
    points = [(trial.pruner, trial.threshold) for trial in found.trials]
    assert points == [
        (None, 0),
        *(("magnitude", threshold) for threshold in (0.5, 0.8, 0.9, 0.95)),
        ("n_m(m=4, n=1)", 0.75),
    ]


def test_a_pruner_may_have_thresholds_of_its_own():
    random = '{name="random", thresholds=[0.5, 0.9]}'
    found = plan("seeds=0", "schemes=fp32", "thresholds=0,0.5,0.8", f'pruners=["magnitude", {random}]')
    assert [(trial.pruner, trial.threshold) for trial in found.trials] == [
        (None, 0),
        ("magnitude", 0.5),
        ("magnitude", 0.8),
        ("random", 0.5),
        ("random", 0.9),
    ]


def test_a_pruners_own_thresholds_leave_the_keys_as_they_are():
    random = '{name="random", thresholds=[0.5, 0.8]}'
    one = plan("thresholds=0.5,0.8", "pruners=random")
    other = plan("thresholds=0.1,0.9", f"pruners=[{random}]")
    assert keys(one, "train") == keys(other, "train")


def test_a_threshold_that_a_pruner_cannot_reach_is_refused_with_those_it_can():
    with pytest.raises(ConfigError, match=r"n_m has thresholds 0.3; it reaches 0.5 alone. Leave thresholds out."):
        plan_sweep(load_config(None, ['pruners=[{name="n_m", thresholds=[0, 0.3]}]']))


def test_all_pruners_share_the_dense_control():
    found = plan("pruners=magnitude,random", "seeds=0")
    assert len(found.trials) == 4 * (1 + 4 + 4)
    assert sum(trial.pruner is None for trial in found.trials) == 4


def test_a_scheme_that_a_backend_does_not_offer_is_a_trial_with_its_reason_and_no_stages():
    facts = Facts(data=FACTS.data, not_offered={("eager", "static"): "eager does not offer static here."})
    found = plan(facts=facts)
    refused = [trial for trial in found.trials if trial.scheme == "static"]
    assert len(refused) == 15
    assert all(trial.not_offered == "eager does not offer static here." for trial in refused)
    assert all(trial.evaluate is None for trial in refused)
    assert kinds(found)["compress"] == 45


@pytest.mark.parametrize(
    "change",
    [
        "train.epochs=13",
        "train.learning_rate=0.003",
        "data.options={seed=1}",
        "model.options={width=16}",
        "prune.hold=0.5",
        "prune.schedule=cubic",
        "seeds=[7]",
    ],
)
def test_what_changes_training_changes_the_keys_of_training_and_of_all_that_follows(change):
    before, after = plan("seeds=0", "thresholds=0.5"), plan("seeds=0", "thresholds=0.5", change)
    for kind in ("evaluate", "measure"):
        assert not set(keys(before, kind)) & set(keys(after, kind))
    assert not {trial.compress for trial in before.trials} & {trial.compress for trial in after.trials}


def test_what_is_pruned_does_not_touch_the_keys_of_dense_training():
    before, after = plan("seeds=0"), plan("seeds=0", "prune.hold=0.5")
    assert keys(before, "train")[:2] == keys(after, "train")[:2]


def test_networks_without_a_dense_fp32_trial_beside_them_are_named():
    assert list(missing_baselines(plan())) == []
    (why,) = missing_baselines(plan("thresholds=0.5,0.9"))
    assert why == (
        "small_cnn on digits, eager: no trial is dense fp32, so the report has no drops in accuracy there. "
        'Add 0 to thresholds and "fp32" to schemes.'
    )
    assert len(list(missing_baselines(plan("schemes=static", "backends=eager,onnxruntime")))) == 2


def test_the_machine_joins_only_the_keys_of_measure():
    here, there = plan(), plan(facts=Facts(data=FACTS.data, machine={"cpu": "b"}))
    assert keys(here, "evaluate") == keys(there, "evaluate")
    assert not set(keys(here, "measure")) & set(keys(there, "measure"))


def test_where_training_runs_is_no_part_of_any_key():
    assert plan().stages == plan("train.device=cpu").stages


def test_calibration_joins_only_the_keys_of_schemes_that_calibrate():
    before, after = plan("seeds=0"), plan("seeds=0", "quantize.calibration_batches=10")
    changed = {a.scheme for a, b in zip(before.trials, after.trials, strict=True) if a.compress != b.compress}
    assert changed == {"static", "both"}


def test_several_numbers_of_calibration_batches_are_an_axis_of_the_schemes_that_calibrate_only():
    found = plan("seeds=0", "thresholds=0,0.5", "quantize.calibration_batches=10,100")
    asked = Counter((trial.scheme, trial.calibration_batches) for trial in found.trials)
    once = {("fp32", None): 2, ("dynamic", None): 2}
    assert asked == {**once, **{(scheme, n): 2 for scheme in ("static", "both") for n in (10, 100)}}
    assert kinds(found) == {"train": 3, "compress": 12, "evaluate": 2 * 12, "measure": 16}


def test_each_number_of_calibration_batches_has_the_keys_it_would_have_alone():
    together = plan("quantize.calibration_batches=10,100")
    for alone in (plan("quantize.calibration_batches=10"), plan("quantize.calibration_batches=100")):
        assert set(keys(alone, "evaluate")) < set(keys(together, "evaluate"))
    names = [stage.label for stage in together.stages if stage.kind == "evaluate"]
    assert len(set(names)) == len(names)


def test_the_largest_number_of_calibration_batches_comes_first_and_is_the_one_that_is_timed():
    static = [t for t in plan("seeds=0", "quantize.calibration_batches=10,2000,100").trials if t.scheme == "static"]
    assert [trial.calibration_batches for trial in static[:3]] == [2000, 100, 10]
    assert [bool(trial.measure) for trial in static[:3]] == [True, False, False]


def test_a_scheme_that_is_not_offered_is_listed_once_for_all_numbers_of_calibration_batches():
    facts = Facts(data=FACTS.data, not_offered={("eager", "static"): "not here"})
    found = plan("seeds=0", "thresholds=0", "quantize.calibration_batches=10,100", facts=facts)
    assert [t.calibration_batches for t in found.trials if t.not_offered] == [None]


def test_a_change_in_the_users_own_source_changes_the_keys():
    reference = "mine:Trainer"
    before = plan(f"train.trainer={reference}", facts=Facts(data=FACTS.data, sources={reference: "a"}))
    after = plan(f"train.trainer={reference}", facts=Facts(data=FACTS.data, sources={reference: "b"}))
    assert not {stage.key for stage in before.stages} & {stage.key for stage in after.stages}
