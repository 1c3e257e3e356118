"""Which classes and functions go by their names."""

import importlib
import os
import sys

import pytest
import quick
import torchvision

from sparsebench.errors import SparsebenchError
from sparsebench.live.naming import called
from sparsebench.live.references import reference_of

MODULE = """
class Net:
    def forward(self, x):
        return x + {value}

def build(width=3):
    return [Net() for _ in range(width)]
"""


def write(path, value, when):
    path.write_text(MODULE.format(value=value))
    os.utime(path, (when, when))  # Python tells a changed file by its time, in whole seconds.


@pytest.fixture
def module(tmp_path, monkeypatch):
    write(tmp_path / "of_a_user.py", 1, 1000)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("of_a_user"), tmp_path / "of_a_user.py"
    del sys.modules["of_a_user"]


def test_what_can_be_imported_has_a_reference(module):
    found, _ = module
    assert reference_of(found.Net) == "of_a_user:Net"
    assert reference_of(found.build) == "of_a_user:build"
    assert reference_of(quick.Drifting) == "quick:Drifting"
    assert reference_of(torchvision.models.resnet18) == "torchvision.models.resnet:resnet18"


def test_what_cannot_has_none(module, monkeypatch):
    found, _ = module
    inner = type("Inner", (), {"__module__": "of_a_user"})
    assert reference_of(inner) is None
    assert reference_of(lambda x: x) is None
    assert reference_of(found.Net()) is None
    monkeypatch.setattr(found.Net, "__module__", "__main__")
    assert reference_of(found.Net) is None


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("live:_Net@3f2a9b81c0de", "Net"),
        ("my_project.networks:Outer.Net", "Outer-Net"),
        ("npz:data/images.npz", "images-npz"),
        ("resnet20", "resnet20"),
        ("imagefolder:/home/ä/", "run"),
    ],
)
def test_a_run_is_named_by_what_its_network_and_data_are_called(name, short):
    assert called(name) == short


def test_a_file_that_was_changed_since_is_not_taken_for_what_was_imported(module):
    found, path = module
    write(path, 2, 2000)
    with pytest.raises(SparsebenchError) as raised:
        reference_of(found.Net)
    assert "of_a_user was changed since it was imported: Net.forward is not what" in str(raised.value)
    assert reference_of(found.build) == "of_a_user:build", "a function that is the same as ever is taken"
    assert reference_of(importlib.reload(found).Net) == "of_a_user:Net"
