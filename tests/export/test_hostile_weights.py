"""Weights of .pt2 files that somebody else wrote: raw numbers that lie where their table says."""

import pytest
from archives import (
    WEIGHTS,
    editing,
    refusal,
    tampered,
)


def larger(config):
    config["config"]["0.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 10**12


def shifted(config):
    config["config"]["0.weight"]["tensor_meta"]["storage_offset"]["as_int"] = 9


def backwards(config):
    config["config"]["0.weight"]["tensor_meta"]["strides"][0]["as_int"] = -1


def elsewhere(config):
    config["config"]["0.weight"]["path_name"] = "../../../etc/passwd"


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (larger, "the tensor '0.weight' is not in it as its table says"),
        (shifted, "the tensor '0.weight' is not in it as its table says"),
        (backwards, "the tensor '0.weight' is not in it as its table says"),
        (elsewhere, "'../../../etc/passwd' stands where the name of an entry is expected"),
        (lambda config: config["config"]["0.weight"].update(use_pickle=True), "holds '0.weight' as a pickle"),
        (lambda config: config["config"]["0.weight"].update(path_name="opaque_obj_0"), "holds '0.weight' as a pickle"),
        (lambda config: config["config"].update({"__class__": config["config"]["0.weight"]}), "a path of names"),
        (lambda config: config["config"]["0.weight"].pop("tensor_meta"), "is no archive of torch.export (KeyError"),
    ],
)
def test_weights_that_are_not_where_their_table_says_are_refused(good, path, edit, text):
    tampered(good, path, editing(edit, WEIGHTS))
    assert text in refusal(path)
