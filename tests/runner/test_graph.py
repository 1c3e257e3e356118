"""The graph of a plan: tasks come when what they build on has ended, whatever ends how."""

from collections import Counter

import pytest
from handmade import stage_record
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import SETUP, plan, todo

from sparsebench.runner.executors.local import choose
from sparsebench.runner.graph import Graph


def graph_of(found, status=None, **keywords):
    status = status or dict.fromkeys((stage.key for stage in found.stages), "pending")
    return Graph(found.stages, status, {}, SETUP, **keywords)


def records_of(task, status="done"):
    return [stage_record(stage=stage.kind, key=stage.key, parent=stage.parent, status=status) for stage in task.stages]


def run_one_by_one(graph):
    """Run all tasks as one process does, and return them in their order, with what was skipped."""
    waiting, order, skipped = [], [], []
    while True:
        tasks, dropped = graph.ready()
        waiting += tasks
        skipped += dropped
        if not waiting:
            return order, skipped
        task = min(waiting, key=lambda task: task.priority)
        waiting.remove(task)
        order.append(task)
        graph.ended(records_of(task))


def test_one_after_the_other_tasks_run_in_the_order_of_the_plan():
    found = plan("measure.batch_sizes=[]")
    order, _ = run_one_by_one(graph_of(found))
    assert [stage.key for task in order for stage in task.stages] == [stage.key for stage in found.stages]


def test_a_network_is_evaluated_on_both_splits_by_one_task():
    found = plan("measure.batch_sizes=[]")
    order, _ = run_one_by_one(graph_of(found))
    pairs = [task.stages for task in order if task.stages[0].kind == "evaluate"]
    assert len(pairs) == 60
    assert all([stage.settings["split"] for stage in stages] == ["val", "test"] for stages in pairs)
    assert all(first.parent == second.parent for first, second in pairs)


def test_networks_that_are_timed_together_are_one_task_when_the_last_of_them_is_there():
    found = plan("measure.batch_sizes=1,32", "measure.all_seeds=true")
    order, _ = run_one_by_one(graph_of(found))
    sessions = [task for task in order if task.needs.exclusive]
    assert [len(task.stages) for task in sessions] == [20] * 6
    for task in sessions:
        before = {stage.key for other in order[: order.index(task)] for stage in other.stages}
        assert before.issuperset(key for stage in task.stages for key in (stage.parent, *stage.baselines))
    # The first seed is timed before the second is trained.
    assert [task.stages[0].kind for task in order].index("measure") < len(order) / 2


def test_all_dense_networks_may_be_trained_at_once():
    tasks, skipped = graph_of(plan()).ready()
    assert [task.stages[0].kind for task in tasks] == ["train"] * 3
    assert skipped == []


def test_what_builds_on_a_failed_stage_is_skipped_and_the_rest_is_run():
    found = plan("seeds=0,1", "measure.batch_sizes=[]")
    graph = graph_of(found)
    first, second = graph.ready()[0]
    graph.ended(records_of(first, "failed"))
    graph.ended(records_of(second))
    order, skipped = run_one_by_one(graph)
    assert {stage.key for stage in skipped} == {s.key for s in found.stages if "seed 0" in s.label} - {first.key}
    ran = {stage.key for task in order for stage in task.stages}
    assert ran == {stage.key for stage in found.stages if "seed 1" in stage.label} - {second.key}
    assert graph.is_finished


def test_what_is_done_already_is_not_handed_out_and_is_there_to_build_on():
    found = plan("seeds=0", "measure.batch_sizes=[]")
    status = {stage.key: "done" if stage.kind == "train" else "pending" for stage in found.stages}
    tasks, _ = graph_of(found, status).ready()
    assert Counter(task.stages[0].kind for task in tasks) == {"compress": 20}


def test_a_network_that_cannot_be_evaluated_is_timed_nevertheless():
    found = plan("seeds=0", "thresholds=0.5", "schemes=fp32", "measure.batch_sizes=1")
    graph = graph_of(found)
    timed = []
    while not graph.is_finished:
        for task in graph.ready()[0]:
            timed += [task] if task.needs.exclusive else []
            graph.ended(records_of(task, "failed" if task.stages[0].kind == "evaluate" else "done"))
    assert len(timed) == 1


