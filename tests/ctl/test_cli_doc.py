# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md and docs/ show commands that exist; docs/cli.md has each, and names every option of a list."""

import importlib
import re
import shlex
from pathlib import Path
from typing import get_args

import click
import pytest

from ctl.cli import COMMANDS, HELP, voxdp
from ctl.observe.explain import Cause
from ctl.terminal.flow_columns import ALIASES

DOC = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
EXAMPLES = sorted(set(re.findall(r"^    \$ (?:sudo )?voxdp (.+)$", DOC.read_text(), re.MULTILINE)))
ROOT = DOC.parents[1]
TYPED = re.compile(r"^    (?:\$ |.* \| )?(?:sudo |watch )?(?:\.venv/bin/)?voxdp ([a-z-].*)$", re.MULTILINE)
BEHIND = re.compile(r"(\s[#|<>]|;).*")
"""A comment, or what the shell does with what is printed."""
CHOICE = re.compile(r"[\[\]]|(?<=\w)\|\w+")
"""What is not typed of `[--format wav|opus]`."""
SHOWN = ("call", "capture", "cdr", "config", "db", "doctor", "flow", "reg", "sip", "trace", "user", "xdp")


def parsed(words):
    """The context of a command line that is parsed to its last word, and not run."""
    command, context = voxdp, click.Context(voxdp)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        context = click.Context(command, context, info_name=name)
    command.parse_args(click.Context(command, context, obj=Anything()), words)
    return command


class Anything:
    """Takes every option that is kept."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_typed(example):
    assert parsed(shlex.split(example)).name


def everywhere():
    """Each command that stands in a block of some text."""
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in TYPED.findall(re.sub(r"\\\n\s*", "", file.read_text())):
            if not re.match(r"top \d|run +\(", line):  # a picture of the screen; a drawing
                yield pytest.param(CHOICE.sub("", BEHIND.sub("", line)), id=f"{file.name}: {line}")


@pytest.mark.parametrize("line", [*everywhere()])
def test_what_any_text_shows_can_be_typed(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    assert parsed(["--help"] if words[0].startswith("-") else words).name


@pytest.mark.parametrize("name", SHOWN)
def test_a_command_has_an_example(name):
    assert any(example.split()[0] == name for example in EXAMPLES)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_object_can_be_imported_and_is_in_the_help(name):
    group = getattr(importlib.import_module(COMMANDS[name]), name.replace("-", "_"))
    assert isinstance(group, click.Command)
    assert HELP[name]


def test_options_of_lists_and_short_keys_are_told():
    text = DOC.read_text()
    for option in ("-j", "-f", "--sort", "-o wide", "--no-header", "--timeout", "NO_COLOR"):
        assert f"`{option}" in text, option
    assert f"`{' '.join(ALIASES)}`" in text


@pytest.mark.parametrize("cause", get_args(Cause))
def test_every_cause_is_told(cause):
    assert f"`{cause}`" in DOC.read_text()
