"""Exported networks, each run by its own runtime: what ``sparsebench time`` compares.

A format is one module with two functions, and one line in ``timed.RUNTIMES``.

``read_inputs(path) -> tuple[Input, ...]``: what a file's network takes.
``load(path, feeds, threads) -> Callable[[], object]``: the network ready to run on ``feeds``, one for each input.
"""
