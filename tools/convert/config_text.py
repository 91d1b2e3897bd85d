"""Reads the values of a configuration that is Python source text, without running it.

mmsegmentation's checkpoints hold the configuration of their training as such a text: assignments of literals and of
calls `dict(...)`, which may name values that were assigned before.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from tools.errors import ConfigTextError

# Published configurations have 5,000 to 20,000 characters and about 8 levels.
_MOST_CHARACTERS = 1 << 18
_DEEPEST = 64


def read_config_text(text: str) -> dict[str, Any]:
    """Reads the assignments of a configuration.

    Args:
        text: Python source text.

    Returns:
        The values by name: None, booleans, numbers, strings, lists, tuples and dictionaries. An assignment of anything
        else is left out.

    Raises:
        ConfigTextError: the text is not Python, is longer than 262,144 characters, or has a statement that may change
            what was assigned.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ConfigTextError(f"has {len(text)} characters, expected at most {_MOST_CHARACTERS}")
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the parser's limits of depth and digits
        raise ConfigTextError("is not Python") from error
    values: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            _assign(statement, values)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):  # a docstring
            raise ConfigTextError(f"has the statement {type(statement).__name__}, expected assignments to names")
    return values


def _assign(statement: ast.Assign, values: dict[str, Any]) -> None:
    """Adds the value of one assignment; removes the name's earlier value if this one cannot be read."""
    for target in statement.targets:
        if isinstance(target, ast.Name):
            values.pop(target.id, None)
    try:
        value = _value(statement.value, values)
    except ConfigTextError:
        if _may_change(statement.value, values):
            raise
        return
    values.update({target.id: value for target in statement.targets if isinstance(target, ast.Name)})


def _may_change(node: ast.expr, names: Mapping[str, Any]) -> bool:
    """Returns whether an expression calls something and names a value, as in `model.pop('decode_head')`."""
    parts = list(ast.walk(node))
    calls = any(isinstance(part, (ast.Call, ast.NamedExpr, ast.comprehension)) for part in parts)
    return calls and any(isinstance(part, ast.Name) and part.id in names for part in parts)


def _value(node: ast.expr, names: Mapping[str, Any], depth: int = 0) -> Any:
    """Evaluates a literal, a name or `dict(...)`.

    Raises:
        ConfigTextError: it is anything else.
    """
    if depth > _DEEPEST:
        raise ConfigTextError("is nested too deeply")
    if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex, type(...))):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _negative(_value(node.operand, names, depth + 1))
    if isinstance(node, (ast.List, ast.Tuple)):
        elements = [_value(element, names, depth + 1) for element in node.elts]
        return elements if isinstance(node, ast.List) else tuple(elements)
    if isinstance(node, ast.Dict):
        return _mapping(zip(node.keys, node.values, strict=True), names, depth)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return _called_dict(node, names, depth)
    raise ConfigTextError(f"has {type(node).__name__}, expected a literal")


def _negative(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigTextError("negates something other than a number")
    return -value


def _mapping(items: Any, names: Mapping[str, Any], depth: int) -> dict[Any, Any]:
    result = {}
    for key_node, value_node in items:
        key = None if key_node is None else _value(key_node, names, depth + 1)
        if not isinstance(key, (str, int)):
            raise ConfigTextError("has a key that is neither a string nor a whole number")
        result[key] = _value(value_node, names, depth + 1)
    return result


def _called_dict(node: ast.Call, names: Mapping[str, Any], depth: int) -> dict[Any, Any]:
    """Evaluates `dict(a=1)`, and `dict({"a": 1})`, which mmengine writes for keys that are not names."""
    result: dict[Any, Any] = {}
    for argument in node.args:
        value = _value(argument, names, depth + 1)
        if not isinstance(value, dict):
            raise ConfigTextError("calls dict with something other than a dictionary")
        result |= value
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ConfigTextError("unpacks a dictionary")
        result[keyword.arg] = _value(keyword.value, names, depth + 1)
    return result
