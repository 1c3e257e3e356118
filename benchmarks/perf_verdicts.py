"""Whether verdicts on latency are right: in simulated sessions, and in sessions on this machine whose truth is known.

    python benchmarks/perf_verdicts.py --out reports/performance

Finished pieces are kept in the state file: what was interrupted goes on where it was, and parts can be made one by one
with ``--only``. The page shows every piece that is there. All of it takes about two hours on two cores.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import verdicts_causes
import verdicts_measured
import verdicts_page
import verdicts_simulated
import verdicts_sweep
from measuring import State

from sparsebench.store.environment import describe_environment

PARTS = ("simulated", "copies", "slower", "threads", "loaded", "causes", "twenty")

SECONDS = 60.0


def carry_out(part: str, state: State, arguments: argparse.Namespace) -> None:
    """Make what a part has not yet."""
    lock, smoke = arguments.lock, arguments.smoke
    if part == "simulated":
        sessions = 250 if smoke else verdicts_simulated.SESSIONS
        for effect, variants in verdicts_simulated.missing(state.of(part), sessions):
            state.add(part, verdicts_simulated.simulate(effect, variants, sessions))
            print(f"simulated, {effect.name}, {variants} variants", flush=True)
    elif part == "causes":
        verdicts_causes.run(state, lock, *((2, 2.0) if smoke else ()))
    elif part == "twenty":
        small = ("train.epochs=1", "measure.seconds_cap=12") if smoke else ()
        verdicts_sweep.run(state, lock, arguments.runs_dir, small)
    else:
        verdicts_measured.run(part, state, lock, 12.0 if smoke else SECONDS, 1 if smoke else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the page")
    parser.add_argument("--state", type=Path, default=Path("runs/perf-verdicts.jsonl"), help="finished pieces")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the default sweep is run")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part, or several; all by default")
    parser.add_argument(
        "--lock",
        type=Path,
        help="file that is locked during each session, so that other work that takes the lock waits",
    )
    parser.add_argument("--smoke", action="store_true", help="a few short sessions, to see whether all of it runs")
    parser.add_argument("--page", action="store_true", help="make nothing, write the page of what is there")
    arguments = parser.parse_args()
    state = State(arguments.state)
    for part in () if arguments.page else arguments.only or PARTS:
        carry_out(part, state, arguments)
    environment = describe_environment()
    pieces = {part: state.of(part) for part in PARTS}
    text, rows = verdicts_page.page(pieces, environment)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "verdicts.md").write_text(text + "\n", encoding="utf-8")
    record = {"rows": rows, "environment": dataclasses.asdict(environment), **pieces}
    content = json.dumps(record, indent=1, default=dict) + "\n"
    (arguments.out / "verdicts.json").write_text(content, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
