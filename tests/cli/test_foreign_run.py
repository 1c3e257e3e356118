"""A run directory that somebody else prepared: no code of it runs, nothing is written elsewhere, no terminal driven.

Its records are forged consistently, digests, keys and all, so that nothing is found by those.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import Bench, stored
from keyed import with_keys
from sweeps import sparsebench

from sparsebench import load_run
from sparsebench.errors import SparsebenchError
from sparsebench.export import export_trial
from sparsebench.store.directory import Store
from sparsebench.store.records import Run
from sparsebench.store.sealing import sealed
from sparsebench.store.written import digest_of, stage_key
from sparsebench.trust import named_by, require_trusted

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"

PWNED = """
from pathlib import Path
Path("PWNED").touch()
def anything(*args, **kwargs):
    Path("PWNED").touch()
Trainer = anything
"""


def train_settings(**changes):
    """The settings of a training stage, as far as an export reads them."""
    return {
        "model": {"name": "small_cnn", "options": {}, "source": None},
        "data": {"name": "digits", "options": {}, "collate": None},
        "train": {"trainer": "default"},
        "pruner": None,
        "prune": None,
        "threshold": 0.0,
        "seed": 0,
        **changes,
    }


def run_with(root: Path, settings) -> Path:
    """Write a run of one trial whose training has these settings."""
    made = with_keys(Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build())
    (old,) = made.trials
    train = replace(old.train, settings=settings, key=stage_key("train", settings, None))
    parent, records = train, [train]
    keys = {"train": train.key}
    for kind in ("compress", "evaluate"):
        record = getattr(old, kind)
        key = stage_key(kind, record.settings, parent.key)
        record = replace(record, parent=parent.key, key=key, built_on=digest_of(parent))
        records.append(record)
        keys[kind] = key
        parent = record if kind == "compress" else parent
    store = Store(root)
    for record in records:
        store.write(record)
    names = {name: settings[name]["name"] for name in ("model", "data")}
    asked = replace(old.trial, measure=(), **names, **keys)
    store.write_run(replace(made.record, trials=(asked,)))
    return root


@pytest.fixture
def place(tmp_path):
    """A folder to work in, with a module that says where it was imported, and somebody's own files."""
    (tmp_path / "pwned.py").write_text(PWNED)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "reports").mkdir()
    return tmp_path


def untouched(place):
    assert not (place / "PWNED").exists()
    assert (place / "README.md").read_text() == "mine"
    assert not list(place.rglob("*.pyc")), "nothing of it was imported"


REFERENCES = {
    "trainer": train_settings(train={"trainer": "pwned:Trainer"}),
    "model": train_settings(model={"name": "pwned:anything", "options": {}, "source": None}),
    "dataset": train_settings(data={"name": "pwned:anything", "options": {}, "collate": None}),
    "collate function": train_settings(data={"name": "digits", "options": {}, "collate": "pwned:anything"}),
    "function of the system": train_settings(
        data={"name": "digits", "options": {}, "collate": {"name": "subprocess:getoutput", "options": {}}}
    ),
    "folder": train_settings(data={"name": "imagefolder:x", "options": {"cache_dir": "/tmp/out"}, "collate": None}),  # noqa: S108
    "checkpoint": train_settings(
        model={"name": "timm:resnet18", "options": {"checkpoint_path": "/x.pth"}, "source": None}
    ),
    "network of the hub": train_settings(model={"name": "transformers:a/b", "options": {}, "source": None}),
    "dataset of the hub": train_settings(data={"name": "hf:a/b", "options": {}, "collate": None}),
    "processor of the hub": train_settings(
        data={"name": "arrow:x", "options": {"processor": "transformers:gpt2"}, "collate": None}
    ),
}


@pytest.mark.parametrize(("what", "settings"), REFERENCES.items(), ids=REFERENCES)
def test_code_and_folders_that_records_name_are_not_used_before_somebody_trusts_them(place, what, settings):
    root = run_with(place / "runs/mine", settings)
    found = [name for _, name in named_by(settings)]
    assert len(found) == 1
    with pytest.raises(SparsebenchError, match=rf"name what is not of sparsebench.*'{re.escape(found[0])}'") as refused:
        export_trial(root, "fp32", "pt2", place / "net.pt2")
    assert str(refused.value).endswith("give --trust, or trust=True from Python.")
    with pytest.raises(SparsebenchError, match="give --sparsebench-trust"):
        require_trusted(settings, ["another:thing"], "give --sparsebench-trust")
    require_trusted(settings, found, "")
    untouched(place)


