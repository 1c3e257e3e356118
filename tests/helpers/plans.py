"""Plans of sweeps, and single tasks, for tests of what becomes of them."""

from pathlib import Path

from sparsebench import load_config
from sparsebench.runner.facts import Facts
from sparsebench.runner.planner import make_plan
from sparsebench.runner.tasks import Needs, Setup, Task

FACTS = Facts(data={"digits": {"version": "1"}}, machine={"cpu": "a"})

SETUP = Setup(
    root=Path("/runs/x"), folder=Path("/"), device="cuda:0", how={}, calibration_batches=1, hang_seconds=600.0
)


def plan(*overrides, facts=FACTS):
    return make_plan(load_config(None, overrides), facts)


def todo(priority, affinity="a", trains=False, opens_training=False, **needs):
    return Task(
        stages=(),
        attempts=(),
        setup=SETUP,
        needs=Needs(**needs),
        priority=priority,
        affinity=affinity,
        trains=trains,
        opens_training=opens_training,
    )
