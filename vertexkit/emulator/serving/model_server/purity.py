"""Whether a model's answers depend on its inputs alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# Stateful for TensorFlow, and yet without an effect on what is answered: they read what nothing here
# writes, or they call functions, whose own nodes are looked at.
_HARMLESS = frozenset(
    {
        "Case",
        "If",
        "NoOp",
        "PartitionedCall",
        "Placeholder",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "VariableV2",
        "While",
    }
)


def find_impure_operation(graph_def: Any, outputs: Iterable[str]) -> str | None:
    """The first operation on the way to some outputs that draws random numbers or keeps a state.

    Args:
        graph_def: A ``GraphDef`` with the functions that its nodes call.
        outputs: Names of the nodes that the outputs come from.

    Returns:
        The operation's type, such as ``RandomUniform``; None if the outputs depend on inputs alone.
    """
    from tensorflow.python.framework import op_def_registry

    functions = {function.signature.name: function for function in graph_def.library.function}
    for node in _reachable(graph_def, outputs, functions):
        definition = op_def_registry.get(node.op)
        if node.op in functions or node.op in _HARMLESS:
            continue
        if definition is None or definition.is_stateful:
            return str(node.op)
    return None


def _reachable(graph_def: Any, outputs: Iterable[str], functions: dict[str, Any]) -> Iterator[Any]:
    """The nodes that the outputs come from, and all nodes of the functions that those call."""
    nodes = {node.name: node for node in graph_def.node}
    waiting, seen = list(outputs), set()
    called: list[str] = []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = nodes[name]
        yield node
        called += _called(node, functions)
        waiting += [entry.removeprefix("^").partition(":")[0] for entry in node.input]
    entered = set()
    while called:
        name = called.pop()
        if name in entered:
            continue
        entered.add(name)
        for node in functions[name].node_def:
            yield node
            called += _called(node, functions)


def _called(node: Any, functions: dict[str, Any]) -> list[str]:
    names = [node.op]
    for value in node.attr.values():
        names.append(value.func.name)
        names += [function.name for function in value.list.func]
    return [name for name in names if name in functions]
