"""What a network takes on a microcontroller: flash and arena, measured by TensorFlow Lite for Microcontrollers.

Weights with zeros also have an encoding there: a bit for each weight, and those that are not zero. The interpreter
decodes it into the arena before each layer: less flash for more memory.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from sparsebench.backends.base import Microcontroller
from sparsebench.backends.litert import micro_child
from sparsebench.backends.litert.files import LAYERS, graph_of, operator, read, values
from sparsebench.backends.litert.network import LiteRTNetwork
from sparsebench.processes.confinement import start_confined
from sparsebench.store.scratch import scratch

SAMPLES = 8
"""Samples whose outputs are compared, of networks that are not large."""

_MOST_MACS = 5e8
"""Multiply-accumulates of all samples together: the interpreter's kernels for this machine are those that explain, and
compute about a hundred million in a second."""

LARGEST = 16 * 2**20
"""Bytes of a file beyond which no microcontroller is asked."""

FLOAT, INT8 = 1e-3, 0.05
"""Largest difference of an output from LiteRT's, as a fraction of the largest: other kernels round otherwise."""

SECONDS = 600
_PACKAGE = "tflite_micro"
_FORMAT = b"\x01"
"""The version of the pruned encoding, which its decoder wants in the first byte of its own (``kDcmPrune`` of its
tests). The package has the decoder and what puts it into a graph; its encoder is announced and not there."""


def is_there() -> bool:
    """Whether microcontrollers are measured: the extra is installed."""
    return find_spec(_PACKAGE) is not None


def on_microcontroller(network: LiteRTNetwork, inputs: tuple[Tensor, ...], macs: int = 0) -> Microcontroller:
    """Return what a network takes, dense and with the pruned encoding where that is smaller.

    The arena is that of this machine, whose pointers have 64 bits; on one of 32 bits it is somewhat smaller.

    Args:
        network: what LiteRT runs, by whose outputs those of the microcontroller are judged.
        inputs: positional arguments of one forward pass; some of its samples are run.
        macs: multiply-accumulates for one sample; of large networks one sample is run.
    """
    if len(network.file) > LARGEST:
        return Microcontroller(
            withheld=f"Its file has {len(network.file) / 1e6:.0f} MB, more than microcontrollers do."
        )
    count = min(SAMPLES, len(inputs[0]), max(1, int(_MOST_MACS / max(macs, 1))))
    samples = [tuple(value[number : number + 1] for value in inputs) for number in range(count)]
    given = [network.given(sample) for sample in samples]
    dense, arena = _run(network.file, given)
    if isinstance(dense, str):
        return Microcontroller(withheld=dense)
    if reason := _differs(network, samples, dense):
        return Microcontroller(withheld=reason)
    found = Microcontroller(flash_bytes=len(network.file), arena_bytes=arena)
    file = pruned(network.file)
    if file is None:
        return found
    outputs, decoding = _run(file, given)
    same = not isinstance(outputs, str) and all(
        np.array_equal(one, other) for a, b in zip(dense, outputs, strict=True) for one, other in zip(a, b, strict=True)
    )
    if not same:
        told = outputs if isinstance(outputs, str) else "Decoded on a microcontroller, its outputs are others."
        return Microcontroller(flash_bytes=len(network.file), arena_bytes=arena, withheld=told)
    return Microcontroller(len(network.file), arena, len(file), decoding)


def pruned(file: bytes) -> bytes | None:
    """Return a file with its weights as a bit for each and those that are not zero; None where none gets smaller.

    Outputs have the same bits. LiteRT itself does not run it.
    """
    from tflite_micro.tensorflow.lite.micro.compression import (
        compressor,
        constant_inputs,
        decode,
        decode_insert,
        model_editor,
    )

    model = model_editor.read(file)
    graph, encoded = model.subgraphs[0], dict[tuple[int, int], Any]()
    for place, array in _weights(file).items():
        if constant_inputs.find_uses(graph, graph.tensors[place]):
            continue
        header = decode.DecodeCommonMetadata(decode.DecodeType.PRUNING, user_data=_FORMAT)
        kept = array.ravel()[array.ravel() != 0]
        bits = np.packbits(array.ravel() != 0).tobytes()
        ancillary = decode.AncillaryDataTensor(header, kept.tobytes()).to_bytes()
        if len(bits) + len(ancillary) < array.nbytes:
            encoded[0, place] = compressor.CompressionResult(bits, ancillary)
    if not encoded:
        return None
    decode_insert.insert_decode_operators(model, encoded)
    made = _aligned(bytes(model.build()))
    return made if len(made) < len(file) else None


