# SPDX-License-Identifier: GPL-3.0-or-later
"""What those have in common who are in no exchange with another participant: publishers, and who is transformed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ctl.ng.calls import Call, Dialogue, Participant
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.sessions.descriptions import Description
from ctl.sessions.media_sessions import MediaRefused, MediaSessions, Writer

TAG_BYTES = 16


def tag_of(request: Request, draw: Callable[[int], bytes]) -> str:
    """Return the tag of a participant, a drawn one where the proxy names none."""
    return request.text("from-tag") or draw(TAG_BYTES).hex()


@contextmanager
def alone(
    sessions: MediaSessions,
    call: Call,
    source: Participant,
    known: Dialogue | None,
    steady: Callable[[], float],
    *,
    transcoded: bool = False,
) -> Iterator[Dialogue]:
    """Give the session of somebody who talks to nobody, `known` or another one, which is the call's once it is made.

    What a refusal leaves of one that was not there before is given back, ports and all.
    """
    dialogue = known or Dialogue(call.next_session(), source, source, transcoded=transcoded)
    try:
        yield dialogue
    except NgError:
        if not known:
            sessions.delete(dialogue.session, steady())
        raise
    if not known:
        call.dialogues.append(dialogue)


def answer_for(
    sessions: MediaSessions, session: str, heard: Description | bytes, address: str, now: float, write: Writer
) -> bytes:
    """Answer as leg b, which is nobody, or who has asked for nothing; a refusal ends the exchange."""
    try:
        return sessions.answer(session, "b", heard, address, now, write=write, transcode=False)
    except MediaRefused:
        sessions.rollback(session, now)
        raise
