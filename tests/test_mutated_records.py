"""Records changed at random, 1,000 of them by default: each is left out and named, or means what it meant before.

``SPARSEBENCH_FUZZ=20`` tries twenty times as many.
"""

import json
import math
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import mutations
import pytest
from handmade import Bench, stored

from sparsebench.errors import StoreError
from sparsebench.points.points import sections
from sparsebench.report.data import csv_text, json_text
from sparsebench.runner.plan import Stage
from sparsebench.runner.repair import aside_of, set_aside
from sparsebench.store.directory import Store
from sparsebench.store.run_directory import read_back
from sparsebench.store.sealing import sealed
from sparsebench.store.written import PARENTS

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))
BYTES, VALUES, SWAPS, FORGED, ASIDES = (range(count * TIMES) for count in (450, 350, 60, 140, 60))

STRANGE = (
    *(None, True, False, "", "x", "0.5", "\x00", "\x1b[2J", "../../etc/passwd", "/etc/passwd", "subprocess:getoutput"),
    *("NaN", "done", "failed", "0" * 64, "f" * 63, "a" * 20_000, "=cmd()", "\u202e", "2026-01-01", "train"),
    *(-1, 0, 1, 2, 5, 2**31, 2**63, 10**30, -0.0, 0.5, 1.5, -5, 1e-300, 1e300, math.nan, math.inf, -math.inf),
    *([], {}, [None], [[]], {"x": 1}, [0.5, 0.5], {"name": "x"}, [{"name": "x"}], {"../x": "0" * 64}),
)

FILES = ("run.json", *(f"{kind}/*/result.json" for kind in ("train", "compress", "evaluate", "measure")))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    bench = Bench(thresholds=(0.0, 0.5), schemes=("fp32", "static"), seeds=(0,))
    return stored(bench.build(), tmp_path_factory.mktemp("mutated") / "mine")


@pytest.fixture(scope="module")
def before(root):
    return read_back(root)


def a_file(root, dice):
    return dice.choice(sorted(root.glob(dice.choice(FILES))))


def changed(content, dice):
    """JSON with bytes of JSON, and others, at places where they do not belong."""

    def another(dice, byte):
        return dice.choice([dice.randrange(256), byte ^ 1, *b"0123456789.-e"])

    def put_in(dice):
        return dice.choice([dice.randbytes(3), b"0", b"9", b"-", b"e9", b"null", b"\n", b" ", b"["])

    return mutations.changed(content, dice, another, put_in, longest=200)


def places_in(value, path=()):
    """All places in JSON at which a value stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, found in inner:
        yield (*path, key)
        yield from places_in(found, (*path, key))


def with_strange_value(content, dice):
    """JSON with a value that is another, is missing, or stands at the place of another."""
    place = dice.choice(list(places_in(content)))
    target = content
    for key in place[:-1]:
        target = target[key]
    match dice.randrange(8):
        case 0:
            del target[place[-1]]
        case 1 if isinstance(target[place[-1]], int | float):
            target[place[-1]] = dice.choice([-1, 2, 0.5, 1e6, 1.0000001]) * target[place[-1]]
        case 2 if isinstance(target, dict):
            target[dice.choice(["", "x", "../x", "kind", "digest", "\ud83d"])] = target.pop(place[-1])
        case _:
            target[place[-1]] = dice.choice(STRANGE)
    return place


def without(run, kind, key):
    """A run as it is without one record."""

    def kept(record):
        return None if record is None or (record.stage, record.key) == (kind, key) else record

    return tuple(
        replace(
            trial,
            train=kept(trial.train),
            compress=kept(trial.compress),
            validate=kept(trial.validate),
            evaluate=kept(trial.evaluate),
            measure=tuple(filter(None, map(kept, trial.measure))),
        )
        for trial in run.trials
    )


def check(root, path, before):
    """Read a run whose file at ``path`` was changed; nothing but what was written may be believed.

    Returns:
        Whether the change was found.
    """
    try:
        found = read_back(root)
    except StoreError as error:
        if path.name != "run.json":
            raise
        str(error).encode()
        return True
    if path.name == "run.json":
        assert found == before
        return False
    kind, key = path.parent.parent.name, path.parent.name
    standing = Store(root, writable=False).standing(kind, key)
    if not found.left_out:
        assert found == before
        assert standing == "done"
        return False
    assert standing == "unreadable"
    assert [(one.stage, one.key) for one in found.left_out] == [(kind, key)]
    str(found.left_out[0]).encode()
    assert found.trials == without(before, kind, key)
    return True


def mutated(root, before, seeds, mutate):
    """Change files one after the other, each by itself, and return how many changes were found."""
    count = 0
    for seed in seeds:
        dice = random.Random(seed)
        path = a_file(root, dice)
        whole = path.read_bytes()
        try:
            path.write_bytes(mutate(path, whole, dice))
            if path.read_bytes() != whole:
                assert check(root, path, before), f"seed {seed}: a change of {path} was not found"
                count += 1
        finally:
            path.write_bytes(whole)
    return count


def test_a_record_with_changed_bytes_is_left_out_and_named(root, before):
    assert mutated(root, before, BYTES, lambda _, whole, dice: changed(whole, dice)) > 0.8 * len(BYTES)


def test_a_record_with_a_strange_value_is_left_out_and_named(root, before):
    def mutate(_, whole, dice):
        content = json.loads(whole)
        with_strange_value(content, dice)
        if dice.random() < 0.2:
            content.pop("digest", None)
        return json.dumps(content, indent=dice.choice([None, 1])).encode() + b"\n"

    assert mutated(root, before, VALUES, mutate) > 0.95 * len(VALUES)


def test_a_record_in_the_place_of_another_is_left_out_and_named(root, before):
    def mutate(_, whole, dice):
        return a_file(root, dice).read_bytes()

    assert mutated(root, before, SWAPS, mutate) > 0.5 * len(SWAPS)


def test_of_forged_records_that_are_possible_a_report_is_made_and_the_others_are_left_out(root):
    """Their digests are their own; what they say is a number that could be one, or is not believed."""
    believed = 0
    for seed in FORGED:
        dice = random.Random(seed)
        path = a_file(root, dice)
        whole = path.read_bytes()
        content = json.loads(whole)
        content.pop("digest")
        place = with_strange_value(content, dice)
        try:
            path.write_bytes(sealed(json.dumps(content, indent=1).encode("utf-8", "surrogatepass")))
            try:
                found = read_back(root)
            except StoreError as error:
                str(error).encode()
                continue
            believed += not found.left_out
            try:
                parts = sections(found)
                csv_text(found, parts)
                json.loads(json_text(found, parts))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {place} of {path} is {content}") from error
        finally:
            path.write_bytes(whole)
    assert 0 < believed < len(FORGED)


def test_what_was_set_aside_and_changed_since_is_read_or_taken_for_unknown(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    store = Store(copy)
    key = next(copy.glob("evaluate/*")).name
    stage = Stage(kind="evaluate", key=key, parent=None, settings={}, label="")
    set_aside(store, "evaluate", key, store.read("evaluate", key), "it was damaged")
    (path,) = (copy / "aside").iterdir()
    whole = path.read_bytes()
    assert stage.kind in PARENTS
    for seed in ASIDES:
        path.write_bytes(changed(whole, random.Random(seed)))
        found = aside_of(store, "evaluate", key)
        assert found is None or found.record is None or found.record.attempt >= 0
