# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether media can be what a description says and what is asked of our side; each refusal has a SIP status."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType

from ctl.network.addresses import Family, family_of
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.descriptions import Description, refused
from ctl.sessions.ice_exchange import heard
from ctl.sessions.ports import PortsExhausted
from ctl.sessions.reachable import Routes, check_all, common_family, facing
from ctl.sessions.relay_choice import Facing, NoRelayAddress, NoSuchInterface
from ctl.sessions.security import Insecure
from ctl.sessions.streams import Stream, StreamRefused
from sip.errors import SdpError


class MediaRefused(Exception):
    """The peer's description, or the load, does not allow this media. reason: one line; status: the SIP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Refusing:
    """Refuses media for what the peer has said, or what there are no ports for. It keeps nothing, so one will do."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (Insecure, StreamRefused)):
            raise MediaRefused(488, str(error)) from None
        if isinstance(error, PortsExhausted):
            raise MediaRefused(503, str(error)) from None


refusing = Refusing()


def read(
    sdp: bytes | Description, source: str, speaks: Callable[[int], bool], plane: DataPlane, routes: Routes
) -> tuple[Description, tuple[Stream, ...]]:
    """Return a description and its streams. speaks: whether we speak ICE with an m-line. Raises MediaRefused."""
    try:
        with refusing:
            description = sdp if isinstance(sdp, Description) else Description(sdp)
            found = description.streams(source)
    except SdpError as error:
        raise MediaRefused(error.status, refused(error)) from None
    streams = tuple(heard(each, plane, speak=speaks(index)) for index, each in enumerate(found))
    check(streams, plane, routes)
    return description, streams


def check(streams: Iterable[Stream], plane: DataPlane, routes: Routes) -> None:
    """Raise MediaRefused for a stream that is none of those we relay."""
    with refusing:
        check_all(streams, plane, routes)


def relay(plane: DataPlane, routes: Routes, have: str | None, peer: str, wanted: Facing, family: Family | None) -> str:
    """Return our address toward a party: the one that it has, as long as that fits, or the best there is.

    Raises MediaRefused: 503 where the interface that is asked for is none of ours.
    """
    try:
        return facing(plane, routes, have, peer, wanted, family)
    except NoRelayAddress as error:
        raise MediaRefused(503 if isinstance(error, NoSuchInterface) else 488, str(error)) from None


def family(streams: Iterable[Stream]) -> Family | None:
    """Return the family of a party's addresses, None while it has none. Raises MediaRefused where there are two."""
    with refusing:
        return common_family(streams)


def check_family(streams: Iterable[Stream], ours: str) -> None:
    """Raise MediaRefused where a party's addresses are of another family than our address toward it."""
    theirs = family(streams)
    if theirs not in (None, family_of(ours)):
        raise MediaRefused(488, f"an IPv{theirs} address in answer to an IPv{family_of(ours)} one")
