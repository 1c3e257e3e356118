"""Shards of webdataset: read as webdataset itself reads them, at any place, and without trusting them."""

import io
import os
import sys
import tarfile

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import webdataset
from PIL import Image
from scipy.io import wavfile

from sparsebench.data import fingerprint, labels_of, load_splits
from sparsebench.errors import DataError


def encoded(place):
    file = io.BytesIO()
    pixels = np.random.default_rng(place).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def tone(hertz, rate=1600, samples=400, dtype=np.int16):
    file, wave = io.BytesIO(), np.sin(2 * np.pi * hertz * np.arange(samples) / rate)
    wavfile.write(file, rate, (wave * 20000).astype(dtype) if dtype is np.int16 else wave.astype(dtype))
    return file.getvalue()


def shard(path, samples=12, **fields):
    fields = fields or {"png": encoded, "cls": lambda place: place % 3}
    with webdataset.TarWriter(str(path)) as writer:
        for place in range(samples):
            made = {name: field(place) for name, field in fields.items()}
            writer.write({"__key__": f"sample{place:04d}", **made})
    return path


def splits(folder, **fields):
    for split, count in (("train", 24), ("val", 9), ("test", 9)):
        shard(folder / f"{split}-0000.tar", count, **fields)
    return f"webdataset:{folder}/{{train,val,test}}-0000.tar"


def test_samples_are_those_that_webdataset_reads_in_the_splits_that_names_tell(tmp_path):
    found = load_splits(splits(tmp_path), {"mean": [0, 0, 0], "std": [1, 1, 1]})
    assert found.samples == {"train": 24, "val": 9, "test": 9}
    wanted = webdataset.WebDataset(str(tmp_path / "test-0000.tar"), shardshuffle=False).decode("torchrgb")
    for sample, (image, label) in zip(wanted, found.test, strict=True):
        torch.testing.assert_close(image, sample["png"], rtol=0, atol=1e-7)
        assert label == sample["cls"]


def test_shards_without_a_split_in_their_names_are_held_out_with_classes_in_equal_shares(tmp_path):
    for number in range(3):
        shard(tmp_path / f"part-{number}.tar", 20 + number)
    found = load_splits(f"webdataset:{tmp_path}/part-{{0..2}}.tar", {"val_fraction": 0.2})
    assert found.samples == {"train": 37, "val": 13, "test": 13}
    assert torch.bincount(labels_of(found.test)).tolist() in ([5, 4, 4], [4, 5, 4], [4, 4, 5])
    again = load_splits(f"webdataset:{tmp_path}/*.tar", {"val_fraction": 0.2})
    assert torch.equal(labels_of(found.train), labels_of(again.train))


def test_folders_are_named_after_splits_too(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        shard(tmp_path / split / "0000.tar", 30)
    assert load_splits(f"webdataset:{tmp_path}/*/0000.tar").samples == {"train": 27, "val": 3, "test": 30}


def test_shards_of_one_name_in_several_folders_are_all_read(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shard(tmp_path / folder / "part.tar", 30)
    assert sum(load_splits(f"webdataset:{tmp_path}/{{a,b}}/part.tar").samples.values()) == 60


def test_sounds_are_made_by_a_feature_extractor_or_are_waves_of_one_length(tmp_path):
    name = splits(tmp_path, wav=lambda place: tone(50 + 100 * (place % 3)), cls=lambda place: place % 3)
    found = load_splits(name)
    assert found.input_shape == (1, 400)
    assert int(torch.fft.rfft(found.test[1][0][0]).abs().argmax()) == 150 * 400 // 1600
    tiny.wav2vec2(tmp_path / "net")
    made = load_splits(name, {"processor": f"transformers:{tmp_path / 'net'}", "seconds": 0.125})
    assert made.input_shape == (200,)
    assert float(made.test[0][0].std()) == pytest.approx(1, abs=1e-2)  # The extractor normalises.


def test_a_sound_of_another_rate_keeps_its_pitch(tmp_path):
    def either(place):
        return tone(100, 1600, 400) if place % 2 else tone(100, 3200, 800, np.float32)

    found = load_splits(splits(tmp_path, wav=either, cls=lambda place: place % 2), {"seconds": 0.25})
    tiny.wav2vec2(tmp_path / "net")
    found = load_splits(splits(tmp_path, wav=either, cls=lambda place: place % 2))
    pitches = {int(torch.fft.rfft(wave[0]).abs().argmax()) for wave, _ in found.test}
    assert len(pitches) == 1


def test_texts_and_labels_may_be_entries_of_json(tmp_path):
    tiny.bert(tmp_path / "net")
    name = splits(tmp_path, json=lambda place: {"text": "red sky" if place % 2 else "leaf", "label": "ab"[place % 2]})
    found = load_splits(name, {"processor": f"transformers:{tmp_path / 'net'}"})
    assert labels_of(found.test).tolist() == [0, 1] * 4 + [0]
    assert found.test[1][0]["attention_mask"].sum() == 4
    assert found.test[0][0]["attention_mask"].sum() == 3


def test_arrays_are_read_and_never_unpickled(tmp_path):
    name = splits(tmp_path, npy=lambda place: np.full((2, 3), place), cls=lambda place: place % 3)
    assert torch.equal(load_splits(name).test.tensors[0][4], torch.full((2, 3), 4.0))

    def objects(_):
        file = io.BytesIO()
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
        return file.getvalue()

    with pytest.raises(DataError, match=r"An array cannot be read: .*objects.* Write it with numpy\.save, as plain n"):
        load_splits(splits(tmp_path, npy=objects, cls=lambda place: place % 3))


def member(name, kind=tarfile.REGTYPE, content=b"1"):
    found = tarfile.TarInfo(name)
    found.type, found.size, found.linkname = kind, len(content) * (kind == tarfile.REGTYPE), "/etc/passwd"
    return found, content


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([member("a.txt", tarfile.SYMTYPE), member("a.cls")], r"'a\.txt' is a link, a device or has holes"),
        ([member("a.txt", tarfile.LNKTYPE), member("a.cls")], r"'a\.txt' is a link, a device or has holes"),
        ([member("a.txt", tarfile.FIFOTYPE), member("a.cls")], r"'a\.txt' is a link, a device or has holes"),
        ([member("a.cls"), member("a.cls")], r"'a\.cls' is in it twice"),
    ],
)
def test_members_that_are_no_files_are_refused(tmp_path, members, text):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    with pytest.raises(DataError, match=rf"The shard .*x\.tar cannot be read: {text}"):
        load_splits(f"webdataset:{tmp_path}/x.tar")


