"""Records of the time before digests are read, and get theirs with the next start; one that lost its own is not."""

import json
import re

import pytest
from keyed import without_digests
from stored_runs import files, left_out

from sparsebench.errors import StoreError
from sparsebench.store.run_directory import Store, read_back
from sparsebench.store.taking_over import take_over


def test_records_of_old_are_read_and_get_their_digests_with_the_next_start(root):
    before = read_back(root)
    without_digests(root)
    assert read_back(root) == before
    take_over(Store(root))
    assert read_back(root) == before
    for path in (root / "run.json", *root.glob("*/*/result.json")):
        assert re.search(rb',\n "digest": "[0-9a-f]{64}"\n}\n$', path.read_bytes())
    path = files(root, "evaluate")[0]
    path.write_text(path.read_text().replace('"samples": 400', '"samples": 399'))
    assert left_out(root).keys() == {("evaluate", path.parent.name)}, "from now on a change is found"


def drop_digest(path):
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_text(json.dumps(content, indent=1) + "\n")


def test_a_record_without_its_digest_is_not_believed_where_the_run_has_one(root):
    path = files(root, "evaluate")[0]
    drop_digest(path)
    for _ in range(2):
        assert left_out(root) == {
            ("evaluate", path.parent.name): "it has no digest, which every record has: it was changed, or its end was "
            "cut off"
        }
        take_over(Store(root))


def test_a_run_without_its_digest_whose_records_have_theirs_is_refused_by_who_only_reads_it(root):
    path = files(root, "compress")[0]
    drop_digest(root / "run.json")
    drop_digest(path)
    with pytest.raises(StoreError, match=r"run\.json has no digest, and records of the run have: it was changed, or"):
        read_back(root)
    take_over(Store(root))
    assert left_out(root).keys() == {("compress", path.parent.name)}, "no process was killed on its way through them"


def test_who_was_killed_while_records_got_their_digests_goes_on_with_that(root):
    before = read_back(root)
    places = [path for kind in ("train", "compress", "evaluate", "measure") for path in files(root, kind)]
    for path in (root / "run.json", *places[5:]):
        drop_digest(path)
    take_over(Store(root))
    assert read_back(root) == before
