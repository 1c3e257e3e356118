"""Whether intervals of metrics other than accuracy are right: in simulated data, whose truth is known.

    python benchmarks/perf_metrics.py --out reports/performance

It takes about five minutes on one core.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from performance_page import table

from sparsebench.metrics import Resampled, build_metric
from sparsebench.statistics.differences import from_replicates, from_samples
from sparsebench.statistics.resamples import counted, percentiles
from sparsebench.store.environment import describe_environment

COMMAND = "python benchmarks/perf_metrics.py"
COVER = 0.93
"""Target: the interval of a mean covers at least."""

MEAN_SAMPLES, MEAN_DRAWS = (30, 100, 300, 1000, 3000), 4000
SAMPLES, DRAWS, DRAWS_OF_RANKS = (50, 100, 200, 500, 1000), 1000, 400
ENOUGH = 300
"""Samples from which on the interval of a mean is held to the target, however skewed what it is the mean of."""

SEEDS = 3
TRUTH = 400_000

Drawn = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Outputs of two networks, of which the second is worse, and targets."""

# -- means over samples: errors of each sample before, and after with what is lost -------------------------------------

MEANS: dict[str, tuple[Callable[[Any, int], tuple[Any, Any]], float, float]] = {
    "absolute errors": (lambda rng, n: _errors(rng, n, np.abs), np.sqrt(2 / np.pi), np.sqrt(2 * 1.09 / np.pi)),
    "squared errors": (lambda rng, n: _errors(rng, n, np.square), 1.0, 1.09),
    "per-sample scores in [0, 1]": (lambda rng, n: _scores(rng, n), 0.8, 0.78),
}


def _errors(rng: Any, n: int, of: Callable[[Any], Any]) -> tuple[Any, Any]:
    error = rng.standard_normal(n)
    return of(error), of(error + 0.3 * rng.standard_normal(n))


def _scores(rng: Any, n: int) -> tuple[Any, Any]:
    score = rng.beta(4, 1, n)
    return score, np.clip(score * rng.beta(39, 1, n), 0, 1)


def means() -> Iterator[dict[str, Any]]:
    """Yield how often intervals of means, of drops, and of drops over another training hold the truth."""
    for name, (draw, before, after) in MEANS.items():
        for n in MEAN_SAMPLES:
            rng, hits = np.random.default_rng([n, len(name)]), np.zeros(3)
            for _ in range(MEAN_DRAWS):
                first, second = draw(rng, n)
                hits[0] += _holds(from_samples(first[:, None])[0].limits(), before)
                hits[1] += _holds(from_samples((second - first)[:, None])[0].limits(), after - before)
                shifts = 0.02 * rng.standard_normal(SEEDS)
                noise = 0.1 * rng.standard_normal((n, SEEDS))
                other = from_samples((second - first)[:, None] + shifts + noise)[1]
                hits[2] += other is not None and _holds(other.limits(), after - before)
            yield {"kind": name, "samples": n, **_shares(hits / MEAN_DRAWS)}


# -- metrics over all samples ------------------------------------------------------------------------------------------


def _ranked(rng: Any, n: int, positive: float) -> Drawn:
    there = rng.random(n) < positive
    score = 1.5 * there + rng.standard_normal(n)
    return _tensors(score, score + 0.4 * rng.standard_normal(n), there.astype(int))


def _classes(rng: Any, n: int) -> Drawn:
    labels = rng.choice(3, n, p=(0.7, 0.2, 0.1))
    scores = rng.standard_normal((n, 3)) + 1.8 * np.eye(3)[labels]
    return _tensors(scores, scores + 0.5 * rng.standard_normal((n, 3)), labels)


def _pixels(rng: Any, n: int) -> Drawn:
    labels = np.where(rng.random((n, 1, 1)) < 0.4, rng.integers(0, 3, (n, 8, 8)), rng.integers(0, 2, (n, 1, 1)))
    clear = rng.gamma(4, 0.6, (n, 1, 1, 1))  # some images are harder than others
    scores = rng.standard_normal((n, 3, 8, 8)) + clear * np.moveaxis(np.eye(3)[labels], -1, 1)
    return _tensors(scores, scores + 0.5 * rng.standard_normal((n, 3, 8, 8)), labels)


