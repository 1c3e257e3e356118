"""How much memory activations need that are live at the same time: one definition for every graph that runs.

An activation is live from the operation that makes it to the last one that reads it; what a network returns is live to
the end. Weights, and whatever depends on no input, are no activations. As runtimes do it:

- views share the memory of what they look at;
- element-wise operations in a row, of which nothing but the next reads the result, run as one, and write over an
  operand of the same size that nothing reads later; inputs of the network are never written over;
- between quantizing and dequantizing, an activation is held in 8 bits; what is only read quantized is made so.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["operation", "elementwise", "view", "quantize", "dequantize"]


@dataclass(frozen=True)
class Made:
    """A tensor that an operation makes: its elements, and the bytes that they have where they are not quantized."""

    elements: int
    nbytes: int


@dataclass(frozen=True)
class Step:
    """One operation of a graph, in the order that runs; tensors go by any names that are theirs alone.

    Attributes:
        reads: the tensors that it reads; those that no step makes and that are no inputs are constants.
        makes: the tensors that it makes.
        kind: a ``view`` makes tensors in the memory of the first that it reads; the others are said above.
        in_int8: whether it takes what was dequantized as it was before, as layers with quantized weights do.
    """

    reads: tuple[Hashable, ...]
    makes: Mapping[Hashable, Made]
    kind: Kind = "operation"
    in_int8: bool = False


def peak_bytes(inputs: Mapping[Hashable, Made], steps: Sequence[Step], outputs: Collection[Hashable]) -> int:
    """Return the largest number of bytes of activations that are live at the same time.

    Args:
        inputs: the tensors that the network is given.
        steps: its operations, in the order that runs.
        outputs: the tensors that it returns.

    Returns:
        Bytes; 0 where there is no tensor.
    """
    graph = _Graph(inputs, steps, outputs)
    return _peak(graph.inputs, _joined(graph.operations(), graph.outputs), graph.outputs)


@dataclass
class _Operation:
    """What reads and makes memory; ``ends`` are the memories that are new at its end."""

    reads: set[Hashable]
    ends: dict[Hashable, int] = field(default_factory=dict)
    elementwise: bool = False


class _Graph:
    """Finds the memory of each tensor."""

    def __init__(self, inputs: Mapping[Hashable, Made], steps: Sequence[Step], outputs: Collection[Hashable]) -> None:
        self._steps = [step for step in _reached(inputs, steps) if step.reads]
        self._returned = set(outputs)
        self._readers: dict[Hashable, list[Step]] = defaultdict(list)
        for step in self._steps:
            for tensor in step.reads:
                self._readers[tensor].append(step)
        # Memories are known by the tensor that they were made for; constants have none.
        self._memory: dict[Hashable, Hashable] = {tensor: tensor for tensor in inputs}
        self._sizes = dict(inputs)
        self.inputs = {tensor: made.nbytes for tensor, made in inputs.items()}

    @property
    def outputs(self) -> set[Hashable]:
        """The memories of what the network returns."""
        return {self._memory[tensor] for tensor in self._returned if tensor in self._memory}

    def operations(self) -> list[_Operation]:
        """Return what is left without views, in order."""
        made = []
        for step in self._steps:
            operation = self._operation(step)
            if operation.ends or operation.reads:
                made.append(operation)
        return made

    def _operation(self, step: Step) -> _Operation:
        reads = {self._memory[tensor] for tensor in step.reads if tensor in self._memory}
        operation = _Operation(reads, elementwise=step.kind == "elementwise")
        source = next((tensor for tensor in step.reads if tensor in self._memory), None)
        for tensor, made in step.makes.items():
            if source is not None and self._shares(step, source, tensor):
                self._memory[tensor] = self._memory[source]
                continue
            self._memory.setdefault(tensor, tensor)
            memory, nbytes = self._memory[tensor], self._bytes(step, tensor, made)
            if memory not in reads and memory not in self.inputs:
                operation.ends[memory] = nbytes
        return operation

    def _shares(self, step: Step, source: Hashable, tensor: Hashable) -> bool:
        match step.kind:
            case "view":
                return True
            case "quantize":
                return self._only_quantized(source)
            case "dequantize":
                return self._taken_in_8_bits(tensor)
        return False

    def _bytes(self, step: Step, tensor: Hashable, made: Made) -> int:
        in_8_bits = step.kind == "quantize" or self._only_quantized(tensor)
        return min(made.elements, made.nbytes) if in_8_bits else made.nbytes

    def _taken_in_8_bits(self, tensor: Hashable) -> bool:
        """Whether whatever reads a dequantized tensor computes with what it was before."""
        return tensor not in self._returned and all(
            reader.in_int8
            or reader.kind == "quantize"
            or (reader.makes and all(self._only_quantized(made) for made in reader.makes))
            or (reader.kind == "view" and all(self._taken_in_8_bits(made) for made in reader.makes))
            for reader in self._readers[tensor]
        )

    def _only_quantized(self, tensor: Hashable) -> bool:
        """Whether a tensor, or what is computed of it element by element, is read by nothing but quantizing."""
        if tensor in self._returned or tensor in self.inputs or not self._readers[tensor]:
            return False
        return all(
            reader.kind == "quantize"
            or (
                reader.kind in ("elementwise", "view")
                and reader.makes
                and all(self._only_quantized(made) for made in reader.makes)
            )
            for reader in self._readers[tensor]
        )


def _reached(inputs: Mapping[Hashable, Made], steps: Sequence[Step]) -> list[Step]:
    """Return the steps that depend on an input; what they read besides is left out."""
    known, found = set(inputs), []
    for step in steps:
        reads = tuple(tensor for tensor in step.reads if tensor in known)
        if reads:
            known |= set(step.makes)
            found.append(replace(step, reads=reads))
    return found


def _joined(operations: Sequence[_Operation], outputs: set[Hashable]) -> list[_Operation]:
    """Return operations with those element by element made one with the next, where only that reads what they make."""
    readers: dict[Hashable, int] = defaultdict(int)
    for operation in operations:
        for memory in operation.reads:
            readers[memory] += 1
    joined: list[_Operation] = []
    for operation in operations:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.elementwise
            and operation.elementwise
            and last.ends
            and all(memory in operation.reads and readers[memory] == 1 for memory in last.ends)
            and not outputs & set(last.ends)
        ):
            reads = (operation.reads - set(last.ends)) | last.reads
            joined[-1] = _Operation(reads, operation.ends, elementwise=True)
        else:
            joined.append(operation)
    return joined


def _peak(inputs: Mapping[Hashable, int], operations: Sequence[_Operation], outputs: set[Hashable]) -> int:
    last = dict.fromkeys(inputs, -1)
    for place, operation in enumerate(operations):
        last |= dict.fromkeys((*operation.reads, *operation.ends), place)
    last |= dict.fromkeys(outputs, len(operations))
    live = dict(inputs)
    most = sum(live.values())
    for place, operation in enumerate(operations):
        ended = {memory for memory in live if last[memory] <= place}
        over = set(ended) - set(inputs) if operation.elementwise else set()
        for memory, nbytes in operation.ends.items():
            # An operand of which nothing is needed any more gives its place.
            given = next((one for one in over & operation.reads if live[one] == nbytes), None)
            if given is not None:
                over.discard(given)
                ended.discard(given)
                del live[given]
            live[memory] = nbytes
        most = max(most, sum(live.values()))
        for memory in (*ended, *(memory for memory in operation.ends if last[memory] <= place)):
            live.pop(memory, None)
    return most
