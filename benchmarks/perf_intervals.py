"""Whether intervals of drops, gates and picks that go by them are right: in simulated runs, whose truth is known.

    python benchmarks/perf_intervals.py --out reports/performance

Finished pieces are kept in the state file: what was interrupted goes on where it was, and parts can be made one by one
with ``--only``. The page shows every piece that is there. All of it takes about four minutes on one core.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import intervals_drops
import intervals_gates
import intervals_page
import intervals_picks
from measuring import State

from sparsebench.store.environment import describe_environment

PARTS = ("drops", "gates", "picks")


def carry_out(part: str, state: State, smoke: bool) -> None:
    """Make what a part has not yet."""
    done = state.of(part)
    if part == "drops":
        tables = 100 if smoke else intervals_drops.TABLES
        for kind, seeds in intervals_drops.missing(done, tables):
            state.add(part, intervals_drops.simulate(kind, seeds, tables))
            print(f"drops, {intervals_drops.KINDS[kind]}, {seeds} seeds", flush=True)
    elif part == "picks":
        runs = 20 if smoke else intervals_picks.RUNS
        for kind, validated in intervals_picks.missing(done, runs):
            state.add(part, intervals_picks.simulate(kind, validated, runs))
            print(f"picks, {intervals_picks.KINDS[kind]}, {'validated' if validated else 'on test'}", flush=True)
    else:
        comparisons = 20 if smoke else intervals_gates.COMPARISONS
        for rows, seeds in intervals_gates.missing(done, comparisons):
            state.add(part, intervals_gates.simulate(rows, seeds, comparisons))
            print(f"gates, {rows} rows, {seeds} seeds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the page")
    parser.add_argument("--state", type=Path, default=Path("runs/perf-intervals.jsonl"), help="finished pieces")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part, or several; all by default")
    parser.add_argument("--smoke", action="store_true", help="a few tables, to see whether all of it runs")
    parser.add_argument("--page", action="store_true", help="make nothing, write the page of what is there")
    arguments = parser.parse_args()
    state = State(arguments.state)
    for part in () if arguments.page else arguments.only or PARTS:
        carry_out(part, state, arguments.smoke)
    pieces = {part: state.of(part) for part in PARTS}
    environment = describe_environment()
    text, rows = intervals_page.page(pieces)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "intervals.md").write_text(text + "\n", encoding="utf-8")
    record = {"rows": rows, "environment": dataclasses.asdict(environment), **pieces}
    content = json.dumps(record, indent=1, default=dict)
    (arguments.out / "intervals.json").write_text(content + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
