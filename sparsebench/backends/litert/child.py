"""Convert a program, or quantize a file: what runs in the converter's own environment, and nothing else.

``python -P child.py convert PROGRAM FILE`` brings a program of torch.export (.pt2) into a file of LiteRT.
``python -P child.py quantize FILE OPTIONS SAMPLES RESULT`` quantizes one; SAMPLES is a folder of .npz, one a batch,
read one after the other, and OPTIONS are JSON. It imports nothing of sparsebench, which that environment has not.
What goes wrong stands in the last line of stderr.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

INT8 = 8


def convert(program: Path, file: Path) -> None:
    """Write the file of a program for exactly the shapes that it was exported with."""
    import litert_torch
    import torch

    exported = torch.export.load(program)
    if exported.example_inputs is None:
        raise ValueError("the program has no example inputs")
    litert_torch.convert(exported.module(), exported.example_inputs[0]).export(str(file))


class _Batch(Mapping[str, Any]):
    """One batch, read when it is asked for: the quantizer makes a list of all of them before it begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> Any:
        import numpy

        with numpy.load(self._path, allow_pickle=False) as arrays:
            return arrays[name]

    def _names(self) -> list[str]:
        import numpy

        with numpy.load(self._path, allow_pickle=False) as arrays:
            return list(arrays)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def copy(self) -> dict[str, Any]:
        return dict(self)


def quantize(file: Path, options: Mapping[str, Any], samples: Path, result: Path) -> None:
    """Write the quantized file.

    Args:
        file: a float file.
        options: ``scheme``; ``operators``, those that are quantized; ``kept``, expressions for the names of what stays
            in float; ``calibration``; ``signature``; and ``threads``.
        samples: a folder of calibration batches.
        result: the file to write.
    """
    from ai_edge_quantizer import qtyping, quantizer

    made = quantizer.Quantizer(str(file))
    add, widths = {
        "static": (made.add_static_config, (INT8, INT8)),
        "dynamic": (made.add_dynamic_config, (INT8,)),
        "weight_only": (made.add_weight_only_config, (INT8,)),
    }[options["scheme"]]
    for name in options["operators"]:
        add(".*", qtyping.TFLOperationName(name), *widths)
    for expression in options["kept"]:
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        made.update_quantization_recipe(expression, every, algorithm_key="no_quantize")
    batches = [_Batch(path) for path in sorted(samples.glob("*.npz"))]
    found = _ranges(file, made.get_quantization_recipe(), batches, options) if made.need_calibration else None
    made.quantize(found).export_model(str(result))


def _ranges(file: Path, recipe: Any, batches: list[_Batch], options: Mapping[str, Any]) -> Any:
    """Return what is known of the range of each tensor, as ``options["calibration"]`` joins those of the batches."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    update = {"minmax": qsv_utils.min_max_update, "moving_average": qsv_utils.moving_average_update}
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe)
    watching = calibrator.Calibrator(
        str(file), num_threads=options["threads"], qsv_update_func=update[options["calibration"]]
    )
    watching.calibrate({options["signature"]: batches}, rules)
    return watching.get_model_qsvs()


def main() -> None:
    """Do what the command line says."""
    task, *arguments = sys.argv[1:]
    # What libraries print goes to stderr.
    os.dup2(2, 1)
    if task == "convert":
        convert(*map(Path, arguments))
    else:
        file, options, samples, result = arguments
        quantize(Path(file), json.loads(options), Path(samples), Path(result))


if __name__ == "__main__":
    main()
