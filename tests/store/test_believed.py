"""Which records are believed: those that are as they were written, in their place, and possible."""

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from handmade import measured, stage_record
from keyed import with_keys
from stored_runs import BENCH, files, left_out

from sparsebench.errors import LeftOutWarning, StoreError, UnreadableRecordError
from sparsebench.store.bits import pack_bits
from sparsebench.store.results import EpochRecord, EvaluateResult
from sparsebench.store.run_directory import Store, load_run, read_starts
from sparsebench.store.sealing import parsed, sealed, stage_adapter, written
from sparsebench.store.written import stage_key


def forged(path, change):
    """Change a record and give it the digest that it then has."""
    content = json.loads(path.read_text())
    content.pop("digest")
    change(content)
    path.write_bytes(sealed(json.dumps(content, indent=1).encode()))


def test_every_byte_of_a_record_counts(root):
    path = files(root, "evaluate")[0]
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UnreadableRecordError):
            Store(root).read("evaluate", path.parent.name)
        assert Store(root).standing("evaluate", path.parent.name) == "unreadable"


def test_a_changed_record_is_left_out_and_named_and_all_others_are_there(root):
    path = files(root, "evaluate")[0]
    path.write_text(path.read_text().replace('"samples": 400', '"samples": 399'))
    with pytest.warns(
        LeftOutWarning, match=rf"1 record is not believed .*: evaluate {path.parent.name[:12]} \(it is not"
    ):
        run = load_run(root)
    assert sorted(trial.status for trial in run.trials) == ["done", "done", "done", "pending"]
    assert [(one.stage, one.key) for one in run.left_out] == [("evaluate", path.parent.name)]


