"""Files of .pt2 changed at random, 300 of them by default: each is refused, or calls no other operators.

``SPARSEBENCH_FUZZ=20`` tries twenty times as many.
"""

import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from archives import (
    MODEL,
    tampered,
)

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.pt2 import rewrite

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))


def said_of(content):
    """The sentence with which a changed archive is refused, if it is; what is not has no other operators."""
    try:
        _, namespaces = rewrite(content)
    except SparsebenchError as error:
        return [str(error)]
    assert namespaces == {"aten"}
    return []


def test_changed_bytes_are_refused_by_a_sentence_or_mean_no_other_operators(good, path):
    content = good.read_bytes()
    said = []
    for seed in range(150 * TIMES):
        dice = random.Random(seed)
        made = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            made[dice.randrange(len(made))] = dice.randrange(256)
        said += said_of(bytes(made))
    assert said
    assert all(text[0].islower() for text in said)


def leaves(value, where=()):
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*where, key))
    else:
        yield where


STRANGE = [
    None,
    True,
    -1,
    2**70,
    10**400,
    1.5,
    "",
    "x y",
    "__class__",
    "torch.os.system",
    [],
    {},
    [[]],
    {"as_int": "x"},
]


def test_changed_values_are_refused_by_a_sentence_or_mean_no_other_operators(good, path):
    with zipfile.ZipFile(good) as archive:
        model = archive.read(f"good/{MODEL}").decode()
    places = list(leaves(json.loads(model)))
    said = []
    for seed in range(150 * TIMES):
        dice = random.Random(seed)
        made = json.loads(model)
        *parents, last = dice.choice(places)
        target = made
        for key in parents:
            target = target[key]
        target[last] = dice.choice(STRANGE)
        changed = json.dumps(made).encode()
        content = tampered(good, path, lambda name, old: changed if name == MODEL else old)  # noqa: B023 - called at once
        said += said_of(content)
    assert said
    assert all(text[0].islower() for text in said)


SCRIPT = Path(__file__).parents[1] / "helpers/page_ends.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="pages are guarded as Linux does")
def test_no_operator_reads_or_writes_beyond_the_page_at_whose_end_its_tensors_end():
    """Each is called with sizes that do not fit each other, in processes that may die of it."""
    done = subprocess.run([sys.executable, SCRIPT, str(50 * TIMES)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
