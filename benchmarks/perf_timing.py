"""Whether verdicts on latency are right beside a busy neighbour, and how long those of the default sweep take.

    python benchmarks/perf_timing.py --out reports/performance

In each session a copy of the baseline and a variant whose work is larger by a known share are compared with the
baseline, while another process works in bursts on one core. The same samples are judged a second time as if the
networks had been timed one after the other. Finished sessions are kept in the state file: what was interrupted goes on
where it was. It takes about an hour and a half on two cores.
"""

import argparse
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from timing_nets import REPEATS, busy_neighbour, inputs, repeated

from sparsebench import load_config, run_sweep
from sparsebench.points.latency import Judge
from sparsebench.store.environment import describe_environment
from sparsebench.timing import Built, Comparison, RoundRecord, compare

COMMAND = "python benchmarks/perf_timing.py"

COPY, SLOWER = "copy", "slower"


@dataclasses.dataclass(frozen=True)
class Case:
    """What sessions have in common.

    Attributes:
        threads: of the timed networks.
        seconds: the longest that a session may take.
        slower_by: the share of more work that the slower variant has.
    """

    threads: int
    seconds: int
    slower_by: float

    @property
    def label(self) -> str:
        """For a table of all measurements."""
        return f"threads {self.threads}, {self.seconds} s"


CASES = (
    Case(1, seconds=60, slower_by=0.03),
    # With two threads the neighbour always has one of their cores: the default budget, and twice that.
    Case(2, seconds=60, slower_by=0.05),
    Case(2, seconds=120, slower_by=0.05),
)

ENOUGH = 18
"""Of 20 sessions, so many must find the slower variant."""

RESAMPLES = 2000


def session(case: Case, seed: int) -> dict[str, object]:
    """Return what one session beside a busy neighbour says, and what medians one after the other would have said."""
    variants = {
        "baseline": Built(partial(repeated, REPEATS)),
        COPY: Built(partial(repeated, REPEATS)),
        SLOWER: Built(partial(repeated, round(REPEATS * (1 + case.slower_by)))),
    }
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    with busy_neighbour(core, seed):
        found = compare(
            variants,
            baseline="baseline",
            inputs=inputs(),
            threads=case.threads,
            seconds_cap=case.seconds,
            seed=seed,
            workers=True,
        )
    return {
        "threads": case.threads,
        "seconds_cap": case.seconds,
        "seed": seed,
        "valid": found.valid,
        "stopped": found.stopped,
        "seconds": found.seconds,
        "rounds": len(found.rounds),
        "conditions": found.conditions,
        "paired": {
            name: {"ratio": found[name].ratio, "low": found[name].low, "high": found[name].high}
            | {"verdict": str(found[name].verdict)}
            for name in (COPY, SLOWER)
        },
        "one_after_the_other": {name: one_after_the_other(found, name, seed) for name in (COPY, SLOWER)},
    }


def one_after_the_other(found: Comparison, name: str, seed: int) -> dict[str, object]:
    """Judge the samples of a session as if the baseline had been timed first and the variant after it.

    The baseline's blocks of the first half of the rounds are compared with the variant's of the second: as many as a
    plain loop over one and then the other would have had, on the same machine in the same minute. The verdict is that
    of a 95 % bootstrap interval of the ratio of medians, with the same band.
    """
    half = len(found.rounds) // 2
    before, after = _blocks(found.rounds[:half], found.baseline), _blocks(found.rounds[half:], name)
    random = np.random.default_rng(seed)
    ratios = np.median(random.choice(after, (RESAMPLES, len(after))), axis=1) / np.median(
        random.choice(before, (RESAMPLES, len(before))), axis=1
    )
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = float(np.median(after) / np.median(before))
    if 1 - found.band <= low and high <= 1 + found.band:
        said = "EQUIVALENT"
    else:
        said = "INCONCLUSIVE" if low <= 1 <= high else "SLOWER" if ratio > 1 else "FASTER"
    return {"ratio": ratio, "low": float(low), "high": float(high), "verdict": said}


def _blocks(rounds: Sequence[RoundRecord], name: str) -> np.ndarray:
    places = ((one, at) for one in rounds for at, owner in enumerate(one.order) if owner == name)
    return np.array([one.latencies_ms[at] for one, at in places])


