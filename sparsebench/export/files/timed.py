"""Exported files against each other in one timing session, and what that means for a script."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sparsebench import timing
from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.export.files.inputs import Feed, feeds_for
from sparsebench.export.files.reading import refuse_too_much, too_many_threads
from sparsebench.processes.confinement import is_offered
from sparsebench.statistics.verdicts import Validity
from sparsebench.store.environment import describe_environment
from sparsebench.store.scratch import scratch

RUNTIMES = {
    ".pt2": ("pt2", "PyTorch", "torch"),
    ".onnx": ("onnx", "ONNX Runtime", "onnxruntime"),
    ".xml": ("openvino", "OpenVINO", "openvino"),
    ".tflite": ("tflite", "LiteRT", "ai_edge_litert"),
}
"""For files of each suffix: the module here that runs them, what runs them there, and its package."""

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")
"""Suffixes of files that only unpickling would read, which runs whatever code they hold."""

_PLACE = re.compile(r"Exception from \S+:\d+:")

_FIGURES = ("name", "verdict", "latency_ms", "median_ms", "p95_ms", "speedup", "low", "high")

_ABOUT = ("stopped", "processes", "seconds", "seconds_needed", "threads", "band", "precision", "seed", "conditions")
"""What is told of a comparison as it is."""

Judgement = Literal["as asked", "otherwise", "open"]


@dataclass(frozen=True)
class Exported:
    """A file that can be run.

    Attributes:
        name: what it is called in the comparison.
        path: where it lies.
        feeds: what it is fed.
    """

    name: str
    path: Path
    feeds: tuple[Feed, ...]


def open_files(
    paths: Sequence[Path], *, batch: int | None = None, shapes: Sequence[tuple[int, ...]] = ()
) -> tuple[Exported, ...]:
    """Look at every file and decide what it is fed.

    Args:
        paths: two or more, of the formats in ``RUNTIMES``.
        batch: samples in one call; None for what each file says, or 1 where it leaves that open.
        shapes: whole input shapes, in the order of the inputs, for all files.

    Raises:
        ProblemsError: with everything that is wrong with the files.
    """
    problems = [] if len(paths) > 1 else ["There is nothing to compare; give two files or more."]
    opened = []
    for name, path in unique_names(paths).items():
        try:
            with _explained():
                inputs = _format(path).read_inputs(path)
                feeds, wrong = feeds_for(inputs, batch, shapes)
                wrong = wrong or refuse_too_much(feeds)
        except SparsebenchError as error:
            wrong, feeds = [str(error)], ()
        problems += [f"{path}: {problem}" for problem in wrong]
        opened.append(Exported(name, path, feeds))
    if problems:
        raise ProblemsError("These files cannot be compared:", problems)
    return tuple(opened)


def compare_files(
    files: Sequence[Exported],
    *,
    baseline: str | None = None,
    seconds_cap: float,
    threads: int = 1,
    on_step: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    **settings: Any,
) -> "timing.Comparison":
    """Compare exported files in worker processes, which can write to a folder of their own only, where that is offered.

    Args:
        files: from ``open_files``.
        baseline: name or path of one of them; the first where None.
        seconds_cap: how long it may last.
        threads: threads inside one operation.
        on_step: told where it stands, before each round.
        on_note: told where it takes longer than its cap, before the first round.
        settings: ``precision``, ``band``, ``seed`` and ``cache`` of ``timing.compare``.

    Raises:
        SparsebenchError: where the baseline is none of the files, or a file fails.
    """

    def watch(step: "timing.Step") -> None:
        if step.seconds is None and on_step:
            on_step(str(step))
        elif step.seconds is not None and on_note:
            on_note(step.too_short(f"{len(files)} files", f"--seconds-cap {seconds_cap:g}"))

    first = _baseline(files, baseline)
    variants = {file.name: timing.Built(partial(load_file, str(file.path), file.feeds, threads)) for file in files}
    if problems := too_many_threads(threads):
        raise ProblemsError("The command cannot be carried out:", problems)
    settings |= {"seconds_cap": seconds_cap, "threads": threads, "workers": True, "watch": watch}
    with scratch() as folder:
        return timing.compare(variants, baseline=first, writes_to=str(folder), **settings)


def unconfined() -> str | None:
    """Return a sentence where files are run in processes that could write anywhere; None where these are confined."""
    if is_offered():
        return None
    return (
        "This system cannot keep a process from writing files (Linux can, from 5.13 on, by Landlock, where a container "
        "does not forbid it): what the files hold is checked, and nothing else stands between them and this machine."
    )


def load_file(path: str, feeds: tuple[Feed, ...], threads: int) -> Any:
    """Return a call of an exported network; run in the worker that times it."""
    try:
        with _explained():
            return _format(Path(path)).load(Path(path), feeds, threads)
    except SparsebenchError as error:
        raise SparsebenchError(f"{path}: {error}") from error


def differing_feeds(files: Sequence[Exported]) -> str | None:
    """Return a sentence where files do not all do the same work, as far as their inputs tell; None where they do."""
    shapes = {file.name: ", ".join("×".join(map(str, feed.shape)) for feed in file.feeds) for file in files}
    if len(set(shapes.values())) < 2:
        return None
    told = "; ".join(f"{name} takes {shape}" for name, shape in shapes.items())
    return f"The files do not take the same inputs, so that a speedup compares different work: {told}."


def unique_names(paths: Sequence[Path]) -> Mapping[str, Path]:
    """Return each path by its file name, with as many folders before it as make it unlike the others."""
    names: dict[str, Path] = {}
    for place, path in enumerate(paths):
        parts = path.parts
        others = [other.parts for number, other in enumerate(paths) if number != place]
        depth = next(
            (n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others)), len(parts)
        )
        name = str(Path(*parts[-depth:]))
        while name in names:  # The same file given twice: an A/A comparison.
            name += " (again)"
        names[name] = path
    return names


def _baseline(files: Sequence[Exported], wanted: str | None) -> str:
    if wanted is None:
        return files[0].name
    for file in files:
        if wanted in (file.name, file.path.name, str(file.path)):
            return file.name
    raise SparsebenchError(
        f"--baseline {wanted!r} is none of the files; it must be one of {', '.join(file.name for file in files)}."
    )


def _format(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix in _PICKLES or suffix == ".safetensors":
        why = "holds weights only" if suffix == ".safetensors" else "is a pickle, and reading it could run any code"
        raise SparsebenchError(
            f"this {why}. Export the network: "
            "torch.export.save(torch.export.export(net.eval(), (example,)), 'net.pt2')."
        )
    if suffix not in RUNTIMES:
        raise SparsebenchError(f"the format {suffix or 'without a suffix'} is not known; give {', '.join(RUNTIMES)}.")
    if not path.is_file():
        raise SparsebenchError("there is no such file.")
    module, runtime, package = RUNTIMES[suffix]
    if not find_spec(package):
        raise SparsebenchError(f"{runtime} is not installed; pip install {package.replace('_', '-')}.")
    return import_module(f"sparsebench.export.files.{module}")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SparsebenchError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # OpenVINO says first in which of its own files it was.
        told = [line for line in lines if not _PLACE.fullmatch(line)]
        first = next(iter(told or lines), "no reason given")
        raise SparsebenchError(f"{type(error).__name__}: {first}") from error


def judge(comparison: "timing.Comparison", wanted: Sequence[str]) -> tuple[Judgement, str]:
    """Return whether a comparison is as it was asked for, and why it is not.

    ``otherwise`` says that a file has another verdict; ``open`` that there is none, or none to be trusted. A NOISY
    session finds less than a VALID one, and what it finds is found.

    Args:
        comparison: of the files.
        wanted: verdicts that every file but the baseline must have one of; empty where none was asked for.
    """
    if comparison.validity is Validity.INVALID:
        return "open", "the session is INVALID; none of its verdicts can be trusted."
    if not wanted:
        return "as asked", ""
    others = [one for name, one in comparison.items() if name != comparison.baseline]
    asked = " or ".join(wanted)
    wrong = [one for one in others if one.verdict.decided and one.verdict not in wanted]
    if wrong:
        return "otherwise", f"asked for was {asked}, but {_told(wrong)}."
    open_ones = [one for one in others if not one.verdict.decided]
    if open_ones:
        return "open", f"asked for was {asked}, but {_told(open_ones)}; raise --seconds-cap."
    return "as asked", ""


def _told(timings: Sequence["timing.Timing"]) -> str:
    return ", ".join(f"{one.name} is {one.verdict}" for one in timings)


def json_text(comparison: "timing.Comparison", files: Sequence[Exported], cache: str) -> str:
    """Return a comparison as JSON: verdicts and figures by name, without the raw samples.

    ``resolution`` is the smallest difference that would have been called for every file, as a fraction; ``orders`` are
    the files of each round, with the copies of the baseline, in the order in which they were timed.
    """
    paths = {file.name: file for file in files}
    content = {
        "state": comparison.validity,
        "resolution": comparison.resolution_of(),
        "baseline": comparison.baseline,
        "variants": [
            {
                **_figures(one),
                "file": str(paths[name].path),
                "inputs": {feed.name: list(feed.shape) for feed in paths[name].feeds},
            }
            for name, one in comparison.items()
        ],
        "controls": [_figures(control) for control in comparison.controls],
        **{name: getattr(comparison, name) for name in _ABOUT},
        "cache": cache,
        "rounds": len(comparison.rounds),
        "orders": [{"process": one.generation, "order": one.order} for one in comparison.rounds],
        "environment": asdict(describe_environment()),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=dict)


def _figures(one: "timing.Timing") -> dict[str, Any]:
    return {name: getattr(one, name) for name in _FIGURES} | {
        name: getattr(one.paired, name) for name in ("p_value", "by_process", "weights")
    }
