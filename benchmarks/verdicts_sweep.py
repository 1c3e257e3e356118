"""How long verdicts on the networks of the default sweep take."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import State, locked

from sparsebench import load_config, run_sweep


def run(state: State, lock: Path | None, runs_dir: Path, overrides: tuple[str, ...] = ()) -> None:
    """Time the networks of the default sweep's first seed, unless that is done; keep a piece for each session."""
    if state.of("twenty"):
        return
    with locked(lock):
        done = run_sweep(load_config(None, ["name=perf-verdicts", "seeds=0", *overrides]), runs_dir=runs_dir)
    rows: dict[str, dict[str, Any]] = {}
    for measured in (measured for trial in done.trials for measured in trial.measured):
        session = measured.session
        row = rows.setdefault(
            session.id,
            {
                "batch_size": measured.batch_size,
                "networks": session.networks,
                "seconds": session.seconds,
                "seconds_needed": session.seconds_needed,
                "rounds": session.rounds,
                "processes": session.processes,
                "stopped": session.stopped,
                "validity": str(session.state),
                "resolution": session.resolution,
                "conditions": session.conditions,
                "verdicts": Counter(),
                "half_widths": [],
            },
        )
        against = measured.against
        if against.low < against.high:  # Not the baseline itself.
            row["verdicts"][str(measured.verdict(against))] += 1
            row["half_widths"].append(math.log(against.high / against.low) / 2)
    for row in rows.values():
        state.add("twenty", row)
        print(f"twenty: {row['networks']} networks, {row['seconds']:.0f} s, {dict(row['verdicts'])}", flush=True)
