# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls and records that an earlier controller left, dealt out to as many workers as there are now."""

import pytest

from ctl.journal import Journal, encode, line_of, read
from ctl.seat import ServiceError, take_lock
from ctl.signalling.conductor import BINDINGS, CALL
from ctl.workers import deal as dealing
from ctl.workers.deal import deal
from sip.steering import drawn_for, slot_of

OFFSET = 1000.0


@pytest.fixture
def places(tmp_path):
    """Directories of journals and of sockets."""
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    run.mkdir()
    return state, run


def call(number):
    """The saved state of a call without media."""
    return {"call": {"a": {"call_id": drawn_for(number % 16, 16, lambda: f"c{number}")}}, "media": {}, "at": 1.0}


def wrote(state, name, *numbers):
    (state / name).mkdir(exist_ok=True)
    journal, _ = Journal.open(state / name / "live", OFFSET)
    for number in numbers:
        journal.put(CALL, f"c{number}", call(number))
    if not name:
        journal.put(BINDINGS, "anna", [{"uri": "sip:anna@192.0.2.7"}])
    journal.close()


def calls(state, name):
    return sorted(read(state / name / "live").of(CALL))


def right(state, workers):
    """Whether each call is with its worker, and with no other."""
    for name in ("", *(f"worker-{number + 1}" for number in range(8))):
        for each in read(state / name / "live").of(CALL).values():
            number = slot_of(each["call"]["a"]["call_id"].encode()) % workers
            assert name == (f"worker-{number + 1}" if workers > 1 else "")
    return True


def test_without_workers_before_and_now_nothing_is_looked_at(places):
    assert deal(*places, 1).calls == 0
    assert list(places[0].iterdir()) == []


@pytest.mark.parametrize("steps", [(2, 3, 1), (4, 2), (3, 1, 2)])
def test_calls_follow_the_number_of_workers(places, steps):
    state, _ = places
    wrote(state, "", *range(40))
    for workers in steps:
        dealt = deal(*places, workers)
        assert dealt.calls == 40
        assert right(state, workers)
        names = [f"worker-{number + 1}" for number in range(workers)] if workers > 1 else [""]
        assert sum(len(calls(state, name)) for name in names) == 40
        for name in names:
            journal, found = Journal.open(state / name / "live", OFFSET)
            assert found.same_boot
            assert found.saved == OFFSET
            journal.close()
    assert read(state / "live").of(BINDINGS) == {"anna": [{"uri": "sip:anna@192.0.2.7"}]}


def test_a_deal_that_was_cut_off_is_completed(places):
    state, _ = places
    wrote(state, "", 0, 1)
    wrote(state, "worker-1", 0)
    wrote(state, "worker-2", 1)
    assert deal(*places, 2).calls == 2
    assert right(state, 2)


def test_a_torn_end_hides_no_line(places):
    state, _ = places
    wrote(state, "", *range(4))
    with (state / "live").open("ab") as file:
        file.write(b'["call","torn",{"cal')
    assert deal(*places, 2).calls == 4
    assert calls(state, "") == []


def test_calls_that_a_boot_has_ended_stay_where_their_record_is_written(places):
    state, _ = places
    for name in ("worker-1", "worker-3"):
        (state / name).mkdir()
        number = int(name[-1])
        lines = line_of(("boot", "another"), encode({"offset": 5.0})) + line_of((CALL, "c"), encode(call(number)))
        (state / name / "live").write_bytes(lines)
    assert deal(*places, 2).calls == 0
    assert calls(state, "worker-1") == ["c"]
    assert calls(state, "worker-3") == []
    assert read(state / "live").of(CALL) == {"c": call(3)}
    assert not read(state / "live").same_boot


def test_records_of_workers_that_are_no_more_are_the_controllers(places):
    state, _ = places
    for name, numbers in {"": (3, 4), "worker-1": (1,), "worker-2": (1, 2)}.items():
        (state / name / "cdr").mkdir(parents=True)
        for number in numbers:
            (state / name / "cdr" / f"cdr-{number:012}.journal").write_text(f"{name} {number}")
    deal(*places, 1)
    found = [path.read_text() for path in sorted((state / "cdr").glob("cdr-*.journal"))]
    assert found == [" 3", " 4", "worker-1 1", "worker-2 1", "worker-2 2"]


def test_who_still_serves_is_waited_for(places, monkeypatch):
    state, run = places
    wrote(state, "worker-1", 1)
    (run / "worker-1").mkdir()
    monkeypatch.setattr(dealing, "PATIENCE", 0.2)
    with take_lock(run / "worker-1" / "run.lock"), pytest.raises(ServiceError, match="stop it"):
        deal(*places, 1)
    assert deal(*places, 1).calls == 1
