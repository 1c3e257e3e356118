"""The executor of a Ray cluster, on several of Ray's nodes on this machine; nodes and drivers are killed for real."""

import os
import re
import signal
import sys
import time
from collections import Counter

import forked
import pytest
from modules import modules_after
from patience import LONG
from plans import SETUP, todo
from sweeps import TIMED, Recorder, environment, rows, stage_files, tiny, tiny_arguments

from sparsebench import load_run, run_sweep
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.runner.executors import build_executor
from sparsebench.runner.executors.ray import RayExecutor, Room, Running, _reason
from sparsebench.runner.executors.ray_cluster import Cluster, Node

SWEEP = (
    "model.name=counting:network",
    "train.trainer=counting:Counting",
    "train.epochs=1",
    "run.threads=1",
)

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_log_monitor": False}

# A node that is gone is missed within seconds, not within half a minute.
WATCHFUL = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    return tmp_path_factory.mktemp("counted") / "counted"


@pytest.fixture(scope="module")
def cluster(counted):
    """A head and a node that do any work, and one that only times; what runs on them is noted in ``counted``."""
    pytest.importorskip("ray", reason="needs Ray: pip install sparsebench[ray]")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Nodes

    def where(name):
        return {"env_vars": {"WHERE": name, "COUNTED": str(counted)}}

    nodes = Nodes()
    nodes.add_node(**NODE, **where("head"), include_dashboard=False, _system_config=WATCHFUL)
    nodes.worker = nodes.add_node(**NODE, **where("worker"))
    nodes.add_node(**NODE | {"num_cpus": 0}, **where("bench"), resources={"bench": 1})
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def notes(counted):
    """What was done where: (what, node, process) of each."""
    counted.unlink(missing_ok=True)

    def read():
        lines = counted.read_text().splitlines() if counted.exists() else []
        return [tuple(line.split()) for line in lines]

    return read


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The records of the same sweep on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COUNTED", raising=False)
        return rows(run_sweep(tiny(*SWEEP), runs_dir=tmp_path_factory.mktemp("local")))


@pytest.fixture
def driver(cluster, tmp_path):
    """Start ``sparsebench run`` against the cluster, in a process of its own."""
    started = []

    def start(*overrides, **more):
        arguments = ["--executor", "ray", "--no-report"]
        process = forked.Process(
            ["-m", "sparsebench", "run", *arguments, *tiny_arguments(*SWEEP, *overrides)],
            tmp_path,
            environment(RAY_ADDRESS=cluster.address, **more),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kinds(notes):
    return Counter(what for what, _, _ in notes)


def untimed(rows):
    return [
        {key: row[key] for key in row.keys() - {"batch_size", "threads", "cache", "latency_baseline"}} for row in rows
    ]


class Listening(Recorder):
    """Knows what was told of timing."""

    def __init__(self):
        super().__init__()
        self.steps, self.notes = [], []

    def timed(self, stages, text):
        self.steps.append(text)

    def noted(self, text):
        self.notes.append(text)


# -- on a cluster -------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_finds_the_same_as_one_machine_and_times_on_the_node_of_the_chosen_kind(
    cluster, local, notes, tmp_path
):
    config = tiny(*SWEEP, *TIMED, "ray.measure_resource=bench")
    watcher = Listening()
    executor = RayExecutor(config.ray, cluster.address)
    run = run_sweep(config, runs_dir=tmp_path, executor=executor, watcher=watcher)
    assert untimed(rows(run)) == untimed(local)
    assert kinds(notes())["train"] == 3
    assert {where for what, where, _ in notes() if what != "build"} <= {"head", "worker"}
    assert "bench" in {where for what, where, _ in notes() if what == "build"}, "what is timed is built there"
    assert watcher.epochs, "news of training reach the driver"
    assert watcher.steps[0] == "starting 6 processes", "and those of timing"
    assert any("measure.seconds_cap = 0.01 is too short for that" in text for text in watcher.notes)
    session = run.trials[0].measured[0].session
    assert "foreign_cores" in session.conditions
    assert {record.environment.threads for trial in run.trials for record in trial.stages[:3]} == {1}


