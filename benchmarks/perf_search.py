"""How much a search finds, beside a grid of global magnitude thresholds and random search at equal training seconds.

    python benchmarks/perf_search.py --out reports/performance

Finished arms are kept in the state file, and what an unfinished one has trained in its run directory, so that it goes
on where it was stopped. ``--minutes`` is how long each arm trains; ``--only`` makes digits or ResNet-20 alone.
"""

import argparse
import dataclasses
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import Row, State, estimate, mean_interval, write_rows
from search_arms import ARMS, Arm, carried_out

from sparsebench.config import SweepConfig, load_config
from sparsebench.wording.text import markdown_table

COMMAND = "python benchmarks/perf_search.py"

TASKS: Mapping[str, Mapping[str, Any]] = {
    "digits": {
        "model": {"name": "small_cnn"},
        "data": {"name": "digits"},
        "train": {"epochs": 12, "learning_rate": 2e-3, "learning_step": 0.15, "learning_gamma": 0.2},
        "prune": {"hold": 0.25},
    },
    # As examples/search_cifar10.toml has it, from the dense networks that lie beside it.
    "cifar10": {
        "model": {"name": "resnet20", "weights": "examples/weights/resnet20-seed{seed}.safetensors"},
        "data": {"name": "cifar10", "options": {"val_fraction": 0.1}},
        "train": {
            "epochs": 12,
            "steps_per_epoch": 50,
            "learning_rate": 0.01,
            "learning_schedule": "one_cycle",
            "optimizer": {"name": "sgd", "options": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}},
        },
        "prune": {"schedule": "cubic", "hold": 0.3},
    },
}
"""Networks and data."""

MINUTES = {"digits": 4.0, "cifar10": 20.0}
SEEDS = {"digits": 5, "cifar10": 3}

BOXES = {"error × size": ("metric", "deflated_size"), "error × size × memory": ("metric", "deflated_size", "memory")}
"""Objectives in which hypervolumes are taken."""

GOALS = {"grid": 1.10, "random": 1.15}


def config_of(task: str, seed: int, arm: str, seconds: float, smoke: bool, data: Sequence[str] = ()) -> SweepConfig:
    """Return the config of one arm: the same networks, formats and training in all of them."""
    common = {
        **TASKS[task],
        "name": f"search-{task}-{arm}-{seed}",
        "schemes": ["fp32", "static"],
        "seeds": [seed],
        "thresholds": [0],
        "quantize": {"calibration_batches": 20},
        "measure": {"batch_sizes": []},
        "search": {
            "seed": seed,
            "seconds": seconds,
            "trials": 1000,
            "objectives": list(BOXES["error × size × memory"]),
        },
    }
    common["train"] = {**common["train"], "dense_control": "as_trained"}
    small = ["train.epochs=2", "search.trials=4", "search.finalists=1", "model.options={width=8}"] if smoke else []
    return load_config(common, [*small, *data])


