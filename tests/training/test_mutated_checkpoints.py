"""Checkpoints changed at random, 300 of them by default: each is refused, or a network gets exactly what is in it.

What is in them is read by the standard library and NumPy as well. ``SPARSEBENCH_FUZZ=20`` tries twenty times as many.
"""

import copy
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict

import mutations
import numpy as np
import pytest
import safetensors.torch
import torch
from archives import Marks
from other_readers import made_of_parts, tensors_of_archive, tensors_of_pickles, tensors_of_safetensors
from torch import nn
from witness import nothing_done

from sparsebench.errors import ModelError
from sparsebench.training.state_dicts import read_state_dicts
from sparsebench.training.weights import fit_state

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))
BYTES, ENTRIES, HEADERS, STATES, PICKLES = (range(count * TIMES) for count in (90, 60, 50, 70, 30))

READERS = {".pth": tensors_of_archive, ".old.pth": tensors_of_pickles, ".safetensors": tensors_of_safetensors}


def built():
    return nn.Sequential(OrderedDict(first=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), last=nn.Linear(4, 2))).eval()


network, fresh = (pytest.fixture(scope="module", name=name)(built) for name in ("network", "fresh"))


def saved(content, suffix):
    if suffix == ".safetensors":
        return safetensors.torch.save({name: value for name, value in content.items() if torch.is_tensor(value)})
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=suffix == ".pth")
    return file.getvalue()


@pytest.fixture(scope="module")
def whole(network):
    nested = {"state_dict": network.state_dict(), "epoch": 7, "args": {"lr": 0.5}}
    return {suffix: saved(network.state_dict() if suffix == ".safetensors" else nested, suffix) for suffix in READERS}


def tried(content, suffix, folder, fresh):
    """Load a file into a network that has other values; return whether it was refused."""
    path = folder / f"net{suffix}"
    path.write_bytes(content)
    net = copy.deepcopy(fresh)
    try:
        with nothing_done():
            fit_state(net, read_state_dicts(path), f"The checkpoint {str(path)!r}")
    except ModelError as error:
        text = str(error)
        assert text.startswith(f"The checkpoint {str(path)!r}"), text
        text.encode()
        same = zip(net.state_dict().values(), fresh.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in same), "what is refused leaves the network as it was"
        return True
    there = READERS[suffix](content)
    for name, value in net.state_dict().items():
        found = [one for other, one in there.items() if f".{other}".endswith(f".{name}")]
        is_count = name.endswith("num_batches_tracked") and not found
        of_parts = any(np.allclose(value.numpy(), one) for one in made_of_parts(there, name))
        same = any(_same(value.numpy(), one) for one in found)
        assert is_count or same or of_parts, f"{name} is not what is in the file"
    return False


def _same(value, found):
    with np.errstate(all="ignore"):
        return value.shape == found.shape and np.array_equal(value, found.astype(value.dtype), equal_nan=True)


def changed(content, dice):
    """Bytes with flipped bits, and others at places where they do not belong."""

    def another(dice, byte):
        return byte ^ 1 << dice.randrange(8)

    def put_in(dice):
        return dice.randbytes(dice.randrange(1, 9))

    return mutations.changed(content, dice, another, put_in, longest=300)


@pytest.mark.parametrize("suffix", READERS)
def test_changed_bytes_are_refused_or_are_what_is_loaded(whole, suffix, tmp_path, fresh):
    refused = [
        tried(changed(whole[suffix], random.Random(seed)), suffix, tmp_path, fresh) for seed in BYTES[:: len(READERS)]
    ]
    assert any(refused)


def test_each_flipped_bit_of_the_numbers_in_an_archive_is_found(network, whole, tmp_path, fresh):
    numbers = network.first.weight.detach().numpy().tobytes()
    content = whole[".pth"]
    start = content.index(numbers)
    for place in range(start, start + len(numbers), 5):
        made = bytearray(content)
        made[place] ^= 1 << place % 8
        assert tried(bytes(made), ".pth", tmp_path, fresh)
    # What it is found by is the archive's checksum: torch itself takes the number.
    (tmp_path / "flipped.pth").write_bytes(made)
    taken = torch.load(tmp_path / "flipped.pth", weights_only=True)["state_dict"]["first.weight"]
    assert not torch.equal(taken, network.first.weight)