def test_no_command_imports_what_records_name(place):
    root = run_with(place / "runs/mine", REFERENCES["model"])
    shutil.copytree(root, place / "runs/other")
    for arguments in (
        ("report", "mine", "--html"),
        ("pick", "mine"),
        ("compare", "mine", "other"),
        ("export", "mine", "fp32", "--to", "pt2", "-o", "net.pt2"),
    ):
        done = sparsebench(*arguments, cwd=place)
        assert "Traceback" not in done.stderr, done.stderr
        untouched(place)
    assert done.returncode == 2
    assert "model 'pwned:anything'" in done.stderr


def test_the_next_command_works_when_it_is_pasted(place):
    run_with(place / "runs/mine", REFERENCES["model"])
    told = sparsebench("pick", "mine", cwd=place).stdout
    command = next(line for line in told.splitlines() if "sparsebench export" in line)
    assert command.strip().endswith(" --trust")
    run_with(place / "runs/plain", train_settings())
    assert "--trust" not in sparsebench("pick", "plain", cwd=place).stdout


NAMES = ("..", "../..", "/tmp/x", "a/../../b", ".hidden", "x\ny", "")  # noqa: S108


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_in_run_json_never_says_where_a_report_is_written(place, name):
    root = stored(Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build(), place / "runs/mine")
    content = json.loads((root / "run.json").read_text())
    del content["digest"]
    content["name"] = name
    (root / "run.json").write_bytes(sealed(json.dumps(content).encode()))
    before = {path for path in place.rglob("*") if path.is_file()}
    done = sparsebench("report", "mine", cwd=place)
    assert done.returncode == 2
    assert "run.json is not believed: name is " in done.stderr
    assert {path for path in place.rglob("*") if path.is_file()} == before


def test_a_report_is_called_as_its_directory_and_leaves_a_readme_alone_that_is_not_ours(place):
    stored(Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build(), place / "runs/mine")
    done = sparsebench("report", "runs/mine", cwd=place)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (place / "reports").iterdir()] == ["mine"]
    assert sparsebench("report", "runs/mine", cwd=place).returncode == 0, "its own it writes over"
    done = sparsebench("report", "runs/mine", "--output", ".", cwd=place)
    assert done.returncode == 2
    assert "README.md was not written by sparsebench, and is not written over. Choose another folder" in done.stderr
    assert (place / "README.md").read_text() == "mine"
    assert not (place / "data.csv").exists()


def test_names_and_texts_of_records_drive_no_terminal(place):
    bench = Bench(
        thresholds=(0.0,), schemes=("fp32",), seeds=(0,), pairs=((f"net{ESCAPES}", "digits"), ("b", f"digits{ESCAPES}"))
    )
    stored(bench.build(), place / "runs/mine")
    stored(bench.build(), place / "runs/other")
    for arguments in (
        ("pick", "mine"),
        ("pick", "mine", "--model", "b"),
        ("pick", "mine", "--model", "b", "--json"),
        ("compare", "mine", "other"),
        ("compare", "mine", "other", "--by", "trial", "--json"),
        ("export", "mine", "nothing", "--to", "pt2", "-o", "x.pt2"),
    ):
        done = sparsebench(*arguments, cwd=place)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr), (arguments, done)
        if "json" in arguments[-1]:
            assert repr(ESCAPES)[1:-1] in str(json.loads(done.stdout)), "in JSON the escapes mean what they were"


def test_a_run_whose_records_are_damaged_is_shown_without_them_and_says_so(place):
    root = stored(Bench(thresholds=(0.0, 0.5), seeds=(0,)).build(), place / "runs/mine")
    path = next(root.glob("evaluate/*/result.json"))
    path.write_text(path.read_text().replace('"samples": 400', '"samples": 4000'))
    for arguments in (("report", "mine"), ("pick", "mine"), ("compare", "mine", "mine")):
        done = sparsebench(*arguments, cwd=place)
        said = "sparsebench: 1 record is not believed and left out of runs/mine: evaluate "
        assert f"{said}{path.parent.name[:12]} (it is not as it was written: its digest differs)" in done.stderr
        assert "Traceback" not in done.stderr
    assert "4,000" not in (place / "reports/mine/README.md").read_text()


def test_what_was_left_out_stands_in_the_run_that_python_gets(place):
    root = stored(Bench(thresholds=(0.0,), seeds=(0,)).build(), place / "runs/mine")
    next(root.glob("train/*/result.json")).write_text("{}")
    with pytest.warns(UserWarning, match="1 record is not believed"):
        run = load_run(root)
    assert isinstance(run, Run)
    assert str(run.left_out[0]).startswith("train ")
