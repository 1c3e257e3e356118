"""Exported networks, changed as somebody would who wants them to do more than compute, and how they are refused."""

import json
import zipfile
from pathlib import Path

import pytest

from sparsebench.errors import ProblemsError
from sparsebench.export.files.timed import open_files

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
EXAMPLES = "data/sample_inputs/model.pt"


class Marks:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def tampered(source, target, change, more=()):
    """Copy an archive, with each file's content passed through ``change(name, content)``; None leaves it away.

    ``more`` are further files, as pairs of name and content.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in more:
            new.writestr(name, content)
    return target.read_bytes()


def replacing(place, old, new):
    """Return a change of one file's bytes, which must be there."""

    def change(name, content):
        assert name != place or old in content
        return content.replace(old, new) if name == place else content

    return change


def editing(edit, place=MODEL):
    """Return a change of one file's JSON by a function that edits it in place."""

    def change(name, content):
        if name != place:
            return content
        value = json.loads(content)
        edit(value)
        return json.dumps(value).encode()

    return change


def unchanged(_, content):
    """Leave a file as it is."""
    return content


def graph_of(model):
    """Return the graph of a program's JSON."""
    return model["graph_module"]["graph"]


def node_of(model, target):
    """Return the first call of an operator in a program's JSON."""
    return next(node for node in graph_of(model)["nodes"] if node["target"] == target)


def refusal(path):
    """The sentence with which a file is refused before anything is loaded."""
    with pytest.raises(ProblemsError) as caught:
        open_files([path, path])
    (first, second) = caught.value.problems
    assert first == second
    return first.removeprefix(f"{path}: ")
