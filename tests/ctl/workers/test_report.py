# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures, histograms and health of several processes as those of one, also over the death of one of them."""

import pytest

from api.health import Component
from api.metrics import CallHistograms, Figures
from ctl.workers import report
from ctl.workers.report import Report, Reports, SharedHistogram, samples

OWN = Figures(version="1", xdp_attached={("eth0",): 1.0}, registrations=7, cdrs_stored=1)


class Own:
    def figures(self):
        return OWN


@pytest.fixture
def reports():
    return Reports(Own(), 2)


def figures(calls, ended):
    """Of a worker with so many calls, after so many."""
    return Figures(
        version="1",
        xdp_attached={("eth0",): 1.0},
        registrations=7,
        calls=calls,
        rtp_packets={("xdp", "a"): 100.0},
        calls_ended={("", "answered", "16"): ended},
    )


def test_figures_are_summed_but_for_those_that_all_see_alike(reports):
    reports.take(0, Report(figures(2, 5)))
    reports.take(1, Report(figures(3, 1)))
    found = reports.figures()
    assert (found.calls, found.registrations, found.cdrs_stored, found.version) == (5, 7, 1, "1")
    assert found.calls_ended == {("", "answered", "16"): 6}
    assert found.rtp_packets == {("xdp", "a"): 200.0}
    assert found.xdp_attached == {("eth0",): 1.0}


def test_what_a_dead_worker_counted_remains_and_what_it_had_does_not(reports):
    reports.take(0, Report(figures(2, 5)))
    reports.take(1, Report(figures(3, 1)))
    for _ in range(2):
        reports.lost(0)
    found = reports.figures()
    assert (found.calls, found.calls_ended) == (3, {("", "answered", "16"): 6})
    assert found.rtp_packets == {("xdp", "a"): 100.0}
    reports.take(0, Report(figures(2, 1)))
    reports.lost(0)
    assert reports.figures().calls_ended == {("", "answered", "16"): 7}


def test_histograms_are_summed(reports):
    here, there = CallHistograms(), CallHistograms()
    here.setup.observe(0.3)
    there.setup.observe(0.03)
    there.setup.observe(20)
    reports.take(1, Report(histograms=samples(there.collectors())))
    reports.lost(1)
    (metric,) = SharedHistogram(here.setup, reports.histograms).collect()
    found = {(each.name.rpartition("_")[2], each.labels.get("le")): each.value for each in metric.samples}
    assert found["bucket", "0.05"] == 1
    assert found["bucket", "0.5"] == 2
    assert found["count", None] == found["bucket", "+Inf"] == 3
    assert found["sum", None] == pytest.approx(20.33)


def test_a_part_is_ready_where_it_is_with_all(reports, monkeypatch):
    good, bad = Component("engine", True), Component("engine", False, "it died")
    reports.take(0, Report(components=(good, Component("users", True))))
    assert {each.name: each.ready for each in reports.components()} == {"workers": False, "engine": True, "users": True}
    reports.take(1, Report(components=(bad,)))
    found = {each.name: each for each in reports.components()}
    assert found["workers"].ready
    assert (found["engine"].ready, found["engine"].reason) == (False, "worker 2: it died")
    monkeypatch.setattr(report, "SILENT_SECONDS", -1.0)
    found = {each.name: each for each in reports.components()}
    assert found["workers"].reason == "worker 1 does not answer, worker 2 does not answer"
    assert reports.silent(60.0) == []
