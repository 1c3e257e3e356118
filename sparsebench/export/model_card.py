"""The model card of an exported file: all that whoever receives it must know, in Markdown.

Its parts follow Mitchell et al. 2019, "Model Cards for Model Reporting", as far as a benchmark can fill them in.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sparsebench.export.formats import OPERATIONS
from sparsebench.export.snippets import RUNTIMES, SNIPPETS
from sparsebench.export.verify import Verification
from sparsebench.points.baselines import FP32, Comparer, SeedResult
from sparsebench.points.exportable import WEIGHTS, Format
from sparsebench.points.latency import speedup_text, verdict_text
from sparsebench.statistics.verdicts import Verdict
from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.records import Run, TrialResult
from sparsebench.store.scales import Scale
from sparsebench.tensors import flattened
from sparsebench.wording.numbers import DASH, kilobytes, percent, ratio, significant
from sparsebench.wording.scales import loss_limits, loss_number, value_number, value_text, with_unit
from sparsebench.wording.text import counted, escape, fence, markdown_table

if TYPE_CHECKING:
    from torch import Tensor

_GO_ON = "With `weights = {file!r}` in `[model]`, a sweep begins with this network in place of training a dense one."


def model_card(
    run: Run,
    trial: TrialResult,
    kind: Format,
    file: str,
    example: tuple[Any, ...],
    settings: Mapping[str, str],
    verification: Verification,
    here: EnvironmentRecord,
) -> str:
    """Return the card.

    Args:
        run: the run of the trial, for what it is compared with.
        trial: the trial that was exported.
        kind: the format of the file.
        file: the file's name.
        example: arguments of a call with a few samples, which give shapes and types.
        settings: what the runtime must be told.
        verification: how the file was verified.
        here: the environment in which it was exported.
    """
    t = trial.trial
    compared = Comparer(run.trials).compare(trial)
    parts = [
        f"# {escape(t.model)}, {escape(t.pruning)}, {escape(t.scheme)}",
        f"`{_code(file)}` is a network for {RUNTIMES[kind.name][0]}, trained on {escape(t.data)}, made and measured by "
        f"sparsebench {escape(run.record.sparsebench)} in run {escape(run.record.name)}.",
        "## What it is",
        _table(_description(run, trial, example)),
        "## What it achieves",
        _table(_results(trial, compared, verification)),
        f"{_interval(verification.scale)}; the drop is against the dense fp32 network of the same seed and backend, "
        "with its 95 % interval. Neither covers other training seeds.",
        "## How to run it",
        fence(_snippet(run, trial, kind, file, example, settings).rstrip(), "python"),
        *([_GO_ON.format(file=_code(file))] if kind.name == WEIGHTS else []),
        f"The first dimension is the batch and may be of any length. Inputs are prepared as those of "
        f"{escape(t.data)} were for training.",
        "## How it was verified",
        _verified(verification, kind),
        "## Versions",
        _table(_versions(trial, kind, settings, here)),
    ]
    return "\n\n".join(parts) + "\n"


def _interval(scale: Scale) -> str:
    if scale.is_accuracy:
        return "Accuracy is that on the test set, with Wilson's 95 % interval"
    return f"{scale.title[:1].upper()}{scale.title[1:]} is that on the test set, with its 95 % interval"


def _description(run: Run, trial: TrialResult, example: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    t, trained, packed = trial.trial, trial.trained, trial.compressed
    options = ", ".join(f"{key}={value}" for key, value in sorted(_options(run, t.model).items()))
    yield "architecture", escape(f"{t.model}({options})" if options else t.model)
    tensors = flattened(example)
    shapes = [f"{_dtype(tensor)}, shape ({', '.join(map(str, ('batch', *tensor.shape[1:])))})" for tensor in tensors]
    yield "input" if len(shapes) == 1 else "inputs, in this order", escape("; ".join(shapes))
    if trained:
        yield "outputs" if trained.classes == 1 else "classes", str(trained.classes)
        nonzero = trained.parameters - trained.parameter_zeros
        yield "parameters", f"{trained.parameters:,}, of which {nonzero:,} not zero"
        samples = f"{trained.train_samples:,} train, {trained.val_samples:,} validation, {trained.test_samples:,} test"
        yield "data", f"{escape(t.data)} ({samples})"
        yield "training", f"{escape(trained.trainer)}, {counted(trained.epochs, 'epoch')}, seed {t.seed}"
        how = "channels removed" if trained.structured else "weights set to zero"
        named = f"{escape(trained.pruned_by)}, threshold {t.threshold:g}: {how}"
        yield "pruning", "none (dense)" if t.pruner is None else named
    batches = packed.calibration_batches if packed else 0
    calibrated = f", calibrated on {counted(batches, 'training batch', 'training batches')}" if batches else ""
    yield "quantization", f"{escape(t.scheme)}{calibrated}"
    yield "backend of the trial", escape(t.backend)
    yield "key of the trial", escape(t.evaluate or DASH)


def _results(trial: TrialResult, compared: SeedResult, verification: Verification) -> Iterator[tuple[str, str]]:
    scored, packed, trained = trial.evaluated, trial.compressed, trial.trained
    if scored:
        scale = scored.scale
        value = value_text(scale, scored.value)
        if scored.low is not None and scored.high is not None:
            value += f" [{value_number(scale, scored.low)}, {value_number(scale, scored.high)}]"
        yield scale.title, f"{value}, {counted(scored.samples, 'test sample')}"
        if scored.top5 is not None:
            yield "top-5 accuracy", f"{percent(scored.top5)} %"
    drop = compared.drop
    if drop and (trial.trial.threshold or trial.trial.scheme != FP32):
        paired = "paired" if drop.paired else "unpaired"
        lost = with_unit(drop.scale, loss_number(drop.scale, drop.loss, (drop.low, drop.high)))
        yield "drop", f"{lost} {loss_limits(drop.scale, drop.low, drop.high)}, {paired}"
    yield f"{verification.scale.title} of this file", value_text(verification.scale, verification.value)
    if trained:
        total = percent(trained.total_sparsity, 2)
        yield "sparsity", f"{percent(trained.sparsity, 4)} % of prunable weights, {total} % of all"
    if compared.zeros and trial.trial.scheme != FP32:
        yield "sparsity after quantization", f"{percent(compared.zeros.after, 4)} % of the weights of its layers"
    if packed:
        macs = trial.int8_mac_fraction
        of_macs = f", {percent(macs, 1)} % of multiply-accumulates" if macs is not None else ""
        yield "int8", f"{percent(packed.int8_fraction, 1)} % of weights{of_macs}"
        size = packed.size
        smaller = f" ({ratio(compared.deflated_ratio)} smaller than dense fp32)" if compared.deflated_ratio else ""
        yield (
            "size of the trial's network",
            f"{kilobytes(size.file_bytes)} kB, deflated {kilobytes(size.deflated_file_bytes)} kB{smaller}",
        )
    for timing in compared.timings:
        measured, speed = timing.measured, timing.eager or timing.own
        beside = "" if speed.verdict is Verdict.BASELINE else f", {speedup_text(speed)} {escape(speed.baseline)}"
        yield (
            f"latency, batch {measured.batch_size}, {counted(measured.threads, 'thread')}",
            f"{significant(timing.latency_ms)} ms{beside} ({verdict_text(speed)}), 95th percentile "
            f"{significant(measured.p95_ms)} ms, on {escape(trial.measure[0].environment.cpu)}",
        )


def _versions(
    trial: TrialResult, kind: Format, settings: Mapping[str, str], here: EnvironmentRecord
) -> Iterator[tuple[str, str]]:
    made = trial.compress.environment if trial.compress else here
    for name, environment in (("measured with", made), ("exported with", here)):
        versions = (f"{escape(n)} {escape(v)}" for n, v in sorted(environment.versions.items()))
        yield name, f"{', '.join(versions)}, Python {escape(environment.python)}, {escape(environment.os)}"
    libraries = [settings[OPERATIONS].partition(".")[0]] if OPERATIONS in settings else []
    yield "needs to run", ", ".join([*RUNTIMES[kind.name][1], *libraries])


def _verified(found: Verification, kind: Format) -> str:
    samples = counted(found.samples, "test sample")
    how = "into a freshly built network" if kind.name == WEIGHTS else "in a fresh process with its runtime alone"
    text = (
        f"The file was reloaded {how}, and all {samples} were run through it and through the network that the "
        "benchmark measured. "
    )
    if found.bit_equal:
        text += "All outputs have the same bits. "
    else:
        text += (
            f"Outputs differ by up to {found.max_abs_difference:.3g}, where the largest output is "
            f"{found.max_abs_output:.3g}: another runtime or compiler sums in another order. "
        )
    if found.agreement is not None:
        text += f"{percent(found.agreement)} % of the samples got the same class. "
    equal, name = found.value == found.recorded, "accuracy" if found.scale.is_accuracy else found.scale.title
    same = "which is the recorded one" if equal else f"against {value_text(found.scale, found.recorded)} recorded"
    return (
        f"{text}The {name} is {value_text(found.scale, found.value)}, {same}. The test set was read again for this "
        "comparison alone; nothing was chosen by it."
    )


def _options(run: Run, model: str) -> Mapping[str, Any]:
    models = run.record.config.get("model")
    tables = [m for m in models if isinstance(m, Mapping)] if isinstance(models, list | tuple) else []
    options = next((m.get("options") for m in tables if m.get("name") == model), None)
    return options if isinstance(options, Mapping) else {}


def _snippet(
    run: Run, trial: TrialResult, kind: Format, file: str, example: tuple[Any, ...], settings: Mapping[str, str]
) -> str:
    module = settings.get(OPERATIONS)
    tensors = flattened(example)
    return SNIPPETS[kind.name].format(
        file=file,
        zeros=", ".join(
            _zeros(tensor, "np" if kind.name in ("onnx", "openvino", "tflite") else "torch") for tensor in tensors
        ),
        structure=_written(example),
        sample=tuple(trial.trained.input_shape) if trial.trained else (),
        settings={key: value for key, value in settings.items() if key != OPERATIONS},
        imports=f"import {module}  # registers the int8 operations\n" if module else "",
        model=trial.trial.model,
        options=dict(_options(run, trial.trial.model)),
        classes=trial.trained.classes if trial.trained else 0,
    )


def _zeros(tensor: "Tensor", library: str) -> str:
    shape, dtype = (1, *tensor.shape[1:]), _dtype(tensor)
    return f"{library}.zeros({shape}, dtype={library}.{dtype})"


def _written(value: Any) -> str:
    """Return arguments of a call as Python builds them, of zeros."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value) if value is None else _zeros(value, "torch")


def _dtype(tensor: "Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _code(text: str) -> str:
    """Return a file name as it may stand between backticks."""
    return "".join(character for character in text if character.isprintable() and character != "`")


def _table(rows: Iterator[tuple[str, str]]) -> str:
    return markdown_table(["", ""], list(rows), [False, False])