def _numbers(rng: Any, n: int) -> Drawn:
    wanted = rng.standard_normal(n)
    found = wanted + 0.6 * rng.standard_normal(n)
    return _tensors(found, found + 0.2 * rng.standard_normal(n), wanted)


def _tensors(*arrays: Any) -> Drawn:
    first, second, targets = (torch.as_tensor(array) for array in arrays)
    return first, second, targets


RESAMPLED: dict[str, tuple[str, Callable[[Any, int], Drawn]]] = {
    "AUROC, 50 % in the class": ("auroc", lambda rng, n: _ranked(rng, n, 0.5)),
    "AUROC, 10 % in the class": ("auroc", lambda rng, n: _ranked(rng, n, 0.1)),
    "F1, mean over 3 classes of 70, 20, 10 %": ("f1", _classes),
    "balanced accuracy, the same": ("balanced_accuracy", _classes),
    "mean IoU, images of 64 pixels": ("iou", _pixels),
    "R²": ("r2", _numbers),
    "RMSE": ("root_mean_squared_error", _numbers),
}


def resampled() -> Iterator[dict[str, Any]]:
    """Yield how often percentile intervals of a metric, and intervals of its paired drop, hold the truth."""
    for name, (key, draw) in RESAMPLED.items():
        metric = build_metric(key)
        assert isinstance(metric, Resampled)
        large = draw(np.random.default_rng(9), TRUTH if key != "iou" else TRUTH // 4)
        draws = DRAWS_OF_RANKS if key == "auroc" else DRAWS
        truth = [metric.value([metric.kept(outputs, large[2])]) for outputs in large[:2]]
        for n in SAMPLES:
            rng, hits = np.random.default_rng([n, 7]), np.zeros(2)
            weights = np.concatenate(list(counted(n))).astype(float)
            for _ in range(draws):
                *outputs, targets = draw(rng, n)
                rows = [metric.kept(one, targets).numpy() for one in outputs]
                values = [float(metric.of_rows(row, np.ones(n))) for row in rows]
                found = [metric.of_rows(row, weights) for row in rows]
                known = np.isfinite(found).all(0)
                if not np.isfinite(values).all():
                    continue
                hits[0] += _holds(percentiles(found[0][known], values[0]), truth[0])
                lost = (found[0] - found[1])[known, None]
                drop = from_replicates([values[0] - values[1]], lost)[0].limits()
                hits[1] += _holds(drop, truth[0] - truth[1])
            yield {"kind": name, "samples": n, **_shares(hits / draws), "draws": draws}
        print(name, flush=True)


def _holds(limits: Any, truth: float) -> bool:
    return bool(limits[0] <= truth <= limits[1])


def _shares(hits: Any) -> dict[str, float]:
    return dict(zip(("value", "drop", "another_training"), map(float, hits), strict=False))


# -- the page ----------------------------------------------------------------------------------------------------------


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page of what was simulated."""
    return "\n\n".join(
        [
            "# Intervals of metrics",
            f"Simulated data, whose truth is known; the share of 95 % intervals that hold it. `{COMMAND}` makes this "
            "page. Drops are those of two networks that read the same samples.",
            "![Coverage against samples](figures/metrics-coverage.svg)",
            "## Means over samples",
            f"{MEAN_DRAWS:,} draws each. Target: at least {100 * COVER:g} %. Over another training: {SEEDS} seeds. The "
            "mean of errors as skewed as squared ones needs some hundred samples; drops do not.",
            _shown(found["means"], ("value", "drop", "another_training")),
            "## Metrics over all samples",
            f"{DRAWS:,} draws each, {DRAWS_OF_RANKS} of AUROC: a coverage is known to 0.7 and 1.1 points (one standard "
            "deviation). The interval of a value is the percentile interval over 1,000 bootstrap resamples, that of a "
            "drop comes from paired replicates.",
            _shown(found["resampled"], ("value", "drop")),
            _from_when(found["resampled"]),
        ]
    )


def _shown(rows: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    heading = ["metric", "interval of", *(f"{n:,}" for n in sorted({row["samples"] for row in rows}))]
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for name in names:
            cells = [f"{100 * row[name]:.1f}" for row in rows if row["kind"] == kind]
            lines.append([kind, name.replace("_", " "), *cells])
    return "Samples across, coverage in %:\n\n" + table(heading, "--" + "r" * (len(heading) - 2), lines)


def enough(rows: list[dict[str, Any]], kind: str, name: str) -> int | None:
    """Return the samples from which on intervals hold the truth in 93 %, as far as so many draws can tell."""
    fitting: int | None = None
    for row in sorted((row for row in rows if row["kind"] == kind), key=lambda row: -row["samples"]):
        if row[name] < COVER - 2 * (COVER * (1 - COVER) / row["draws"]) ** 0.5:
            break
        fitting = row["samples"]
    return fitting


def _from_when(rows: list[dict[str, Any]]) -> str:
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        both = [enough(rows, kind, name) for name in ("value", "drop")]
        told = [f"{n:,} samples" if n else f"more than {SAMPLES[-1]:,} samples" for n in both]
        lines.append(f"- {kind}: the value from {told[0]}, the drop from {told[1]}.")
    told = f"They hold the truth in {100 * COVER:g} % and more, or less by no more than two standard deviations, from:"
    return told + "\n\n" + "\n".join(lines)


def figure(found: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw coverage against samples, of values and of drops."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "metrics", "font.size": 8})
    drawn, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, layout="constrained")
    rows = found["means"] + found["resampled"]
    for panel, name in zip(axes, ("value", "drop"), strict=True):
        for place, kind in enumerate(dict.fromkeys(row["kind"] for row in rows)):
            own = [row for row in rows if row["kind"] == kind]
            points = [row["samples"] for row in own], [100 * row[name] for row in own]
            panel.plot(*points, marker="osD^v<>pXh"[place % 10], label=kind, lw=1, ms=4)
        panel.axhline(95, color="#555555", lw=0.8)
        panel.axhline(100 * COVER, color="#555555", lw=0.8, ls="--")
        panel.set(xscale="log", xlabel="samples", title=f"interval of the {name}")
    axes[0].set_ylabel("intervals that hold the truth, %")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    folder.mkdir(parents=True, exist_ok=True)
    drawn.savefig(folder / "metrics-coverage.svg", metadata={"Date": None})
    plt.close(drawn)


def rows_of(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows that the page of all measurements shows."""
    rows = []
    for name, what in (("value", "the mean"), ("drop", "its drop"), ("another_training", "its drop, another training")):
        here = [row[name] for row in found["means"] if name != "value" or row["samples"] >= ENOUGH]
        worst, where = min(here), f"{ENOUGH} samples or more, " * (name == "value")
        told = f"interval of a metric that is a mean covers {what}, {where}worst of {len(here)} simulated settings"
        row = {"what": told, "figure": worst, "unit": "%", "target": COVER, "at_least": True, "met": worst >= COVER}
        rows.append({**row, "command": COMMAND})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the page")
    out = parser.parse_args().out
    found = {"means": list(means()), "resampled": list(resampled())}
    out.mkdir(parents=True, exist_ok=True)
    text = page(found)
    (out / "metrics.md").write_text(text + "\n", encoding="utf-8")
    record = {"rows": rows_of(found), "environment": dataclasses.asdict(describe_environment()), **found}
    (out / "metrics.json").write_text(json.dumps(record, indent=1, default=dict) + "\n", encoding="utf-8")
    figure(found, out / "figures")
    print(text)


if __name__ == "__main__":
    main()
