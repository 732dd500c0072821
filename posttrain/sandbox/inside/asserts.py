"""Assert statements that report instead of raising, so that each of them is a test of its own.

The asserts within a `try` statement stay as they are: there the exception may be part of what is tested.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

REPORT, FAILED = "__report__", "__failed__"


def reporting(trees: Sequence[ast.Module]) -> list[str]:
    """Rewrite the asserts of the trees in place; return the text of each, in order.

    ``assert f(x) == y`` becomes ``__report__(n, (left := f(x)) == (right := y), left, right)``, where n counts
    through all trees, and ``__failed__(n, error)`` is called with an exception of its own.
    """
    rewriter = _Rewriter()
    for tree in trees:
        rewriter.visit(tree)
        ast.fix_missing_locations(tree)
    return rewriter.texts


def has_assert(tree: ast.AST) -> bool:
    """Tell whether there is an assert statement anywhere."""
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree))


class _Rewriter(ast.NodeTransformer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def visit_Try(self, node: ast.Try) -> ast.AST:
        return node

    visit_TryStar = visit_Try

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        number = ast.Constant(len(self.texts))
        self.texts.append(ast.unparse(node.test))
        report = _call(REPORT, number, *_test_and_sides(node.test))
        failed = _call(FAILED, number, ast.Name("__error__", ast.Load()))
        handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), "__error__", [ast.Expr(failed)])
        return ast.copy_location(ast.Try([ast.Expr(report)], [handler], [], []), node)


def _test_and_sides(test: ast.expr) -> list[ast.expr]:
    """Return the expression, and for an equation the values of its sides after it."""
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return [test]
    sides = {"__left__": test.left, "__right__": test.comparators[0]}
    left, right = (ast.NamedExpr(ast.Name(name, ast.Store()), side) for name, side in sides.items())
    return [ast.Compare(left, [ast.Eq()], [right]), *(ast.Name(name, ast.Load()) for name in sides)]


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