def test_a_cluster_finds_the_same_as_one_machine_from_the_command_line(cluster, local, driver, tmp_path):
    running = driver("thresholds=0", "schemes=fp32")
    stdout, stderr = running.communicate(timeout=LONG)
    assert running.returncode == 0, stderr
    assert stdout.splitlines()[0] == "1 of 1 trials done in runs/tiny.", "Ray is not heard of"
    dense = [row for row in local if row["threshold"] == 0 and row["scheme"] == "fp32"]
    assert rows(load_run(tmp_path / "runs/tiny")) == dense


@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_of_a_sweep_costs_nothing_but_time(cluster, local, notes, driver, tmp_path):
    running = driver()
    until(lambda: any(where == "worker" for what, where, _ in notes() if what in ("train", "evaluation")))
    cluster.remove_node(cluster.worker, allow_graceful=False)
    stdout, stderr = running.communicate(timeout=LONG)
    assert running.returncode == 0, stderr
    assert stdout.splitlines()[0] == "4 of 4 trials done in runs/tiny.", "Ray is not heard of"
    assert "ray" not in stdout.lower()
    lines = stderr.splitlines()
    ours = r"4 trials in |\[\d+/15|\w+ counting:.*: its (node was lost|worker died); it is tried again"
    assert not [line for line in lines if not re.match(ours, line)]
    assert any("it is tried again (1 of 3 times)" in line for line in lines)
    assert rows(load_run(tmp_path / "runs/tiny")) == local


@pytest.mark.slow
def test_a_driver_that_is_killed_is_started_again_and_does_only_the_rest(cluster, local, notes, driver, tmp_path):
    killed = driver()
    until(lambda: kinds(notes())["train"] >= 2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = stage_files(tmp_path / "runs/tiny")
    assert before, "the first network had been trained"

    again = driver()
    stdout, stderr = again.communicate(timeout=LONG)
    assert again.returncode == 0, stderr
    assert rows(load_run(tmp_path / "runs/tiny")) == local
    assert before.items() <= stage_files(tmp_path / "runs/tiny").items(), "what was done was left alone"
    assert stdout.splitlines()[0] == "4 of 4 trials done in runs/tiny."


@pytest.mark.slow
def test_a_training_that_hangs_is_ended_with_its_worker_and_has_failed(cluster, notes, tmp_path):
    config = tiny(*SWEEP, "train.trainer=counting:HangsWhenSparse", "schemes=fp32", "run.stage_seconds=15")
    run = run_sweep(config, runs_dir=tmp_path, executor=RayExecutor(config.ray, cluster.address))
    assert [trial.status for trial in run.trials] == ["done", "failed"]
    assert "It ran for longer than 15 s and was ended" in run.trials[1].failed_stage.failure.message
    ((_, _, worker),) = [note for note in notes() if note[0] == "hang"]
    until(lambda: not os.path.exists(f"/proc/{worker}"))


def test_what_no_node_can_ever_give_is_refused_before_any_work(cluster, tmp_path):
    config = tiny(*SWEEP, *TIMED, "ray.measure_resource=gone", "ray.cpus=64")
    executor = RayExecutor(config.ray, cluster.address)
    with pytest.raises(ConfigError, match=r"no node of the cluster has that resource\. Start one with ray start"):
        run_sweep(config, runs_dir=tmp_path, executor=executor)
    with pytest.raises(ConfigError, match=r"ray\.cpus = 64, but no node of the cluster has more than 1 CPUs"):
        run_sweep(config.model_copy(update={"measure": tiny().measure}), runs_dir=tmp_path, executor=executor)
    executor.close()
    assert not list(tmp_path.glob("*/*/*"))


# -- without a cluster --------------------------------------------------------


def test_neither_the_package_nor_its_help_imports_ray():
    assert "ray" not in modules_after("import sparsebench, sparsebench.runner.executors.ray")


def test_without_ray_the_executor_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SparsebenchError, match=r"needs Ray, which is not installed: pip install 'sparsebench\[ray\]'"):
        build_executor("ray", tiny()).machine()


