"""TensorFlow Lite for Microcontrollers: what a network takes there, and when that is not told."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from handmade import Bench

from sparsebench.cli.listing import kinds_to_list, rows_of_boards
from sparsebench.decide.boards import BOARDS, Board
from sparsebench.decide.pick import decide
from sparsebench.decide.question import ask
from sparsebench.points.points import sections
from sparsebench.points.rows import exact_value
from sparsebench.report.microcontrollers import microcontroller_parts
from sparsebench.store.results import MicrocontrollerResult

pytest.importorskip("ai_edge_litert")
pytest.importorskip("tflite_micro")

from tflite_files import tflite

from sparsebench.backends.litert import micro
from sparsebench.backends.litert.network import LiteRTNetwork

WIDTH = 64


def matrix(zeros):
    """Weights (32, 64) of which such a share is zero."""
    weights = np.random.default_rng(0).standard_normal((32, WIDTH)).astype(np.float32)
    weights[np.abs(weights) < np.quantile(np.abs(weights), zeros)] = 0
    return weights


def inputs():
    return (torch.rand(10, WIDTH, generator=torch.Generator().manual_seed(0)),)


def smallest_arena(file):
    """Return the least number of bytes with which the interpreter runs a file, by bisection."""
    from tflite_micro import runtime

    def runs(size):
        try:
            interpreter = runtime.Interpreter.from_bytes(file, arena_size=size)
            interpreter.set_input(np.zeros((1, WIDTH), np.float32), 0)
            interpreter.invoke()
        except RuntimeError:
            return False
        return True

    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # It complains of each that is too small.
    try:
        low, high = 0, 2**20
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if runs(middle) else (middle, high)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    return high


def test_the_arena_is_the_smallest_that_runs_within_16_bytes_dense_and_pruned():
    file = tflite(weights=matrix(0.8))
    found = micro.on_microcontroller(LiteRTNetwork(file, 1), inputs())
    assert found.withheld == ""
    assert found.flash_bytes == len(file)
    assert 0 <= found.arena_bytes - smallest_arena(file) <= 16
    assert 0 <= found.pruned_arena_bytes - smallest_arena(micro.pruned(file)) <= 16


def test_the_pruned_encoding_gives_the_same_bits_for_less_flash_and_more_memory():
    file = tflite(weights=matrix(0.8))
    encoded = micro.pruned(file)
    samples = [[sample[None].numpy()] for sample in inputs()[0]]
    (dense, arena), (pruned, decoding) = (micro._run(one, samples) for one in (file, encoded))
    assert all(np.array_equal(one[0], other[0]) for one, other in zip(dense, pruned, strict=True))
    weights = matrix(0.8)
    saved = weights.nbytes - (weights.size // 8 + np.count_nonzero(weights) * 4)  # a bit each, and what is not zero
    assert abs((len(file) - len(encoded)) - saved) < 1000  # the decoding operator, its tensors and their names
    assert len(encoded) <= 0.55 * len(file)
    assert decoding >= arena + weights.nbytes


def test_weights_without_zeros_are_left_as_they_are():
    assert micro.pruned(tflite(weights=matrix(0.0))) is None
    found = micro.on_microcontroller(LiteRTNetwork(tflite(weights=matrix(0.0)), 1), inputs())
    assert (found.pruned_flash_bytes, found.pruned_arena_bytes) == (None, None)
    assert found.arena_bytes > 0


def test_figures_are_withheld_where_outputs_are_not_those_of_litert():
    class Otherwise(LiteRTNetwork):
        def forward(self, *arguments):
            return 1.1 * super().forward(*arguments)

    found = micro.on_microcontroller(Otherwise(tflite(weights=matrix(0.5)), 1), inputs())
    assert found.withheld.startswith("On a microcontroller its outputs differ from LiteRT's by up to ")
    assert (found.flash_bytes, found.arena_bytes, found.pruned_flash_bytes, found.pruned_arena_bytes) == (None,) * 4


def test_figures_are_withheld_where_the_interpreter_does_not_run_a_network():
    network = LiteRTNetwork(tflite(weights=matrix(0.5)), 1)
    network.file = tflite(weights=matrix(0.5), custom=b"Unheard")
    found = micro.on_microcontroller(network, inputs())
    assert found.withheld.startswith("TensorFlow Lite for Microcontrollers does not run it: ")
    assert found.flash_bytes is None


def test_a_file_that_is_too_large_for_any_microcontroller_is_not_tried(monkeypatch):
    monkeypatch.setattr(micro, "LARGEST", 1000)
    found = micro.on_microcontroller(LiteRTNetwork(tflite(weights=matrix(0.5)), 1), inputs())
    assert found.withheld == "Its file has 0 MB, more than microcontrollers do."


@pytest.mark.parametrize(
    ("flash", "ram", "fit"),
    [(80, 8, "FITS"), (81, 8, "TIGHT"), (100, 10, "TIGHT"), (101, 1, "TOO BIG"), (1, 10.1, "TOO BIG"), (1, 9, "TIGHT")],
)
def test_a_board_is_tight_from_four_fifths_of_its_flash_or_ram_on(flash, ram, fit):
    assert Board("b", "c", 100, 10, "a data sheet").fit(flash, ram) == fit


def test_boards_are_listed_with_the_document_that_says_what_they_have():
    rows = {row["name"]: row for row in rows_of_boards()}
    assert rows["Arduino Nano 33 BLE"] == {
        "name": "Arduino Nano 33 BLE",
        "chip": "nRF52840",
        "flash": "1,024 KiB",
        "RAM": "256 KiB",
        "source": "Nordic Semiconductor, nRF52840 Product Specification",
    }
    assert kinds_to_list()[-1]["known"] == str(len(BOARDS)) == str(len(rows))


FOUND = MicrocontrollerResult(flash_bytes=900_000, arena_bytes=100_000, pruned_flash_bytes=300_000)


@pytest.fixture
def run():
    """Records of two schemes, of which static was measured on a microcontroller."""
    made = Bench(seeds=(0,), samples=2000).build()

    def measured(trial):
        if trial.trial.scheme != "static":
            return trial
        result = replace(trial.compress.result, microcontroller=FOUND)
        return replace(trial, compress=replace(trial.compress, result=result))

    return replace(made, trials=tuple(map(measured, made.trials)))


def test_flash_and_ram_are_the_measured_ones_where_there_are(run):
    static = next(trial for trial in run.trials if trial.trial.scheme == "static")
    other = next(trial for trial in run.trials if trial.trial.scheme == "fp32")
    assert [exact_value(name, static) for name in ("flash", "ram")] == [900_000, 100_000]
    packed = other.compressed
    assert [exact_value(name, other) for name in ("flash", "ram")] == [packed.size.flash_bytes, 16_384]
    assert exact_value("memory", static) == 4096


def test_a_network_that_takes_more_flash_or_ram_than_allowed_is_not_picked(run):
    def schemes(**limits):
        asked = ask(sections(run), exportable_only=False, limits={"drop": "5pp", **limits})
        return {point.scheme for point in decide(run, *asked, accept_open=True).choice.candidates}

    assert "static" in schemes(flash="900kB", ram="100kB")
    assert "static" not in schemes(flash="899kB")
    assert "static" not in schemes(ram="99kB")
    assert "fp32" in schemes(ram="99kB")


def test_the_report_says_which_boards_a_network_fits(run):
    (section,) = sections(run)
    figures, boards, note = microcontroller_parts(section)
    assert "900" in figures
    assert boards.splitlines()[0].split("|")[2].strip() == "micro:bit V2"
    assert {"TOO BIG", "TIGHT", "FITS"} <= {cell.strip() for cell in boards.splitlines()[2].split("|")}
    assert "FITS: at most 80 %" in note
    assert list(microcontroller_parts(sections(Bench(seeds=(0,)).build())[0])) == []
