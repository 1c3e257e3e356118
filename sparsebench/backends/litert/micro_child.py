"""Run a file by TensorFlow Lite for Microcontrollers: ``python -P micro_child.py FILE SAMPLES RESULT``.

SAMPLES are arrays (.npz) called ``SAMPLE_INPUT`` by number, as the file takes them; RESULT gets the outputs, called in
the same way, and the bytes of the arena, ``arena``. It imports nothing of sparsebench. What goes wrong, and a process
that the interpreter ends, stands in stderr and the exit code.
"""

import os
import re
import sys
import tempfile
from typing import Any

import numpy

ARENA = 256 * 2**20
"""Bytes that are there to be used; what is needed is told by the allocator that records."""


def main() -> None:
    """Run all samples."""
    from tflite_micro import runtime

    file, samples, result = sys.argv[1:]
    with open(file, "rb") as opened:
        content = opened.read()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=min(ARENA, 2**24 + 64 * len(content)))
    found: dict[str, Any] = {}
    with numpy.load(samples, allow_pickle=False) as given:
        places = sorted(tuple(map(int, name.split("_"))) for name in given.files)
        for number in sorted({sample for sample, _ in places}):
            for sample, place in places:
                if sample == number:
                    interpreter.set_input(given[f"{sample}_{place}"], place)
            interpreter.invoke()
            found |= {f"{number}_{place}": interpreter.get_output(place).copy() for place in range(_outputs(content))}
    numpy.savez(result, arena=_arena(interpreter), **found)


def _outputs(content: bytes) -> int:
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    return int(schema.Model.GetRootAs(content, 0).Subgraphs(0).OutputsLength())


def _arena(interpreter: Any) -> int:
    """Return the bytes of the arena, which the interpreter prints."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        told.seek(0)
        found = re.search(rb"Arena allocation total (\d+) bytes", told.read())
    if found is None:
        raise RuntimeError("the interpreter did not tell the size of its arena")
    return int(found[1])


if __name__ == "__main__":
    main()
