"""Latency of each backend, fp32 and static int8, and of OpenVINO beside a script written by hand.

    python benchmarks/perf_backends.py --out reports/performance

MobileNetV2 and ResNet-18 of torchvision with random weights, at 224×224. sparsebench.timing.compare times everything:
in pairs, in random order, in processes of their own. What OpenVINO costs through sparsebench is compared with
benchmarks/openvino_by_hand.py, which uses nothing of sparsebench.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torchvision

from sparsebench.backends import build_backend
from sparsebench.backends.quiet import quiet
from sparsebench.environment import available_cores, describe_environment
from sparsebench.quantization import Recording
from sparsebench.registry import BACKENDS
from sparsebench.timing import Built, Comparison, compare

# The script is its own; only OpenVINO's reports of its use, and its progress bars, are kept back.
with quiet():
    import openvino_by_hand

NETWORKS = ("mobilenet_v2", "resnet18")
BATCHES = (1, 32)
SCHEMES = ("fp32", "static")
CALIBRATION = (4, 8)
"""Calibration batches, and samples in each."""

SIZE = 224
MOST_OVERHEAD = 1.05
LEAST_SPEEDUP = 2.0
BY_HAND = "by hand"
BASELINE = "eager fp32"


def images(samples: int, seed: int) -> torch.Tensor:
    """Return images with a structure: blurred noise."""
    coarse = torch.randn(samples, 3, 14, 14, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")


def network(name: str) -> torch.nn.Module:
    """Return a network with random weights and running statistics that fit the images."""
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)().train()
    with torch.no_grad():
        net(images(16, seed=1))
    return net.eval()


def pairs() -> Iterator[tuple[str, str]]:
    """Yield the backends that can run here with the schemes that they offer."""
    for name in BACKENDS:
        backend = build_backend(name)
        if backend.problem() is None:
            yield from ((name, scheme) for scheme in SCHEMES if backend.offers(scheme) is None)


def prepare(name: str, folder: Path) -> list[tuple[str, str]]:
    """Compress a network in every way into ``folder``; return the ways."""
    net = network(name)
    batches = [images(CALIBRATION[1], seed=10 + number) for number in range(CALIBRATION[0])]

    def read(prepared: torch.nn.Module) -> None:
        for batch in batches:
            prepared(batch)

    torch.save(net.state_dict(), folder / "weights.pt")
    ways = list(pairs())
    for backend, scheme in ways:
        recording = Recording(torch.nn.Identity(), read, limit=len(batches))
        compressed = build_backend(backend).compress(net, scheme, (batches[0][:2],), recording)
        place = folder / f"{backend}-{scheme}"
        place.mkdir()
        for file, content in compressed.files.items():
            (place / file).write_bytes(content)
    with quiet():
        openvino_by_hand.quantize(net, batches, folder / "by_hand.xml")
    return ways


def ours(name: str, folder: Path, way: tuple[str, str], inputs: torch.Tensor, threads: int) -> Callable[[], object]:
    """Load what ``prepare`` made, as sparsebench times it."""
    backend, scheme = way
    torch.set_num_threads(threads)
    net = getattr(torchvision.models, name)().eval()
    net.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    files = {path.name: path for path in (folder / f"{backend}-{scheme}").iterdir()}
    built = build_backend(backend)
    restored = built.restore(net, scheme, (inputs[:2],), files)
    special = built.specialise(restored, (inputs,), threads)

    def run() -> object:
        with torch.inference_mode():
            return special(inputs)

    return run


def measure(name: str, folder: Path, ways: Sequence[tuple[str, str]], batch: int, threads: int, seconds: float):
    """Return two comparisons: of OpenVINO with the script, and of every way with eager fp32."""
    inputs = images(batch, seed=2)
    made = {" ".join(way): Built(partial(ours, name, folder, way, inputs, threads)) for way in ways}
    by_hand = Built(partial(openvino_by_hand.load, folder / "by_hand.xml", inputs, threads))
    overhead = compare(
        {BY_HAND: by_hand, "openvino static": made["openvino static"]},
        baseline=BY_HAND,
        threads=threads,
        seconds_cap=seconds / 2,
    )
    return overhead, compare(made, baseline=BASELINE, threads=threads, seconds_cap=seconds)


def rows_of(name: str, batch: int, overhead: Comparison, all_ways: Comparison, command: str) -> Iterator[dict]:
    """Yield the figures of one network and batch size."""
    where = f"{name}, batch {batch}"
    ratio = overhead["openvino static"]
    yield {
        "what": f"{where}: int8 OpenVINO through sparsebench, latency over that of a script by hand",
        "figure": ratio.ratio,
        "low": ratio.low,
        "high": ratio.high,
        "unit": "×",
        "target": f"<= {MOST_OVERHEAD}",
        "met": ratio.ratio <= MOST_OVERHEAD,
        "command": command,
    }
    for way, timing in all_ways.items():
        if way == BASELINE:
            continue
        judged = way == "eager static"
        yield {
            "what": f"{where}: {way}, speedup over {BASELINE}",
            "figure": timing.speedup,
            "low": 1 / timing.high,
            "high": 1 / timing.low,
            "unit": "×",
            "target": f">= {LEAST_SPEEDUP:g}" if judged else None,
            "met": timing.speedup >= LEAST_SPEEDUP if judged else None,
            "command": command,
        }
    for way, timing in (*all_ways.items(), (BY_HAND, overhead[BY_HAND])):
        yield {
            "what": f"{where}: {way}, median latency",
            "figure": timing.median_ms,
            "low": None,
            "high": None,
            "unit": "ms",
            "target": None,
            "met": None,
            "command": command,
        }


def markdown(rows: Sequence[dict], measured: Sequence[tuple[str, int, Comparison, Comparison]], about: str) -> str:
    """Return the tables, and how they were measured."""
    judged = ["| what | measured [95 %] | target | reached |", "|---|---:|---|---|"]
    judged += [
        f"| {row['what']} | {row['figure']:.3f} [{row['low']:.3f}, {row['high']:.3f}] | {row['target']}× "
        f"| {'yes' if row['met'] else 'no'} |"
        for row in rows
        if row["target"]
    ]
    ways = list(measured[0][3])
    table = [f"| network, batch | {' | '.join(ways)} | OpenVINO int8 by hand |", f"|---|{'---:|' * (len(ways) + 1)}"]
    for name, batch, overhead, all_ways in measured:
        cells = [f"{all_ways[way].median_ms:.2f}" for way in ways] + [f"{overhead[BY_HAND].median_ms:.2f}"]
        table.append(f"| {name}, {batch} | {' | '.join(cells)} |")
    invalid = [f"{name}, batch {batch}" for name, batch, *both in measured if not all(one.valid for one in both)]
    validity = (
        f"INVALID: a second copy of the baseline differed from it for {'; '.join(invalid)}."
        if invalid
        else ("VALID: in each comparison a second copy of the baseline took the same time.")
    )
    return "\n\n".join(
        [
            "# Backends",
            validity,
            "\n".join(judged),
            "Median latency in milliseconds. Ratios above are of pairs, and not quotients of these.",
            "\n".join(table),
            "Networks of torchvision with random weights, 3×224×224, calibrated on "
            f"{CALIBRATION[0]} batches of {CALIBRATION[1]} images of blurred noise. The script by hand is "
            "[benchmarks/openvino_by_hand.py](../../benchmarks/openvino_by_hand.py).",
            about,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the two reports")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--seconds", type=float, default=80.0, help="about how long a comparison of all ways may last")
    arguments = parser.parse_args()
    command = "python benchmarks/perf_backends.py --out reports/performance"
    started, measured, rows = time.perf_counter(), [], []
    for name in arguments.networks:
        with tempfile.TemporaryDirectory(prefix="sparsebench-perf-") as folder:
            ways = prepare(name, Path(folder))
            for batch in arguments.batches:
                both = measure(name, Path(folder), ways, batch, arguments.threads, arguments.seconds)
                measured.append((name, batch, *both))
                rows += rows_of(name, batch, *both, command)
    environment = describe_environment()
    versions = ", ".join(f"{package} {version}" for package, version in environment.versions.items())
    about = (
        f"Machine: {environment.machine}; int8 and half-precision instructions: "
        f"{', '.join(environment.cpu_flags)}. {arguments.threads} threads. Python {environment.python}, {versions}; "
        f"commit {environment.commit}. `{command}` took {(time.perf_counter() - started) / 60:.0f} minutes."
    )
    text = markdown(rows, measured, about)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "backends.md").write_text(text + "\n", encoding="utf-8")
    record = {"environment": dataclasses.asdict(environment), "rows": rows}
    (arguments.out / "backends.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
