"""Real networks through all schemes and runtimes: does it work, and if not, why?

    python benchmarks/real_networks.py --out reports/real_networks
    python benchmarks/real_networks.py --out reports/real_networks --only M5,U-Net --jobs 2

Each network, with random weights and eight batches of random data, is brought into every scheme that a backend offers
on this machine, in processes that nothing else hangs on, with a time limit. It works where the network is converted,
agrees with the float network, and gives finite outputs for all batches and for one sample alone. What is done is kept
in cells.jsonl, with a digest of the code and the versions that it was done by, so that the script goes on where it was
ended and does anew what was done by others; README.md is the table. Nothing is downloaded.

Random weights amplify what is rounded in one layer from each layer to the next. Where outputs are off by more than
samples differ, the network agrees if rounding it by hand, in torch, puts it off as far (``rounded``).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from real_networks_page import WORKS, About, Key, page

import sparsebench
from sparsebench.backends import build_offer
from sparsebench.registry import BACKENDS, SCHEMES

BATCHES, SAMPLES = 8, 4
SECONDS = 300
THREADS = 1
AMPLIFIED = "its random weights amplify rounding until samples differ by less; rounding by hand does so too"
TOO_SLOW = f"it took more than {SECONDS} seconds"
CELLS, PAGE = "cells.jsonl", "README.md"
PACKAGES = ("torch", "torchao", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
ROOMS = ("backends", "quantization", "errors.py", "registry.py", "tensors.py")
"""The parts of the package that a cell runs."""
EXPLAINED = 2.0
"""How many times farther off than by rounding by hand outputs may be: runtimes round elsewhere, and in other ranges."""


def main() -> None:
    """Go through what is not done yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("reports/real_networks"))
    parser.add_argument("--only", default="", help="networks, with commas; all where empty")
    parser.add_argument("--backends", default="", help="backends, with commas; all where empty")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no network after so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, of one thread each")
    parser.add_argument("--again", action="store_true", help="try once more what did not work")
    parser.add_argument("--cells", nargs="+", metavar="NETWORK BACKEND SCHEME", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cells:
        name, backend, *schemes = given.cells
        for scheme in schemes:
            print(json.dumps({"scheme": scheme} | tried(name, backend, scheme)), flush=True)
        return
    import real_nets

    given.out.mkdir(parents=True, exist_ok=True)
    file, code = given.out / CELLS, digest_of_code()
    done = read(file, code)
    missing = {name: net.missing for name, net in real_nets.NETS.items()}
    nets, backends = (set(filter(None, asked.split(","))) for asked in (given.only, given.backends))
    groups = defaultdict[tuple[str, str], list[str]](list)
    for key in cells({name: name in real_nets.COMPILED for name, why in missing.items() if not why}):
        left_out = (nets and key[0] not in nets) or (backends and key[1] not in backends)
        finished = key in done and (done[key]["result"] == WORKS or not given.again)
        if not left_out and not finished:
            groups[key[:2]].append(key[2])
    begun = time.monotonic()

    def go_through(group: tuple[str, str]) -> None:
        if time.monotonic() - begun > given.seconds:
            return
        for scheme, told in in_process(*group, groups[group]):
            key = (*group, scheme)
            done[key] = told
            named = dict(zip(("network", "backend", "scheme"), key, strict=True)) | {"code": code}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(named | told) + "\n")
            print(*key, told["result"], sep=" · ", flush=True)

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(go_through, groups))
    about = About(f"{BATCHES} batches of {SAMPLES} random samples, {THREADS} thread", code, versions())
    (given.out / PAGE).write_text(page(done, missing, about), encoding="utf-8")


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


