"""Shards: disjoint, together everything, nearly equal, and the same wherever they are worked out."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench import load_config
from sparsebench.errors import ConfigError
from sparsebench.runner.facts import Facts
from sparsebench.runner.planner import make_plan
from sparsebench.runner.sharing.shards import Shard, parse_shard, part_of

FACTS = Facts(data={"digits": {"version": "1"}}, machine={"cpu": "a"})


def plan(*overrides, facts=FACTS):
    return make_plan(load_config(None, overrides), facts)


def parts_of(plan, count):
    return [part_of(plan, Shard(number, count)) for number in range(1, count + 1)]


def keys(plan, *kinds):
    return {stage.key for stage in plan.stages if stage.kind in kinds}


@given(
    count=st.integers(1, 20),
    seeds=st.integers(1, 4),
    start_from=st.sampled_from(["scratch", "dense", "previous"]),
    control=st.sampled_from(["continued", "as_trained"]),
    thresholds=st.sampled_from(["0", "0.5", "0,0.8", "0.5,0.9", "0,0.5,0.8,0.9"]),
    pruners=st.sampled_from(["magnitude", "magnitude,random"]),
)
@settings(max_examples=60, deadline=None)
def test_shards_are_disjoint_and_together_the_whole_sweep_but_for_timing(
    count, seeds, start_from, control, thresholds, pruners
):
    whole = plan(
        f"seeds={','.join(map(str, range(seeds)))}",
        f"train.start_from={start_from}",
        f"train.dense_control={control}",
        f"thresholds={thresholds}",
        f"pruners={pruners}",
    )
    parts = parts_of(whole, count)
    trials = [replace(trial, measure=()) for trial in whole.trials]
    assert sorted((trial for part in parts for trial in part.trials), key=str) == sorted(trials, key=str)
    for kind in ("compress", "evaluate"):
        assert sorted(key for part in parts for key in keys(part, kind)) == sorted(keys(whole, kind))
    assert set().union(*(keys(part, "train") for part in parts)) == keys(whole, "train")
    assert not any(keys(part, "measure") for part in parts)
    for part in parts:
        there = keys(part, "train", "compress", "evaluate")
        assert all(stage.parent in there for stage in part.stages if stage.parent), "what is built on is there"


def test_shards_of_the_default_sweep_are_equal():
    assert [len(part.trials) for part in parts_of(plan(), 5)] == [12] * 5
    assert [len(part.trials) for part in parts_of(plan(), 4)] == [16, 16, 16, 12]


def test_only_dense_networks_are_needed_by_several_shards():
    whole = plan()
    needed = Counter(key for part in parts_of(whole, 4) for key in keys(part, "train"))
    shared = [stage.label for stage in whole.stages if needed[stage.key] > 1]
    assert shared
    assert all("dense, from scratch" in label for label in shared)


def test_a_chain_of_networks_that_start_from_each_other_stays_in_one_shard():
    whole = plan("train.start_from=previous", "seeds=0,1,2", "thresholds=0.5,0.8,0.9")
    parts = parts_of(whole, 3)
    assert [len(keys(part, "train")) for part in parts] == [3, 3, 3]
    assert not set.intersection(*(keys(part, "train") for part in parts))


def test_the_split_does_not_depend_on_the_machine_or_what_it_offers():
    here = plan("schemes=fp32,static")
    facts = Facts(data=FACTS.data, machine={"cpu": "b"}, not_offered={("eager", "static"): "not here"})
    there = plan("schemes=fp32,static", facts=facts)
    networks = [[keys(part, "train") for part in parts_of(whole, 4)] for whole in (here, there)]
    assert networks[0] == networks[1]


def test_more_shards_than_networks_leave_some_with_nothing_to_do():
    parts = parts_of(plan("seeds=0", "thresholds=0,0.5"), 5)
    assert sorted(len(part.trials) for part in parts) == [0, 0, 0, 4, 4]


def test_a_shard_is_named_by_number_and_count():
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/", "a/b", "-1/2", "1/0", ""])
def test_what_names_no_shard_is_refused_with_what_does(text):
    with pytest.raises(ConfigError, match=r"write NUMBER/COUNT, with a number from 1 to the count: 1/4, 2/4, 3/4"):
        parse_shard(text)
