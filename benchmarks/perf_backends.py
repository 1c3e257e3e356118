"""Latency of each backend, fp32 and static int8, and of OpenVINO beside a script written by hand.

    python benchmarks/perf_backends.py --out reports/performance

MobileNetV2 and ResNet-18 of torchvision with random weights, at 224×224. sparsebench.timing.compare times everything:
in pairs, in random order, in processes of their own. What OpenVINO costs through sparsebench is compared with
benchmarks/openvino_by_hand.py, which uses nothing of sparsebench.
"""

import argparse
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torchvision

from sparsebench.backends import build_backend
from sparsebench.quantization import Recording, quiet_runtimes
from sparsebench.registry import BACKENDS
from sparsebench.store.environment import EnvironmentRecord, available_cores, describe_environment
from sparsebench.timing import Built, Comparison, compare

# The script is its own; only OpenVINO's reports of its use, and its progress bars, are kept back.
with quiet_runtimes():
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
EAGER, ALL = "eager", "all"
KINDS = (EAGER, ALL, BY_HAND)
"""What is compared with what: eager int8 with eager fp32, every way with eager fp32, OpenVINO with the script."""

COMMAND = "python benchmarks/perf_backends.py --out reports/performance"


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
    with quiet_runtimes():
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


def measure(
    kind: str, name: str, folder: Path, ways: Sequence[tuple[str, str]], batch: int, threads: int, seconds: float
) -> Comparison:
    """Compare OpenVINO with the script, eager int8 with eager fp32, or every way with eager fp32."""
    inputs = images(batch, seed=2)
    made = {" ".join(way): Built(partial(ours, name, folder, way, inputs, threads)) for way in ways}
    if kind == BY_HAND:
        by_hand = Built(partial(openvino_by_hand.load, folder / "by_hand.xml", inputs, threads))
        pair = {BY_HAND: by_hand, "openvino static": made["openvino static"]}
        return compare(pair, baseline=BY_HAND, threads=threads, seconds_cap=seconds / 2)
    if kind == EAGER:
        pair = {way: made[way] for way in (BASELINE, "eager static")}
        return compare(pair, baseline=BASELINE, threads=threads, seconds_cap=seconds / 2)
    return compare(made, baseline=BASELINE, threads=threads, seconds_cap=seconds)


def row_of(what: str, figure: float, low: float | None, high: float | None, unit: str, target: str | None) -> dict:
    met = None
    if target:
        sign, limit = target.split()
        met = figure <= float(limit) if sign == "<=" else figure >= float(limit)
    return {
        "what": what,
        "figure": figure,
        "low": low,
        "high": high,
        "unit": unit,
        "target": target,
        "met": met,
        "command": COMMAND,
    }


def rows_of(kind: str, name: str, batch: int, found: Comparison) -> Iterator[dict]:
    """Yield the figures of one comparison."""
    where = f"{name}, batch {batch}"
    if kind == BY_HAND:
        ours = found["openvino static"]
        what = f"{where}: int8 OpenVINO through sparsebench, latency over that of a script by hand"
        yield row_of(what, 1 / ours.speedup, 1 / ours.high, 1 / ours.low, "×", f"<= {MOST_OVERHEAD}")
        yield row_of(f"{where}: {BY_HAND}, latency", found[BY_HAND].latency_ms, None, None, "ms", None)
        return
    for way, timing in found.items():
        if way != BASELINE:
            what = f"{where}: {way}, speedup over {BASELINE}" + (", the two alone" if kind == EAGER else "")
            target = f">= {LEAST_SPEEDUP:g}" if kind == EAGER else None
            yield row_of(what, timing.speedup, timing.low, timing.high, "×", target)
        if kind == ALL:
            yield row_of(f"{where}: {way}, latency", timing.latency_ms, None, None, "ms", None)