def test_a_limit_of_a_stage_is_multiplied_for_those_that_run_together():
    order, _ = run_one_by_one(graph_of(plan("seeds=0", "measure.batch_sizes=1"), stage_seconds=10.0))
    assert {(task.stages[0].kind, task.limit_seconds) for task in order} == {
        *(("train", 10.0), ("compress", 10.0), ("evaluate", 20.0), ("measure", 200.0))
    }


def test_training_needs_the_gpu_where_the_config_asks_for_one():
    order, _ = run_one_by_one(graph_of(plan("seeds=0", "schemes=fp32,qat", "thresholds=0.5"), gpu=True))
    on_gpu = Counter(task.stages[0].kind for task in order if task.needs.gpu)
    # Quantization-aware training is part of compress.
    assert on_gpu == {"train": 2, "compress": 1}
    assert not any(t.needs.gpu for t in run_one_by_one(graph_of(plan("seeds=0")))[0])


def test_tasks_of_one_trained_network_share_their_affinity():
    order, _ = run_one_by_one(graph_of(plan("measure.batch_sizes=[]")))
    sizes = Counter(task.affinity for task in order)
    # A dense network that others start from has no trials of its own here.
    assert sorted(sizes.values()) == [1] * 3 + [1 + 2 * 4] * 15


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_however_stages_end_each_is_run_once_or_skipped_and_never_before_what_it_builds_on(data):
    found = plan("seeds=0,1", "thresholds=0,0.5", "schemes=fp32,static", "measure.batch_sizes=1")
    graph = graph_of(found)
    ended, skipped, running = {}, set(), []
    while True:
        tasks, dropped = graph.ready()
        skipped.update(stage.key for stage in dropped)
        running += tasks
        for task in tasks:
            assert all(stage.parent is None or ended[stage.parent] == "done" for stage in task.stages)
            assert all(key in ended or key in skipped for stage in task.stages for key in stage.baselines)
        if not running:
            break
        task = running.pop(data.draw(st.integers(0, len(running) - 1)))
        state = data.draw(st.sampled_from(["done", "done", "done", "failed"]))
        for stage in task.stages:
            assert stage.key not in ended
            ended[stage.key] = state
        graph.ended(records_of(task, state))
    assert graph.is_finished
    assert ended.keys() | skipped == {stage.key for stage in found.stages}
    assert not ended.keys() & skipped


# -- what a worker takes next -----------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "running", "taken", "why"),
    [
        ([todo(2), todo(1)], [], 1, "the order of the plan"),
        ([todo(1, "b"), todo(2, "mine")], [], 2, "the network in hand"),
        ([todo(1, "b"), todo(2, "c")], [todo(0, "b")], 2, "a network that nobody has in hand"),
        ([todo(1, "b")], [todo(0, "b")], 1, "help another rather than idle"),
        ([todo(1, "mine"), todo(2, "b", gpu=True)], [], 2, "a GPU that idles costs most"),
        (
            [todo(1, "b", gpu=True), todo(2, "c")],
            [todo(0, gpu=True)],
            2,
            "one training at a time on the GPU",
        ),
        ([todo(1, "b", gpu=True)], [todo(0, gpu=True)], None, "the GPU is taken"),
        ([todo(1, "mine"), todo(2, "b", True, True)], [todo(0)], 2, "training that others start from"),
        ([todo(1, "mine"), todo(2, "b", True)], [todo(0)], 2, "the last training"),
        (
            [todo(1, "mine"), todo(2, "b", True), todo(3, "c", True)],
            [todo(0)],
            1,
            "not the last training",
        ),
        ([todo(1, "mine"), todo(2, "b", True)], [], 1, "a worker alone has nobody to wait for"),
        ([todo(1, exclusive=True), todo(2)], [], 2, "timing comes when nothing else is left"),
        ([todo(1, exclusive=True)], [todo(0)], None, "timing waits for silence"),
        ([todo(2, exclusive=True), todo(1, exclusive=True)], [], 1, "then in the order of the plan"),
        ([todo(1)], [todo(0, exclusive=True)], None, "nothing runs beside timing"),
        ([], [], None, "nothing is there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_worker_takes_what_keeps_the_machine_busiest(waiting, running, taken, why):
    found = choose(waiting, running, "mine", has_gpu=True)
    assert (found and found.priority) == taken, why


def test_without_a_gpu_trainings_run_side_by_side_on_the_cpu():
    found = choose([todo(1, "b", gpu=True)], [todo(0, gpu=True)], None, has_gpu=False)
    assert found.priority == 1
