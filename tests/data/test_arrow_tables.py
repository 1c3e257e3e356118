"""Tables of Hugging Face's datasets: what is found in them, how they are split, and what is refused."""

import sys

import datasets
import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from PIL import Image
from transformers import AutoTokenizer, ViTImageProcessor

from sparsebench.data import fingerprint, labels_of, load_splits
from sparsebench.errors import DataError
from sparsebench.training.loaders import build_loader

CLASSES = ("red", "green", "blue")
COLOURS = np.eye(3, dtype=np.uint8) * 200
TEXTS = ("red sky", "the leaf is green", "a blue sky is very blue")


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("tables")
    tiny.vit(found / "vit")
    tiny.bert(found / "bert")
    return found


def pictures(samples, side=(20, 24)):
    noise = np.random.default_rng(0).integers(0, 50, (samples, *side, 3))
    return [Image.fromarray((COLOURS[i % 3] + noise[i]).astype(np.uint8)) for i in range(samples)]


def table(samples=60, classes=CLASSES, images=None):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
    columns = {"image": images or pictures(samples), "label": [i % 3 for i in range(samples)]}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def saved(path, **splits):
    datasets.DatasetDict(splits).save_to_disk(path)
    return f"arrow:{path}"


def texts(path, labels=CLASSES, **columns):
    columns = columns or {"text": [TEXTS[i % 3] for i in range(60)], "label": [labels[i % 3] for i in range(60)]}
    datasets.Dataset.from_dict(columns).save_to_disk(path)
    return f"arrow:{path}"


def test_splits_are_as_they_are_and_a_missing_one_is_made_of_train(tmp_path):
    name = saved(tmp_path / "t", train=table(), test=table(12))
    found = load_splits(name, {"size": 16, "val_fraction": 0.2})
    assert found.samples == {"train": 48, "val": 12, "test": 12}
    assert (found.classes, found.input_shape) == (3, (3, 16, 16))
    assert torch.bincount(labels_of(found.val)).tolist() == [4, 4, 4]
    again, other = (load_splits(name, {"size": 16, "val_fraction": 0.2, "seed": seed}) for seed in (0, 1))
    assert torch.equal(labels_of(found.train), labels_of(again.train))
    assert not torch.equal(labels_of(found.train), labels_of(other.train))


def test_validation_alone_is_the_test_split_as_in_a_folder_of_images(tmp_path):
    found = load_splits(saved(tmp_path / "t", train=table(), validation=table(12)), {"size": 16})
    assert found.samples == {"train": 54, "val": 6, "test": 12}