def markdown(record: dict) -> str:
    """Return the tables, and how they were measured."""
    comparisons = record["comparisons"]
    rows = [row for one in comparisons for row in one["rows"]]
    judged = ["| what | measured [95 %] | target | reached |", "|---|---:|---|---|"]
    judged += [
        f"| {row['what']} | {row['figure']:.3f} [{row['low']:.3f}, {row['high']:.3f}] | {row['target']}× "
        f"| {'yes' if row['met'] else 'no'} |"
        for row in rows
        if row["target"]
    ]
    medians = {row["what"]: row["figure"] for row in rows if row["unit"] == "ms"}
    speedups = {row["what"]: row for row in rows if row["unit"] == "×"}
    places = list(dict.fromkeys((one["network"], one["batch"]) for one in comparisons))
    ways = list(dict.fromkeys(what.split(": ")[1].split(", ")[0] for what in medians))
    table = [f"| network, batch | {' | '.join(ways)} |", f"|---|{'---:|' * len(ways)}"]
    faster = [f"| network, batch | {' | '.join(ways[1:-1])} |", f"|---|{'---:|' * (len(ways) - 2)}"]
    for name, batch in places:
        cells = [medians.get(f"{name}, batch {batch}: {way}, latency") for way in ways]
        table.append(f"| {name}, {batch} | {' | '.join(f'{cell:.2f}' if cell else '–' for cell in cells)} |")
        found = [speedups.get(f"{name}, batch {batch}: {way}, speedup over {BASELINE}") for way in ways[1:-1]]
        cells = [f"{row['figure']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row else "–" for row in found]
        faster.append(f"| {name}, {batch} | {' | '.join(cells)} |")
    invalid = [
        f"{one['network']}, batch {one['batch']} ({one['kind']})"
        for one in comparisons
        if one.get("state") == "INVALID"
    ]
    validity = (
        f"INVALID: copies of the baseline differed from one another for {'; '.join(invalid)}."
        if invalid
        else "In no comparison were copies of the baseline found different."
    )
    return "\n\n".join(
        [
            "# Backends",
            validity,
            "\n".join(judged),
            "Two networks are compared in each row above. All of them in one comparison, speedup over eager fp32 with "
            "its 95 % interval:",
            "\n".join(faster),
            "Median latency in milliseconds. Ratios above are of pairs, and not quotients of these.",
            "\n".join(table),
            "Networks of torchvision with random weights, 3×224×224, calibrated on "
            f"{CALIBRATION[0]} batches of {CALIBRATION[1]} images of blurred noise. The script by hand is "
            "[benchmarks/openvino_by_hand.py](../../benchmarks/openvino_by_hand.py).",
            record["about"],
        ]
    )


def about(environment: EnvironmentRecord, threads: int) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in environment.versions.items())
    return (
        f"Machine: {environment.machine}; int8 and half-precision instructions: "
        f"{', '.join(environment.cpu_flags)}. {threads} threads. Python {environment.python}, {versions}. `{COMMAND}`"
    )


def kept(path: Path, description: str) -> list[dict]:
    """Return comparisons that were made before, on this machine and with these versions."""
    if not path.is_file():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    return before.get("comparisons", []) if before.get("about") == description else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the two reports")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="others are kept as they were")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--seconds", type=float, default=80.0, help="about how long a comparison of all ways may last")
    arguments = parser.parse_args()
    environment = describe_environment()
    description = about(environment, arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "backends.json"
    done = {(one["network"], one["batch"], one["kind"]): one for one in kept(path, description)}
    for name in arguments.networks:
        with tempfile.TemporaryDirectory(prefix="sparsebench-perf-") as folder:
            ways = prepare(name, Path(folder))
            for batch, kind in itertools.product(arguments.batches, arguments.kinds):
                found = measure(kind, name, Path(folder), ways, batch, arguments.threads, arguments.seconds)
                done[name, batch, kind] = {
                    "network": name,
                    "batch": batch,
                    "kind": kind,
                    "state": str(found.validity),
                    "commit": environment.commit,
                    "rows": list(rows_of(kind, name, batch, found)),
                }
    places = itertools.product(NETWORKS, sorted({batch for _, batch, _ in done}), KINDS)
    comparisons = [done[place] for place in places if place in done]
    record = {
        "environment": dataclasses.asdict(environment),
        "about": description,
        "comparisons": comparisons,
        "rows": [row for one in comparisons for row in one["rows"]],
    }
    text = markdown(record)
    (arguments.out / "backends.md").write_text(text + "\n", encoding="utf-8")
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
