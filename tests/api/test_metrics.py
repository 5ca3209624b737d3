# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import KINDS, CallHistograms, Figures, PlatformCollector
from tests.patience import unhindered


class Source:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.asked = 0

    def figures(self) -> Figures:
        self.asked += 1
        return self._figures


def scrape(source: Source) -> dict[str, dict[tuple[str, ...], float]]:
    """Return {sample name: {label values in the order of their names: number}} of the text, parsed again."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(PlatformCollector(source))
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = (
                sample.value
            )
    return samples


def test_figures_become_samples() -> None:
    samples = scrape(
        Source(
            Figures(
                version="0.1.0",
                rtp_packets={("xdp", "a"): 3000, ("user", "b"): 7},
                xdp_drops={("wrong_source",): 5},
                ports_used=4,
                calls=2,
                silent_sessions=3,
                calls_ended={("", "answered", "16"): 9},
                cdr_journal_bytes=512,
            )
        )
    )
    assert samples["voxdp_rtp_packets_total"] == {("a", "xdp"): 3000, ("b", "user"): 7}
    assert samples["voxdp_xdp_drops_total"] == {("wrong_source",): 5}
    assert samples["voxdp_ports_used"] == {(): 4}
    assert samples["voxdp_calls"] == {(): 2}
    assert samples["voxdp_rtp_silent_sessions_total"] == {(): 3}
    assert samples["voxdp_calls_total"] == {("16", "answered", ""): 9}
    assert samples["voxdp_cdr_journal_bytes"] == {(): 512}
    assert samples["voxdp_build_info"] == {("0.1.0",): 1}


def test_registering_reads_nothing() -> None:
    source = Source(Figures())
    CollectorRegistry(auto_describe=True).register(PlatformCollector(source))
    assert source.asked == 0


def test_every_figure_has_its_kind_and_a_name_that_prometheus_takes() -> None:
    shown = {kind.field for kind in KINDS} | {"version"}
    assert shown == set(Figures.__slots__)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*[a-z]", kind.name) for kind in KINDS)


def test_no_label_grows_with_the_number_of_calls() -> None:
    assert {label for kind in KINDS for label in kind.labels} <= {
        "plane",
        "direction",
        "reason",
        "method",
        "code",
        "trunk",
        "result",
        "cause",
        "interface",
        "state",
        "tenant",
        "queue",
    }


def test_a_scrape_is_quick() -> None:
    source = Source(Figures(sip_responses={("INVITE", str(code)): code for code in range(2000)}))
    started = unhindered()
    assert len(scrape(source)["voxdp_sip_responses_total"]) == 2000
    assert unhindered() - started < 1


def test_histograms_are_collectors_of_their_own() -> None:
    first, second = CallHistograms(), CallHistograms()
    registry = CollectorRegistry(auto_describe=True)
    for collector in first.collectors():
        registry.register(collector)
    first.setup.observe(0.3)
    second.setup.observe(99)
    text = generate_latest(registry).decode()
    assert 'voxdp_call_setup_seconds_bucket{le="0.5"} 1.0' in text
    assert "voxdp_call_setup_seconds_sum 0.3" in text
