"""The run directory: what is written is there whole, and what is read is never misread."""

import json

import pytest
from handmade import Bench, stage_record, stored
from keyed import without_digests

from sparsebench.errors import RecordSchemaError, StoreError, UnreadableRecordError
from sparsebench.store.records import Failure
from sparsebench.store.results import EvaluateResult, pack_bits, unpack_bits
from sparsebench.store.run_directory import Store, load_run
from sparsebench.store.sealing import sealed


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    store = Store(tmp_path / "run")
    record = stage_record(
        result=EvaluateResult(
            samples=3, top1=2 / 3, top1_low=0.2, top1_high=0.9, top5=None, correct_bits=pack_bits([True, False, True])
        )
    )
    store.write(record)
    assert store.read("evaluate", record.key) == record


def test_a_stage_that_was_not_committed_is_none(tmp_path):
    assert Store(tmp_path).read("train", "0" * 64) is None


def test_a_half_written_stage_does_not_count(tmp_path):
    store = Store(tmp_path)
    folder = store.directory("evaluate", "k")
    folder.mkdir(parents=True)
    (folder / ".result.json.abc").write_text("{")
    assert store.read("evaluate", "k") is None


def test_a_record_of_another_schema_version_is_refused_never_misread(tmp_path):
    store = Store(tmp_path)
    record = stage_record()
    store.write(record)
    path = store.directory("evaluate", record.key) / "result.json"
    content = json.loads(path.read_text())
    content["schema_version"] = 999
    del content["digest"]
    path.write_bytes(sealed(json.dumps(content).encode()))
    with pytest.raises(
        RecordSchemaError,
        match=r"was written under schema version 999; this sparsebench reads version \d+\. "
        r"Use the sparsebench that wrote it, or give the run another name\.",
    ):
        store.read("evaluate", record.key)


def test_a_record_that_is_no_json_is_refused_with_the_remedy(tmp_path):
    store = Store(tmp_path)
    record = stage_record()
    store.write(record)
    (store.directory("evaluate", record.key) / "result.json").write_text('{"schema_version": 1, ')
    with pytest.raises(UnreadableRecordError, match=r"is not believed: it has no digest.*Start the run again"):
        store.read("evaluate", record.key)


def test_a_run_directory_that_cannot_be_written_says_so_and_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError,
        match=r"Cannot write run directory .*Choose another place with --runs-dir, or mend its permissions\.",
    ):
        Store(tmp_path / "file" / "run")


def test_an_artifact_that_was_changed_is_found_by_its_digest(tmp_path):
    store = Store(tmp_path)
    digest = store.save_artifact("evaluate", "k", "a.bin", lambda path: path.write_bytes(b"right"))
    record = stage_record(key="k", artifacts={"a.bin": digest})
    assert store.artifact(record, "a.bin") == b"right"
    (store.directory("evaluate", "k") / "a.bin").write_bytes(b"wrong")
    with pytest.raises(StoreError, match=r"is not what was recorded: its SHA-256 differs\. Start the run again"):
        store.artifact(record, "a.bin")


def test_an_artifact_whose_writing_fails_leaves_nothing_behind(tmp_path):
    store = Store(tmp_path)

    def fail(path):
        path.write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.save_artifact("train", "k", "a.bin", fail)
    assert list(store.directory("train", "k").iterdir()) == []


def test_a_directory_without_a_run_says_what_to_give(tmp_path):
    with pytest.raises(StoreError, match=r"holds no run: .*for example runs/default\."):
        load_run(tmp_path)


@pytest.mark.parametrize("flags", [[], [True], [False] * 9, [True, False] * 50, [True] * 8])
def test_correctness_bits_survive_packing(flags):
    assert unpack_bits(pack_bits(flags), len(flags)) == tuple(flags)


def test_where_a_stage_stands_is_told_without_reading_its_record_whole(tmp_path):
    store, record = Store(tmp_path), stage_record()
    assert store.standing("evaluate", record.key) is None
    store.write(record)
    assert store.standing("evaluate", record.key) == "done"
    store.directory("evaluate", "cd" * 32).mkdir()  # begun and not committed
    asked = [("evaluate", record.key), ("evaluate", "cd" * 32), ("train", "ef" * 32)]
    assert store.standings(asked) == {record.key: "done"}
    store.write(stage_record(status="failed", failure=Failure(error="E", message="no", traceback="")))
    assert store.standing("evaluate", record.key) == "failed"


@pytest.mark.parametrize("settings", [{"status": "done"}, {'"status": "done",': "\n"}, {"x": '\n "status": "done",\n'}])
def test_no_text_in_a_record_passes_for_its_state(tmp_path, settings):
    failure = Failure(error="E", message="no", traceback='\n "status": "done",\n')
    store, record = Store(tmp_path), stage_record(status="failed", settings=settings, failure=failure)
    store.write(record)
    assert store.standing("evaluate", record.key) == "failed"


def test_a_record_of_old_is_read_however_it_is_laid_out_and_one_of_today_as_it_was_written_alone(tmp_path):
    root = stored(Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build(), tmp_path / "run")
    path = next(root.glob("evaluate/*/result.json"))
    key, whole = path.parent.name, path.read_bytes()
    written = Store(root).read("evaluate", key)
    path.write_text(json.dumps(json.loads(whole)))
    with pytest.raises(UnreadableRecordError, match="it has no digest, which every record has"):
        Store(root).read("evaluate", key)
    assert Store(root).standing("evaluate", key) == "unreadable"
    without_digests(root)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert Store(root).standing("evaluate", key) == "done"
    assert Store(root).read("evaluate", key) == written
    content = json.loads(path.read_text()) | {"schema_version": 999}
    path.write_text(json.dumps(content))
    with pytest.raises(RecordSchemaError):
        Store(root).standing("evaluate", key)


def test_a_full_disk_that_a_library_in_another_language_tells_of_is_known_as_one(tmp_path):
    def write(path):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(StoreError, match=r"Cannot write .*: No space left on device\. Free some space or mend"):
        Store(tmp_path).save_artifact("train", "k", "a.bin", write)
