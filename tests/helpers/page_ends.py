"""Operators that a program may call, with sizes that do not fit each other, on tensors at the end of a page of memory.

What is behind that page may not be read or written: whoever reads beside a tensor dies by a signal. Run as a script,
``page_ends.py TIMES``, it prints which operators did, with their arguments. Linux only.
"""

import ctypes
import json
import mmap
import os
import random
import resource
import signal
import sys

import torch

from sparsebench.export.files import guarded, operators

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PRIVATE = 0x22
_MOST_MAPS = 200


def t(*shape, kind=torch.float32):
    return ("tensor", shape, kind)


def i(*shape):
    return t(*shape, kind=torch.int64)


CALLS = {
    "_adaptive_avg_pool2d": (t(1, 2, 8, 8), [2, 2]),
    "_native_batch_norm_legit_no_training": (t(2, 4, 3), t(4), t(4), t(4), t(4), 0.1, 1e-5),
    "_scaled_dot_product_flash_attention_for_cpu": (t(1, 2, 4, 8), t(1, 2, 6, 8), t(1, 2, 6, 8)),
    "_upsample_nearest_exact1d": (t(1, 2, 4), [8], 2.0),
    "_upsample_nearest_exact2d": (t(1, 2, 4, 4), [8, 8], 2.0, 2.0),
    "adaptive_max_pool2d": (t(1, 2, 8, 8), [2, 2]),
    "addmm": (t(4), t(2, 3), t(3, 4)),
    "as_strided": (t(4), [2, 2], [2, 1], 0),
    "avg_pool2d": (t(1, 2, 8, 8), [2, 2], [2, 2], [0, 0], False, True, None),
    "avg_pool3d": (t(1, 2, 4, 4, 4), [2, 2, 2], [2, 2, 2], [0, 0, 0], False, True, None),
    "baddbmm": (t(2, 3, 5), t(2, 3, 4), t(2, 4, 5)),
    "batch_norm": (t(2, 4, 3), t(4), t(4), t(4), t(4), True, 0.1, 1e-5, True),
    "bilinear": (t(2, 3), t(2, 4), t(5, 3, 4), t(5)),
    "bucketize.Tensor": (t(3), t(4)),
    "cdist": (t(2, 3), t(4, 3), 2.0, None),
    "channel_shuffle": (t(1, 4, 3, 3), 2),
    "col2im": (t(1, 16, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]),
    "conv_tbc": (t(5, 2, 3), t(3, 3, 4), t(4), 1),
    "convolution": (t(1, 4, 8, 8), t(6, 4, 3, 3), t(6), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    "cross_entropy_loss": (t(3, 5), i(3), t(5), 1, -100, 0.0),
    "embedding": (t(5, 3), i(2, 2), -1, False, False),
    "fft_irfft": (t(5, kind=torch.complex64), 8, -1, None),
    "gather": (t(4, 3), 0, i(2, 3)),
    "grid_sampler_2d": (t(1, 2, 4, 4), t(1, 3, 3, 2), 0, 0, False),
    "grid_sampler_3d": (t(1, 2, 3, 3, 3), t(1, 2, 2, 2, 3), 0, 0, False),
    "group_norm": (t(2, 4, 3), 2, t(4), t(4), 1e-5, True),
    "gru.input": (t(5, 2, 3), t(1, 2, 4), [t(12, 3), t(12, 4), t(12), t(12)], True, 1, 0.0, False, False, False),
    "gru_cell": (t(2, 3), t(2, 4), t(12, 3), t(12, 4), t(12), t(12)),
    "im2col": (t(1, 4, 4, 4), [2, 2], [1, 1], [0, 0], [1, 1]),
    "index_add": (t(4, 3), 0, i(2), t(2, 3)),
    "index_copy": (t(4, 3), 0, i(2), t(2, 3)),
    "index_put": (t(4, 3), [i(2)], t(2, 3), True),
    "instance_norm": (t(2, 4, 3), t(4), t(4), t(4), t(4), True, 0.1, 1e-5, True),
    "layer_norm": (t(2, 4), [4], t(4), t(4), 1e-5, True),
    "linear": (t(2, 3), t(4, 3), t(4)),
    "lstm.input": (
        *(t(5, 2, 3), [t(1, 2, 4), t(1, 2, 4)], [t(16, 3), t(16, 4), t(16), t(16)]),
        *(True, 1, 0.0, False, False, False),
    ),
    "lstm_cell": (t(2, 3), [t(2, 4), t(2, 4)], t(16, 3), t(16, 4), t(16), t(16)),
    "masked_scatter": (t(4, 3), t(4, 3, kind=torch.bool), t(12)),
    "max_pool2d_with_indices": (t(1, 2, 8, 8), [2, 2], [2, 2], [0, 0], [1, 1], False),
    "max_pool3d_with_indices": (t(1, 2, 4, 4, 4), [2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], False),
    "max_unpool2d": (t(1, 1, 2, 2), i(1, 1, 2, 2), [4, 4]),
    "native_group_norm": (t(2, 4, 3), t(4), t(4), 2, 4, 3, 2, 1e-5),
    "native_layer_norm": (t(2, 4), [4], t(4), t(4), 1e-5),
    "nll_loss": (t(3, 5), i(3), t(5), 1, -100),
    "pixel_shuffle": (t(1, 4, 3, 3), 2),
    "prelu": (t(2, 4, 3), t(4)),
    "reflection_pad2d": (t(1, 4, 4), [1, 1, 1, 1]),
    "repeat_interleave.Tensor": (i(3),),
    "replication_pad3d": (t(1, 3, 3, 3), [1, 1, 1, 1, 1, 1]),
    "rms_norm": (t(2, 4), [4], t(4), 1e-5),
    "rnn_tanh.input": (t(5, 2, 3), t(1, 2, 4), [t(4, 3), t(4, 4), t(4), t(4)], True, 1, 0.0, False, False, False),
    "rnn_tanh_cell": (t(2, 3), t(2, 4), t(4, 3), t(4, 4), t(4), t(4)),
    "scaled_dot_product_attention": (t(1, 2, 4, 8), t(1, 2, 6, 8), t(1, 2, 6, 8), None, 0.0, False),
    "scatter.src": (t(4, 3), 0, i(2, 3), t(2, 3)),
    "scatter_add": (t(4, 3), 0, i(2, 3), t(2, 3)),
    "searchsorted.Tensor": (t(4), t(3)),
    "take": (t(4, 3), i(2)),
    "unfold": (t(8), 0, 2, 1),
    "upsample_bicubic2d": (t(1, 2, 4, 4), [8, 8], False, 2.0, 2.0),
    "upsample_bilinear2d": (t(1, 2, 4, 4), [8, 8], False, 2.0, 2.0),
    "upsample_linear1d": (t(1, 2, 4), [8], False, 2.0),
    "upsample_nearest2d": (t(1, 2, 4, 4), [8, 8], 2.0, 2.0),
    "upsample_nearest3d": (t(1, 2, 2, 2, 2), [4, 4, 4], 2.0, 2.0, 2.0),
    "upsample_trilinear3d": (t(1, 2, 2, 2, 2), [4, 4, 4], False, 2.0, 2.0, 2.0),
}
"""Arguments that fit, of operators that lay hold of memory themselves. What goes over elements one by one does not."""

NUMBERS = (-(10**9), -2, -1, 0, 1, 2, 3, 5, 7, 64, 10**9)


def is_tensor(value):
    return isinstance(value, tuple) and bool(value) and value[0] == "tensor"


def misfit(value, dice):
    """Arguments of which about one is another."""
    if is_tensor(value):
        _, shape, kind = value
        if dice.random() < 0.35:
            sizes = list(shape)
            place = dice.randrange(len(sizes))
            match dice.randrange(4):
                case 0:
                    sizes[place] = dice.choice([0, 1, 2, 3, 5, 64, 2000])
                case 1:
                    del sizes[place]
                case 2:
                    sizes.insert(place, dice.choice([1, 2, 3]))
                case _:
                    sizes[place] += dice.choice([-1, 1])
            shape = tuple(max(size, 0) for size in sizes)
        return ("tensor", shape, kind)
    if isinstance(value, list | tuple):
        made = [misfit(one, dice) for one in value]
        if isinstance(value, list) and dice.random() < 0.05:
            made = made[:-1] if dice.random() < 0.5 else [*made, *made[-1:]]
        return made
    if dice.random() > 0.12 or value is None:
        return value
    return (
        not value
        if isinstance(value, bool)
        else dice.choice(NUMBERS)
        if isinstance(value, int)
        else dice.choice([0.0, -1.0, 1e-30, 1e30, float("nan")])
    )


class Memory:
    """Tensors that end where a page ends behind which nothing may be touched."""

    def __init__(self):
        self.maps = []

    def tensor(self, shape, kind, dice):
        made = torch.empty(shape, dtype=kind)
        if kind == torch.int64:
            made.random_(0, 2)
            if made.numel() and dice is not None and dice.random() < 0.3:
                made.view(-1)[dice.randrange(made.numel())] = dice.choice(NUMBERS)
        else:
            made.fill_(1)
        size = made.numel() * made.itemsize
        if not size:
            return made
        page = mmap.PAGESIZE
        whole = -(-size // page) * page
        start = _LIBC.mmap(None, whole + page, 3, _PRIVATE, -1, 0)
        _LIBC.mprotect(start + whole, page, 0)
        self.maps.append((start, whole + page))
        buffer = (ctypes.c_char * size).from_address(start + whole - size)
        return torch.frombuffer(buffer, dtype=kind).reshape(shape).copy_(made)

    def of(self, value, dice):
        if is_tensor(value):
            return self.tensor(*value[1:], dice)
        return [self.of(one, dice) for one in value] if isinstance(value, list) else value

    def give_back(self):
        for start, size in self.maps:
            _LIBC.munmap(start, size)
        self.maps.clear()


def operator(name):
    packet, _, overload = name.partition(".")
    found = getattr(getattr(torch.ops.aten, packet), overload or "default")
    assert operators.namespace_of(f"torch.ops.{found}") == "aten", name
    return guarded.INSTEAD.get(str(found), found)


def call(name, seeds, told):
    """Call an operator with arguments of these seeds; the last that was told is the one that it died of."""
    memory, function = Memory(), operator(name)
    for seed in seeds:
        dice = random.Random(f"{name} {seed}")
        arguments = misfit(CALLS[name], dice) if seed else list(CALLS[name])
        os.pwrite(told, f"{name}{arguments}".ljust(2000).encode(), 0)
        try:
            with torch.inference_mode():
                outputs = function(*memory.of(arguments, dice if seed else None))
                for one in outputs if isinstance(outputs, tuple | list) else [outputs]:
                    if isinstance(one, torch.Tensor) and one.numel() < 10**6:
                        one.clone()
            del outputs
        except Exception:
            if not seed:
                raise
            continue
        finally:
            if len(memory.maps) > _MOST_MAPS:
                memory.give_back()


def died(names, seeds):
    """Return what a process that calls some operators died of; empty where it lived."""
    told = os.memfd_create("told")
    process = os.fork()
    if not process:
        signal.alarm(60)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 1
        try:
            for name in names:
                call(name, seeds, told)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    last = os.pread(told, 2000, 0).decode().strip()
    os.close(told)
    return f"{code}: {last}" if code else ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    times = int(sys.argv[1])
    found = [died([name], range(times)) for name in CALLS] if times > 60 else [died(list(CALLS), range(times))]
    print(json.dumps(list(filter(None, found))))