def test_images_without_a_processor_are_scaled_and_normalised(tmp_path):
    found = load_splits(saved(tmp_path / "t", train=table(), test=table(6)), {"mean": [0, 0, 0], "std": [1, 1, 1]})
    for image, (made, label) in zip(pictures(6), found.test, strict=True):
        assert torch.equal(made, torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
        assert made.mean((1, 2)).argmax() == label


def test_a_processor_makes_of_images_what_transformers_makes_of_them(tmp_path, folder):
    name = saved(tmp_path / "t", train=table(), test=table(6))
    found = load_splits(name, {"processor": f"transformers:{folder / 'vit'}"})
    wanted = ViTImageProcessor.from_pretrained(folder / "vit")(images=pictures(6), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found.test.tensors[0], wanted, rtol=0, atol=0)


def test_images_that_are_too_many_for_the_memory_are_made_when_they_are_read(tmp_path):
    name = saved(tmp_path / "t", train=table(), test=table(6))
    kept, unmade = (load_splits(name, {"size": 16, "in_memory": one}).train for one in (True, False))
    assert torch.equal(kept[3][0], unmade[3][0])
    assert torch.equal(labels_of(kept), labels_of(unmade))


def test_texts_are_masked_and_of_one_length_in_all_splits(tmp_path, folder):
    found = load_splits(texts(tmp_path / "t"), {"processor": f"transformers:{folder / 'bert'}"})
    tokenizer = AutoTokenizer.from_pretrained(folder / "bert")
    longest = len(tokenizer(TEXTS[2])["input_ids"])
    inputs, labels = next(iter(build_loader(found.test, "test", 12, None)))
    assert {name: tuple(values.shape) for name, values in inputs.items()} == dict.fromkeys(inputs, (12, longest))
    for ids, mask, label in zip(inputs["input_ids"], inputs["attention_mask"], labels, strict=True):
        text = tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        assert sorted(CLASSES)[label] in text  # Names of classes are numbered in their order.
        assert not ids[~mask.bool()].any()
    short = load_splits(texts(tmp_path / "s"), {"processor": f"transformers:{folder / 'bert'}", "max_length": 4})
    assert short.train[0][0]["input_ids"].shape == (4,)


def test_numbers_are_floats_or_stay_indices_where_they_are_tokens(tmp_path):
    rows = [[i % 7, i % 3, 1] for i in range(60)]
    name = texts(tmp_path / "t", input_ids=rows, label=[i % 3 for i in range(60)])
    assert load_splits(name).train[0][0].dtype is torch.float32
    whole = load_splits(name, {"tokens": True}).train[0][0]
    assert whole.dtype is torch.int64
    assert whole.shape == (3,)


def test_waves_in_a_column_of_numbers_are_made_by_a_feature_extractor(tmp_path):
    tiny.wav2vec2(tmp_path / "net")
    waves = np.random.default_rng(0).standard_normal((60, 300)).astype(np.float32)
    name = texts(tmp_path / "t", audio=waves.tolist(), label=[bool(i % 2) for i in range(60)])
    found = load_splits(name, {"processor": f"transformers:{tmp_path / 'net'}"})
    wanted = (waves - waves.mean(1, keepdims=True)) / np.sqrt(waves.var(1, keepdims=True) + 1e-7)
    kept = found.test.dataset.tensors[0]
    torch.testing.assert_close(kept, torch.from_numpy(wanted), rtol=1e-3, atol=1e-4)
    assert labels_of(found.test).sum() == 6


def test_names_that_do_not_tell_are_given_as_options(tmp_path, folder):
    features = {"premise": [TEXTS[i % 3] for i in range(60)], "gold": [i % 3 for i in range(60)]}
    part = datasets.Dataset.from_dict({**features, "note": ["x"] * 60})
    name = saved(tmp_path / "t", train=part, validation_a=part, validation_b=part)
    asked = {"processor": f"transformers:{folder / 'bert'}", "max_length": 8}
    with pytest.raises(DataError, match=r"has the splits train, validation_a and validation_b, which do not tell"):
        load_splits(name, asked)
    asked["splits"] = {"train": "train", "test": "validation_b"}
    with pytest.raises(DataError, match=r"does not tell which column holds the labels; set the option label to one of"):
        load_splits(name, asked)
    with pytest.raises(DataError, match=r"does not tell which column holds the inputs; .*: note, premise\."):
        load_splits(name, asked | {"label": "gold"})
    found = load_splits(name, asked | {"label": "gold", "input": "premise"})
    assert found.samples == {"train": 54, "val": 6, "test": 60}
    with pytest.raises(DataError, match=r"splits of arrow:.* is \{'train': 'no'\}; say what it calls train"):
        load_splits(name, asked | {"splits": {"train": "no"}})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, r"Texts need a tokenizer: set the option processor to 'transformers:NAME', or to 'network'"),
        ({"processor": "network"}, r"processor = 'network' stands for that of a network of transformers, and there is"),
        ({"processor": "bert"}, r"processor is 'bert'; write 'transformers:NAME' or 'transformers:\./FOLDER'\."),
        ({"processor": "vit"}, r"The Tokenizer of transformers:.*vit cannot be had .*Name a folder or a network that"),
        ({"labl": "x"}, r"Dataset 'arrow:.*' cannot be built with these options: .*'labl'\. It takes input, label, pr"),
        ({"label": "gold"}, r"has no column 'gold'; set the option label to one of its columns: label, text\."),
    ],
)
def test_what_texts_cannot_do_without_is_told(tmp_path, folder, options, text):
    if options.get("processor") == "vit":
        options = {"processor": f"transformers:{folder / 'vit'}"}
    with pytest.raises(DataError, match=text):
        load_splits(texts(tmp_path / "t"), options)


