"""The harness treats no modality and no system as a special case: it never compares with the name of one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import astroclip_bench
from baselines.systems.catalogue import SYSTEMS

MODALITIES = {"image", "spectrum", "photometry", "text"}
SYSTEM_WORDS = {"astroclip", "spender", "stein", "hubbleclip", "paperclip", "vrakkis", "siddiquei", *SYSTEMS}
ROOM = Path(astroclip_bench.__file__).parent


def compared_names(tree: ast.AST) -> list[tuple[int, str]]:
    """Return the strings that code compares with, in `==`, `!=`, `in`, `case` or `startswith`, and their lines."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            parts = list(node.args)
        for part in parts:
            constants = [part, *getattr(part, "elts", [])]
            found += [
                (constant.lineno, constant.value)
                for constant in constants
                if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
            ]
    return found


METHODS = {"startswith", "endswith"}


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOM)))
def test_no_module_compares_with_the_name_of_a_modality_or_system(path):
    names = compared_names(ast.parse(path.read_text(encoding="utf-8")))
    special = [f"line {line}: {name!r}" for line, name in names if name.lower() in MODALITIES | SYSTEM_WORDS]
    assert not special


def test_a_special_case_would_be_seen():
    code = "if modality == 'text': pass\nx = name in ('spectrum', 'b')\nmatch m:\n    case 'image': pass"
    assert [name for _, name in compared_names(ast.parse(code))] == ["text", "spectrum", "b", "image"]
