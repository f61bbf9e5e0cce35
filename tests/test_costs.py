"""Constants of seconds and flops are in costs.py and rates.py alone, where one script fits them."""

import ast
import re
from pathlib import Path

import pytest

import convmtx

SOURCE = Path(convmtx.__file__).parent
#: Shells limit what a user waits for; nothing is chosen by these numbers.
SHELLS = ("cli/", "explorer/", "plot/", "storage/", "demo.py")
#: Words of a comment that make a number one of seconds or of flops; the unit of a decomposition is called work.
UNITS = re.compile(
    r"\b(seconds|in a second|minutes|hours?|flops?|multiply-adds?|operations?|faster|slower)\b|^#: Work\b",
    re.IGNORECASE,
)
#: Words of a name.
NAMES = re.compile(r"(\b|_)(SECONDS?|FLOPS?|WORK)(_|\b)", re.IGNORECASE)
#: Numbers that are none: ratios of seconds that are decisions.
RATIOS = {("solves/methods/iterated.py", "PATIENCE"), ("solves/select.py", "SLOWER")}


def comment_of(lines, node):
    """Comments directly above a statement, and beside it."""
    above = node.lineno - 1
    while above > 0 and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    beside = [line.partition("  # ")[2] for line in lines[node.lineno - 1 : node.end_lineno]]
    return " ".join([*lines[above : node.lineno - 1], *beside])


def numbers(node):
    """Numbers in an expression, but 0 and 1."""
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return [value for value in constants if type(value) in (int, float) and value not in (0, 1)]


def priced_constants(text):
    """Find constants of modules and classes whose comment or name has one of `UNITS`, as (line, name)."""
    tree, lines = ast.parse(text), text.splitlines()
    for body in [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        for node in body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and numbers(node.value):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                name = ast.unparse(target)
                if UNITS.search(comment_of(lines, node)) or NAMES.search(name):
                    yield node.lineno, name


def priced_literals(text):
    """Find numbers below 1e-5 that are multiplied, in a module that predicts seconds, as (line, number)."""
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    if "costs" not in imported:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and isinstance(side.value, float) and 0 < side.value < 1e-5:
                    yield node.lineno, side.value


@pytest.mark.parametrize(
    "text",
    [
        "#: Seconds of a call.\nCALL = 2e-5",
        "class A:\n    MAX_FLOPS = 2e9",
        "A, B = 3, 4  # operations",
        "#: Size from which it is faster.\nSIZE = 9",
        "from convmtx import costs\ndef f(n):\n    return 2e-7 * n",
    ],
)
def test_constants_of_seconds_are_seen(text):  # fmt: skip
    assert [*priced_constants(text), *priced_literals(text)]


@pytest.mark.parametrize(
    "text", ["#: Bytes of a tile.\nTILE = 1 << 22", "#: Seconds so far.\nspent = 0.0", "def f(n):\n    return 2e-7 * n"]
)
def test_other_numbers_are_not(text):  # fmt: skip
    assert not [*priced_constants(text), *priced_literals(text)]


def test_no_other_module_holds_a_constant_of_seconds_or_flops():
    held = {}
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place not in ("costs.py", "rates.py") and not place.startswith(SHELLS):
            text = path.read_text(encoding="utf-8")
            hits = [hit for hit in (*priced_constants(text), *priced_literals(text)) if (place, hit[1]) not in RATIOS]
            if hits:
                held[place] = hits
    assert held == {}
