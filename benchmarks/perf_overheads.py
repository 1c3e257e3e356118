"""What sparsebench costs beside the work it is asked for: its start, and the rest of a run.

python benchmarks/perf_overheads.py --out reports/performance
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import Row, estimate, parser_of, seconds_of, write_rows

from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.watcher import Watcher
from sparsebench.store.records import StageRecord

COMMAND = "python benchmarks/perf_overheads.py"


def measure_help(rounds: int) -> Row:
    """Start the command in a process of its own, as a shell does."""
    command = [sys.executable, "-m", "sparsebench", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    taken = [seconds_of(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(rounds)]
    return Row("sparsebench --help", estimate(taken), "s", 0.2, at_least=False)


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


def main() -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="override the default sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        share, details = measure_share(Path(name), arguments.overrides)
    rows = [measure_help(4 * arguments.rounds), share]
    write_rows(arguments.out / "overheads.json", rows, COMMAND, details)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