def summary(pieces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each task and box, the ratios of the search to each other arm, seed by seed."""
    rows = []
    for task in dict.fromkeys(piece["task"] for piece in pieces):
        by_arm: dict[str, dict[int, Mapping[str, Any]]] = {arm: {} for arm in ARMS}
        for piece in pieces:
            if piece["task"] == task:
                by_arm[piece["arm"]][piece["seed"]] = piece
        for box in BOXES:
            for other, goal in GOALS.items():
                seeds = sorted(by_arm["search"].keys() & by_arm[other].keys())
                if not seeds:
                    continue
                pairs = [(by_arm["search"][seed], by_arm[other][seed]) for seed in seeds]
                ratios = [ours["volumes"][box] / theirs["volumes"][box] for ours, theirs in pairs]
                _, low, high = mean_interval([ours["volumes"][box] - theirs["volumes"][box] for ours, theirs in pairs])
                rows.append(
                    {
                        "task": task,
                        "box": box,
                        "other": other,
                        "seeds": len(seeds),
                        "search": statistics.median(ours["volumes"][box] for ours, _ in pairs),
                        "theirs": statistics.median(theirs["volumes"][box] for _, theirs in pairs),
                        "ratios": ratios,
                        "goal": goal,
                        "low": low,
                        "high": high,
                        "seconds": statistics.median(ours["seconds"] for ours, _ in pairs),
                        "their_seconds": statistics.median(theirs["seconds"] for _, theirs in pairs),
                        "own_share": max(ours["own_seconds"] / ours["seconds"] for ours, _ in pairs),
                    }
                )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    headings = [
        "task",
        "box",
        "beside",
        "seeds",
        "search",
        "other",
        "median ratio",
        "goal",
        "difference [95 %]",
        "s, s",
    ]
    cells = [
        [
            row["task"],
            row["box"],
            row["other"],
            str(row["seeds"]),
            f"{row['search']:.4f}",
            f"{row['theirs']:.4f}",
            f"{statistics.median(row['ratios']):.3f}",
            f"≥ {row['goal']:.2f}",
            f"[{row['low']:.4f}, {row['high']:.4f}]",
            f"{row['seconds']:.0f}, {row['their_seconds']:.0f}",
        ]
        for row in rows
    ]
    share = max((row["own_share"] for row in rows), default=0.0)
    parts = [
        "# Search",
        "Hypervolume on validation, of networks trained in full: the loss from ten points to none, the logarithm of "
        "each cost from that of dense fp32 to a hundredth of it. Each arm has the same seconds of training, conversion "
        "and evaluation, formats and dense "
        "networks. The grid has global magnitude at thresholds evenly apart in the logarithm of the weights that stay, "
        "from 0.3 to 0.98; random search draws from the same space as the search. Differences: mean, Student's t.",
        markdown_table(headings, cells, [place > 2 for place in range(len(headings))]),
        f"Of the time of a search, at most {100 * share:.1f} % was its own.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the page")
    parser.add_argument("--state", type=Path, default=Path("runs/perf-search.jsonl"), help="finished arms")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where arms are run")
    parser.add_argument("--only", action="append", choices=tuple(TASKS), help="this task; digits alone by default")
    parser.add_argument("--minutes", type=float, help="of each arm; 4 for digits, 20 for cifar10 by default")
    parser.add_argument("--seeds", type=int, help="how many; 5 for digits, 3 for cifar10 by default")
    parser.add_argument("--set", action="append", default=[], help="a key of the config, as data.options={...}")
    parser.add_argument("--keep", action="store_true", help="keep the run directories of finished arms")
    parser.add_argument("--smoke", action="store_true", help="a few tiny networks, to see whether all of it runs")
    parser.add_argument("--page", action="store_true", help="make nothing, write the page of what is there")
    arguments = parser.parse_args()
    state = State(arguments.state)
    for task in () if arguments.page else arguments.only or ("digits",):
        seconds = 60 * (arguments.minutes or MINUTES[task])
        for seed in range(1 if arguments.smoke else arguments.seeds or SEEDS[task]):
            for name in ARMS:
                done = state.of("arms")
                if any((one["task"], one["seed"], one["arm"]) == (task, seed, name) for one in done):
                    continue
                config = config_of(task, seed, name, seconds, arguments.smoke, arguments.set)
                # The others have what the search really took.
                ours = [one for one in done if (one["task"], one["seed"], one["arm"]) == (task, seed, "search")]
                equal = ours[0]["seconds"] if ours else seconds
                arm: Arm = carried_out(name, config, arguments.runs_dir, equal, BOXES)
                state.add("arms", {"task": task, "seed": seed, "arm": name, **dataclasses.asdict(arm)})
                print(
                    f"{task}, seed {seed}, {name}: {arm.volumes}, {arm.seconds:.0f} s, {arm.networks} networks",
                    flush=True,
                )
                if not arguments.keep:
                    shutil.rmtree(arguments.runs_dir / config.name, ignore_errors=True)
    pieces = state.of("arms")
    rows = summary(pieces)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "search.md").write_text(markdown(rows), encoding="utf-8")
    shown = [
        Row(
            f"hypervolume ({row['box']}) of a search against {row['other']}, {row['task']}, {row['seeds']} seeds",
            estimate(row["ratios"]),
            "×",
            row["goal"],
        )
        for row in rows
    ]
    write_rows(arguments.out / "search.json", shown, COMMAND, {"arms": pieces})
    print(markdown(rows))


if __name__ == "__main__":
    main()