def test_a_path_that_leads_out_is_a_name_and_nothing_is_written(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for place in range(30):
            for ending, content in (("png", encoded(place)), ("cls", b"%d" % (place % 3))):
                tar.addfile(*((one := member(f"../../evil{place}.{ending}", content=content))[0], io.BytesIO(one[1])))
    before = sorted(os.listdir(tmp_path.parent))
    assert load_splits(f"webdataset:{tmp_path}/x.tar", {"val_fraction": 0.2}).samples["train"] == 18
    assert sorted(os.listdir(tmp_path.parent)) == before


def test_shards_that_are_cut_off_compressed_or_none_are_told(tmp_path):
    whole = shard(tmp_path / "x.tar", 30).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:700])
    with pytest.raises(DataError, match=r"The shard .*x\.tar cannot be read: "):
        load_splits(f"webdataset:{tmp_path}/x.tar")
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(*((one := member("a.cls"))[0], io.BytesIO(one[1])))
    with pytest.raises(DataError, match=r"it is compressed, so that no sample can be found by its place: unpack it"):
        load_splits(f"webdataset:{tmp_path}/x.tar")
    (tmp_path / "x.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match=r"The shard .*x\.tar cannot be read: "):
        load_splits(f"webdataset:{tmp_path}/x.tar")


def test_a_shard_that_shrinks_while_it_is_read_is_told(tmp_path):
    name = splits(tmp_path)
    found = load_splits(name, {"in_memory": False})
    (tmp_path / "train-0000.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"Sample 0: The shard .*train-0000\.tar is shorter than it was"):
        found.train[0]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("pipe:cat x.tar", r"webdataset:pipe:cat x\.tar is an address or a command; give paths of \.tar files on this"),
        ("https://a.b/x.tar", r"is an address or a command"),
        ("no-{00..01}.tar", r"There is no 'no-00\.tar', 'no-01\.tar'; give paths of \.tar files\."),
        ("no-*.tar", r"There is no 'no-\*\.tar'"),
    ],
)
def test_patterns_that_name_nothing_are_told_and_no_command_is_run(pattern, text):
    with pytest.raises(DataError, match=text):
        load_splits(f"webdataset:{pattern}")


def test_samples_without_inputs_or_labels_are_told(tmp_path):
    shard(tmp_path / "x.tar", 20)
    with tarfile.open(tmp_path / "x.tar", "a") as tar:
        tar.addfile(*((one := member("extra.png"))[0], io.BytesIO(one[1])))
    with pytest.raises(DataError, match=r"1 sample without label: .*x\.tar: extra\. Remove them, or set the option"):
        load_splits(f"webdataset:{tmp_path}/x.tar")
    with pytest.raises(DataError, match=r"has no column 'jpg'; set the option input to one of its columns: png\."):
        load_splits(f"webdataset:{tmp_path}/x.tar", {"input": "jpg"})
    shard(tmp_path / "train.tar", 20)
    with pytest.raises(DataError, match=r"some are named after a split \(train\) and some are not; name all of them"):
        load_splits(f"webdataset:{tmp_path}/*.tar")


def test_the_key_changes_with_any_shard(tmp_path):
    name = splits(tmp_path)
    before = fingerprint(name)
    load_splits(name)
    assert fingerprint(name) == before
    shard(tmp_path / "val-0000.tar", 10)
    assert fingerprint(name) != before


def test_a_library_that_is_not_installed_is_told_with_its_extra(monkeypatch, tmp_path):
    name = splits(tmp_path)
    for missing in ("braceexpand", "webdataset.tariterators"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(DataError, match=r"which is not installed: pip install sparsebench\[webdataset\]"):
                load_splits(name)
