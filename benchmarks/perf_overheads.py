"""What sparsebench costs beside the work it is asked for: its start, its plan, its report, and the rest of a run.

python benchmarks/perf_overheads.py --out reports/performance
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import Row, estimate, parser_of, seconds_of, write_rows
from pydantic import TypeAdapter

from sparsebench import load_config, run_sweep
from sparsebench.listing import plan_text
from sparsebench.plan import Plan, Stage
from sparsebench.records import Run, RunRecord, StageRecord, TrialRecord, TrialResult
from sparsebench.runner import plan_sweep
from sparsebench.store import RESULT, RUN
from sparsebench.watching import Watcher

COMMAND = "python benchmarks/perf_overheads.py"
THRESHOLDS, SEEDS = 50, 50
"""Of the plan: with the default's four schemes they are 10,000 trials."""

TINY = ("name=tiny", "seeds=0", "thresholds=0,0.5,0.8", "train.epochs=1", "measure.batch_sizes=1")


def measure_help(rounds: int) -> Row:
    """Start the command in a process of its own, as a shell does."""
    command = [sys.executable, "-m", "sparsebench", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    taken = [seconds_of(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(rounds)]
    return Row("sparsebench --help", estimate(taken), "s", 0.2, at_least=False)


def measure_plan(rounds: int) -> Row:
    """Plan 10,000 trials and print the plan; modules are imported before."""
    config = load_config(
        None,
        [f"thresholds={','.join(str(n / THRESHOLDS) for n in range(THRESHOLDS))}", f"seeds={_numbers(SEEDS)}"],
    )

    def dry_run() -> int:
        plan = plan_sweep(config)
        plan_text(plan, Path("runs") / "a run that is not there")
        return len(plan.trials)

    trials = dry_run()
    taken = [seconds_of(dry_run) for _ in range(rounds)]
    return Row(f"--dry-run of {trials:,} trials, after import", estimate(taken), "s", 2, at_least=False)


def measure_report(rounds: int, records: int, folder: Path) -> Row:
    """Write the report of many records by the command, reading them from the disk."""
    real = run_sweep(load_config(None, TINY), runs_dir=folder)
    many = multiplied(real, records)
    written = store(many, folder / "many")
    command = [sys.executable, "-m", "sparsebench", "report", str(folder / "many"), "--out", str(folder / "report")]
    taken = [seconds_of(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(rounds)]
    what = f"sparsebench report of {written:,} records ({len(many.trials):,} trials), from the disk"
    return Row(what, estimate(taken), "s", 15, at_least=False)


def multiplied(run: Run, records: int) -> Run:
    """Return a run of that many records or a few more: the trials of ``run`` again and again, with seeds of their own.

    Every copy has keys of its own and the same results, so that a report has all to do that so many results give it.
    """
    own = len({record.key for trial in run.trials for record in (*trial.ancestors, *trial.stages)})
    copies = -(-records // own)
    return replace(run, trials=tuple(_copy(trial, seed) for seed in range(copies) for trial in run.trials))


def _copy(trial: TrialResult, seed: int) -> TrialResult:
    def again(key: Any) -> Any:
        return hashlib.sha256(f"{seed} {key}".encode()).hexdigest() if key else None

    def copied(record: StageRecord) -> StageRecord:
        return replace(record, key=again(record.key), parent=again(record.parent))

    point: TrialRecord = trial.trial
    keys = {name: again(getattr(point, name)) for name in ("train", "compress", "evaluate")}
    several = {name: tuple(map(again, getattr(point, name))) for name in ("ancestors", "measure")}
    stages = {name: copied(getattr(trial, name)) for name in ("train", "compress", "evaluate") if getattr(trial, name)}
    return replace(
        trial,
        trial=replace(point, seed=seed, **keys, **several),
        ancestors=tuple(map(copied, trial.ancestors)),
        measure=tuple(map(copied, trial.measure)),
        **stages,
    )


def store(run: Run, root: Path) -> int:
    """Write a run as its records lie on the disk, without the care of a real store; return how many."""
    records = {r.key: r for trial in run.trials for r in (*trial.ancestors, *trial.stages)}
    adapter = TypeAdapter(StageRecord)
    for record in records.values():
        place = root / record.stage / record.key
        place.mkdir(parents=True, exist_ok=True)
        (place / RESULT).write_bytes(adapter.dump_json(record, indent=1))
    record = replace(run.record, name="many", trials=tuple(trial.trial for trial in run.trials))
    (root / RUN).write_bytes(TypeAdapter(RunRecord).dump_json(record, indent=1))
    return len(records)


class BusyTime(Watcher):
    """Adds up the time in which at least one stage is running."""

    def __init__(self) -> None:
        self.seconds, self.open, self.since = 0.0, 0, 0.0

    def planned(self, plan: Plan, status: Any) -> None:
        self.stages = len(plan.stages)

    def started(self, stage: Stage) -> None:
        if not self.open:
            self.since = time.perf_counter()
        self.open += 1

    def finished(self, stage: Stage, record: StageRecord) -> None:
        self.open -= 1
        if not self.open:
            self.seconds += time.perf_counter() - self.since


ONE_RUN = """
import json, sys
sys.path.insert(0, {here!r})
from perf_overheads import BusyTime
from sparsebench import load_config, run_sweep, write_report
busy = BusyTime()
run = run_sweep(load_config(None, {overrides!r}), runs_dir={folder!r}, watcher=busy)
write_report(run, {folder!r} + "/report")
print(json.dumps([busy.seconds, busy.stages]))
"""


def measure_share(folder: Path, overrides: Sequence[str]) -> tuple[Row, dict[str, float]]:
    """Run the default sweep in a process of its own, from the start of Python to the end of the report."""
    script = ONE_RUN.format(here=str(Path(__file__).parent), overrides=list(overrides), folder=str(folder / "share"))
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    busy, stages = json.loads(done.stdout.splitlines()[-1])
    what = "share of a run's wall time outside its stages, start of Python and report included: default sweep"
    row = Row(what, estimate([(wall - busy) / wall]), "%", 0.05, at_least=False)
    return row, {"run_seconds": wall, "stage_seconds": busy, "stages": stages}


def _numbers(count: int) -> str:
    return ",".join(map(str, range(count)))


def main() -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--report-rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="override the default sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        share, details = measure_share(folder, arguments.overrides)
        rows = [
            measure_help(4 * arguments.rounds),
            measure_plan(arguments.rounds),
            measure_report(arguments.report_rounds, arguments.records, folder),
            share,
        ]
    write_rows(arguments.out / "overheads.json", rows, COMMAND, details)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
