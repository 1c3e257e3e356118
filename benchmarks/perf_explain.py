"""Whether what `sparsebench explain` names as the cause is the cause: it is taken away, and the difference goes.

python benchmarks/perf_explain.py --out reports/performance
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from explain_nets import (
    colours,
    convolutional,
    image,
    recurrent,
    recurrent_step_by_step,
    residual,
    residual_without_fallback,
    rows,
    with_float_linear,
    without_fallback,
)
from measuring import locked
from torch import Tensor, nn

from sparsebench.backends.profiling import profiles
from sparsebench.explain.findings import Profile, compared
from sparsebench.explain.trials import part_of
from sparsebench.store.environment import describe_environment
from sparsebench.timing import Built, compare

SECONDS = 30.0

Network = Callable[[], nn.Module]


@dataclass(frozen=True)
class Case:
    """A finding: two networks, what explain is to name, and the two without that cause."""

    name: str
    base: Network
    other: Network
    cause: str
    inputs: Callable[[], tuple[Tensor]]
    base_without: Network
    other_without: Network


CASES = (
    Case(
        "dynamic int8 is slower than fp32: small_cnn, eager, batch 1",
        convolutional,
        partial(convolutional, "dynamic"),
        "between operators",
        image,
        convolutional,
        with_float_linear,
    ),
    Case(
        "static int8 beside PyTorch's fallback convolution: small_cnn, eager, batch 1",
        convolutional,
        partial(convolutional, "static"),
        "aten::_slow_conv2d_forward",
        image,
        without_fallback,
        partial(convolutional, "static"),
    ),
    Case(
        "static int8 beside PyTorch's fallback convolution: ResNet-20, eager, batch 1",
        residual,
        partial(residual, "static"),
        "aten::_slow_conv2d_forward",
        colours,
        residual_without_fallback,
        partial(residual, "static"),
    ),
    Case(
        "dynamic int8 is slower than fp32: an LSTM, eager, batch 1",
        recurrent,
        partial(recurrent, "dynamic"),
        "aten::quantized_lstm",
        rows,
        recurrent_step_by_step,
        partial(recurrent, "dynamic"),
    ),
)


def explained(case: Case) -> list[str]:
    """Return what is said of two networks of a case."""
    inputs = case.inputs()
    base, other = (
        Profile(
            label=name,
            batch_size=1,
            microseconds=sum(told.microseconds for told in found),
            parts=tuple(part_of(told) for told in found),
        )
        for name, found in zip(
            ("fp32", "int8"), profiles([(case.base(), inputs), (case.other(), inputs)], threads=1), strict=True
        )
    )
    return compared(base, other)


def measured(case: Case, lock: Path | None) -> dict[str, Any]:
    """Return the speedups with the cause and without it, each from a session of its own."""
    found: dict[str, Any] = {"name": case.name, "cause": case.cause, "said": explained(case)}
    for key, base, other in (
        ("with", case.base, case.other),
        ("without", case.base_without, case.other_without),
    ):
        with locked(lock):
            told = compare(
                {"fp32": Built(base), "int8": Built(other)},
                baseline="fp32",
                inputs=case.inputs(),
                seconds_cap=SECONDS,
                workers=True,
            )
        speedup = told["int8"]
        found[key] = {
            "speedup": speedup.speedup,
            "low": speedup.low,
            "high": speedup.high,
            "verdict": str(speedup.verdict),
            "validity": str(told.validity),
        }
    found["named"] = any(case.cause in sentence for sentence in found["said"])
    return found


def page(found: list[dict[str, Any]], where: str) -> str:
    """Return the account of the cases."""
    lines = [
        "# What explain says, with the cause and without it",
        "Each finding is of two networks of which `sparsebench explain` names a cause. The cause is taken away, and "
        "both are timed again in pairs: where it is the true one, the difference goes. Without the fallback, a "
        "convolution is called as oneDNN has it, which lays weights out anew in each call; where the speedup grows "
        "then, the fallback was the quicker way, and no cause of anything. Speedups of int8 over fp32 "
        "with 95 % intervals, one thread, batch 1. `python benchmarks/perf_explain.py`",
    ]
    for case in found:
        lines.append(f"## {case['name'][0].upper()}{case['name'][1:]}")
        lines += [f"> {sentence}" for sentence in case["said"]]
        for key in ("with", "without"):
            one = case[key]
            interval = f"[{one['low']:.3f}, {one['high']:.3f}]"
            told = f"{one['speedup']:.3f}× {interval} {one['verdict']}, session {one['validity']}"
            lines.append(f"- {key} `{case['cause']}`: {told}")
    return "\n\n".join([*lines, f"Measured on {where}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the page")
    parser.add_argument("--lock", type=Path, help="file that is locked while a session goes on")
    arguments = parser.parse_args()
    found = [measured(case, arguments.lock) for case in CASES]
    environment = describe_environment()
    arguments.out.mkdir(parents=True, exist_ok=True)
    where = f"{environment.cpu}, torch {environment.versions['torch']}"
    text = page(found, where)
    (arguments.out / "explain.md").write_text(text, encoding="utf-8")
    content = {"cases": found, "environment": dataclasses.asdict(environment)}
    (arguments.out / "explain.json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
