# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataclasses written out for the compiler, which makes of a class with methods what it cannot make of a decorator.

The methods do what those of `dataclasses` do. They go where they cost no line, so that what is compiled has
each statement on the line of its source, and a traceback names the right one.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

_IMPORTS = "import typing as _typing; import dataclasses as _dataclasses; from sip.facts import described as _described"
_FIELDS = "__dataclass_fields__: _typing.ClassVar[dict[str, _dataclasses.Field[_typing.Any]]]"
_SOURCES = ("dataclasses", "sip.facts")
_CLASS_OPTIONS = {"slots", "frozen", "eq"}
_FIELD_OPTIONS = {"default", "default_factory", "compare", "init", "repr"}


class Unsupported(Exception):
    """A class is written in a way that cannot be compiled."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str
    default: str | None
    factory: str | None
    compare: bool
    init: bool
    repr: bool


@dataclass(frozen=True, slots=True)
class _Options:
    eq: bool
    hash: bool


def dataclasses_in(text: str) -> dict[str, ast.ClassDef]:
    """The dataclasses of a module, by name."""
    classes = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    return {node.name: node for node in classes if _options(node)}


def expand(text: str, known: Mapping[str, ast.ClassDef]) -> str:
    """The module `text` with its dataclasses written out, all else and all line numbers as they were.

    known: the dataclasses of all modules, from which these may inherit. Raises Unsupported.
    """
    lines, tree = text.split("\n"), ast.parse(text)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and _options(node)]
    for node in classes:
        _expand(node, lines, known)
    if classes:
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module in _SOURCES]
        lines[(imports[-1].end_lineno or 0) - 1] += "; " + _IMPORTS
    return "\n".join([*lines, ""])


def _options(node: ast.ClassDef) -> _Options | None:
    for decorator in node.decorator_list:
        match decorator:
            case ast.Name(id="fact"):
                return _Options(eq=True, hash=True)
            case ast.Name(id="dataclass"):
                raise Unsupported(f"{node.name}, line {node.lineno}: a dataclass without slots")
            case ast.Call(func=ast.Name(id="dataclass"), keywords=keywords):
                given = {each.arg: ast.literal_eval(each.value) for each in keywords}
                if len(node.decorator_list) > 1 or not given.get("slots") or not given.keys() <= _CLASS_OPTIONS:
                    raise Unsupported(f"{node.name}, line {node.lineno}: {ast.unparse(decorator)}")
                eq = given.get("eq", True)
                return _Options(eq, eq and given.get("frozen", False))
    return None


def _expand(node: ast.ClassDef, lines: list[str], known: Mapping[str, ast.ClassDef]) -> None:
    """Write one class out; the line behind it says what it is made of."""
    options, own, fields = _options(node), _annotated(node), _fields(node, known)
    assert options
    for each in own:
        _blank_default(each, lines)
    if own:
        lines[(own[0].annotation.end_lineno or 0) - 1] += f"; {_FIELDS}"
    methods = _methods(node, fields, options)
    free = _free_lines(node, lines, len(methods))
    if len(free) <= len(methods) or free[-1] < (node.end_lineno or 0):
        raise Unsupported(f"{node.name}: {len(free)} free lines for {len(methods)} methods; say more in its docstring")
    for number, method in zip(free, methods, strict=False):
        lines[number] = f"    {method}"
    values = [value for each in fields for value in (each.default, each.factory) if value]
    lines[free[-1]] = f"_described({', '.join([node.name, repr(' '.join(map(_said, fields))), *values])})"


def _said(field: _Field) -> str:
    """What `described` reads: one constant, for what makes a list of fields takes long to compile."""
    letters = {"i": field.init, "c": field.compare, "r": field.repr, "d": field.default, "f": field.factory}
    return f"{field.name}:{''.join(letter for letter, whether in letters.items() if whether)}"


def _free_lines(node: ast.ClassDef, lines: list[str], wanted: int) -> list[int]:
    """Numbers of lines of the class that say nothing: its head takes the decorator's, and its docstring goes."""
    head = node.lineno - 1
    lines[node.decorator_list[0].lineno - 1], lines[head] = lines[head], ""
    free, first = [head], node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        documented = range(first.lineno - 1, first.end_lineno or 0)
        lines[documented.start : documented.stop] = [""] * len(documented)
        free += documented
    end = node.end_lineno or 0
    if not any(line.strip() for line in lines[end:]):
        lines += [""] * (wanted + 1)
    while end < len(lines) and not lines[end].strip():
        free.append(end)
        end += 1
    return free


def _fields(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> list[_Field]:
    """Those of its bases first."""
    inherited = [each for base in node.bases if (of := known.get(ast.unparse(base))) for each in _fields(of, known)]
    return inherited + [_field(each) for each in _annotated(node)]


def _annotated(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [
        each for each in node.body if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation)
    ]


def _field(node: ast.AnnAssign) -> _Field:
    name, kind = ast.unparse(node.target), ast.unparse(node.annotation)
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        given = {each.arg or "": ast.unparse(each.value) for each in value.keywords}
        if not given.keys() <= _FIELD_OPTIONS:
            raise Unsupported(f"{name}: {ast.unparse(value)}")
        flags = (given.get(each, "True") == "True" for each in ("compare", "init", "repr"))
        return _Field(name, kind, given.get("default"), given.get("default_factory"), *flags)
    return _Field(name, kind, None if value is None else ast.unparse(value), None, True, True, True)


def _blank_default(node: ast.AnnAssign, lines: list[str]) -> None:
    """Leave the annotation alone: a value there would be one of the class, or of each instance before its first."""
    if node.value is None:
        return
    last = (node.annotation.end_lineno or 0) - 1
    lines[last] = lines[last][: node.annotation.end_col_offset]
    for number in range(last + 1, node.end_lineno or 0):
        lines[number] = ""


def _methods(node: ast.ClassDef, fields: list[_Field], options: _Options) -> list[str]:
    own = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    given, body = [], []
    for each in fields:
        value = f"{each.factory}()" if each.factory else each.default
        if each.init:
            given.append(_argument(each))
            value = f"{value} if {each.name} is None else {each.name}" if each.factory else each.name
        if value is not None:
            body.append(f"self.{each.name} = {value}")
    if "__post_init__" in own:
        body.append("self.__post_init__()")
    methods = [f"def __init__(self, {', '.join(given)}) -> None: {'; '.join(body) or 'pass'}"]
    compared = [each.name for each in fields if each.compare]
    if options.eq and "__eq__" not in own:
        same = " and ".join(f"self.{name} == other.{name}" for name in compared) or "True"
        methods.append(
            f"def __eq__(self, other: object) -> bool: return ({same})"
            f" if isinstance(other, {node.name}) and other.__class__ is self.__class__ else NotImplemented"
        )
    if options.hash and "__hash__" not in own:
        values = "".join(f"self.{name}, " for name in compared)
        methods.append(f"def __hash__(self) -> int: return hash(({values}))")
    return methods


def _argument(field: _Field) -> str:
    """None stands for what a factory makes, as no value does: their kinds know no None."""
    if field.factory:
        return f"{field.name}: {field.kind} | None = None"
    return f"{field.name}: {field.kind}" + ("" if field.default is None else f" = {field.default}")
