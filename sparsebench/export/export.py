"""From a trial to a verified file and its model card."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.errors import QuantizationError, SparsebenchError, reason
from sparsebench.export.formats import OPERATIONS, Content, find_trial, require_exportable
from sparsebench.export.placing import CARD, move, require_free, written
from sparsebench.points.baselines import FP32
from sparsebench.points.exportable import FORMATS, WEIGHTS, Format, backend_of
from sparsebench.registry import unknown_name
from sparsebench.store.environment import describe_environment
from sparsebench.store.records import Run, StageRecord, TrialResult
from sparsebench.store.run_directory import Store, load_run
from sparsebench.trust import Trust, require_trusted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsebench.export.verify import Verification
    from sparsebench.runner.stages import Workbench

HOW_TO_TRUST = "give --trust, or trust=True from Python"


@dataclass(frozen=True)
class Exported:
    """What an export left behind: the main file, all files with the card last, and how it was verified."""

    path: Path
    files: tuple[Path, ...]
    verification: "Verification"


def export_trial(
    run: str | os.PathLike[str],
    trial: str,
    to: str,
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    trust: Trust = False,
) -> Exported:
    """Write a trial of a run as a file for its runtime, verify it, and write a model card beside it.

    The file is reloaded in a fresh process that has the runtime and torch only, or, of weights, into a freshly built
    network. The whole test set is run through it: outputs are compared with those of the trial's own network, and the
    accuracy with the recorded one. Only then is it moved to its place.

    Args:
        run: the run's directory, ``runs/<name>``.
        trial: the beginning of its key, or parts of its label: ``magnitude 0.8 static openvino seed 0``.
        to: ``onnx``, ``openvino``, ``tflite``, ``pt2``, or ``safetensors`` for the weights of fp32 alone.
        out: the file to write, ending in ``.onnx``, ``.xml``, ``.tflite``, ``.pt2`` or ``.safetensors``; anywhere the
            caller may write. The card has the same name with ``.md``, and for OpenVINO the weights that with ``.bin``.
        force: whether files that exist are replaced.
        trust: whether code of somebody's own that the run's records name, as ``package.module:callable``, is run, and
            folders that they name are used; or those names of them that are.

    Raises:
        SparsebenchError: where the trial is not known, names what is not trusted, or cannot become such a file, a file
            is there already, or what was written does not compute what was measured; nothing is left behind then.
    """
    if to not in FORMATS:
        raise SparsebenchError(unknown_name("format", to, FORMATS))
    found = load_run(run)
    chosen = find_trial(found.trials, trial)
    return export_of(found, Path(run), chosen, FORMATS[to], Path(out), force=force, trust=trust)


def export_of(
    found: Run, root: Path, chosen: TrialResult, kind: Format, path: Path, *, force: bool, trust: Trust
) -> Exported:
    """Write a trial of a run that was read, as ``export_trial`` does.

    Args:
        found: the run.
        root: its directory.
        chosen: the trial.
        kind: the format.
        path: the file to write.
        force: whether files that exist are replaced.
        trust: as of ``export_trial``.
    """
    require_exportable(chosen, kind, found.trials)
    require_free(path, kind, force)
    require_trusted(chosen.train.settings if chosen.train else {}, trust, HOW_TO_TRUST)

    # Only now is torch worth its import.
    from sparsebench.export.model_card import model_card
    from sparsebench.export.verify import verify
    from sparsebench.runner.stages import Workbench

    workbench = Workbench(Store(root, writable=False), "cpu")
    made = content(workbench, chosen, kind)
    with written(path, made.files) as folder:
        verification = verify(workbench, chosen, kind.name, folder / path.name, made)
        example = workbench.example(chosen.trial.train)
        card = model_card(found, chosen, kind, path.name, example, made.settings, verification, describe_environment())
        (folder / path.with_suffix(CARD).name).write_text(card, encoding="utf-8")
        files = tuple(path.with_suffix(ending) for ending in (*made.files, CARD))
        move(folder, files)
    return Exported(path, files, verification)


def content(workbench: "Workbench", trial: TrialResult, to: Format) -> Content:
    """Return the files of a trial in one format.

    A trial whose backend runs such files gives those that were timed and evaluated; fp32 of any other backend is
    exported anew from the trained network, and what eager casts from the network that ran.

    Raises:
        SparsebenchError: where the library cannot export the network; the text carries its reason.
    """
    record = trial.compress
    assert record is not None  # noqa: S101 - require_exportable has seen to it
    own = _own_files(workbench, record, to) if backend_of(trial.trial) in to.backends else {}
    if own:
        settings = getattr(workbench.restored(record.key), "settings", {})
        kept = {key: settings[key] for key in to.settings if key in settings}
        return Content(own, exact=True, settings=kept)
    parent = workbench.record("train", record.parent)
    from torch import Tensor

    from sparsebench.backends.flat import taking_tensors
    from sparsebench.tensors import flattened

    example = workbench.example(parent.key)
    tensors = flattened(example)
    if not all(isinstance(value, Tensor) for value in tensors):
        kind = next(type(value).__name__ for value in tensors if not isinstance(value, Tensor))
        raise SparsebenchError(
            f"{trial.trial.model} is fed a {kind}, not a tensor, and an exported file takes tensors only. Feed it "
            "padded sequences (collate without packing) to export it."
        )
    if to.name == WEIGHTS:
        return Content({to.suffix: workbench.weights_of(parent)}, exact=backend_of(trial.trial) == "eager")
    net = workbench.trained(parent) if trial.trial.scheme == FP32 else workbench.restored(record.key)
    files = _WRITERS[to.name](*taking_tensors("An exported file", _graph_of(net), example))
    # A library registers the operations that an int8 program calls beside torch's own.
    int8 = to.name == "pt2" and backend_of(trial.trial) == "inductor" and trial.trial.scheme == "static"
    operations = {OPERATIONS: "torchao.quantization.pt2e"} if int8 else {}
    return Content(files, exact=False, settings={**to.settings, **operations})


def _own_files(workbench: "Workbench", record: StageRecord, to: Format) -> dict[str, bytes]:
    """Return the files that a trial's runtime runs, made anew of what computes; none where they are none of its own.

    A run may be somebody else's, and what is exported goes to others.
    """
    main = [name for name in record.artifacts if name.endswith(to.suffix)]
    if len(main) != 1 or to.name not in _MADE_ANEW:
        return {}
    stem = main[0].removesuffix(to.suffix)
    endings = [ending for ending in (to.suffix, *to.companions) if f"{stem}{ending}" in record.artifacts]
    files = {ending: workbench.store.artifact(record, f"{stem}{ending}") for ending in endings}
    return {**files, to.suffix: _MADE_ANEW[to.name](files, main[0])}


def _onnx_anew(files: dict[str, bytes], name: str) -> bytes:
    from sparsebench.backends.onnxruntime.checking import artifact

    return artifact(files[".onnx"], name)


def _openvino_anew(files: dict[str, bytes], name: str) -> bytes:
    from sparsebench.backends.openvino.checking import artifact

    return artifact(files[".xml"], files.get(".bin", b""), name)


def _tflite_anew(files: dict[str, bytes], name: str) -> bytes:
    from sparsebench.backends.litert.checking import artifact

    return artifact(files[".tflite"], name)


_MADE_ANEW = {"onnx": _onnx_anew, "openvino": _openvino_anew, "tflite": _tflite_anew}
"""For formats that are artifacts of a run: what makes the main one of such files anew."""


def _graph_of(net: "nn.Module") -> "nn.Module":
    """Return the graph that a network was compiled from; what was compiled is code for this machine and batch size."""
    from sparsebench.backends.inductor.network import Compiled

    return next((module.graph for module in net.modules() if isinstance(module, Compiled)), net)


def _pt2(net: "nn.Module", example: "tuple[Tensor, ...]") -> dict[str, bytes]:
    import torch

    from sparsebench.backends.flat import by_argument, plain_attention

    if len(example[0]) == 1:
        # A dimension of 1 would be taken for one that is always 1.
        example = tuple(torch.cat([value, value]) for value in example)
    batch = tuple({0: torch.export.Dim("batch", min=1)} for _ in example)
    try:
        with torch.no_grad(), plain_attention():
            program = torch.export.export(net, example, dynamic_shapes=by_argument(net, batch))
    except Exception as error:
        raise QuantizationError(
            f"torch.export cannot follow {type(net).__name__}: {reason(error)} Where its forward branches on "
            "data, write the branch with torch.cond or without it."
        ) from error
    written = io.BytesIO()
    torch.export.save(program, written)
    return {".pt2": written.getvalue()}


def _openvino(net: "nn.Module", example: "tuple[Tensor, ...]") -> dict[str, bytes]:
    from sparsebench.backends.openvino.network import to_openvino, write

    xml, weights = write(to_openvino(net, example))
    return {".xml": xml, ".bin": weights}


def _onnx(net: "nn.Module", example: "tuple[Tensor, ...]") -> dict[str, bytes]:
    from sparsebench.backends.onnxruntime.network import export_onnx

    return {".onnx": export_onnx(net, example)}


def _tflite(net: "nn.Module", example: "tuple[Tensor, ...]") -> dict[str, bytes]:
    from sparsebench.backends.litert.network import to_litert

    return {".tflite": to_litert(net, example)}


_WRITERS = {"onnx": _onnx, "pt2": _pt2, "openvino": _openvino, "tflite": _tflite}
