"""Archives of .pt2 files that somebody else wrote: what two readers could take for two things is refused."""

import io
import os
import stat
import struct
import sys
import zipfile

import pytest
import torch
from archives import (
    EXAMPLES,
    Marks,
    refusal,
    tampered,
    unchanged,
)

from sparsebench.export.files.pt2 import read_inputs, rewrite


def test_example_inputs_under_a_name_of_other_case_are_refused_and_never_unpickled(good, path, tmp_path):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    change = lambda name, content: None if name == EXAMPLES else content  # noqa: E731
    tampered(good, path, change, [("good/data/Sample_Inputs/MODEL.pt", evil.getvalue())])
    assert refusal(path) == (
        "is no archive as torch.export.save writes it: it holds 'data/Sample_Inputs/MODEL.pt', a name that is not "
        "written there. Export the network again."
    )
    assert not mark.exists()


def test_example_inputs_are_not_read_at_all(good, path, tmp_path):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    tampered(good, path, lambda name, content: evil.getvalue() if name == EXAMPLES else content)
    (one,) = read_inputs(path)
    assert one.shape == (None, 4)
    with zipfile.ZipFile(io.BytesIO(rewrite(path.read_bytes())[0])) as archive:
        assert archive.read(f"archive/{EXAMPLES}") == b""
    assert not mark.exists()
    # What it is left out for is real: torch itself runs it.
    with pytest.raises(Exception, match=r".*"):
        torch.export.load(path).module()(1)
    assert mark.exists()


@pytest.mark.parametrize("order", ["ours first", "ours last"])
def test_an_archive_with_two_directories_is_refused(good, path, tmp_path, order):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    other = tampered(
        good, tmp_path / "other.pt2", lambda name, content: evil.getvalue() if name == EXAMPLES else content
    )
    ours = good.read_bytes()
    path.write_bytes(ours + other if order == "ours first" else other + ours)
    assert "bytes that belong to no entry, or to two" in refusal(path)
    assert not mark.exists()


def test_a_comment_after_the_directory_is_refused_be_it_another_archive_or_not(good, path):
    content = good.read_bytes()
    for comment, text in ((content, "bytes that belong to no entry, or to two"), (b"hello", "something follows")):
        path.write_bytes(content[:-2] + struct.pack("<H", len(comment)) + comment)
        assert text in refusal(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("good/data/aotinductor/model/net.so", "holds compiled code, which is not run"),
        ("good/data/weights/model.pt", "has pickled weights, as torch wrote them before 2.8"),
        ("good/data/constants/custom_obj_0", "holds 'custom_obj_0' as a pickle, and reading it could run any code"),
        ("good/data/constants/opaque_obj_0", "holds 'opaque_obj_0' as a pickle"),
        ("serialized_state_dict.pt", "its entries lie in 2 folders, where one is allowed"),
        ("other/models/model.json", "its entries lie in 2 folders, where one is allowed"),
        ("good/models/other.json", "it holds 'models/other.json', a name that is not written there"),
        ("good/Models/model.json", "it holds 'Models/model.json', a name that is not written there"),
        ("good/models\\model.json", "a name that is not written there"),
        ("good/data/weights/../weights/weight_0", "a name that is not written there"),
        ("good/data/weights/weight_\u0660", "a name that is not written there"),
        ("good/models/model.json", "it holds one name twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_more_in_it_is_refused(good, path, name, text):
    tampered(good, path, unchanged, [(name, "{}")])
    assert text in refusal(path)


def test_an_entry_under_another_name_than_its_directory_says_is_refused(good, path):
    content = good.read_bytes()
    assert content.count(b"good/models/model.json") == 2
    path.write_bytes(content.replace(b"good/models/model.json", b"good/models/mOdel.json", 1))
    assert "has another name than the directory says" in refusal(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(good, path):
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) if name != f"good/{EXAMPLES}" else bytes(10**7))
    assert path.stat().st_size < 10**5
    assert "is compressed, which none of its entries is" in refusal(path)


def test_bytes_between_entries_are_refused(good, path):
    content = good.read_bytes()
    directory = content.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", content[directory + 16 : directory + 20])[0]
    longer = content[:start] + bytes(7) + content[start:directory]
    end = bytearray(content[directory:])
    end[16:20] = struct.pack("<L", start + 7)
    path.write_bytes(longer + end)
    assert "there are 7 bytes" in refusal(path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes with names")
def test_a_pipe_is_no_file(path):
    os.mkfifo(path)
    assert "there is no such file" in refusal(path)


def test_an_archive_behind_something_else_is_refused(good, path):
    """As archives that unpack themselves are: a script first."""
    script = b"#!/bin/sh\ntouch ran\nexit\n"
    path.write_bytes(script + good.read_bytes())
    assert f"there are {len(script)} bytes that belong to no entry" in refusal(path)


def test_a_link_in_an_archive_is_refused_though_it_would_not_be_followed(good, path):
    link = zipfile.ZipInfo("good/data/weights/weight_9")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    tampered(good, path, unchanged, [(link, "/etc/passwd")])
    assert "'good/data/weights/weight_9' is a link" in refusal(path)


def test_an_entry_that_says_other_sizes_behind_itself_than_the_directory_is_refused(good, path):
    content = good.read_bytes()
    place = content.index(b"PK\x07\x08") + 8
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "an entry has other sizes than the directory says" in refusal(path)


def test_an_encrypted_entry_is_refused(good, path):
    content = bytearray(good.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refusal(path)
