"""Real networks through all schemes and runtimes: does it work, and if not, why?

    python benchmarks/real_networks.py --out reports/real_networks
    python benchmarks/real_networks.py --out reports/real_networks --only M5,U-Net --prefix "nice -n 19"

Each network, with random weights and eight batches of random data, is brought into every scheme that a backend offers
on this machine, in a process of its own with a time limit. It works where the network is converted, checked against the
float network, and gives finite outputs for all batches and for one sample alone. What is done is kept in cells.jsonl,
so that the script goes on where it was ended, and README.md is the table. Nothing is downloaded.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsebench.backends import build_offer
from sparsebench.registry import BACKENDS, SCHEMES

BATCHES, SAMPLES = 8, 4
SECONDS = 300
THREADS = 1
WORKS = "works"
TOO_SLOW = f"it took more than {SECONDS} seconds"
CELLS, PAGE = "cells.jsonl", "README.md"
COMMAND = "python benchmarks/real_networks.py --out reports/real_networks"

Key = tuple[str, str, str]


def main() -> None:
    """Go through what is not done yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("reports/real_networks"))
    parser.add_argument("--only", default="", help="networks, with commas; all where empty")
    parser.add_argument("--backends", default="", help="backends, with commas; all where empty")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no cell after so many")
    parser.add_argument("--prefix", default="", help="a command that each cell is run under")
    parser.add_argument("--again", action="store_true", help="try once more what did not work")
    parser.add_argument("--cell", nargs=3, metavar=("NETWORK", "BACKEND", "SCHEME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(tried(*given.cell)))
        return
    import real_nets

    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / CELLS
    done = read(file)
    missing = {name: net.missing for name, net in real_nets.NETS.items()}
    nets, backends = (set(filter(None, asked.split(","))) for asked in (given.only, given.backends))
    begun = time.monotonic()
    for key in cells({name: name in real_nets.COMPILED for name, why in missing.items() if not why}):
        left_out = (nets and key[0] not in nets) or (backends and key[1] not in backends)
        finished = key in done and (done[key]["result"] == WORKS or not given.again)
        if left_out or finished or time.monotonic() - begun > given.seconds:
            continue
        done[key] = in_process(key, given.prefix)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(dict(zip(("network", "backend", "scheme"), key, strict=True)) | done[key]) + "\n")
        print(*key, done[key]["result"], sep=" · ", flush=True)
    (given.out / PAGE).write_text(page(done, missing), encoding="utf-8")


def cells(compiled: Mapping[str, bool]) -> list[Key]:
    """Return what is to be tried: networks, by whether inductor has a part in it, in all that is offered here."""
    offers = {name: build_offer(name) for name in BACKENDS}
    ways = [
        (backend, scheme)
        for backend, offer in offers.items()
        if offer.problem() is None
        for scheme in SCHEMES
        if offer.offers(scheme) is None
    ]
    return [(net, *way) for net, compiles in compiled.items() for way in ways if compiles or way[0] != "inductor"]


def in_process(key: Key, prefix: str) -> dict[str, Any]:
    """Return what came of a cell, in a process that a crash or the time limit ends."""
    # The limit is on the work, and not on what a prefix waits for.
    limited = ["timeout", "-k", "10", str(SECONDS), sys.executable, __file__, "--cell", *key]
    found = subprocess.run(
        [*shlex.split(prefix), *limited],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
    )
    if found.returncode == 124:
        return {"result": TOO_SLOW}
    lines = found.stdout.strip().splitlines()
    if found.returncode or not lines:
        last = next(reversed(found.stderr.strip().splitlines()), "")
        return {"result": f"CRASH (exit code {found.returncode}): {last}"}
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def tried(name: str, backend: str, scheme: str) -> dict[str, Any]:
    """Convert a network, and run it; return what came of it."""
    import real_nets
    import torch

    from sparsebench.backends import build_backend
    from sparsebench.backends.checks import check_converted
    from sparsebench.errors import OutputsWarning, QuantizationError
    from sparsebench.quantization import Recording, audit, int8_fraction
    from sparsebench.tensors import cloned, tensors_in

    torch.set_num_threads(THREADS)
    begun = time.perf_counter()
    net, inputs = real_nets.built(name), real_nets.NETS[name].inputs
    batches = [inputs(SAMPLES, seed) for seed in range(BATCHES)]

    def read_batches(prepared: torch.nn.Module) -> None:
        for batch in batches:
            prepared(*cloned(batch))

    def train(prepared: torch.nn.Module) -> torch.nn.Module:
        optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-5)
        for batch in batches[:2]:
            optimizer.zero_grad()
            prepared(*cloned(batch)).square().mean().backward()
            optimizer.step()
        return prepared.eval()

    training = {"train": train} if getattr(SCHEMES.facts(scheme), "trains", False) else {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            recording = Recording(net, read_batches, BATCHES)
            made = build_backend(backend).compress(net, scheme, batches[0], recording, **training)
            check_converted(made.network, net, batches[0], f"{scheme} on {backend}")
            with torch.no_grad():
                for batch in (*batches, inputs(1, 0)):
                    for value in tensors_in(made.network(*cloned(batch))):
                        if not bool(torch.isfinite(value).all()):
                            raise QuantizationError("Its outputs are not all finite.")
        except QuantizationError as error:
            return {"result": str(error), "seconds": round(time.perf_counter() - begun, 1)}
    facts = audit(made.layered or made.network) if made.layers is None else made.layers
    return {
        "result": WORKS,
        "seconds": round(time.perf_counter() - begun, 1),
        "int8": round(int8_fraction(facts), 4),
        "told": [str(one.message) for one in told if issubclass(one.category, OutputsWarning)],
    }


def read(file: Path) -> dict[Key, dict[str, Any]]:
    """Return what is done, the last of each cell; a line that was cut off is not."""
    done = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            told = json.loads(line)
            done[told.pop("network"), told.pop("backend"), told.pop("scheme")] = told
        except (ValueError, KeyError):
            continue
    return done


def page(done: Mapping[Key, Mapping[str, Any]], missing: Mapping[str, str]) -> str:
    """Return the table: networks × ways, with the reasons of what does not work.

    Args:
        done: what came of each cell.
        missing: why a network cannot be built here, by its name; empty where it can.
    """
    ways = sorted({(backend, scheme) for _, backend, scheme in done}, key=_order)
    reasons: dict[str, int] = {}
    rows = [[name, *(_cell(done.get((name, *way)), missing[name], reasons) for way in ways)] for name in missing]
    works = sum(told["result"] == WORKS for told in done.values())
    share = f"{works / len(done):.1%}" if done else "–"
    lines = [
        "# Real networks through all schemes and runtimes",
        "",
        f"Made by `{COMMAND}`: random weights, {BATCHES} batches of {SAMPLES} random samples, {THREADS} thread.",
        f"**{works} of {len(done)} cells work ({share})**. A number is the reason below, – was not tried.",
        "",
        _row(["network", *(f"{backend} {scheme}" for backend, scheme in ways)]),
        _row(["---"] * (len(ways) + 1)),
        *map(_row, rows),
        "",
        *(f"{number}. {_escaped(reason)}" for reason, number in reasons.items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _cell(told: Mapping[str, Any] | None, missing: str, reasons: dict[str, int]) -> str:
    if missing:
        return f"({reasons.setdefault(f'{missing}, so that its networks are not tried', len(reasons) + 1)})"
    if told is None:
        return "–"
    if told["result"] != WORKS:
        return f"({reasons.setdefault(told['result'], len(reasons) + 1)})"
    notes = [f"({reasons.setdefault(note, len(reasons) + 1)})" for note in told.get("told", ())]
    return " ".join([WORKS, *notes])


def _order(way: tuple[str, str]) -> tuple[int, int]:
    return list(BACKENDS).index(way[0]), list(SCHEMES).index(way[1])


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, values))} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
