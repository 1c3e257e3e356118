"""The table of real networks: what works, why the rest does not, and what could not be tried."""

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


DONE = {
    ("M5", "onnxruntime", "static"): {"result": "It has | no such form."},
    ("M5", "eager", "static"): {"result": "works", "told": ["It is far off."]},
    ("U-Net", "eager", "static"): {"result": "works"},
}


def test_the_table_says_what_works_and_why_the_rest_does_not():
    from real_networks import page

    lines = page(DONE, {"M5": "", "U-Net": "", "levit": "timm is not installed"}).splitlines()
    assert "**2 of 3 cells work (66.7%)**. A number is the reason below, – was not tried." in lines
    assert "| network | eager static | onnxruntime static |" in lines
    assert "| M5 | works (1) | (2) |" in lines
    assert "| U-Net | works | – |" in lines
    assert "| levit | (3) | (3) |" in lines
    assert lines[-3:] == [
        "1. It is far off.",
        "2. It has \\| no such form.",
        "3. timm is not installed, so that its networks are not tried",
    ]


def test_what_is_done_is_read_and_a_line_that_was_cut_off_is_not(tmp_path):
    from real_networks import read

    file = tmp_path / "cells.jsonl"
    assert read(file) == {}
    named = {"network": "M5", "backend": "eager", "scheme": "static"}
    lines = [named | {"result": "It broke."}, named | {"result": "works"}]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"network": "M5", "bac')
    assert read(file) == {("M5", "eager", "static"): {"result": "works"}}


def test_every_network_is_tried_in_all_that_is_offered_and_some_by_the_compiler():
    from real_networks import cells

    asked = cells({"M5": True, "swin_t": False})
    assert ("M5", "eager", "static") in asked
    assert ("swin_t", "eager", "static") in asked
    assert not [key for key in asked if key[:2] == ("swin_t", "inductor")]


def test_a_network_of_a_package_that_is_not_installed_says_so(monkeypatch):
    import real_nets

    monkeypatch.setattr(real_nets, "find_spec", lambda name: None)
    assert real_nets.NETS["levit_128s"].missing == "timm is not installed"
    assert real_nets.NETS["M5"].missing == ""
