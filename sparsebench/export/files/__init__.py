"""Exported networks, each run by its own runtime: what ``sparsebench time`` compares.

A format is one module with three functions, and one line in ``FORMATS``. They import their runtime when they are
called, so that importing this package costs nothing.

``problem() -> str | None``: why the format cannot be run on this machine, a sentence with the remedy.
``read_inputs(path) -> tuple[Input, ...]``: what a file's network takes.
``load(path, feeds, threads) -> Callable[[], object]``: the network ready to run on ``feeds``, one for each input.
"""

FORMATS = {
    ".pt2": "sparsebench.export.files.pt2",
    ".onnx": "sparsebench.export.files.onnx",
    ".xml": "sparsebench.export.files.openvino",
}
"""The module of each format, by the suffix of its files."""

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")
"""Suffixes of files that only unpickling would read, which runs whatever code they hold."""