def in_process(name: str, backend: str, schemes: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what came of each scheme, in a process for all that a crash or the time limit of one of them ends.

    Those that come after such a one are tried in a fresh process.
    """
    left, environment = list(schemes), {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    while left:
        command = [sys.executable, __file__, "--cells", name, backend, *left]
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process,
        ):
            limit = _Limit(process)
            for line in process.stdout or ():
                if line.startswith('{"scheme": '):
                    limit.begin()
                    told = json.loads(line)
                    left.remove(told["scheme"])
                    yield told.pop("scheme"), told
            code = process.wait()
            limit.end()
            said.seek(0)
            last = next(reversed(said.read().strip().splitlines()), "")
        if left:
            yield left.pop(0), {"result": TOO_SLOW if limit.passed else f"CRASH (exit code {code}): {last}"}


class _Limit:
    """Kills a process that takes longer over one cell than is allowed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.passed = process, False
        self.begin()

    def begin(self) -> None:
        """Begin anew, with the next cell."""
        self.end()
        self._timer = threading.Timer(SECONDS, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Let the process be."""
        if hasattr(self, "_timer"):
            self._timer.cancel()

    def _kill(self) -> None:
        self.passed = True
        self._process.kill()


def tried(name: str, backend: str, scheme: str) -> dict[str, Any]:
    """Convert a network, and run it; return what came of it."""
    import real_nets
    import torch

    from sparsebench.backends import build_backend
    from sparsebench.backends.checks import apart, check_converted
    from sparsebench.errors import OutputsWarning, QuantizationError
    from sparsebench.quantization import Recording, audit, int8_fraction
    from sparsebench.tensors import cloned, tensors_in

    torch.set_num_threads(THREADS)
    begun = time.perf_counter()
    inputs = real_nets.NETS[name].inputs
    batches = [inputs(SAMPLES, seed) for seed in range(BATCHES)]
    net = real_nets.built(name, batches)
    net.built_of = name  # type: ignore[assignment] # so that one export is enough for all schemes
    expected = [net]

    def read_batches(prepared: torch.nn.Module) -> None:
        for batch in batches:
            prepared(*cloned(batch))

    def train(prepared: torch.nn.Module) -> torch.nn.Module:
        expected[0] = real_nets.trained(prepared, batches)
        return prepared.eval()

    training = {"train": train} if getattr(SCHEMES.facts(scheme), "trains", False) else {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            recording = Recording(net, read_batches, BATCHES)
            made = build_backend(backend).compress(net, scheme, batches[0], recording, **training)
            check_converted(made.network, expected[0], batches[0], f"{scheme} on {backend}")
            with torch.no_grad():
                for batch in (*batches, inputs(1, 0)):
                    for value in tensors_in(made.network(*cloned(batch))):
                        if not bool(torch.isfinite(value).all()):
                            raise QuantizationError("Its outputs are not all finite.")
            far = apart(made.network, expected[0], batches[0])
            if far:
                alone = apart(real_nets.rounded(net, batches), net, batches[0])
                if far > EXPLAINED * alone:
                    raise QuantizationError(
                        f"Its outputs are off by {far:.0%} of their size, and by {alone:.0%} if rounded by hand."
                    )
        except QuantizationError as error:
            return {"result": str(error), "seconds": round(time.perf_counter() - begun, 1)}
    facts = audit(made.layered or made.network) if made.layers is None else made.layers
    notes = [str(one.message) for one in told if issubclass(one.category, OutputsWarning)]
    return {
        "result": WORKS,
        "seconds": round(time.perf_counter() - begun, 1),
        "int8": round(int8_fraction(facts), 4),
        "told": [AMPLIFIED] if far else notes,
    }


def digest_of_code() -> str:
    """Return what tells the code that a cell runs, and the versions of the libraries under it, from all others."""
    here, package = Path(__file__).parent, Path(sparsebench.__file__).parent
    files = [here / "real_nets.py", here / "real_networks.py"]
    for room in ROOMS:
        files += sorted((package / room).rglob("*.py")) or [package / room]
    contents = [file.read_bytes() for file in files]
    return hashlib.sha256(b"".join([*contents, versions().encode()])).hexdigest()[:12]


def versions() -> str:
    """Return the libraries under the package, those that are installed, with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES if find_spec(name))


def read(file: Path, code: str) -> dict[Key, dict[str, Any]]:
    """Return what is done by this code, the last of each cell; a line that was cut off is not."""
    done = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            told = json.loads(line)
            if told.pop("code", "") != code:
                continue
            done[told.pop("network"), told.pop("backend"), told.pop("scheme")] = told
        except (ValueError, KeyError):
            continue
    return done


if __name__ == "__main__":
    main()