def default_sweep(runs_dir: Path) -> list[dict[str, object]]:
    """Time the networks of the default sweep's first seed; return a row for each session."""
    run = run_sweep(load_config(None, ["name=perf-timing", "seeds=0"]), runs_dir=runs_dir)
    judge, rows = Judge(run.trials), {}
    for trial in run.trials:
        for timing in judge.timings(trial):
            ended = timing.measured.session
            row = rows.setdefault(
                ended.id,
                {
                    "batch_size": timing.measured.batch_size,
                    "networks": ended.networks,
                    "seconds": ended.seconds,
                    "rounds": ended.rounds,
                    "stopped": ended.stopped,
                    "valid": ended.valid,
                    "verdicts": Counter(),
                    "half_widths": [],
                },
            )
            row["verdicts"][str(timing.own.verdict)] += 1
            row["half_widths"].append(float(np.log(timing.own.high / timing.own.low) / 2))
    return list(rows.values())


def counts(sessions: Sequence[Mapping], judged: str) -> dict[str, dict[str, int]]:
    """Return how often each verdict was given, on the copy and on the slower variant."""
    return {
        name: dict(Counter(one[judged][name]["verdict"] for one in sessions).most_common()) for name in (COPY, SLOWER)
    }


def summary(sessions: Sequence[Mapping]) -> list[dict[str, object]]:
    """Return one row for each case: verdicts by pairs, and one after the other."""
    rows = []
    for case in CASES:
        here = [one for one in sessions if _case_of(one) == (case.threads, case.seconds)]
        if here:
            rows.append(
                {
                    **dataclasses.asdict(case),
                    "label": case.label,
                    "sessions": len(here),
                    "invalid": sum(not one["valid"] for one in here),
                    "median_seconds": float(np.median([one["seconds"] for one in here])),
                    **{judged: counts(here, judged) for judged in ("paired", "one_after_the_other")},
                }
            )
    return rows


def page_rows(rows: Sequence[Mapping], sweep: Sequence[Mapping]) -> list[dict[str, object]]:
    """Return what the page of all measurements shows of it."""
    found: list[dict[str, object]] = []
    for row in rows:
        total, where = row["sessions"], f"beside a busy neighbour, {row['label']}"
        for judged, name in (("paired", "in pairs"), ("one_after_the_other", "the same samples, one after the other")):
            own = judged == "paired"
            wrong, right = _wrong(row[judged][COPY]), row[judged][SLOWER].get("SLOWER", 0)
            found.append(
                {
                    "what": f"wrong verdicts on a copy of the baseline {where}: {name}",
                    "figure": f"{wrong} of {total}",
                    **({"target": f"0 of {total}", "met": wrong == 0} if own else {}),
                }
            )
            found.append(
                {
                    "what": f"{row['slower_by']:.0%} more work is called SLOWER {where}: {name}",
                    "figure": f"{right} of {total}",
                    **({"target": f"≥ {_least(total)} of {total}", "met": right >= _least(total)} if own else {}),
                }
            )
    found += [
        {
            "what": f"verdicts on the {row['networks']} networks of the default sweep, batch {row['batch_size']}",
            "figure": row["seconds"],
            "unit": "s",
            "target": 60,
            "at_least": False,
            "met": row["seconds"] <= 60,
        }
        for row in sweep
    ]
    return [row | {"command": COMMAND} for row in found]


