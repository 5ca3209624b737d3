# SPDX-License-Identifier: GPL-3.0-or-later
import structlog.testing

from ctl.observe.engine_log import tell
from media.flows import EngineError, EngineEvent

FLOW = ("192.0.2.1", 20000)


def test_events_are_logged_by_their_weight() -> None:
    happened = [
        EngineEvent(FLOW, "restart", 1, b""),
        EngineEvent(FLOW, "failed", 0, b"certificate is not the one that was signalled"),
        EngineEvent(FLOW, "secure", 0, b""),
        EngineEvent(FLOW, "stage", 4, b"\x01"),
        EngineEvent(FLOW, "ice", 2, bytes(18)),
        EngineEvent(FLOW, "rtcp", 0, bytes(8), 1.5),
    ]
    staged: list[EngineEvent] = []
    paired: list[EngineEvent] = []
    reported: list[EngineEvent] = []
    with structlog.testing.capture_logs() as logged:
        tell(lambda: happened, staged.append, paired.append, reported.append)
    assert [(line["log_level"], line["flow"]) for line in logged] == [
        ("error", "192.0.2.1:20000"),
        ("warning", "192.0.2.1:20000"),
        ("info", "192.0.2.1:20000"),
    ]
    assert staged == [happened[3]]
    assert paired == [happened[4]]
    assert reported == [happened[5]]
    assert logged[1]["why"] == "certificate is not the one that was signalled"


def test_an_engine_that_is_gone_is_somebody_elses_news() -> None:
    def gone() -> list[EngineEvent]:
        raise EngineError("gone", "no engine answers")

    with structlog.testing.capture_logs() as logged:
        tell(gone, lambda _: None, lambda _: None, lambda _: None)
    assert logged == []
