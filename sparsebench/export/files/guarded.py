"""Operators that believe the sizes which they are given, called so that sizes which do not fit are an error.

Given others than fit each other, they read and write beside their tensors: what comes to hand there would be taken for
a number, and overwritten.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from sparsebench.errors import SparsebenchError

_GATES = 4


def guard(network: nn.Module) -> None:
    """Have a program, and the graphs in it, call such operators by way of this module; in place."""
    for graph in network.modules():
        if not isinstance(graph, GraphModule):
            continue
        found = [node for node in graph.graph.nodes if node.op == "call_function" and str(node.target) in INSTEAD]
        for node in found:
            node.target = INSTEAD[str(node.target)]
        if found:
            graph.recompile()


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, None, None]:
    """Return the same bits by the operator that looks at sizes; of inference, nobody needs the other two outputs."""
    return torch.batch_norm(x, weight, bias, running_mean, running_var, False, momentum, eps, False), None, None


def lstm(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``torch.lstm`` does for tensors whose sizes fit each other.

    Raises:
        SparsebenchError: where they do not.
    """
    _check_lstm(x, states, weights, has_biases, num_layers, bidirectional, batch_first)
    return torch.lstm(x, states, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first)


def _check_lstm(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> None:
    """Check the sizes of an LSTM: of layer and direction, weights (4 H, inputs) and (4 H, outputs), biases (4 H,)."""
    directions = 2 if bidirectional else 1
    if x.dim() != 3 or len(states) != 2 or any(state.dim() != 3 for state in states) or num_layers < 1:
        raise _misfit("LSTM", "states and weights")
    batch, taken = x.shape[0 if batch_first else 1], x.shape[2]
    given, hidden = states[0].shape[2], states[1].shape[2]
    cells, parts = num_layers * directions, 2 + 2 * has_biases + (given != hidden)
    if states[0].shape != (cells, batch, given) or states[1].shape != (cells, batch, hidden):
        raise _misfit("LSTM", "states and weights")
    if len(weights) != cells * parts or not all(size >= 1 for size in (taken, given, hidden)):
        raise _misfit("LSTM", "states and weights")
    for cell in range(cells):
        own = weights[cell * parts : (cell + 1) * parts]
        inputs = taken if cell < directions else given * directions
        wanted = [(_GATES * hidden, inputs), (_GATES * hidden, given), *[(_GATES * hidden,)] * (2 * has_biases)]
        wanted += [(given, hidden)] * (given != hidden)
        if any(tuple(weight.shape) != shape for weight, shape in zip(own, wanted, strict=True)):
            raise _misfit("LSTM", "states and weights")


def attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Tensor:
    """Return what ``scaled_dot_product_attention`` does for tensors whose sizes fit each other.

    Raises:
        SparsebenchError: where they do not.
    """
    _check_attention(query, key, value)
    found: Tensor = torch.ops.aten.scaled_dot_product_attention.default(query, key, value, *rest, **named)
    return found


def flash_attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Any:
    """Return what ``_scaled_dot_product_flash_attention_for_cpu`` does for tensors whose sizes fit each other.

    Raises:
        SparsebenchError: where they do not.
    """
    _check_attention(query, key, value)
    if query.dim() != 4 or query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1]:
        raise _misfit("attention", "heads")
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default(query, key, value, *rest, **named)


def _check_attention(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Check queries (…, L, E), keys (…, S, E) and values (…, S, V), none of which is empty."""
    if query.dim() != key.dim() or query.dim() < 2 or query.shape[-1] != key.shape[-1]:
        raise _misfit("attention", "queries and keys")
    if key.shape[:-1] != value.shape[:-1] or 0 in (*query.shape, *key.shape, *value.shape):
        raise _misfit("attention", "keys and values")


def _misfit(what: str, parts: str) -> SparsebenchError:
    return SparsebenchError(f"has an operator of {what} whose {parts} do not fit each other; export the network again.")


INSTEAD: dict[str, Any] = {
    "aten._native_batch_norm_legit_no_training.default": batch_norm,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": flash_attention,
    "aten.lstm.input": lstm,
    "aten.scaled_dot_product_attention.default": attention,
}
"""What is called instead of an operator."""
