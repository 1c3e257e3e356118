"""The gate: a driver begins with nothing that another is at, and times while no other works on the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from sparsebench.runner.plan import Stage
from sparsebench.runner.sharing.waiting import Gate, MachineLock
from sparsebench.runner.tasks import Needs, Setup, Task
from sparsebench.store.run_directory import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "run")


def task(store, key, exclusive=False, kind="train"):
    setup = Setup(root=store.root, folder=Path.cwd(), device="cpu", how={}, calibration_batches=1, hang_seconds=1.0)
    stage = Stage(kind=kind, key=key, parent=None, settings={}, label=key)
    needs = Needs(exclusive=exclusive)
    return Task(stages=(stage,), attempts=(0,), setup=setup, needs=needs, priority=0, affinity=key)


class Patient:
    """A clock that is always far enough on to ask again."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 10
        return self.now


@pytest.fixture
def gates(store):
    made = []

    def make(**arguments):
        made.append(Gate(store, clock=Patient(), **arguments))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


def test_a_task_begins_with_one_driver_alone_and_with_the_other_once_it_has_ended(store, gates):
    one, other = gates(), gates()
    assert one.may_start(task(store, "a"))
    assert not other.may_start(task(store, "a"))
    assert other.may_start(task(store, "b"))
    one.ended(task(store, "a"))
    assert other.may_start(task(store, "a"))


def test_a_task_that_is_tried_again_is_still_this_drivers(store, gates):
    one = gates()
    assert one.may_start(task(store, "a"))
    assert one.may_start(task(store, "a"))


def test_a_driver_that_has_long_had_nothing_to_do_says_once_whom_it_waits_for(store, gates):
    told = []
    one, other = gates(), gates(idle=told.append)
    one.may_start(task(store, "a"))
    other.may_start(task(store, "a"))
    assert not told, "it may be over in a moment"
    for _ in range(5):
        other.may_start(task(store, "a"))
    (who,) = told
    assert who.startswith("process ")


def test_a_driver_does_not_time_beside_its_own_work(store, gates):
    one = gates()
    assert one.may_start(task(store, "a"))
    assert not one.may_start(task(store, "t", exclusive=True, kind="measure"))
    one.ended(task(store, "a"))
    assert one.may_start(task(store, "t", exclusive=True, kind="measure"))


def test_one_driver_does_not_time_while_another_works_on_the_machine(store, gates):
    one, other = gates(), gates()
    assert one.may_start(task(store, "a"))
    assert not other.may_start(task(store, "t", exclusive=True, kind="measure"))
    one.ended(task(store, "a"))
    assert other.may_start(task(store, "t", exclusive=True, kind="measure"))


def test_one_driver_does_not_work_while_another_times_on_the_machine(store, gates):
    one, other = gates(), gates()
    assert one.may_start(task(store, "t", exclusive=True, kind="measure"))
    assert not other.may_start(task(store, "a"))
    one.ended(task(store, "t", exclusive=True, kind="measure"))
    assert other.may_start(task(store, "a"))


def test_drivers_of_other_machines_time_when_they_will(store, gates):
    one, other = gates(), gates(here=False)
    assert one.may_start(task(store, "a"))
    assert other.may_start(task(store, "t", exclusive=True, kind="measure"))


def test_the_lock_of_a_killed_process_is_free(store):
    script = (
        "import sys\nfrom pathlib import Path\nfrom sparsebench.runner.sharing.waiting import MachineLock\n"
        "lock = MachineLock(Path(sys.argv[1]))\nprint(lock.take(exclusive=True), flush=True)\nsys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "True\n"
    lock = MachineLock(store.root)
    assert not lock.take(exclusive=False)
    holder.kill()
    holder.communicate()
    assert lock.take(exclusive=True)
    lock.release()
