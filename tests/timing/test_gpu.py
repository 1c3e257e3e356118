"""Timing on a GPU, and what is refused where a network is not on one device."""

import pytest
import torch
from small_nets import SmallCNN, built, images
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.timing import compare
from sparsebench.timing.blocks import device_of
from sparsebench.timing.variants import Variant, ready

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_network_on_the_cpu_is_timed_by_the_clock():
    assert device_of(nn.Linear(2, 2), (torch.ones(1, 2),)) is None
    assert ready(Variant("a", nn.Linear(2, 2), (torch.ones(1, 2),))).device is None


class Elsewhere:
    """Stands for a network with tensors on devices that this machine need not have."""

    def __init__(self, *devices):
        self.devices = devices

    def parameters(self):
        return []

    def buffers(self):
        return [FakeTensor(device) for device in self.devices]


class FakeTensor(torch.Tensor):
    def __new__(cls, device):
        made = torch.Tensor._make_subclass(cls, torch.zeros(1))
        made._at = torch.device(device)
        return made

    @property
    def device(self):
        return self._at


@pytest.mark.parametrize(
    ("devices", "named"),
    [(("cuda:0", "cpu"), "cpu, cuda:0"), (("mps:0",), "mps:0"), (("cuda:0", "cuda:1"), "cuda:0, cuda:1")],
)
def test_several_devices_or_one_that_is_no_cuda_gpu_are_refused(devices, named):
    with pytest.raises(
        SparsebenchError, match=f"it and its inputs are on {named}; what is timed must be all on the CPU"
    ):
        device_of(Elsewhere(*devices), ())


def test_one_gpu_is_found():
    assert device_of(Elsewhere("cuda:1", "cuda:1"), ()) == torch.device("cuda:1")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_networks_on_a_gpu_are_compared_by_its_events(cuda_graphs):
    result = compare(
        {"cnn": built(SmallCNN).cuda(), "again": built(SmallCNN).cuda()},
        baseline="cnn",
        inputs=(images().cuda(),),
        workers=False,
        seconds_cap=1,
        block_ms=2,
        cuda_graphs=cuda_graphs,
    )
    assert all(0 < timing.median_ms < 1000 for timing in result.values())
    assert all(timing.calls_together == 1 for timing in result.values())


class Remembering(nn.Linear):
    """Leaves what it computed where a test can find it."""

    def forward(self, x):
        self.output = super().forward(x)
        return self.output


@pytest.mark.gpu
@needs_gpu
def test_a_replayed_graph_computes_what_the_network_does():
    net, x = Remembering(4, 4).cuda(), torch.ones(2, 4, device="cuda")
    call = ready(Variant("net", net, (x,)), cuda_graphs=True)
    captured = net.output
    captured.zero_()
    call.call()
    torch.cuda.synchronize()
    assert torch.equal(captured, nn.functional.linear(x, net.weight, net.bias))


@pytest.mark.gpu
@needs_gpu
def test_a_network_and_its_inputs_on_different_devices_are_refused():
    with pytest.raises(VariantError, match="what is timed must be all on the CPU or all on one CUDA GPU"):
        ready(Variant("net", nn.Linear(2, 2).cuda(), (torch.ones(1, 2),)))
