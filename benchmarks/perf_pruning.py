"""How much faster pruning is than torch.nn.utils.prune, and its share of a training step.

    python benchmarks/perf_pruning.py --out reports/performance

Each round trains one step, prunes the very weights that came out of it in every way, in random order, and goes on from
the result at a sparsity that grows as in training. Ratios are medians of the ratios within rounds, so that a change of
the machine's speed between rounds cancels; intervals are bootstrapped over rounds. Some hundred megabytes and a few
minutes are needed.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from measuring import Estimate, Row, estimate, parser_of, seconds_of, write_rows
from prune_nets import CASES, Case, TrainingStep, copy_prunable, differing_zeros, prune_with_torch

from sparsebench.pruning import Magnitude, prunable_weights, prune_net
from sparsebench.store.environment import describe_environment

WARM_UP = 3
FIRST_SPARSITY = 0.5
GROWTH = 2e-4
"""Sparsity gained in a round: that of a linear schedule to 80 % in ten epochs of CIFAR-10 at batch 128."""


def measure(case: Case, rounds: int, seed: int) -> dict[str, object]:
    """Return what ``rounds`` rounds of training and pruning told about one network."""
    torch.manual_seed(seed)
    order = random.Random(seed)  # noqa: S311 - dice, no secrets
    step = TrainingStep(case.build(num_classes=10), case.batch_size)
    nets = {way: copy.deepcopy(step.net) for way in ("torch", "prune_net", "magnitude")}
    pruner = Magnitude()
    ways: dict[str, Callable[[torch.nn.Module, float], object]] = {
        "torch": prune_with_torch,
        "prune_net": prune_net,
        "magnitude": pruner.prune,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("step", *ways)}
    ties = other_differences = 0
    for number in range(-WARM_UP, rounds):
        threshold = FIRST_SPARSITY + GROWTH * (number + WARM_UP)
        timed = {"step": seconds_of(step)}
        for way in order.sample(sorted(ways), len(ways)):
            copy_prunable(step.net, nets[way])
            timed[way] = seconds_of(ways[way], nets[way], threshold)
        if number >= 0:
            for name, value in timed.items():
                seconds[name].append(value)
        different, not_ties = differing_zeros(nets["magnitude"], nets["torch"], step.net)
        ties, other_differences = ties + different - not_ties, other_differences + not_ties
        other_differences += differing_zeros(nets["magnitude"], nets["prune_net"], step.net)[0]
        copy_prunable(nets["magnitude"], step.net)
    times = {name: np.array(values) for name, values in seconds.items()}
    return {
        "network": case.name,
        "weights": sum(weight.parameter.numel() for weight in prunable_weights(step.net)),
        "batch_size": case.batch_size,
        "rounds": rounds,
        "milliseconds": {name: float(np.median(values)) * 1e3 for name, values in times.items()},
        "ratio": asdict(estimate(times["torch"] / times["magnitude"], seed)),
        "ratio_prune_net": asdict(estimate(times["torch"] / times["prune_net"], seed)),
        "ratio_target": case.ratio_target,
        "share": asdict(estimate(times["magnitude"] / times["step"], seed)),
        "share_torch": asdict(estimate(times["torch"] / times["step"], seed)),
        "share_target": case.share_target,
        "zeros_that_differ_among_equal_magnitudes": ties,
        "zeros_that_differ_otherwise": other_differences,
        "seconds": seconds,
    }


def rows_of(results: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows of the page."""
    rows = []
    for result in results:
        network, batch = result["network"], result["batch_size"]
        speed, share = Estimate(**result["ratio"]), Estimate(**result["share"])
        what = f"pruning {network} ({result['weights'] / 1e6:.1f} M weights) against torch.nn.utils.prune"
        rows.append(Row(what, speed, "×", result["ratio_target"]))
        what = f"pruning at every step, share of a training step: {network}, batch {batch}, 32×32"
        rows.append(Row(what, share, "%", result["share_target"], at_least=False))
    return rows


