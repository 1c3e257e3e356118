"""How a run of 10,000 trials is planned, gone on with, reported and written: time, memory, records a second.

python benchmarks/perf_scale.py --out reports/performance
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import Estimate, Row, estimate, parser_of, write_rows
from scaled_run import axes, write_scaled_run

from sparsebench import load_config

COMMAND = "python benchmarks/perf_scale.py"

WRITERS = 4

# Each is the body of a process of its own, so that its peak of memory is that of nothing else. What it finds out it
# leaves in ``found``.
PROBES = {
    "dry_run": """
from sparsebench.cli.listing import plan_text
from sparsebench.runner.sequencer import plan_sweep
begin()
text = plan_text(plan_sweep(config), folder / "a run that is not there")
found["dry_run_s"] = seconds()
assert text.count("pending") >= trials
""",
    "dry_run_done": """
from sparsebench.cli.listing import plan_text
from sparsebench.runner.sequencer import plan_sweep
begin()
text = plan_text(plan_sweep(config), folder / "scaled")
found["dry_run_done_s"] = seconds()
assert "pending" not in text.partition("trials in")[0]
""",
    "scan": """
from sparsebench.runner.graph import stage_status
from sparsebench.runner.sequencer import plan_sweep
from sparsebench.store.run_directory import Store
plan = plan_sweep(config)
store = Store(folder / "scaled")
begin()
status = stage_status(plan, store)
found["scan_s"] = seconds()
assert set(status.values()) == {"done"}
""",
    "load": """
from sparsebench import load_run
begin()
run = load_run(folder / "scaled")
found["load_s"] = seconds()
assert all(trial.status == "done" for trial in run.trials)
""",
    "run_again": """
from sparsebench import run_sweep
begin()
run_sweep(config, runs_dir=folder)
found["run_again_s"] = seconds()
assert "torch" not in sys.modules
""",
    "report": """
from sparsebench.cli.app import app
begin()
app(["report", str(folder / "scaled"), "--output", str(folder / "report")], standalone_mode=False)
found["report_s"] = seconds()
""",
}

PROBE = """
import json, resource, sys, time
from pathlib import Path
from sparsebench import load_config
start = time.perf_counter()
folder, trials, found = Path({folder!r}), {trials}, {{}}
config = load_config(None, {overrides!r})

def begin():
    global start
    start = time.perf_counter()

def seconds():
    return time.perf_counter() - start

def peak_mb():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

{body}
found[{name!r} + "_mb"] = peak_mb()
print(json.dumps(found))
"""

WRITER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from sparsebench.store.run_directory import Store, load_run
from sparsebench.store.written import stage_key
root, source, number, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
store = Store(root)
kinds = {"train": [], "compress": [], "evaluate": []}
reader = Store(source, writable=False)
for kind, records in kinds.items():
    for key in sorted(reader.keys(kind))[:8]:
        records.append(reader.read(kind, key))
print("ready", flush=True)
sys.stdin.readline()
records = [record for group in kinds.values() for record in group]
start = time.perf_counter()
for index in range(count):
    record = records[index % len(records)]
    settings = {**record.settings, "writer": number, "index": index}
    key = stage_key(record.stage, settings, record.parent)
    store.write(replace(record, settings=settings, key=key))
print(time.perf_counter() - start, flush=True)
"""


def probe(name: str, folder: Path, trials: int, overrides: Sequence[str]) -> dict[str, float]:
    """Run one probe in a process of its own and return what it found."""
    script = PROBE.format(body=PROBES[name], name=name, folder=str(folder), trials=trials, overrides=list(overrides))
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def writes_per_second(folder: Path, source: Path, count: int) -> float:
    """Return how many records a second several processes commit to one run directory, fsync included."""
    command = [sys.executable, "-c", WRITER, str(folder), str(source)]
    writers = [
        subprocess.Popen([*command, str(n), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    seconds = [float(writer.communicate()[0]) for writer in writers]
    return WRITERS * count / max(seconds)


def rows_of(found: Mapping[str, list[float]], trials: int, records: int) -> list[Row]:
    """Return the rows of the page."""
    finished = f"{trials:,} trials, {records:,} records"

    def of(name: str) -> Estimate:
        return estimate(found[name])

    memory = [max(values) for name, values in found.items() if name.endswith("_mb")]
    return [
        Row(f"--dry-run of {trials:,} trials, after import", of("dry_run_s"), "s", 2, at_least=False),
        Row(f"resume scan of a finished run: {finished}", of("scan_s"), "s", 3, at_least=False),
        Row(f"--dry-run against a finished run: {finished}", of("dry_run_done_s"), "s", None, at_least=False),
        Row(f"load_run: {finished}", of("load_s"), "s", None, at_least=False),
        Row(f"run_sweep of a finished run: {finished}", of("run_again_s"), "s", None, at_least=False),
        Row(f"sparsebench report: {finished}", of("report_s"), "s", 15, at_least=False),
        Row(f"peak memory, the most of all of these: {finished}", estimate([max(memory)]), "MB", 500, at_least=False),
        Row(f"records committed a second by {WRITERS} processes", of("writes_per_s"), "records/s", 200),
    ]


def account(rows: list[Row], found: Mapping[str, list[float]], sizes: Mapping[str, int]) -> str:
    """Return the page of details."""
    memory = [f"| {name.removesuffix('_mb')} | {max(v):.0f} |" for name, v in found.items() if name.endswith("_mb")]
    files = [f"| {name} | {size / 1000:,.0f} |" for name, size in sizes.items()]
    lines = [
        "# A run of thousands of trials",
        "The run is planned for real, and every stage has a record on the disk, made of those of a tiny sweep with "
        "accuracies, sizes and latencies of their own. Each figure is the median over processes that did nothing else; "
        "files had been read before, so that the disk is not part of it. Writing is: every record is synced.",
        "\n".join(f"- {row}" + ("" if row.met is None else f" (target {row.target:g})") for row in rows),
        "\n".join(["| process | peak memory, MB |", "|---|---:|", *memory]),
        "\n".join(["| file | kB |", "|---|---:|", *files]),
    ]
    return "\n\n".join(lines) + "\n"


def measure(arguments: Any, folder: Path) -> tuple[list[Row], dict[str, Any], str]:
    overrides = axes(arguments.seeds, arguments.thresholds)
    config = load_config(None, overrides)
    plan, records = write_scaled_run(config, folder, arguments.seed)
    trials = len(plan.trials)
    found: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        for name in PROBES:
            for key, value in probe(name, folder, trials, overrides).items():
                found.setdefault(key, []).append(value)
        rate = writes_per_second(folder / f"written-{number}", folder / config.name, arguments.writes)
        found.setdefault("writes_per_s", []).append(rate)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    rows = rows_of(found, trials, records)
    report = folder / "report"
    sizes = {path.name: path.stat().st_size for path in sorted(report.iterdir()) if path.is_file()}
    sizes["run.json"] = (folder / config.name / "run.json").stat().st_size
    return rows, {"found": found, "bytes": sizes}, account(rows, found, sizes)


def main() -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--thresholds", type=int, default=31)
    parser.add_argument("--writes", type=int, default=250, help="records that each writer commits in a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows, details, text = measure(arguments, Path(name))
    write_rows(arguments.out / "scale.json", rows, COMMAND, details)
    (arguments.out / "scale.md").write_text(text, encoding="utf-8")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