WORDS = (
    *(b"FloatStorage", b"LongStorage", b"HalfStorage", b"IntStorage", b"UntypedStorage", b"_rebuild_tensor_v2"),
    *(b"torch._utils", b"collections", b"OrderedDict", b"builtins", b"os", b"system", b"eval", b"_rebuild_parameter"),
    *(b"first.weight", b"last.bias", b"state_dict", b"cpu", b"cuda:0", b"meta", b"storage", b"0", b"1", b"../1"),
)


def other_word(content, dice):
    """A pickle in which one of its words is another; the length of a word stands before it."""
    there = [word for word in WORDS if word in content]
    old, new = dice.choice(there), dice.choice(WORDS)
    for before, after in ((struct.pack("<L", len(old)) + old, struct.pack("<L", len(new)) + new), (old, new)):
        if before in content:
            return content.replace(before, after, dice.choice([1, -1]))
    return content


def test_changed_entries_of_an_archive_are_refused_or_are_what_is_loaded(whole, tmp_path, fresh):
    """Its checksums are right: whoever changed them made the archive anew."""
    refused = []
    for seed in ENTRIES:
        dice, file = random.Random(seed), io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole[".pth"])) as old, zipfile.ZipFile(file, "w") as new:
            contents = {info.filename: old.read(info) for info in old.infolist()}
            name = dice.choice([*contents, *(["archive/data.pkl"] * 5 if "archive/data.pkl" in contents else [])])
            match dice.randrange(6):
                case 0:
                    del contents[name]
                case 1:
                    other = dice.choice(list(contents))
                    contents[name], contents[other] = contents[other], contents[name]
                case 2:
                    contents[name] = changed(contents[name], dice)
                case 3:
                    contents[name.upper()] = contents[name]
                case 4:
                    contents[name] += dice.randbytes(dice.randrange(1, 40))
                case _:
                    main = next(one for one in contents if one.endswith("data.pkl"))
                    contents[main] = other_word(contents[main], dice)
            for one, content in contents.items():
                kind = zipfile.ZIP_DEFLATED if dice.random() < 0.02 else zipfile.ZIP_STORED
                new.writestr(one, content, kind)
        refused.append(tried(file.getvalue(), ".pth", tmp_path, fresh))
    assert any(refused)
    assert not all(refused)


def test_changed_headers_of_safetensors_are_refused_or_are_what_is_loaded(whole, tmp_path, fresh):
    content = whole[".safetensors"]
    (length,) = struct.unpack("<Q", content[:8])
    values = ("F16", "I32", "F64", "BOOL", "", None, -1, 0, 3, 2**40, 2**64, [], [4], [3, 4], [2, 2, 3], [0, 16], "x")
    refused = []
    for seed in HEADERS:
        dice, header = random.Random(seed), json.loads(content[8 : 8 + length])
        names = [name for name in header if name != "__metadata__"]
        name = dice.choice(names)
        match dice.randrange(6):
            case 0:
                header[name][dice.choice(["dtype", "shape", "data_offsets", "more"])] = dice.choice(values)
            case 1:
                header[dice.choice(["", "x", "../x", "__metadata__", *names])] = header.pop(name)
            case 2:
                other = dice.choice(names)
                header[name], header[other] = header[other], header[name]
            case 3:
                header[name]["data_offsets"] = [at + dice.choice([-4, 4, 16]) for at in header[name]["data_offsets"]]
            case 4:
                header["__metadata__"] = dice.choice([{}, {"x": 1}, {"x": "y"}, "x", None])
            case _:
                del header[name]
        text = json.dumps(header)
        if dice.random() < 0.2:
            twice = dice.choice(list(header) or ["x"])
            text = f"{{{json.dumps(twice)}: {json.dumps(header.get(name))}, {text[1:]}"
        made = struct.pack("<Q", len(text.encode())) + text.encode() + content[8 + length :]
        refused.append(tried(made, ".safetensors", tmp_path, fresh))
    assert any(refused)
    assert not all(refused)


