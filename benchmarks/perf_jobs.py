"""How much faster a sweep is with several jobs, which bring forth the same records.

python benchmarks/perf_jobs.py --out reports/performance
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Estimate, Row, estimate, interleaved, parser_of, write_rows

from sparsebench import load_run
from sparsebench.store.environment import available_cores, describe_environment
from sparsebench.store.records import Run

COMMAND = "python benchmarks/perf_jobs.py"

TARGET = 0.65
"""Of the time of one job, what as many jobs as there are cores may take, on the two cores that the target is for."""

UNTIMED = ("measure.batch_sizes=[]",)
"""Timing runs alone, whatever the jobs."""


def sweep(folder: Path, jobs: int, overrides: Sequence[str]) -> None:
    """Run the default sweep by the command, from nothing, as a person does."""
    settings = [part for override in (*UNTIMED, *overrides) for part in ("--set", override)]
    command = [sys.executable, "-m", "sparsebench", "run", *settings, "--no-report", "--jobs", str(jobs)]
    subprocess.run([*command, "--runs-dir", str(folder)], check=True, capture_output=True)


def results(run: Run) -> dict[str, Any]:
    """Return what a run found, by the key of each stage, without what a clock measured."""
    found: dict[str, Any] = {}
    for record in {r.key: r for trial in run.trials for r in (*trial.ancestors, *trial.stages)}.values():
        result = vars(record.result) if record.result else {}
        clocked = ("seconds", "samples_per_second", "calibration_seconds", "training_seconds")
        found[record.key] = {name: value for name, value in result.items() if name not in clocked}
    return found


def share_of_jobs(seconds: Mapping[str, Any]) -> Estimate:
    """Return the time of several jobs divided by that of one, as a median of ratios within rounds."""
    one, several = (seconds[name] for name in ("one", "several"))
    return estimate(list(several / one))


def markdown(jobs: int, rounds: int, seconds: Mapping[str, Any], found: Mapping[str, Estimate], equal: bool) -> str:
    """Return the table, and how it was measured."""
    lines = [
        f"| threads of a stage | --jobs 1, s | --jobs {jobs}, s | ratio [95 %] | rounds |\n|---|---:|---:|---:|---:|"
    ]
    names = {"default": "as they come: all cores, shared among jobs", "one thread": "1 in either case"}
    for key, taken in seconds.items():
        one, several = (estimate(list(taken[name])).median for name in ("one", "several"))
        interval = found[key]
        limits = "" if interval.low is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
        lines.append(f"| {names[key]} | {one:.1f} | {several:.1f} | {interval.median:.2f}×{limits} | {rounds} |")
    environment = describe_environment()
    same = "the same" if equal else "NOT the same"
    return "\n\n".join(
        [
            "# Several jobs",
            "The default sweep without timing, by the command, from an empty directory to the last record, start of "
            "Python included. Rounds of both ways in random order; ratios are taken within rounds.",
            "\n".join(lines),
            f"With one thread a stage, the records of one job and of {jobs} are {same}: every accuracy, sparsity, "
            "size and layer.",
            f"Machine: {environment.machine}.\nPython {environment.python}, torch {environment.versions['torch']}; "
            f"commit {environment.commit}.",
        ]
    )


def measure(
    folder: Path, jobs: int, overrides: Sequence[str], rounds: int, seed: int
) -> tuple[dict[str, np.ndarray], bool]:
    """Return the seconds of each round with one job and with several, and whether the last runs found the same."""
    numbers = count()
    last: dict[int, Path] = {}

    def run_with(jobs: int) -> None:
        runs = folder / str(next(numbers))
        sweep(runs, jobs, overrides)
        last[jobs] = next(runs.iterdir())

    seconds = interleaved({"one": lambda: run_with(1), "several": lambda: run_with(jobs)}, rounds, seed, warm_up=0)
    return seconds, results(load_run(last[1])) == results(load_run(last[jobs]))


def main() -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="override the default sweep")
    arguments = parser.parse_args()
    jobs, cores = arguments.jobs, available_cores()
    seconds, equal = {}, {}
    for case, own in {"default": [], "one thread": ["run.threads=1"]}.items():
        with tempfile.TemporaryDirectory() as name:
            overrides = [*arguments.overrides, *own]
            seconds[case], equal[case] = measure(Path(name), jobs, overrides, arguments.rounds, arguments.seed)
    found = {case: share_of_jobs(taken) for case, taken in seconds.items()}
    what = f"default sweep without timing, {cores} cores: --jobs {jobs} against --jobs 1"
    rows = [
        Row(what, found["default"], "×", TARGET if jobs == cores == 2 else None, at_least=False),
        Row(f"{what}, one thread a stage", found["one thread"], "×", None),
    ]
    details = {"seconds": seconds, "equal_records": equal, "jobs": jobs}
    write_rows(arguments.out / "jobs.json", rows, COMMAND, details)
    text = markdown(jobs, arguments.rounds, seconds, found, equal["one thread"])
    (arguments.out / "jobs.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if not equal["one thread"]:
        raise SystemExit("The records of one job and of several differ.")


if __name__ == "__main__":
    main()
