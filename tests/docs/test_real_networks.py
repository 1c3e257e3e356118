"""The table of real networks: what works, why the rest does not, and what could not be tried."""

import json
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


DONE = {
    ("M5", "onnxruntime", "static"): {"result": "It has | no such form."},
    ("M5", "eager", "static"): {"result": "works", "told": ["It is far off."]},
    ("U-Net", "eager", "static"): {"result": "works"},
}


def test_the_table_says_what_works_and_why_the_rest_does_not():
    from real_networks_page import About, page

    about = About("8 batches", "a1b2", "torch 2.15.0")
    lines = page(DONE, {"M5": "", "U-Net": "", "levit": "timm is not installed"}, about).splitlines()
    assert "random weights, 8 batches; all cells by the code of digest `a1b2`, with torch 2.15.0." in lines[2]
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
    assert read(file, "new") == {}
    named = {"network": "M5", "backend": "eager", "scheme": "static", "code": "new"}
    lines = [named | {"result": "It broke."}, named | {"result": "works"}]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"network": "M5", "bac')
    assert read(file, "new") == {("M5", "eager", "static"): {"result": "works"}}


def test_what_other_code_did_is_done_anew(tmp_path):
    from real_networks import digest_of_code, read

    file, code = tmp_path / "cells.jsonl", digest_of_code()
    cell = {"network": "M5", "backend": "eager", "scheme": "static", "result": "works"}
    file.write_text(f"{json.dumps(cell)}\n{json.dumps(cell | {'scheme': 'dynamic', 'code': code})}\n")
    assert list(read(file, code)) == [("M5", "eager", "dynamic")]
    assert read(file, "of other code") == {}


def test_the_code_is_told_by_what_stands_in_it(tmp_path, monkeypatch):
    import real_networks

    before = real_networks.digest_of_code()
    assert real_networks.digest_of_code() == before
    package = Path(real_networks.sparsebench.__file__).parent
    changed = package / "tensors.py"
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read_bytes(self) + b"#" * (self == changed))
    assert real_networks.digest_of_code() != before


def test_rounding_by_hand_puts_outputs_off_by_its_steps_and_no_more():
    import real_nets

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).eval()
    batches = [(torch.randn(16, 6),) for _ in range(2)]
    rounded = real_nets.rounded(net, batches)
    with torch.no_grad():
        expected, found = net(*batches[0]), rounded(*batches[0])
    step = float((torch.cat([net(*b) for b in batches]).amax() - torch.cat([net(*b) for b in batches]).amin()) / 127)
    levels = (found - found.min()) / step
    assert torch.allclose(levels, levels.round(), atol=1e-2)
    assert 0 < float((expected - found).abs().max()) < 4 * step


def test_running_statistics_are_those_of_the_batches():
    import real_nets

    batches = [real_nets.NETS["M5"].inputs(4, seed) for seed in range(4)]
    net = real_nets.built("M5", batches)
    with torch.no_grad():
        found = net.features[0](torch.cat([x for (x,) in batches]))
    assert torch.allclose(net.features[1].running_mean, found.mean((0, 2)), atol=1e-5)
    assert net.features[1].momentum == 0.1


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
