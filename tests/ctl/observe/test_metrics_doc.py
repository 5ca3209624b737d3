# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/metrics.md names every metric that is exported, with its type and labels, and no other."""

import re
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import KINDS
from ctl.config import load
from tests.ctl.running import running, write_config
from tests.patience import PATIENCE

DOC = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"\| ((?:`voxdp_\w+`(?:, )?)+) \| (counter|gauge|histogram) \| ([\w, ]*)\| ")


def documented():
    """{name: (type, labels)} of the document's tables."""
    found = {}
    for names, kind, labels in ROW.findall(DOC.read_text()):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found, f"{name} is there twice"
            found[name] = kind, tuple(filter(None, labels.replace(" ", "").split(",")))
    return found


@pytest.fixture(scope="module")
def exported(open_directory):
    """{name: type} of what a running controller answers."""
    file = write_config(open_directory())
    host, _, port = load(file).api.listen.rpartition(":")
    with running(file):
        text = fetch(host, int(port))
    names = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names[name] = family.type
    return {name: kind for name, kind in names.items() if name.startswith("voxdp_") and not name.endswith("_created")}


def fetch(host, port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as answer:
                return answer.read().decode()
        except (TimeoutError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_what_is_exported_is_documented(exported):
    assert {name: kind for name, (kind, _) in documented().items()} == exported


def test_labels_are_documented():
    known = documented()
    for kind in KINDS:
        name = f"voxdp_{kind.name}" + ("_total" if kind.counter else "")
        assert known[name][1] == kind.labels, name
