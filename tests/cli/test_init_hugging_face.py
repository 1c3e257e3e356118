"""``sparsebench init`` and ``list`` where folders of Hugging Face and shards of webdataset lie."""

import datasets
import pytest
import tiny_transformers as tiny
import webdataset
from typer.testing import CliRunner

from sparsebench import load_config
from sparsebench.cli.app import app


def invoke(*arguments):
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    return tmp_path


def texts(classes):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=classes)})
    rows = {"text": ["red sky", "dark"] * 20, "label": [0, 1] * 20}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_network_and_a_table_become_a_config_that_a_dry_run_accepts(folder):
    tiny.bert(folder / "bert", classes=4)
    datasets.DatasetDict(train=texts(["a", "b"]), test=texts(["a", "b"])).save_to_disk("reviews")
    told = invoke("init", "-o", "sweep.toml")
    assert "transformers:./bert: a network of transformers, with weights" in told
    assert "reviews: a table of 2 columns (label, text) in the splits train, test" in told
    config = load_config("sweep.toml")
    (model,), (data,) = config.model, config.data
    assert (model.name, model.weights, model.new_head) == ("transformers:./bert", "pretrained", True)
    few = {"val_fraction": 0.25}  # Of few rows more are held out, so that each class is among them.
    assert (data.name, data.options) == ("arrow:reviews", few | {"processor": "transformers:./bert"})
    invoke("run", "sweep.toml", "--dry-run", "--set", "thresholds=0", "--set", "schemes=fp32", "--set", "seeds=0")


def test_a_network_for_as_many_classes_keeps_its_classifier(folder):
    tiny.bert(folder / "bert", classes=2)
    texts(["a", "b"]).save_to_disk("reviews")
    invoke("init", "-o", "sweep.toml")
    assert not load_config("sweep.toml").model[0].new_head


def test_shards_without_a_network_are_fitted_for_a_small_one(folder):
    (folder / "shards").mkdir()
    with webdataset.TarWriter(str(folder / "shards" / "train-0.tar")) as writer:
        writer.write({"__key__": "a", "png": b"", "cls": 1})
    told = invoke("init", "-o", "sweep.toml")
    assert "shards/*.tar: 1 shard with cls, png of each sample" in told
    (data,) = load_config("sweep.toml").data
    assert (data.name, data.options) == ("webdataset:shards/*.tar", {"size": 64})


def test_other_folders_and_archives_are_left_alone(folder):
    (folder / "odd").mkdir()
    (folder / "odd" / "config.json").write_text("[1")
    (folder / "odd" / "x.tar").write_bytes(b"no archive")
    assert "arrow:" not in (told := invoke("init", "-o", "sweep.toml"))
    assert "transformers:" not in told
    assert load_config("sweep.toml").data[0].name == "digits"


def test_names_of_the_new_sources_are_listed_with_what_follows_them():
    data, models = invoke("list", "data"), invoke("list", "models")
    for name in ("hf:NAME", "arrow:PATH", "webdataset:PATTERN"):
        assert name in data
    assert "transformers:NAME" in models
