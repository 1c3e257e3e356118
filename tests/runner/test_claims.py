"""Claims: one driver at a stage, taken over from those that are gone, whatever clocks say."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from handmade import stage_record

from sparsebench.errors import StoreError
from sparsebench.runner.plan import Stage
from sparsebench.runner.sharing.claims import CLAIM, UNWRITTEN_SECONDS, Claims, clear_claims, machine
from sparsebench.store.run_directory import Store


def stage(key="a"):
    return Stage(kind="train", key=key, parent=None, settings={}, label=key)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "run")


@pytest.fixture
def driver(store):
    with closing(Claims(store)) as claims:
        yield claims


def claim_file(store, key="a"):
    return store.directory("train", key) / CLAIM


def claimed_elsewhere(store, key="a"):
    """Claim a stage as a driver on another machine would."""
    path = claim_file(store, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"driver": "theirs", "machine": "far", "host": "node07", "pid": 1, "began": 1}))
    return path


# Takes what it can of so many stages, says how much that was, and waits to be killed or to be told to go.
TAKER = """
import sys
from pathlib import Path
from sparsebench.runner.sharing.claims import Claims
from sparsebench.runner.plan import Stage
from sparsebench.store.run_directory import Store

claims = Claims(Store(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
stages = [Stage(kind="train", key=str(n), parent=None, settings={}, label="") for n in range(int(sys.argv[2]))]
print(*(stage.key for stage in stages if claims.take([stage])), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def takers(store):
    """Start processes that take claims at one time, and return them with what each took."""
    started = []

    def take(processes, stages):
        new = [
            subprocess.Popen(
                [sys.executable, "-c", TAKER, str(store.root), str(stages)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        started.extend(new)
        for process in new:
            assert process.stdout.readline() == "ready\n"
        for process in new:
            process.stdin.write("\n")
            process.stdin.flush()
        return new, [process.stdout.readline().split() for process in new]

    yield take
    for process in started:
        process.kill()
        process.communicate()


def test_of_several_processes_one_gets_each_claim(takers):
    _, taken = takers(processes=3, stages=200)
    assert sorted(key for keys in taken for key in keys) == sorted(map(str, range(200)))


def test_claims_of_a_killed_process_are_taken_over_at_once_and_by_one_alone(takers):
    (dead,), (all_of_them,) = takers(processes=1, stages=300)
    dead.send_signal(signal.SIGKILL)  # Not waited for: a process that is dead but not buried has no claims either.
    while (Path("/proc") / str(dead.pid) / "stat").exists() and dead.poll() is None:
        time.sleep(0.01)
    _, taken = takers(processes=3, stages=300)
    assert len(all_of_them) == 300
    assert sorted(key for keys in taken for key in keys) == sorted(all_of_them)


def test_who_dies_while_taking_over_leaves_a_claim_that_is_taken_over_too(store, takers):
    (dead,), (keys,) = takers(processes=1, stages=20)
    dead.kill()
    dead.wait()
    for key in keys:
        claim = claim_file(store, key)
        claim.with_name(f".{claim.name}").write_bytes(claim.read_bytes())
    started, taken = takers(processes=3, stages=20)
    assert sorted(key for keys in taken for key in keys) == sorted(keys)
    owners = {json.loads(claim_file(store, key).read_text())["pid"] for key in keys}
    assert owners <= {process.pid for process in started}
    assert {path.name for path in store.root.rglob("*claim*")} == {CLAIM}


def test_a_claim_of_a_living_process_stays_its_own_however_long_it_is_untouched(store, driver):
    now = [0.0]
    with closing(Claims(store, clock=lambda: now[0])) as other:
        assert driver.take([stage()])
        assert not other.take([stage()])
        now[0] += 1e6
        assert not other.take([stage()])
        assert other.holder(stage()).startswith(f"process {os.getpid()} on ")


def test_a_claim_that_is_given_back_is_free(store, driver):
    with closing(Claims(store)) as other:
        assert other.take([stage()])
        other.release([stage()])
        assert driver.take([stage()])
    assert claim_file(store).exists(), "the one who gave it back does not take another's"
    driver.close()
    assert not list(store.root.rglob("*claim*"))


def test_stages_that_are_done_together_are_claimed_all_or_not_at_all(store, driver):
    with closing(Claims(store)) as other:
        assert other.take([stage("b")])
        assert not driver.take([stage("a"), stage("b"), stage("c")])
        assert other.take([stage("a"), stage("c")])


def test_a_claim_of_another_machine_is_taken_over_once_it_is_touched_no_longer(store):
    path, now = claimed_elsewhere(store), [0.0]
    with closing(Claims(store, patience_seconds=60, clock=lambda: now[0])) as claims:
        for _ in range(5):  # touched all the while
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
            assert not claims.take([stage()])
            now[0] += 50
        now[0] += 11
        assert claims.take([stage()])


def test_a_clock_that_is_set_back_takes_no_claim_from_anybody(store):
    path, now = claimed_elsewhere(store), [0.0]
    with closing(Claims(store, patience_seconds=60, clock=lambda: now[0])) as claims:
        for years_ago in range(5):
            os.utime(path, (0, 1e9 - years_ago * 3e7))
            assert not claims.take([stage()])
            now[0] += 50


@pytest.mark.parametrize(
    ("content", "patience"), [(b"", UNWRITTEN_SECONDS), (b'{"driver": "', 60)], ids=["not at all", "in part"]
)
def test_a_claim_that_was_never_written_whole_is_taken_over_and_soon_where_it_is_empty(store, content, patience):
    path, now = claimed_elsewhere(store), [0.0]
    path.write_bytes(content)
    with closing(Claims(store, patience_seconds=60, clock=lambda: now[0])) as claims:
        assert not claims.take([stage()])
        assert claims.holder(stage()) is None
        now[0] += patience
        assert not claims.take([stage()])
        now[0] += 1
        assert claims.take([stage()])


def test_a_driver_that_was_stopped_for_too_long_does_not_take_back_what_was_taken_over(store, driver):
    assert driver.take([stage()])
    path = claimed_elsewhere(store)
    driver.release([stage()])
    assert json.loads(path.read_text())["driver"] == "theirs"


def test_claims_are_touched_while_they_are_held(store):
    with closing(Claims(store, beat_seconds=0.02)) as claims:
        claims.take([stage()])
        before = claim_file(store).stat().st_mtime_ns
        deadline = time.monotonic() + 20
        while claim_file(store).stat().st_mtime_ns == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert claim_file(store).stat().st_mtime_ns > before


def test_a_claim_that_cannot_be_written_says_so(store, driver):
    store.root.mkdir()
    (store.root / "train").write_text("a file where a directory should be")
    with pytest.raises(StoreError, match=r"Cannot write .*claim\.json: .*start again, and the run continues"):
        driver.take([stage()])


def own_claim(**changes):
    """A claim as a process of this machine makes it, but for what ``changes`` say."""
    fields = {"driver": "theirs", "machine": machine(), "host": "here", "pid": os.getpid(), "began": None}
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(own_claim(pid=pid) for pid in (0, -1, 10**30, 2**31, "1", 1.5, None, True)),
        *(own_claim(began=began) for began in (None, -1, "x", 10**30)),
        *(own_claim(host=[]), own_claim(machine={}), b"[]", b"null", b"\xff\xfe", b"[" * 10**5),
    ],
    ids=range(18),
)
def test_a_claim_that_no_driver_of_ours_would_make_is_taken_over_like_any_that_is_touched_no_longer(store, content):
    path, now = claimed_elsewhere(store), [0.0]
    path.write_bytes(content)
    with closing(Claims(store, patience_seconds=60, clock=lambda: now[0])) as claims:
        assert not claims.take([stage()])
        assert claims.holder(stage()) in (None, f"process {os.getpid()} on here")
        now[0] += 61
        assert claims.take([stage()])


@pytest.mark.parametrize("what", ["folder", "full folder", "pipe", "link", "link to nothing"])
def test_what_is_no_file_where_a_claim_should_be_is_taken_over_and_nobody_waits_for_it(store, tmp_path, what):
    path, now = claim_file(store), [0.0]
    path.parent.mkdir(parents=True)
    own = tmp_path / "own.json"
    own.write_text("mine")
    if "folder" in what:
        path.mkdir()
        if what == "full folder":
            (path / "a").touch()
            (path / "b").symlink_to(own)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(own if what == "link" else tmp_path / "nothing")
    with closing(Claims(store, clock=lambda: now[0])) as claims:
        assert not claims.take([stage()])
        assert claims.holder(stage()) is None
        now[0] += UNWRITTEN_SECONDS + 1
        assert claims.take([stage()])
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert own.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


def test_no_claim_is_made_through_a_link_out_of_the_run_directory(store, driver, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    store.root.mkdir()
    (store.root / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is reached through a link that leads elsewhere"):
        driver.take([stage()])
    assert not any((tmp_path / "elsewhere").iterdir())


def test_claims_that_nobody_will_give_back_go_and_those_of_living_processes_stay(store, driver, takers):
    (dead,), (keys,) = takers(processes=1, stages=3)
    dead.kill()
    dead.wait()
    record = stage_record()
    store.write(record)
    done = Stage(kind="evaluate", key=record.key, parent=None, settings={}, label="")
    assert driver.take([stage("a"), done])
    far = claimed_elsewhere(store, "b")
    clear_claims(store)
    assert len(keys) == 3
    assert sorted(store.root.rglob("*claim*")) == sorted([claim_file(store, "a"), far])
