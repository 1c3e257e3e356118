"""A program of ``torch.export`` as text, made anew field by field from what is known and harmless.

PyTorch turns names of a program into Python, resolves its operators, imports what its trees of inputs name, and
evaluates its sizes. Whatever is written here is of a form from which nothing can come but calls of the operators that
are listed in ``operators``. All that a network is not run by is left out: stack traces, guards, metadata, the calls of
its parts.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.export.files import operators, sizes
from sparsebench.export.files.rules import (
    Rule,
    fields,
    list_of,
    mapping,
    maybe,
    nothing,
    number,
    one_of,
    refused,
    shown,
    table,
    text,
    truth,
    whole,
)

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_PATH = re.compile(r"(?!__)[\w-]{1,200}(\.(?!__)[\w-]{1,200}){0,60}", re.ASCII)
_WORDS = re.compile(r"[A-Za-z0-9_ ,.>=()-]{0,200}", re.ASCII)
_KEY = re.compile(r"[^\x00-\x1f\"'\\]{0,200}")
_VERSION = re.compile(r"[\w.+<=-]{1,60}", re.ASCII)
_STRIDED = 7
_MOST_LEVELS = 16
_DIALECTS = ("ATEN", "TRAINING", "")
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict"}


name = text(IDENTIFIER, "a name of letters, digits and '_'")
_maybe_name = text(re.compile(f"({IDENTIFIER.pattern})?"), "a name of letters, digits and '_'")
path = text(_PATH, "a path of names with dots")
_named = fields(name=name)
_hint = maybe(one_of(as_int=whole(), as_bool=truth, as_float=number))
_expression = fields(expr_str=sizes.rewritten, hint=_hint)
_size = one_of(as_expr=_expression, as_int=whole())
_device = fields(type=text(re.compile("cpu"), "the device 'cpu'"), index=maybe(whole(0, 0)))
tensor_meta = fields(
    dtype=whole(1, 100),
    sizes=list_of(_size),
    requires_grad=truth,
    device=_device,
    strides=list_of(_size),
    storage_offset=_size,
    layout=whole(_STRIDED, _STRIDED),
)
_maybe_tensor = one_of(as_tensor=_named, as_none=truth)
_sym_int = one_of(as_name=name, as_int=whole())
_sym_float = one_of(as_name=name, as_float=number)
_sym_bool = one_of(as_name=name, as_bool=truth)
_words = text(_WORDS, "a word such as 'linear'")

_PLAIN: dict[str, Rule] = {
    "as_none": truth,
    "as_tensor": _named,
    "as_tensors": list_of(_named),
    "as_int": whole(),
    "as_ints": list_of(whole()),
    "as_float": number,
    "as_floats": list_of(number),
    "as_string": _words,
    "as_strings": list_of(_words),
    "as_sym_int": _sym_int,
    "as_sym_ints": list_of(_sym_int),
    "as_scalar_type": whole(0, 100),
    "as_memory_format": whole(0, 10),
    "as_layout": whole(_STRIDED, _STRIDED),
    "as_device": _device,
    "as_bool": truth,
    "as_bools": list_of(truth),
    "as_sym_bool": _sym_bool,
    "as_sym_bools": list_of(_sym_bool),
    "as_optional_tensors": list_of(_maybe_tensor),
    "as_optional_tensor": _maybe_tensor,
    "as_sym_float": _sym_float,
    "as_sym_floats": list_of(_sym_float),
    "as_complex": fields(real=number, imag=number),
    "as_nested_tensors": list_of(list_of(_named)),
    "as_int_lists": list_of(list_of(whole())),
    "as_float_lists": list_of(list_of(number)),
}
"""Arguments but for graphs. Operators and objects as arguments are not let through."""

_argument = one_of(**_PLAIN)


def _graph(level: int) -> Rule:
    if level > _MOST_LEVELS:

        def deeper(_: Any) -> Any:
            raise refused(f"its graphs lie more than {_MOST_LEVELS} deep in each other")

        return deeper
    # Only what is met is made: each level knows the next.
    inner = fields(name=name, graph=lambda value: _graph(level + 1)(value))
    given = fields(name=_maybe_name, arg=one_of(**_PLAIN, as_graph=inner), kind=maybe(whole(0, 2)))
    node = fields(
        target=_target,
        inputs=list_of(given),
        outputs=list_of(_argument),
        metadata=lambda _: {},
        is_hop_single_tensor_return=maybe(truth),
        name=maybe(name),
    )
    return fields(
        inputs=list_of(_argument),
        outputs=list_of(_argument),
        nodes=list_of(lambda value: _checked_node(node(_told_by_us(value)))),
        tensor_values=table(name, tensor_meta),
        sym_int_values=table(name, _size),
        sym_bool_values=table(name, one_of(as_expr=_expression, as_bool=truth)),
        is_single_tensor_return=truth,
        custom_obj_values=nothing,
        sym_float_values=table(name, one_of(as_expr=_expression, as_float=number)),
    )


def _target(value: Any) -> str:
    if not isinstance(value, str) or operators.namespace_of(value) is None:
        raise SparsebenchError(
            f"calls {value!r:.100}, which is none of the operators that only compute; it is not run. Export a network "
            "of PyTorch's own layers."
        )
    return value


def _told_by_us(node: Any) -> Any:
    """Return a node that asserts something with a text of ours; that of the file may be anything."""
    if operators.name_of(str(mapping(node).get("target"))) not in operators.ASSERTIONS:
        return node
    return {
        **node,
        "inputs": [
            {**one, "arg": {"as_string": "an assertion of the program failed"}}
            if isinstance(one, dict) and "as_string" in (one.get("arg") or ())
            else one
            for one in node.get("inputs") or ()
        ],
    }


def _checked_node(node: dict[str, Any]) -> dict[str, Any]:
    if not {"target", "inputs", "outputs"} <= node.keys():
        raise refused("it has a call without a target, inputs or outputs")
    if node["target"] == operators.POWER and not _is_small(node["inputs"]):
        raise refused(f"it raises numbers to a power that is not known to be at most {operators.LARGEST_POWER}")
    return node


def _is_small(inputs: list[dict[str, Any]]) -> bool:
    given = [*inputs[1].get("arg", {}).values()] if len(inputs) == 2 else []
    power = next(iter(given[0].values()), None) if given and isinstance(given[0], dict) else next(iter(given), None)
    return isinstance(power, int | float) and abs(power) <= operators.LARGEST_POWER


_constant = one_of(as_none=truth, as_int=whole(), as_float=number, as_string=_words, as_bool=truth)
_signature = fields(
    input_specs=list_of(
        one_of(
            user_input=fields(arg=_argument),
            parameter=fields(arg=_named, parameter_name=path),
            buffer=fields(arg=_named, buffer_name=path, persistent=truth),
            tensor_constant=fields(arg=_named, tensor_constant_name=path),
            constant_input=fields(name=_maybe_name, value=_constant),
        )
    ),
    output_specs=list_of(
        one_of(
            user_output=fields(arg=_argument),
            loss_output=fields(arg=_named),
            buffer_mutation=fields(arg=_named, buffer_name=path),
            user_input_mutation=fields(arg=_named, user_input_name=name),
            parameter_mutation=fields(arg=_named, parameter_name=path),
        )
    ),
)


def _tree(text: Any) -> str:
    """Return a tree of inputs or outputs of tuples, lists and dictionaries, as PyTorch reads it."""
    try:
        protocol, tree = json.loads(text)
    except (TypeError, ValueError) as error:
        raise refused("a tree of its inputs is no JSON") from error
    return json.dumps([whole(1, 1)(protocol), _branch(tree, 0)])


def _branch(tree: Any, level: int) -> dict[str, Any]:
    kind, context = mapping(tree).get("type"), tree.get("context")
    if kind is None and context is None and not tree.get("children_spec"):
        return {"type": None, "context": None, "children_spec": []}
    if kind not in _TREES or level > _MOST_LEVELS:
        raise refused(
            f"its inputs or outputs are of the kind {shown(kind)}, where tuples, lists and dictionaries at most "
            f"{_MOST_LEVELS} deep are allowed"
        )
    inner = list_of(lambda one: _branch(one, level + 1))(tree.get("children_spec"))
    return {"type": kind, "context": json.dumps(_keys(kind, context, len(inner))), "children_spec": inner}


def _keys(kind: str, context: Any, count: int) -> list[Any] | None:
    if kind != "builtins.dict":
        return None
    try:
        found = json.loads(context)
    except (TypeError, ValueError) as error:
        raise refused("the keys of its inputs or outputs are no JSON") from error
    keys: list[Any] = list_of(lambda key: whole()(key) if type(key) is int else text(_KEY, "a plain key")(key))(found)
    if len(keys) != count:
        raise refused("its inputs or outputs have more keys than values, or fewer")
    return keys


def _tree_of_inputs(text: Any) -> str:
    """Return a tree of positional and keyword arguments; keywords become Python."""
    found = _tree(text)
    _, tree = json.loads(found)
    parts = tree["children_spec"]
    if [part["type"] for part in parts] != ["builtins.tuple", "builtins.dict"]:
        raise refused("its inputs are no positional and keyword arguments")
    list_of(name)(json.loads(parts[1]["context"]))
    return found


_call = fields(
    inputs=list_of(_argument),
    outputs=list_of(_argument),
    in_spec=_tree_of_inputs,
    out_spec=_tree,
    forward_arg_names=maybe(list_of(name)),
)


def _calls(value: Any) -> list[Any]:
    """Return how the network itself is called; how its parts were is not needed."""
    whole = [one for one in list_of(mapping)(value) if one.get("fqn") == ""]
    if len(whole) != 1:
        raise refused("it does not say how it is called")
    return [{"fqn": "", "signature": _call(whole[0].get("signature"))}]


_program = fields(
    graph_module=fields(
        graph=_graph(1),
        signature=_signature,
        module_call_graph=_calls,
        metadata=lambda _: {},
        treespec_namedtuple_fields=lambda _: {},
    ),
    opset_version=fields(aten=whole(0, 1000)),
    range_constraints=table(
        text(sizes.SYMBOL, "a symbol such as 's0'"), fields(min_val=maybe(whole()), max_val=maybe(whole()))
    ),
    schema_version=fields(major=whole(0, 1000), minor=whole(0, 1000)),
    verifiers=list_of(text(re.compile("|".join(_DIALECTS)), "a dialect of PyTorch")),
    torch_version=text(_VERSION, "a version"),
    guards_code=lambda _: [],
)


def rewritten(program: Any) -> dict[str, Any]:
    """Return a program made anew from the JSON of one.

    Raises:
        SparsebenchError: where it holds anything else; a sentence without the file's name.
    """
    made: dict[str, Any] = _program(program)
    graph = made.get("graph_module", {})
    if not {"graph", "signature", "module_call_graph"} <= graph.keys() or "schema_version" not in made:
        raise refused("parts of it are missing")
    return made


def namespaces_of(graph: dict[str, Any]) -> Iterator[str]:
    """Yield the namespaces of the operators that a graph made anew calls, those of inner graphs too."""
    for node in graph.get("nodes", ()):
        yield operators.namespace_of(node["target"]) or ""
        for given in node["inputs"]:
            if inner := given.get("arg", {}).get("as_graph"):
                yield from namespaces_of(inner.get("graph", {}))