def strange_state(network, dice):
    """A state dict of the network that another one might have, and in which nothing is hidden."""
    state = OrderedDict((name, value.clone()) for name, value in network.state_dict().items())
    name = dice.choice(list(state))
    value = state[name]
    match dice.randrange(13):
        case 0:
            state[dice.choice(["module.", "x.", "ema.", "_orig_mod.", "."]) + name] = state.pop(name)
        case 1:
            state[name] = value.to(dice.choice([torch.float16, torch.float64, torch.int64, torch.bool]))
        case 2:
            state[name] = value.reshape(-1) if dice.random() < 0.5 else value[None]
        case 3 if value.is_floating_point() and value.numel():
            value.view(-1)[0] = dice.choice([float("nan"), float("inf"), -float("inf"), 1e38])
        case 4:
            del state[name]
        case 5:
            state[dice.choice(["x", "first.bias_mask", "first.weight_orig", "last.weight_g", "n_averaged"])] = value
        case 6:
            state = OrderedDict((f"module.{key}", one) for key, one in state.items())
        case 7 if value.dim():
            state[name] = value[..., :1]
        case 8:
            state[name] = value.t() if value.dim() == 2 else value.expand(2, *value.shape)
        case 9:
            state[name] = value.to(torch.complex64) if dice.random() < 0.5 else value.to_sparse()
        case 10:
            other = dice.choice(list(state))
            state[name], state[other] = state[other], value
        case 11 if name.endswith("weight"):
            kinds = [torch.float32, torch.float32, torch.int64, torch.bool]
            for part in dice.choice([("_g", "_v"), ("_orig", "_mask"), ("_orig", "_u", "_v")]):
                shape = [size if dice.random() < 0.7 else 1 for size in value.shape][: dice.choice([0, 1, 2, 9])]
                state[name + part] = torch.ones(shape, dtype=dice.choice(kinds))
            del state[name]
        case _:
            state[name] = nn.Parameter(value) if value.is_floating_point() else value
    content, keys = state, ["state_dict", "model", "ema", "0", "\U0001f41f", "a" * 200]
    for key in dice.choices(keys, k=dice.choice([0, 1, 1, 2, 12])):
        content = {key: content, "epoch": dice.choice([1, "x", None, 10**30])}
    return content


def test_strange_states_are_refused_or_are_what_is_loaded(network, tmp_path, fresh):
    refused = []
    for seed in STATES:
        dice = random.Random(seed)
        content, suffix = strange_state(network, dice), dice.choice([".pth", ".old.pth"])
        refused.append(tried(saved(content, suffix), suffix, tmp_path, fresh))
    assert any(refused)
    assert not all(refused)


class Calls:
    """Calls something where it is unpickled."""

    def __init__(self, function, *arguments):
        self.told = function, arguments

    def __reduce__(self):
        return self.told


def test_pickles_that_call_something_are_refused_and_do_not(network, tmp_path, fresh):
    mark = tmp_path / "ran"
    for seed in PICKLES:
        dice = random.Random(seed)
        evil = dice.choice(
            [
                Marks(mark),
                Calls(os.system, f"touch {mark}"),
                Calls(eval, f"open({str(mark)!r}, 'w')"),
                Calls(torch.hub.load, str(tmp_path), "x", True),
                Calls(np.save, str(mark), 1),
                Calls(torch.load, str(mark), None),
                Calls(getattr, "x", "upper"),
            ]
        )
        content = dict(network.state_dict())
        place = dice.choice(["more", "first.weight", "state_dict"])
        content[place] = dice.choice([evil, [evil], {"x": evil}])
        suffix = dice.choice([".pth", ".old.pth"])
        made = saved(content, suffix)
        if dice.random() < 0.3:
            made = pickle.dumps(content, dice.randrange(6))
        assert tried(made, suffix, tmp_path, fresh)
        assert not mark.exists()
