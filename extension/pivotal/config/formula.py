"""A course of a learning rate as a formula."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

LONGEST = 400  # characters, so that no nesting is too deep
_CHECKED = 1000  # places of a run at which a formula is tried before it begins

_OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: math.pow,
    ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv}
_COMPARISONS: Mapping[type, Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "abs": abs,
    "min": min, "max": max, "floor": math.floor, "ceil": math.ceil}
_NAMES = ("p", "step", "steps", "pi", "e")


class Formula:
    """A factor as arithmetic in p (0..1, the share that is done), step and steps; no Python is run.

    Raises:
        ValueError: it is no arithmetic, or uses a name that there is not.
    """

    def __init__(self, text: str):
        if len(text) > LONGEST:
            raise ValueError(f"has {len(text)} characters; {LONGEST} are the most")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text!r} is no formula: {getattr(error, 'msg', error)}") from None
        self._run = _compiled(self._tree)

    def at(self, done: int, of: int) -> float:
        """The factor of the step after `done` of `of` steps.

        Raises:
            ValueError: there it is no number, or below zero.
        """
        names = {"p": done / of, "step": float(done), "steps": float(of), "pi": math.pi, "e": math.e}
        try:
            value = float(self._run(names))
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ValueError(f"after {done} of {of} steps it has no value ({error})") from None
        if not math.isfinite(value) or not 0 <= value <= 1000:
            raise ValueError(f"after {done} of {of} steps it is {value:g}; expected 0 to 1000")
        return value

    def check(self, of: int) -> None:
        """Tries it at many places of a run of `of` steps; raises as `at` does."""
        for step in sorted({round(index * (of - 1) / _CHECKED) for index in range(_CHECKED + 1)}):
            self.at(step, of)


_Run = Callable[[Mapping[str, float]], float]


def _compiled(node: ast.expr) -> _Run:
    """`node` as a function of the names' values; arithmetic and nothing else."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value = _constant(node.value)
        return lambda _names: value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return lambda names: names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner, sign = _compiled(node.operand), -1.0 if isinstance(node.op, ast.USub) else 1.0
        return lambda names: sign * inner(names)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right, act = _compiled(node.left), _compiled(node.right), _OPERATORS[type(node.op)]
        return lambda names: act(left(names), right(names))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
        left, right, test = _compiled(node.left), _compiled(node.comparators[0]), _COMPARISONS[type(node.ops[0])]
        return lambda names: float(test(left(names), right(names)))
    if isinstance(node, ast.IfExp):
        test, then, other = _compiled(node.test), _compiled(node.body), _compiled(node.orelse)
        return lambda names: then(names) if test(names) else other(names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords:
        function, arguments = _FUNCTIONS[node.func.id], [_compiled(argument) for argument in node.args]
        return lambda names: float(function(*(argument(names) for argument in arguments)))
    raise ValueError(f"{ast.unparse(node)!r} is not understood; there are {', '.join(_NAMES)}, numbers, + - * / ** %, "
                     f"comparisons in 'a if b else c', and {', '.join(_FUNCTIONS)}")


def _constant(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number in the formula is too large") from None