def test_the_cluster_and_not_the_user_says_how_many_jobs_there_are():
    with pytest.raises(ConfigError, match="a Ray cluster runs as many tasks as it has room for; leave --jobs out"):
        build_executor("ray", tiny(), jobs=4)


def test_the_address_of_a_client_server_is_refused_with_what_to_do_instead():
    pytest.importorskip("ray", reason="needs Ray: pip install sparsebench[ray]")
    with pytest.raises(SparsebenchError, match=r"The driver must run on a node of the cluster: log in to one"):
        RayExecutor(tiny().ray, "ray://head:10001").machine()


class Nodes(Cluster):
    """A cluster that is only told of."""

    own_node = "0"

    def __init__(self, config, *resources):
        super().__init__(config, None)
        self._found = [Node(str(number), one) for number, one in enumerate(resources)]

    def nodes(self):
        return self._found


def room(*resources, running=(), **options):
    config = tiny(*(f"ray.{name}={value}" for name, value in options.items())).ray
    return Room(config, Nodes(config, *resources), [Running(one, bench, 0.0) for one, bench in running])


def fits(room, task):
    """Return how many such tasks Ray would be given."""
    count = 0
    while room.has(task):
        room.take(task)
        count += 1
    return count


PLAIN, TRAINS, TIMES = todo(0), todo(1, gpu=True), todo(2, exclusive=True)


def test_ray_is_given_as_many_tasks_as_there_are_processors_and_gpus():
    node = {"CPU": 16.0, "GPU": 8.0}
    assert fits(room(node, node, cpus=2), PLAIN) == 16
    assert fits(room(node, node), TRAINS) == 16
    assert fits(room(node, gpus=0.25), TRAINS) == 32
    assert fits(room({"CPU": 4.0}), TRAINS) == 4, "without GPUs, training is work as any other"
    assert fits(room(node, running=[(TRAINS, None)] * 5 + [(PLAIN, None)] * 6), TRAINS) == 3
    assert fits(room(node, running=[(TRAINS, None)] * 5 + [(PLAIN, None)] * 6), PLAIN) == 10


def test_each_node_that_may_time_is_given_one_session_at_a_time():
    bench = {"bench": 1.0}
    assert fits(room({"CPU": 4.0}, bench, bench, measure_resource="bench"), TIMES) == 2
    assert fits(room({"CPU": 4.0}, bench, bench, measure_resource="bench", running=[(TIMES, "1")]), TIMES) == 1
    assert fits(room({"CPU": 4.0}, {"CPU": 4.0}), TIMES) == 1, "the driver's own, where none is named"
    assert not room({"CPU": 4.0}, measure_resource="bench").benches


def test_whole_gpus_or_a_part_of_one_can_be_asked_for():
    assert tiny("ray.gpus=0.5").ray.gpus == 0.5
    assert tiny("ray.gpus=2").ray.gpus == 2
    with pytest.raises(ConfigError, match=r"ray\.gpus = 1\.5: Ray gives out a part of one GPU, or whole GPUs"):
        tiny("ray.gpus=1.5")


def test_ways_to_lose_a_worker_are_told_in_words():
    class NodeDiedError(Exception):
        pass

    class NovelError(Exception):
        pass

    assert _reason(NodeDiedError()) == "its node was lost"
    assert _reason(NovelError()) == "its worker was lost (NovelError)"


def test_a_worker_refuses_what_it_could_only_do_wrong(tmp_path, monkeypatch):
    from dataclasses import replace

    from sparsebench.runner.executors.ray_worker import Origin, carry_out_here

    monkeypatch.chdir(tmp_path)
    elsewhere = replace(todo(0), setup=replace(SETUP, root=tmp_path / "not shared"))
    with pytest.raises(SparsebenchError, match=r"does not see the run directory .*not shared\. It must lie on a file"):
        carry_out_here(elsewhere, None, Origin(version=sys.modules["sparsebench"].__version__, paths=()))
    assert not (tmp_path / "not shared").exists(), "records there would be lost"
    with pytest.raises(SparsebenchError, match=r"This node has sparsebench .*, the driver 9\.9; install the same"):
        carry_out_here(elsewhere, None, Origin(version="9.9", paths=()))
