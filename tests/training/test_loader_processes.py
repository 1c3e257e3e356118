"""How worker processes of a loader are started where a data set is of a script, or of a notebook."""

import multiprocessing

import pytest
import torch
from quick import load
from torch.utils.data import Dataset

from sparsebench.training.loaders import build_loader, how_to_start


class Importable(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, place):
        return torch.ones(2), 0


def of_a_script():
    class Local(Importable):
        """No other process can import it, as it cannot what a script defines."""

    return Local()


@pytest.fixture
def spawning(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "forkserver")
    return monkeypatch


def test_a_copy_of_this_process_has_everything():
    assert multiprocessing.get_start_method() != "fork" or how_to_start(of_a_script(), None) is None


def test_what_others_can_import_is_started_in_the_usual_way(spawning):
    assert how_to_start(Importable(), None) is None


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_what_only_this_process_has_needs_copies_of_it(spawning):
    assert how_to_start(of_a_script(), None) == "fork"
    assert how_to_start(Importable(), lambda samples: samples) == "fork"
    loader = build_loader(of_a_script(), "test", 4, None)
    assert loader.num_workers > 0
    assert [len(labels) for _, labels in loader] == [4, 4]


def test_without_copies_it_is_read_by_this_process(spawning):
    spawning.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    loader = build_loader(of_a_script(), "test", 4, None)
    assert loader.num_workers == 0
    assert [len(labels) for _, labels in loader] == [4, 4]


def test_tensors_in_memory_need_no_processes(spawning):
    assert build_loader(load()[0][0], "train", 16, None).num_workers == 0