def _least(sessions: int) -> int:
    """Return in how many of so many sessions the slower variant must be found."""
    return -(-ENOUGH * sessions // 20)


def markdown(rows: Sequence[Mapping], sweep: Sequence[Mapping], details: str) -> str:
    """Return the tables, and how they were measured."""
    neighbour = [
        "| threads | budget, s | judged | sessions | copy: wrong verdicts | slower variant "
        "| found SLOWER | INCONCLUSIVE | wrong | target | reached |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        for judged, name in (("paired", "in pairs"), ("one_after_the_other", "one after the other")):
            copy, slower = row[judged][COPY], row[judged][SLOWER]
            wrong, found = _wrong(copy), slower.get("SLOWER", 0)
            missed = slower.get("FASTER", 0) + slower.get("EQUIVALENT", 0)
            least = _least(row["sessions"])
            reached = "yes" if wrong == 0 and found >= least else "no"
            goal = f"0 wrong, ≥ {least} found | {reached}" if judged == "paired" else "– | –"
            neighbour.append(
                f"| {row['threads']} | {row['seconds']} | {name} | {row['sessions']} | {wrong} "
                f"| +{row['slower_by']:.0%} | {found} | {slower.get('INCONCLUSIVE', 0)} | {missed} | {goal} |"
            )
    default = [
        "| batch | networks | seconds | target | reached | rounds | stopped | control | verdicts "
        "| half-width, median |",
        "|---:|---:|---:|---|---|---:|---|---|---|---:|",
    ]
    for row in sweep:
        said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(row["verdicts"].items()))
        default.append(
            f"| {row['batch_size']} | {row['networks']} | {row['seconds']:.0f} | ≤ 60 s "
            f"| {'yes' if row['seconds'] <= 60 else 'no'} | {row['rounds']} | {row['stopped']} "
            f"| {'VALID' if row['valid'] else 'INVALID'} | {said} | {np.median(row['half_widths']):.1%} |"
        )
    invalid = ", ".join(f"{row['invalid']} of {row['sessions']} at {row['label']}" for row in rows)
    parts = [
        "# Verdicts on latency",
        "A process beside the timed ones works in bursts of half a second on average, half of the time, on one core. "
        f"The baseline runs a convolution {REPEATS} times; the copy does the same, and the slower variant runs it so "
        "many times more that its work, and so its latency, is larger by exactly the share given. *In pairs* is what "
        "`sparsebench.timing.compare` says with its defaults, but for the budget of 120 s where that stands. *One "
        "after the other* judges the very same samples as a plain loop would have had them: the baseline's of the "
        "first half of the session against the variant's of the second, with a 95 % bootstrap interval of the ratio of "
        "medians. A verdict on the copy is wrong where it is FASTER or SLOWER; one on the slower variant where it is "
        "FASTER or EQUIVALENT.",
        "\n".join(neighbour),
        f"INVALID sessions: {invalid}." if rows else "",
        "The networks of the default sweep's first seed, all schemes and thresholds, timed together without a "
        "neighbour:"
        if sweep
        else "",
        "\n".join(default) if sweep else "",
        details,
    ]
    return "\n\n".join(part for part in parts if part)


def _case_of(one: Mapping) -> tuple[int, int]:
    return one["threads"], one.get("seconds_cap", 60)


def _wrong(copy: Mapping[str, int]) -> int:
    return copy.get("FASTER", 0) + copy.get("SLOWER", 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the two reports")
    parser.add_argument("--state", type=Path, default=Path("runs/perf-timing.jsonl"), help="finished sessions")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the default sweep is run")
    parser.add_argument("--sessions", type=int, default=20, help="sessions for each case")
    parser.add_argument("--skip-sweep", action="store_true", help="leave out the networks of the default sweep")
    arguments = parser.parse_args()
    arguments.state.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in arguments.state.read_text().splitlines()] if arguments.state.exists() else []
    have = {(*_case_of(one), one["seed"]) for one in done}
    for seed in range(arguments.sessions):
        for case in CASES:
            if (case.threads, case.seconds, seed) in have:
                continue
            found = session(case, seed)
            done.append(found)
            with arguments.state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            said = {name: one["verdict"] for name, one in found["paired"].items()}
            print(f"{case.label}, session {seed}: {said}, {found['seconds']:.0f} s", flush=True)
    sweep = [] if arguments.skip_sweep else default_sweep(arguments.runs_dir)
    environment = describe_environment()
    rows = summary([one for one in done if one["seed"] < arguments.sessions])
    details = (
        f"Machine: {environment.machine}. Python {environment.python}, torch {environment.versions['torch']}, "
        f"sparsebench {environment.versions.get('sparsebench', 'from source')}; commit {environment.commit}."
    )
    text = markdown(rows, sweep, details)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "timing.md").write_text(text + "\n", encoding="utf-8")
    record = {
        "rows": page_rows(rows, sweep),
        "environment": dataclasses.asdict(environment),
        "summary": rows,
        "default_sweep": sweep,
        "sessions": done,
    }
    (arguments.out / "timing.json").write_text(json.dumps(record, indent=1, default=dict) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
