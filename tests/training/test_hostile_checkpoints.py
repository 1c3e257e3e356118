"""Checkpoints that somebody else wrote: nothing is unpickled but tensors, and whatever is wrong is a sentence."""

import json
import os
import pickle
import random
import struct
import zipfile

import pytest
import torch
from archives import Marks
from torch import nn

from sparsebench.errors import ModelError, TrainingError
from sparsebench.training.checkpoints import Checkpoints, load_saved
from sparsebench.training.state_dicts import read_state_dicts

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


def refusal(path):
    with pytest.raises(ModelError) as caught:
        read_state_dicts(path)
    text = str(caught.value)
    assert text.startswith(f"The checkpoint {str(path)!r} ")
    return text.removeprefix(f"The checkpoint {str(path)!r} ")


@pytest.mark.parametrize("protocol", [None, 0, 2, 4])
def test_objects_are_not_unpickled_whatever_holds_them(path, tmp_path, protocol):
    mark = tmp_path / "ran"
    content = {"state_dict": {"w": torch.ones(2)}, "more": Marks(mark)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content if protocol == 4 else Marks(mark), protocol))
    assert refusal(path).startswith("cannot be read: it ")
    assert not mark.exists()


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    assert refusal(path).startswith("cannot be read: it is compressed, which torch.save never does.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("net/constants.pkl", "it is a TorchScript program"), ("w.npy", "it is an archive of NumPy's arrays")],
)
def test_archives_of_other_kinds_are_called_by_their_kind(path, name, kind):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"")
    assert refusal(path) == (
        f"cannot be read: {kind}. Give a file of torch.save(network.state_dict(), path) or of safetensors."
    )


def test_one_larger_than_the_memory_can_hold_is_refused_with_the_limit(path, monkeypatch):
    torch.save({"w": torch.ones(1000)}, path)
    monkeypatch.setattr("sparsebench.training.state_dicts.memory_given", lambda: 2000.0)
    assert "GB, and at most 1e-06 GB, half of the memory, are read here" in refusal(path)


def test_mappings_that_hold_each_other_a_thousand_times_are_looked_at_once(path):
    inner = {"w": torch.ones(2)}
    for _ in range(8):
        inner = {str(n): inner for n in range(30)}
    torch.save(inner, path)
    assert len(read_state_dicts(path)) == 1


def test_mappings_that_lie_3000_deep_are_refused(path):
    content = b"}" + b"}" * 3000
    path.write_bytes(b"\x80\x02" + content + b"K\x01K\x01s" + b".")
    assert "cannot be read" in refusal(path)


# -- safetensors ------------------------------------------------------------------------------------------------------


def safetensors_of(header, content=bytes(16), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(**changes):
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(7),
        safetensors_of(tensor(), length=2**63),
        safetensors_of(tensor(), length=2**62),
        safetensors_of(tensor(), length=10**8 + 1),
        safetensors_of(tensor(), content=b""),
        safetensors_of(tensor(data_offsets=[0, 2**64 - 1])),
        safetensors_of(tensor(data_offsets=[16, 0])),
        safetensors_of(tensor(data_offsets=[-16, 0])),
        safetensors_of(tensor(shape=[2**62, 4])),
        safetensors_of(tensor(shape=[-4])),
        safetensors_of(tensor(dtype="OBJECT")),
        safetensors_of(tensor(dtype="__import__('os')")),
        safetensors_of({**tensor(), "v": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}),
        safetensors_of({"w": [tensor()]}),
        safetensors_of(b"[" * 3000 + b"]" * 3000),
        safetensors_of(b'{"w": ' + b"9" * 5000 + b"}"),
        safetensors_of(b"\xff" * 40),
        pickle.dumps({"w": 1}),
    ],
)
def test_a_header_of_safetensors_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    assert refusal(path).startswith("cannot be read: ")


def test_names_in_a_header_are_names_of_tensors_and_nothing_else(tmp_path):
    path = tmp_path / "net.safetensors"
    header = {"../../x": tensor()["w"], "__metadata__": {"format": "$(touch ran)"}}
    path.write_bytes(safetensors_of(header))
    (found,) = read_state_dicts(path)
    assert list(found.state) == ["../../x"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.safetensors"]


def test_a_saved_network_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors_of(tensor(), length=2**62))
    with pytest.raises(ModelError, match=r"The saved network '.*net.safetensors' cannot be read: "):
        load_saved(nn.Linear(2, 2), path)


# -- within a training ------------------------------------------------------------------------------------------------


class Refuses:
    """Progress that is given something else than it saved."""

    def restore(self, state):
        return state["model"].items


def test_a_checkpoint_of_this_training_with_something_else_in_it_is_named(path):
    torch.save({"format": 1, "of": "me", "state": {"model": 7}}, path)
    with pytest.raises(TrainingError, match=r"is not of what this training saves \(AttributeError: .*Delete it"):
        Checkpoints(path, "me", 0).resume(Refuses())


# -- at random --------------------------------------------------------------------------------------------------------


def test_changed_bytes_are_refused_by_a_sentence_or_are_tensors(tmp_path):
    contents = {}
    for suffix in (".pth", ".old.pth", ".safetensors"):
        path = tmp_path / f"whole{suffix}"
        state = {"state_dict": nn.Linear(3, 2).state_dict(), "epoch": 7, "lr": 0.5}
        if suffix == ".safetensors":
            path.write_bytes(safetensors_of(tensor()))
        else:
            torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
        contents[path.name] = path.read_bytes()
    refused = 0
    for seed in range(300 * TIMES):
        dice = random.Random(seed)
        name, content = dice.choice(list(contents.items()))
        made = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            place = dice.randrange(len(made))
            match dice.randrange(3):
                case 0:
                    made[place] = dice.randrange(256)
                case 1:
                    del made[place : place + dice.randrange(1, 9)]
                case _:
                    made[place:place] = dice.randbytes(dice.randrange(1, 9))
        path = tmp_path / f"changed{seed % 2}{name.removeprefix('whole')}"
        path.write_bytes(made)
        try:
            found = read_state_dicts(path)
        except ModelError as error:
            refused += str(path) in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for one in found for value in one.state.values())
    assert refused
