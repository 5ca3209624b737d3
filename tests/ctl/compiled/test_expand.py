# SPDX-License-Identifier: GPL-3.0-or-later
"""A dataclass that is written out does what the decorator would have made it do."""

import ast
import pickle
import sys
from dataclasses import asdict, fields, replace
from types import ModuleType

import pytest

from ctl.compiled.expand import Unsupported, dataclasses_in, expand
from ctl.compiled.modules import modules, source

TEXT = '''
from __future__ import annotations
from dataclasses import dataclass, field
from sip.facts import fact

NOBODY = ("nobody",)


@fact
class Point:
    """A place."""

    x: int
    y: int = 0
    names: tuple[str, ...] = NOBODY
    seen: list[int] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)

    def far(self) -> int:
        return self.x + self.y


@fact
class Named(Point):
    """One with a name."""

    name: str = "?"


@dataclass(slots=True)
class Tally:
    """What changes."""

    count: int = 0
    double: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.double = 2 * self.count


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """Equal to nobody else."""

    x: int
'''


@pytest.fixture(params=["as it is", "written out"])
def made(request, monkeypatch):
    module = ModuleType("made")
    monkeypatch.setitem(sys.modules, "made", module)
    text = TEXT if request.param == "as it is" else expand(TEXT, dataclasses_in(TEXT))
    exec(compile(text, "made", "exec", dont_inherit=True), vars(module))
    return module


def test_arguments_and_their_defaults(made):
    point = made.Point(1)
    assert (point.x, point.y, point.names, point.seen, point.secret) == (1, 0, ("nobody",), [], "")
    assert made.Point(1, 2, (), [3], "s").seen == [3]
    assert made.Point(1).seen is not point.seen
    assert made.Tally(3).double == 6
    with pytest.raises(TypeError):
        made.Point()
    with pytest.raises(TypeError):
        made.Tally(1, 2)


def test_what_is_equal(made):
    assert made.Point(1, seen=[1]) == made.Point(1) != made.Point(2)
    assert made.Point(1) != made.Named(1) == made.Named(1, name="?") != made.Named(1, name="!")
    assert made.Point(1) != (1, 0, ("nobody",), "")
    assert hash(made.Point(1, seen=[1])) == hash(made.Point(1)) == hash((1, 0, ("nobody",), ""))
    assert made.Tally(1) == made.Tally(1)
    assert made.Alone(1) != made.Alone(1)
    assert len({made.Alone(1), made.Alone(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(made.Tally(1))


def test_how_it_is_shown(made):
    assert repr(made.Point(1, secret="s")) == "Point(x=1, y=0, names=('nobody',), seen=[])"
    assert repr(made.Tally(1)) == "Tally(count=1, double=2)"


def test_copies(made):
    named = replace(made.Named(1, seen=[5]), y=7, name="n")
    assert (named.x, named.y, named.seen, named.name) == (1, 7, [5], "n")
    assert [each.name for each in fields(named)] == ["x", "y", "names", "seen", "secret", "name"]
    assert asdict(made.Tally(2)) == {"count": 2, "double": 4}
    assert pickle.loads(pickle.dumps(named)) == named
    with pytest.raises((TypeError, ValueError)):
        replace(made.Tally(1), double=3)


@pytest.mark.parametrize("name", modules())
def test_each_statement_stays_on_its_line(name):
    text = source(name).read_text()
    assert_lines(ast.parse(text), ast.parse(expand(text, KNOWN)))


def assert_lines(plain: ast.Module, written: ast.Module) -> None:
    lines = {(node.name, node.lineno) for node in ast.walk(written) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(plain):
        if isinstance(node, ast.FunctionDef):
            assert (node.name, node.lineno) in lines


KNOWN = {key: node for name in modules() for key, node in dataclasses_in(source(name).read_text()).items()}


@pytest.mark.parametrize(
    "text",
    [
        "@dataclass(order=True, slots=True)\nclass A:\n    x: int\n",
        "@dataclass\nclass A:\n    x: int\n",
        "@fact\nclass A:\n    x: int = field(kw_only=True)\n",
        "@fact\nclass A:\n    x: int\nB = 1\n",
    ],
)
def test_what_cannot_be_compiled_is_refused(text):
    with pytest.raises(Unsupported):
        expand(text, {})