def markdown(results: Sequence[dict], machine: str, details: str) -> str:
    """Return the two tables, and how they were measured."""
    speed = [
        "| network | weights | torch.nn.utils.prune, ms | sparsebench, ms | ratio [95 %] | target | reached |"
        " `prune_net` alone, ms | its ratio [95 %] | rounds |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|",
    ]
    share = [
        "| network | batch | training step, ms | sparsebench, share [95 %] | target | reached |"
        " torch.nn.utils.prune, share |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for result in results:
        ms, target, share_target = result["milliseconds"], result["ratio_target"], result["share_target"]
        speed.append(
            f"| {result['network']} | {result['weights']:,} | {ms['torch']:.2f} | {ms['magnitude']:.2f} "
            f"| {_ratio(result['ratio'])} | {f'≥ {target:g}×' if target else '–'} "
            f"| {_reached(result['ratio'], target, at_least=True)} "
            f"| {ms['prune_net']:.2f} | {_ratio(result['ratio_prune_net'])} | {result['rounds']} |"
        )
        share.append(
            f"| {result['network']} | {result['batch_size']} | {ms['step']:.1f} | {_percent(result['share'])} "
            f"| {f'≤ {share_target:.0%}' if share_target else '–'} "
            f"| {_reached(result['share'], share_target, at_least=False)} "
            f"| {result['share_torch']['median']:.0%} |"
        )
    ties = sum(result["zeros_that_differ_among_equal_magnitudes"] for result in results)
    others = sum(result["zeros_that_differ_otherwise"] for result in results)
    return "\n\n".join(
        [
            "# Pruning after every training step",
            "Milliseconds are medians over rounds; ratios and shares are medians of the ratios within rounds, with a "
            "bootstrap 95 % interval over rounds. A round trains one step (Adam, fp32, 32×32) and prunes the weights "
            "it gives in each way, in random order. "
            f"Sparsity begins at {FIRST_SPARSITY:.0%} and grows by {GROWTH:.2%} a round, as it does in a linear "
            "schedule over ten epochs. *sparsebench* is the pruner `magnitude` as `Trainer` calls it; `prune_net` "
            "alone remembers nothing between calls.",
            "\n".join(speed),
            "\n".join(share),
            f"Zeros that differ from those of torch.nn.utils.prune, in all rounds: {others} where magnitudes differ, "
            f"{ties} among equal magnitudes, of which either is right.",
            f"{machine}\n{details}",
        ]
    )


def _ratio(value: dict[str, float]) -> str:
    return f"{value['median']:.1f}× [{value['low']:.1f}, {value['high']:.1f}]"


def _percent(value: dict[str, float]) -> str:
    return f"{value['median']:.1%} [{value['low']:.1%}, {value['high']:.1%}]"


def _reached(value: dict[str, float], target: float | None, at_least: bool) -> str:
    """Return whether a target is reached, and whether the whole interval says so."""
    if target is None:
        return "–"
    sides = [(value[key] >= target) == at_least for key in ("median", "low", "high")]
    return ("yes" if sides[0] else "no") + ("" if len(set(sides)) == 1 else ", not certain")


def main() -> None:
    arguments = parser_of(__doc__, rounds=40).parse_args()
    environment = describe_environment()
    results = [measure(case, arguments.rounds, arguments.seed) for case in CASES]
    details = (
        f"Python {environment.python}, torch {environment.versions['torch']}, torchvision "
        f"{environment.versions['torchvision']}, sparsebench {environment.versions.get('sparsebench', 'from source')}; "
        f"{environment.threads} threads; commit {environment.commit}; seed {arguments.seed}."
    )
    text = markdown(results, f"Machine: {environment.machine}.", details)
    command = "python benchmarks/perf_pruning.py"
    write_rows(arguments.out / "pruning.json", rows_of(results), command, {"results": results})
    (arguments.out / "pruning.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
