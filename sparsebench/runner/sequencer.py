"""The sequencer of stages: what is done is left alone, what failed is recorded, the rest is run as it is ready."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench import __version__
from sparsebench.config import HOW_TRAINING_RUNS, SweepConfig, load_config
from sparsebench.runner.driver import Driver
from sparsebench.runner.executors import Executor, build_executor
from sparsebench.runner.facts import gather_facts
from sparsebench.runner.graph import stage_status
from sparsebench.runner.plan import Plan, missing_baselines
from sparsebench.runner.planner import make_plan, plan_sensitivity
from sparsebench.runner.repair import UNREADABLE, set_aside, settle, still_open
from sparsebench.runner.reusing import reusable, reused
from sparsebench.runner.sharing.claims import clear_claims
from sparsebench.runner.sharing.shards import Shard, part_of
from sparsebench.runner.watcher import Watcher
from sparsebench.store.environment import describe_environment, moved
from sparsebench.store.records import LeftOut, Run, RunRecord, StageRecord
from sparsebench.store.run_directory import Store, note_start, read_back, read_trials, say_left_out
from sparsebench.store.taking_over import at_work, take_over

if TYPE_CHECKING:
    from sparsebench.runner.rehearsal import Pace


def plan_sweep(config: SweepConfig, machine: Mapping[str, str] | None = None) -> Plan:
    """Return the plan of ``config`` on this machine.

    Args:
        config: what to sweep.
        machine: the identity of the machine that times, where it is not this one.
    """
    facts = gather_facts(config)
    return make_plan(config, facts if machine is None else replace(facts, machine=machine))


def run_sweep(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | Path = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    shard: Shard | None = None,
    command: str = "",
    check: bool = True,
    reuse: Sequence[Path] = (),
) -> Run:
    """Run what is left of a sweep and return the whole run.

    A stage that is done is never done again: a run that was killed goes on where it was, and a finished one returns
    at once. A stage that fails is recorded with its error, what builds on it is skipped, and the rest goes on. Several
    processes may run the same sweep in the same directory at once: they share the work.

    Args:
        config: what to sweep; the embedded default where None.
        runs_dir: the directory in which the run's own directory, named by ``config.name``, lies.
        retry_failed: whether stages that failed before are tried again.
        watcher: is told how the run goes on.
        jobs: how many stages may run at once on this machine: one in this process, more in worker processes.
        executor: where stages run, in place of ``jobs``.
        shard: the part of the sweep to run, without timing; all of it where None.
        command: the command line to note in the run's record.
        check: whether data, networks and trainer are checked before any work, and one real batch goes the whole way.
        reuse: directories of other runs; what they have done of the very same stages is taken over, latencies apart.

    Returns:
        The run as ``load_run`` reads it; of a shard, its own trials alone.

    Raises:
        ConfigError: where the data, the networks or the trainer of the config cannot be used; nothing was run.
        StoreError: where the run directory cannot be written to.
    """
    with _asked(config, jobs, executor) as (config, executor):
        timed = bool(config.measure.batch_sizes) and shard is None
        plan = plan_sweep(config, executor.machine() if timed else None)
        part = plan if shard is None else part_of(plan, shard)
        store = Store(Path(runs_dir) / config.name)
        begin = partial(write_run, config, plan, store, command, whole=shard is None)
        drive(config, part, store, watcher, retry_failed, executor, begin, check, reuse=reuse)
        run = read_back(store.root)
        # What is impossible, or contradicts another record, shows only where records are read whole and joined.
        if set_left_out_aside(run.left_out, part, store):
            drive(config, part, store, watcher, False, executor, begin, False)
            run = read_back(store.root)
    say_left_out(store.root, run.left_out)
    if shard is None:
        return run
    trials, left_out = read_trials(store, part.trials)
    return Run(record=replace(run.record, trials=part.trials), trials=trials, left_out=left_out)


def check_sweep(config: SweepConfig, root: Path) -> "Mapping[tuple[str, str], Pace]":
    """Check what a run checks before any work, where the run directory ``root`` lacks trained networks.

    Returns:
        How fast each network on each data is trained and evaluated here, by their names; nothing where all are trained.

    Raises:
        ConfigError: with every problem found.
    """
    plan, store = plan_sweep(config), Store(root, writable=False)
    status = stage_status(plan, store)
    if any(stage.kind == "train" and status[stage.key] != "done" for stage in plan.stages):
        from sparsebench.runner.preflight import check_all
        from sparsebench.runner.stages import Workbench

        how = {key: getattr(config.train, key) for key in HOW_TRAINING_RUNS}
        return check_all(config, Workbench(store, config.train.device, how=how), timed=True)
    return {}


def run_sensitivity(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | Path = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
) -> tuple[StageRecord, ...]:
    """Prune one layer at a time of the dense networks of a sweep, without training, and read the validation split.

    The dense networks are those of the sweep itself: what is trained for one is there for the other. Arguments and
    errors are those of ``run_sweep``.

    Returns:
        One record for each model, dataset and seed, done or failed; those whose network could not be trained are
        missing.
    """
    with _asked(config, jobs, executor) as (config, executor):
        plan = plan_sensitivity(config, gather_facts(config))
        store = Store(Path(runs_dir) / config.name)
        drive(config, plan, store, watcher, retry_failed, executor)
    records = (store.believed(stage.kind, stage.key) for stage in plan.stages if stage.kind == "sensitivity")
    return tuple(record for record in records if record is not None)


MOST_PASSES = 10
"""What was made again and came out different is followed so far in one start; the next start would go on."""


@contextmanager
def _asked(config: SweepConfig | None, jobs: int, executor: Executor | None) -> Iterator[tuple[SweepConfig, Executor]]:
    """Yield what is to be run, and where; the executor is closed in the end."""
    config = config or load_config()
    with closing(executor or build_executor("local", config, jobs)) as chosen:
        yield config, chosen


def set_left_out_aside(left_out: Iterable[LeftOut], plan: Plan, store: Store) -> bool:
    """Set aside those records of a plan that are not believed; return whether there are any."""
    planned = {stage.key for stage in plan.stages}
    found = [one for one in left_out if one.key in planned]
    for one in found:
        set_aside(store, one.stage, one.key, None, f"{UNREADABLE}: {one.why}")
    return bool(found)


def drive(
    config: SweepConfig,
    plan: Plan,
    store: Store,
    watcher: Watcher | None,
    retry_failed: bool,
    executor: Executor,
    begin: Callable[[int | None], Sequence[str]] = lambda _: (),
    check: bool = True,
    starts: bool = True,
    reuse: Sequence[Path] = (),
) -> None:
    """Run what is left of a plan, and after that what is left where something was made again and came out different.

    ``begin`` is called with the threads of each task when all was checked and nothing was run, and returns what a
    person should know. ``starts`` is whether this is a start of the run, which is noted where there is work.
    """
    watcher = watcher or Watcher()
    started_at = datetime.now(UTC)
    was_killed = take_over(store)
    settle(store)
    notes = reused(plan, store, reuse) if reuse else ()
    left: frozenset[str] = frozenset()
    for number in range(MOST_PASSES):
        with (
            closing(Driver(config, plan, store, watcher, retry_failed and not number, executor, check)) as driver,
            ExitStack() as working,
        ):
            driver.prepare()
            if (driver.is_needed or was_killed) and not number:
                store.clear_parts()
                clear_claims(store)
            if driver.is_needed and starts and not number:
                note_start(store.root, started_at)
            if driver.is_needed:
                working.enter_context(at_work(store))
            if starts and not reuse and not number:
                notes = reusable(driver.untrained, store)
            driver.carry_out(() if number else (*begin(driver.threads), *driver.crowding, *notes))
        settle(store)
        before, left = left, still_open(plan, store)
        if not left or left == before:
            return


def write_run(
    config: SweepConfig, plan: Plan, store: Store, command: str, threads: int | None, whole: bool
) -> tuple[str, ...]:
    """Note what the run is asked for, unless the same is noted already: who only looks at a run does not change it.

    Who runs the whole says on which machine it is timed; shards run on several, and time nothing.

    Returns:
        What a person should know: what the report will lack, and where it goes on elsewhere than it was begun.
    """
    asked, here = config.model_dump(mode="json"), describe_environment(threads)
    before = store.read_run_if_any()
    if before is None or before.config != asked or (whole and before.trials != plan.trials):
        store.write_run(
            RunRecord(
                name=config.name,
                config=asked,
                command=command,
                sparsebench=__version__,
                trials=plan.trials,
                environment=here,
            )
        )
    return (*missing_baselines(plan), *(moved(before.environment, here) if before else ()))