def test_records_that_changed_places_are_not_believed(root):
    first, second = files(root, "evaluate")[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert left_out(root).keys() == {("evaluate", first.parent.name), ("evaluate", second.parent.name)}


def test_a_record_that_says_the_key_of_its_new_place_has_not_the_settings_for_it(root):
    first, second = files(root, "evaluate")[:2]
    first.write_bytes(second.read_bytes())
    forged(first, lambda content: content.update(key=first.parent.name))
    assert left_out(root) == {
        ("evaluate", first.parent.name): "its key is not that of its settings and of what it builds on"
    }


def into(content, **changes):
    content["result"].update(changes)


IMPOSSIBLE = {
    "top-1 of 2.5": (
        "evaluate",
        lambda c: into(c, top1=2.5),
        r"result\.evaluate\.top1 is 2\.5: it should be",
    ),
    "samples of −5": ("evaluate", lambda c: into(c, samples=-5), r"samples is -5"),
    "text for a number": ("evaluate", lambda c: into(c, samples="400"), r"samples is '400'"),
    "NaN": ("evaluate", lambda c: into(c, top1=float("nan")), r"top1 is nan"),
    "done without a result": ("evaluate", lambda c: c.update(result=None), "it is done, and has no result"),
    "a result of another kind": (
        "evaluate",
        lambda c: c.update(result={"kind": "sensitivity", "samples": 1, "dense_accuracy": 1.0, "points": []}),
        "it is of evaluate, and its result of sensitivity",
    ),
    "an artifact elsewhere": (
        "train",
        lambda c: c.update(artifacts={"../../etc/passwd": "0" * 64}),
        r"artifacts\.\.\./\.\./etc/passwd.* is '\.\./\.\./etc/passwd'",
    ),
    "an interval beside the accuracy": ("evaluate", lambda c: into(c, top1_low=0.99), "outside of its inte"),
    "samples of another number": (
        "evaluate",
        lambda c: into(c, samples=5),
        "says of another number whether",
    ),
    "a bomb of bits": (
        "evaluate",
        lambda c: into(c, correct_bits=pack_bits([True] * 10**6)),
        "another numb",
    ),
    "more zeros than weights": (
        "train",
        lambda c: c["result"]["layers"][0].update(zeros=10**6),
        "zeros in layer 'conv",
    ),
    "a huge count": ("compress", lambda c: c["result"]["size"].update(file_bytes=10**30), "file_bytes is 1000"),
    "percentiles that cross": ("measure", lambda c: into(c, p95_ms=99.0), "95th percentile 99 ms is above"),
    "a speedup outside": (
        "measure",
        lambda c: c["result"]["against"].update(low=90.0),
        r"outside of its interval \[90",
    ),
    "weights of no processes": (
        "measure",
        lambda c: c["result"]["session"].update(weights=[0.5, 0.6]),
        "no shares of 1",
    ),
    "weights of other processes": (
        "measure",
        lambda c: c["result"]["session"].update(weights=[0.25] * 4),
        "of 4 processes, and speedups of another number",
    ),
    "a time of no calendar": ("train", lambda c: c.update(started_at="soon"), "started_at is 'soon'"),
    "another parent": ("evaluate", lambda c: c.update(parent="0" * 64), "its key is not that of its settings"),
    "a version beyond names": (
        "train",
        lambda c: c["environment"].update(versions={"../x": "1"}),
        r"versions.* is '\.\./x'",
    ),
}


@pytest.mark.parametrize(("kind", "change", "why"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_is_impossible_is_not_believed_even_with_a_digest_of_its_own(root, kind, change, why):
    path = files(root, kind)[0]
    forged(path, change)
    found = left_out(root)
    assert re.search(why, found[kind, path.parent.name]), found
    with pytest.raises(UnreadableRecordError, match=r"Start the run again: it makes what is damaged anew\.$"):
        Store(root).read(kind, path.parent.name)


def test_what_was_built_on_something_else_contradicts_what_is_there(root):
    path = files(root, "compress")[0]
    forged(path, lambda content: content.update(artifacts={"a.bin": "0" * 64}))
    children = {("evaluate", f.parent.name) for f in files(root, "evaluate")}
    assert not left_out(root), "records of old do not say what they were built on"
    child = next(f for f in files(root, "evaluate") if json.loads(f.read_text())["parent"] == path.parent.name)
    forged(child, lambda content: content.update(built_on="1" * 64))
    found = left_out(root)
    assert found == {("evaluate", child.parent.name): "it was built on something else than what is there now"}
    assert found.keys() < children


def test_a_trial_with_the_stage_of_another_is_found_by_the_records(root):
    def swap(content):
        first, second = content["trials"][:2]
        first["evaluate"], second["evaluate"] = second["evaluate"], first["evaluate"]

    forged(root / "run.json", swap)
    found = left_out(root)
    assert set(found.values()) == {"run.json names it in a trial of another network"}
    assert len(found) == 2


def test_a_trial_that_calls_itself_another_is_found_by_the_records(tmp_path):
    run = with_keys(BENCH.build())
    store, named = Store(tmp_path), {}
    for trial in run.trials:
        settings = {"threshold": trial.trial.threshold, "seed": 0, "model": {"name": "small_cnn"}}
        named[trial.trial.train] = replace(
            trial.train, settings=settings, key=stage_key("train", settings, None), parent=None
        )
    for record in named.values():
        store.write(record)
    trials = tuple(
        replace(t.trial, train=named[t.trial.train].key, compress=None, evaluate=None, measure=(), threshold=0.9)
        for t in run.trials
    )
    store.write_run(replace(run.record, trials=trials))
    assert set(left_out(tmp_path).values()) == {"run.json says another threshold of it"}


def test_a_session_is_what_most_of_its_records_say(root):
    path = files(root, "measure")[0]
    forged(path, lambda content: content["result"]["session"].update(networks=3))
    assert left_out(root) == {
        ("measure", path.parent.name): "it says something else of its session than the other records of it"
    }


@pytest.mark.parametrize("what", ["link", "folder", "pipe", "large"])
def test_what_is_no_plain_file_is_no_record_and_nothing_waits_for_it(root, tmp_path, what, monkeypatch):
    path = files(root, "evaluate")[0]
    if what == "large":
        monkeypatch.setattr("sparsebench.store.disk.MOST_BYTES", 1)
        path.write_bytes(b" " * (2**28 + 2))
    else:
        path.rename(tmp_path / "elsewhere.json")
        {"link": path.symlink_to, "folder": lambda _: path.mkdir(), "pipe": lambda _: os.mkfifo(path)}[what](
            tmp_path / "elsewhere.json"
        )
    assert left_out(root).keys() == {("evaluate", path.parent.name)}
    assert Store(root).standing("evaluate", path.parent.name) == "unreadable"


def test_an_artifact_that_is_a_link_is_not_followed(root, tmp_path):
    store = Store(root)
    (tmp_path / "own").write_text("right")
    record = store.read("train", files(root, "train")[0].parent.name)
    digest = store.save_artifact("train", record.key, "a.bin", lambda path: path.write_text("right"))
    record = replace(record, artifacts={"a.bin": digest})
    assert store.artifact(record, "a.bin") == b"right"
    path = store.directory("train", record.key) / "a.bin"
    path.unlink()
    path.symlink_to(tmp_path / "own")
    with pytest.raises(StoreError, match=r"a\.bin is a link to elsewhere, no file\. Start the run again"):
        store.artifact(record, "a.bin")
    assert store.damage(record) == "a.bin is a link to elsewhere, no file"


def test_nothing_is_written_through_links_out_of_a_run_directory(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own.txt").write_text("mine")
    root = tmp_path / "run"
    root.mkdir()
    (root / "evaluate").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is reached through a link that leads elsewhere, and nothing is wr"):
        Store(root).write(stage_record())
    (root / "evaluate").unlink()
    folder = root / "evaluate" / stage_record().key
    folder.mkdir(parents=True)
    (folder / "network.pth").symlink_to(tmp_path / "own.txt")
    (folder / "result.json").symlink_to(tmp_path / "own.txt")
    os.mkfifo(folder / "pipe")
    Store(root).write(stage_record())
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert (tmp_path / "own.txt").read_text() == "mine"
    assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "\0", "C:\\x"])
def test_a_key_that_is_no_name_leads_nowhere(tmp_path, name):
    with pytest.raises(StoreError, match="is no name in a run directory"):
        Store(tmp_path).directory("train", name)
    with pytest.raises(StoreError, match="is no name in a run directory"):
        Store(tmp_path).read("train", name)


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    scored = EvaluateResult(samples=4, top1=float("nan"), top1_low=0.0, top1_high=1.0, top5=None, correct_bits=None)
    with pytest.raises(UnreadableRecordError, match="it has no accuracy, and no other metric"):
        Store(tmp_path).write(stage_record(result=scored))
    with pytest.raises(UnreadableRecordError, match=r"cannot be written: .*surrogates"):
        Store(tmp_path).write(stage_record(settings={"name": "\ud800"}))
    assert not list(tmp_path.iterdir())


def test_numbers_of_an_epoch_that_are_none_are_no_reason_to_refuse_a_training():
    run = with_keys(BENCH.build())
    train = run.trials[0].train
    epoch = EpochRecord(epoch=1, train_loss=float("nan"), val_loss=float("inf"), val_accuracy=None, threshold=0.0)
    raw = written(replace(train, result=replace(train.result, history=(epoch,))))
    (again,) = parsed("it", raw, stage_adapter()).result.history
    assert (again.train_loss, again.val_loss, again.val_accuracy, again.threshold) == (None, None, None, 0.0)


def test_a_start_of_no_time_is_passed_over(tmp_path):
    (tmp_path / "starts").mkdir()
    for name in ("99999999T999999.999999Z-00000000", "20260101T000000.000000Z-0123abcd", "x"):
        (tmp_path / "starts" / name).touch()
    assert read_starts(tmp_path) == (datetime(2026, 1, 1, tzinfo=UTC),)


def test_a_latency_of_another_batch_size_than_its_settings_is_not_believed(tmp_path):
    found = measured("fp32", "eager", 0, 1, 1, baseline="0" * 64, eager="0" * 64)
    Store(tmp_path).write(stage_record(stage="measure", settings={"batch_size": 1, "threads": 1}, result=found))
    with pytest.raises(UnreadableRecordError, match="its batch_size is not the one in its settings"):
        Store(tmp_path).write(stage_record(stage="measure", settings={"batch_size": 2}, result=found))
