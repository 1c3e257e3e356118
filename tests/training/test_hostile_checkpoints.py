"""Checkpoints that somebody else wrote: nothing is unpickled but tensors, and whatever is wrong is a sentence."""

import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile

import pytest
import torch
from archives import Marks
from torch import nn
from witness import nothing_done

from sparsebench.errors import ModelError, TrainingError
from sparsebench.training.checkpoints import Checkpoints, load_saved
from sparsebench.training.state_dicts import read_state_dicts


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


def test_an_archive_of_numpy_is_called_by_its_kind(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", b"")
    assert refusal(path) == (
        "cannot be read: it is an archive of NumPy's arrays. Give a file of torch.save(network.state_dict(), path) "
        "or of safetensors."
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["net/data/0", "net/DATA/0"])
def test_an_archive_with_one_name_twice_is_refused_whatever_its_case(path, name):
    """torch finds an entry whatever the case of its name, and would take either."""
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, bytes(8))
    assert refusal(path).startswith("cannot be read: its archive holds one name twice.")


def test_two_archives_one_after_the_other_are_refused(path, tmp_path):
    for name, value in (("one", 1.0), ("two", 2.0)):
        torch.save({"w": torch.full((2,), value)}, tmp_path / name)
    path.write_bytes((tmp_path / "one").read_bytes() + (tmp_path / "two").read_bytes())
    assert refusal(path).startswith("cannot be read: it is more than one archive, one after the other.")


def test_an_archive_without_checksums_is_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(2)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    (found,) = read_state_dicts(path)
    assert torch.equal(found.state["w"], torch.ones(2))


def test_a_network_of_torchscript_is_refused(path):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(nn.Linear(2, 2)).save(path)
        assert refusal(path).startswith("cannot be read: it is a network of TorchScript, which is code.")


def test_an_archive_of_tar_is_refused_and_its_links_are_not_followed(path, tmp_path):
    (tmp_path / "storages").symlink_to("/etc/passwd")
    torch.save({"w": torch.ones(2)}, tmp_path / "tensors")
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors"):
            archive.add(tmp_path / name, name)
        archive.add(tmp_path / "tensors", "pickle")
    with nothing_done():
        assert refusal(path).startswith("cannot be read: it is in a format of torch before 1.0, which is not unpacked.")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_plain_file_is_no_checkpoint(path, kind):
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero")}[kind]()
    with pytest.raises(ModelError, match="There is no checkpoint"):
        read_state_dicts(path)


def test_one_larger_than_the_memory_can_hold_is_refused_with_the_limit(path, monkeypatch):
    torch.save({"w": torch.ones(1000)}, path)
    monkeypatch.setattr("sparsebench.training.checkpoint_files.memory_given", lambda: 2000.0)
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
        safetensors_of(json.dumps(tensor())[:-1].encode() + b", " + json.dumps(tensor(dtype="I32"))[1:].encode()),
        safetensors_of(b"\xef\xbb\xbf" + json.dumps(tensor()).encode()),
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
        load_saved(nn.Linear(2, 2), path.read_bytes(), path)


# -- within a training ------------------------------------------------------------------------------------------------


class Refuses:
    """Progress that is given something else than it saved."""

    def restore(self, state):
        return state["model"].items


def test_a_checkpoint_of_this_training_with_something_else_in_it_is_named(path):
    torch.save({"format": 1, "of": "me", "state": {"model": 7}}, path)
    with pytest.raises(TrainingError, match=r"is not of what this training saves \(AttributeError: .*Delete it"):
        Checkpoints(path, "me", 0).resume(Refuses())
