"""docs/cases.md names every case of the checklist once, and only tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "cases.md"
CHECKLIST = TESTS.parents[1] / "shared" / "design" / "CASES.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")

rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the names of the functions in a file, without importing it."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions))


@pytest.mark.parametrize(("number", "holds", "shown_by"), rows, ids=[row[0] for row in rows])
def test_a_case_names_tests_that_exist_or_says_why_it_does_not_apply(number: str, holds: str, shown_by: str) -> None:
    named = NAMED.findall(shown_by)
    assert named or holds.startswith("does not apply: "), number
    for file, test in named:
        assert test in functions_of(TESTS / file), f"case {number}: there is no {file}::{test}"
    assert NAMED.sub("", shown_by).strip(", ") == "", "nothing but tests"


def test_every_case_of_the_checklist_is_there_once_and_in_its_order() -> None:
    if not CHECKLIST.exists():
        pytest.skip("the checklist is not beside the repository")
    expected = re.findall(r"^(\d+)\. ", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE)
    assert [number for number, _, _ in rows] == expected