def test_labels_that_training_lacks_or_that_are_none_are_told(tmp_path, folder):
    asked = {"processor": f"transformers:{folder / 'bert'}"}
    parts = {
        name: datasets.Dataset.from_dict({"text": list(TEXTS), "label": labels})
        for name, labels in (("train", ["a", "b", "a"]), ("test", ["a", "c", "b"]))
    }
    with pytest.raises(DataError, match=r"test has the classes c, which train lacks"):
        load_splits(saved(tmp_path / "t", **parts), asked)
    with pytest.raises(DataError, match=r"The labels of arrow:.* are float; give one whole number or one name"):
        load_splits(texts(tmp_path / "f", text=list(TEXTS), label=[0.5, 1.5, 2.5]), asked)


def test_files_outside_of_the_folder_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.Image, "embed_storage", lambda self, storage, *_, **__: storage)
    outside = tmp_path / "secret.png"
    pictures(1)[0].save(outside)
    held = table(60, images=[{"path": str(outside), "bytes": None}] * 60)
    name = saved(tmp_path / "t", train=held.cast_column("image", datasets.Image(decode=False)))
    assert datasets.load_from_disk(str(tmp_path / "t"))["train"][0]["image"]["bytes"] is None
    with pytest.raises(DataError, match=r"names the file .*secret\.png' in place of holding it, and it is not in"):
        load_splits(name, {"size": 16})


def test_what_is_no_image_is_told(tmp_path):
    held = table(60, images=[{"path": None, "bytes": b"no image"}] * 60)
    with pytest.raises(DataError, match=r"An image cannot be decoded: cannot identify image .* Replace or remove"):
        load_splits(saved(tmp_path / "t", train=held), {"size": 16})


def test_images_of_several_sizes_need_one(tmp_path):
    images = [*pictures(30), *pictures(30, (8, 8))]
    with pytest.raises(DataError, match=r"Images have several sizes, such as 8 × 8 and 20 × 24; set the option size"):
        load_splits(saved(tmp_path / "t", train=table(60, images=images)))


def test_loading_leaves_a_folder_as_it_was_and_its_key_changes_with_it(tmp_path, folder):
    name = texts(tmp_path / "t")
    asked = {"processor": f"transformers:{folder / 'bert'}"}
    before = fingerprint(name, asked)
    load_splits(name, asked)
    assert fingerprint(name, asked) == before
    settings = folder / "bert" / "tokenizer_config.json"
    kept = settings.read_text()
    settings.write_text(kept.replace("24", "23"))
    assert fingerprint(name, asked) != before
    settings.write_text(kept)
    assert fingerprint(name, asked) == before
    texts(tmp_path / "t", text=["red"] * 60, label=[i % 3 for i in range(60)])
    assert fingerprint(name, asked) != before


def test_a_table_of_the_hub_is_asked_for_by_name_subset_and_revision(monkeypatch, tmp_path):
    asked = {}

    def load_dataset(name, subset, **more):
        asked.update(name=name, subset=subset, **more)
        return datasets.DatasetDict(train=table(), test=table(6))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    options = {"subset": "small", "revision": "v1", "cache_dir": str(tmp_path), "size": 16}
    assert load_splits("hf:someone/colours", options).samples["test"] == 6
    assert asked == {
        "name": "someone/colours",
        "subset": "small",
        "revision": "v1",
        "cache_dir": str(tmp_path),
    }
    one, other = (fingerprint("hf:someone/colours", {"revision": "v1", "cache_dir": place}) for place in ("/a", "/b"))
    assert one == other != fingerprint("hf:someone/colours", {"revision": "v2"})

    def down(*_, **__):
        raise ConnectionError("Couldn't reach 'someone/colours' on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", down)
    with pytest.raises(DataError, match=r"The data hf:someone/colours cannot be had \(ConnectionError: .*its folder"):
        load_splits("hf:someone/colours")


def test_a_library_that_is_not_installed_is_told_with_its_extra(monkeypatch, tmp_path):
    name = texts(tmp_path / "t")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"arrow:.* needs datasets, which is not installed: pip install sparsebe"):
        load_splits(name)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"'.*nothing' is no folder that save_to_disk"):
        load_splits(f"arrow:{tmp_path / 'nothing'}")