def _weights(file: bytes) -> dict[int, np.ndarray[Any, Any]]:
    """Return the constants that layers multiply by, whose zero points are 0, by their place among the tensors."""
    model, found = read(file), dict[int, np.ndarray[Any, Any]]()
    for operation in graph_of(model).operators:
        kind = operator(model, operation)
        if kind in LAYERS and kind not in ("GATHER", "EMBEDDING_LOOKUP"):
            place = operation.inputs[LAYERS[kind]]
            array = values(model, graph_of(model).tensors[place])
            if array is not None:
                found[place] = array
    return found


def _aligned(file: bytes) -> bytes:
    """Return a file whose constants lie where a microcontroller can read them, as the package's own tool does it."""
    from tflite_micro.tensorflow.lite.micro.tools import tflite_flatbuffer_align_wrapper as tool

    with scratch() as folder:
        source, result = folder / "made.tflite", folder / "aligned.tflite"
        source.write_bytes(file)
        tool.align_tflite_model(str(source), str(result))
        return result.read_bytes()


def _differs(network: LiteRTNetwork, samples: list[tuple[Tensor, ...]], found: list[list[np.ndarray[Any, Any]]]) -> str:
    """Return that outputs are not LiteRT's, as a sentence; empty where they are."""
    most = INT8 if network.in_int8 else FLOAT
    worst = scale = 0.0
    for sample, arrays in zip(samples, found, strict=True):
        wanted = network(*sample)
        for one, other in zip(wanted if isinstance(wanted, tuple) else (wanted,), network.taken(arrays), strict=True):
            worst = max(worst, float((one.double() - other.double()).abs().max()))
            scale = max(scale, float(one.double().abs().max()))
    if worst <= most * scale:
        return ""
    return (
        f"On a microcontroller its outputs differ from LiteRT's by up to {worst:.3g}, of {scale:.3g} at most; what it "
        "would take there is not told."
    )


def _run(file: bytes, samples: list[list[np.ndarray[Any, Any]]]) -> tuple[list[list[np.ndarray[Any, Any]]] | str, int]:
    """Return the outputs of each sample and the bytes of the arena; a sentence and 0 where it does not run.

    It runs in a process of its own: what the interpreter does not know may end it.
    """
    with scratch() as folder, tempfile.TemporaryFile() as errors:
        names = {"file": folder / "network.tflite", "given": folder / "given.npz", "result": folder / "result.npz"}
        names["file"].write_bytes(file)
        arrays = {f"{n}_{place}": array for n, sample in enumerate(samples) for place, array in enumerate(sample)}
        np.savez(names["given"], **arrays)  # type: ignore[arg-type] # arrays by name
        command = [sys.executable, "-P", micro_child.__file__, *map(str, names.values())]
        process = start_confined(partial(_start, command, errors, folder), folder)
        try:
            code = process.wait(SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code or not names["result"].is_file():
            errors.seek(0)
            return _refused(errors.read().decode(errors="replace"), code), 0
        with np.load(names["result"], allow_pickle=False) as found:
            outputs = sum(name.startswith("0_") for name in found.files)
            each = [[found[f"{n}_{place}"] for place in range(outputs)] for n in range(len(samples))]
            return each, int(found["arena"])


def _start(command: list[str], errors: IO[bytes], folder: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
    )


def _refused(output: str, code: int) -> str:
    """Return what the interpreter said, which says it before Python does."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = next((line for line in lines if not line.startswith(("Traceback", "File"))), f"it ended with code {code}")
    return f"TensorFlow Lite for Microcontrollers does not run it: {said.removesuffix('.')}."
