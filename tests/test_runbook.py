"""The runbook knows every message: docs/operations.md says what each means and what to do.

Messages are found in the code, where they are made; of each one's first sentence the longest piece
that is always the same must stand in the document, as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.walls import ROOT, Module, called, dotted, product

# What makes a message, and which of its arguments the message is. Every class below is joined by
# its subclasses, wherever they are.
CLASSES = {
    "IngestionError": 0,
    "UnreadableError": 0,
    "ImproperlyConfigured": 0,
    "ValidationError": 0,
    "Notice": 1,
    "Rejection": 3,
    "RowProblem": 1,
    "_Unusable": 0,
}
# Helpers that hand a message on to one of them, and lists of problems that are told together.
HELPERS = {"_problem": 1, "_warning": 1, "_refuse": 1, "error": 0, "warning": 0}
LISTS = {"problems", "_problems"}
# Programs that people start, and settings; elsewhere an error is for programmers.
PLACES = ("apps/ingestion/", "apps/operations/", "apps/po/", "apps/core/clock.py", "po_tracking/")

# Below so many characters a piece says nothing about where it comes from.
_TELLING = 5


def _makers() -> dict[str, int]:
    """The classes with all that derive from them."""
    bases = {
        node.name: {dotted(base) for base in node.bases}
        for module in product()
        for node in module.nodes()
        if isinstance(node, ast.ClassDef)
    }
    makers = dict(CLASSES)
    while True:
        more = {
            name: makers[base]
            for name, derived_from in bases.items()
            for base in derived_from
            if base in makers and name not in makers
        }
        if not more:
            return makers
        makers |= more


def _pieces(node: ast.expr) -> Iterator[str]:
    """The parts of a text that are the same each time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _pieces(part)
    elif isinstance(node, ast.BinOp):
        yield from _pieces(node.left)
        yield from _pieces(node.right)
    elif isinstance(node, ast.List):
        for element in node.elts:
            yield from _pieces(element)


def _of_the_first_sentence(pieces: Iterator[str]) -> Iterator[str]:
    """Some messages go on with what to do."""
    for piece in pieces:
        first, stop, _ = " ".join(piece.split()).partition(". ")
        yield first
        if stop:
            return


def _argument(call: ast.Call, position: int) -> ast.expr | None:
    if position < len(call.args):
        return call.args[position]
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    return named.get("message") or named.get("reason")


def messages(module: Module, makers: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Line and telling piece of each message that the module makes."""
    for call in module.calls():
        name = called(call)
        is_listed = name == "append" and not LISTS.isdisjoint(dotted(call.func).split("."))
        # A logger's methods have the names of the doctor's helpers.
        is_logged = dotted(call.func).startswith("logger.")
        position = 0 if is_listed else {**makers, **HELPERS}.get(name)
        argument = None if position is None or is_logged else _argument(call, position)
        if argument is None:
            continue
        piece = max(_of_the_first_sentence(_pieces(argument)), key=len, default="")
        piece = piece.strip(" .,:;()\"'[]-")
        if len(piece) >= _TELLING:
            yield call.lineno, piece


@cache
def _runbook() -> str:
    return " ".join((ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split())


def test_every_message_that_people_read_stands_in_the_runbook() -> None:
    makers = _makers()
    missing = [
        f"{module.path}:{line}: {piece}"
        for module in product()
        if module.path.startswith(PLACES)
        for line, piece in messages(module, makers)
        if piece not in _runbook()
    ]
    assert not missing, "docs/operations.md, Messages, lacks:\n" + "\n".join(missing)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise UsageError(f'--limit {n} shows nothing.', 'Give more.')", ["shows nothing"]),
        ("raise MappingError([f'the file is not UTF-8'], path)", ["the file is not UTF-8"]),
        ("Notice('x', f'{n} row(s) cannot be ' f'used. {first}', 'r')", ["row(s) cannot be used"]),
        ("self.problems.append(f'{where} lacks a table')", ["lacks a table"]),
        ("self._problem('lines', 'No line at all', 'r')", ["No line at all"]),
        ("yield error('The disk is full', 'r')", ["The disk is full"]),
        ("UnreadableFileError(f'{path} has no column ' + names, 'r')", ["has no column"]),
        ("logger.warning('Applying again: %s', error)", []),
        ("lines.append('not a problem')", []),
        ("raise ErpError(error.message, error.remedy)", []),
    ],
)
def test_messages_are_found_where_they_are_made(source: str, expected: list[str]) -> None:
    module = Module("apps/ingestion/x.py", source)
    assert [piece for _, piece in messages(module, _makers())] == expected


def test_enough_of_them_are_found() -> None:
    makers = _makers()
    found = [m for module in product() for m in messages(module, makers)]
    assert len(found) > 120
