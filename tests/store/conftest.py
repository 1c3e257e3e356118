"""A stored run of four trials, made once for each file, and a copy of it for each test to change."""

import shutil
from pathlib import Path

import pytest
from handmade import stored
from stored_runs import BENCH


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return stored(BENCH.build(), tmp_path_factory.mktemp("pattern") / "mine")


@pytest.fixture
def root(pattern, tmp_path):
    return Path(shutil.copytree(pattern, tmp_path / "mine"))
