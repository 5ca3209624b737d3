# SPDX-License-Identifier: GPL-3.0-or-later
import random
import time

import pytest

from ctl.sessions.ports import Ports, PortsExhausted, PortShare

ADDRESS = "192.0.2.1"


@pytest.fixture
def ports() -> Ports:
    return pool(20000, 20099)


def test_pairs_are_even_inside_the_range_and_never_given_twice(ports: Ports) -> None:
    taken = [ports.take(ADDRESS, 0.0) for _ in range(50)]
    assert sorted(taken) == list(range(20000, 20100, 2))


@pytest.mark.parametrize(
    ("first", "last", "pairs"),
    [(20001, 20004, [20002]), (20000, 20000, []), (20000, 20001, [20000]), (65534, 65535, [65534])],
)
def test_only_whole_pairs_that_begin_even_count(first: int, last: int, pairs: list[int]) -> None:
    ports = pool(first, last)
    assert [ports.take(ADDRESS, 0.0) for _ in pairs] == pairs
    with pytest.raises(PortsExhausted):
        ports.take(ADDRESS, 0.0)


def test_exhaustion_names_the_remedy(ports: Ports) -> None:
    for _ in range(50):
        ports.take(ADDRESS, 0.0)
    with pytest.raises(PortsExhausted, match=r"no free media port on 192\.0\.2\.1; widen media\.port_min"):
        ports.take(ADDRESS, 0.0)


def test_a_released_pair_rests_for_the_quarantine() -> None:
    ports = pool(20000, 20001)
    port = ports.take(ADDRESS, 0.0)
    ports.release(ADDRESS, port, 10.0)
    with pytest.raises(PortsExhausted):
        ports.take(ADDRESS, 69.999)
    assert ports.take(ADDRESS, 70.0) == port


def test_a_pair_that_nobody_was_told_of_is_free_at_once() -> None:
    ports = pool(20000, 20001)
    ports.give_back(ADDRESS, ports.take(ADDRESS, 0.0))
    assert ports.take(ADDRESS, 0.0) == 20000


def test_addresses_are_independent() -> None:
    ports = pool(20000, 20001, "192.0.2.1", "192.0.2.2")
    assert ports.take("192.0.2.1", 0.0) == ports.take("192.0.2.2", 0.0) == 20000


def test_a_restored_pair_is_not_drawn(ports: Ports) -> None:
    ports.restore(ADDRESS, 20010)
    assert 20010 not in {ports.take(ADDRESS, 0.0) for _ in range(49)}
    with pytest.raises(ValueError, match="20010 is not free"):
        ports.restore(ADDRESS, 20010)


def test_what_cannot_be_released_or_restored(ports: Ports) -> None:
    port = ports.take(ADDRESS, 0.0)
    ports.release(ADDRESS, port, 0.0)
    for wrong in (port, 20001, 19998, 20100):
        with pytest.raises(ValueError, match=str(wrong)):
            ports.release(ADDRESS, wrong, 0.0)
        with pytest.raises(ValueError, match=str(wrong)):
            ports.restore(ADDRESS, wrong)
    with pytest.raises(ValueError, match="no relay address"):
        ports.take("192.0.2.9", 0.0)


def test_counts(ports: Ports) -> None:
    first, _ = ports.take(ADDRESS, 0.0), ports.take(ADDRESS, 0.0)
    ports.release(ADDRESS, first, 0.0)
    assert (ports.taken(ADDRESS), ports.free(ADDRESS, 1.0), ports.free(ADDRESS, 60.0)) == (1, 48, 49)


def test_a_long_history_keeps_the_books(ports: Ports) -> None:
    source, held, now = random.Random(7), [], 0.0
    for _ in range(20_000):
        now += 0.9
        if source.random() < 0.5 and ports.free(ADDRESS, now):
            port = ports.take(ADDRESS, now)
            assert port not in held
            held.append(port)
        elif held:
            ports.release(ADDRESS, held.pop(source.randrange(len(held))), now)
        assert ports.taken(ADDRESS) == len(held)
    assert ports.free(ADDRESS, now + 60) == 50 - len(held)


def test_draws_are_uniform_also_while_half_full() -> None:
    """Chi-square over a million draws: 499 degrees of freedom, so 0.01 < p means a value below 576.5."""
    ports, counts = pool(20000, 20999, quarantine=0.0), dict.fromkeys(range(20000, 21000, 2), 0)
    source, held = random.Random(11), []
    for _ in range(1_000_000):
        port = ports.take(ADDRESS, 0.0)
        counts[port] += 1
        held.append(port)
        if len(held) > 250:
            position = source.randrange(len(held))
            held[position], held[-1] = held[-1], held[position]
            ports.release(ADDRESS, held.pop(), 0.0)
    expected = 1_000_000 / 500
    assert sum((seen - expected) ** 2 / expected for seen in counts.values()) < 576.5


def test_the_last_pair_costs_what_the_first_does() -> None:
    ports = pool(1024, 65535)

    def cost() -> float:
        begin = time.process_time()
        for _ in range(200):
            ports.take(ADDRESS, 0.0)
        return time.process_time() - begin

    first = min(cost() for _ in range(5))
    while ports.free(ADDRESS, 0.0) > 1000:
        ports.take(ADDRESS, 0.0)
    assert min(cost() for _ in range(5)) < 10 * first


def shared(number: int, of: int, held: dict[tuple[str, int], int] | None = None) -> Ports:
    share = PortShare(number, of, held or {})
    return Ports((ADDRESS,), 10000, 10039, random.Random(1).randrange, share=share)


def test_shares_have_no_pair_in_common_and_leave_none_out():
    shares = [shared(number, 3) for number in range(3)]
    drawn = [{ports.take(ADDRESS, 0.0) for _ in range(ports.free(ADDRESS, 0.0))} for ports in shares]
    assert sorted(port for each in drawn for port in each) == list(range(10000, 10040, 2))
    assert [ports.taken(ADDRESS) for ports in shares] == [7, 6, 7]
    with pytest.raises(PortsExhausted):
        shares[0].take(ADDRESS, 0.0)


def test_a_pair_of_another_share_can_be_taken_up_and_is_never_drawn():
    held = {(ADDRESS, 10002): 0}
    one, other = shared(0, 2, held), shared(1, 2, held)
    one.restore(ADDRESS, 10002)
    assert (one.taken(ADDRESS), one.free(ADDRESS, 0.0)) == (1, 10)
    one.release(ADDRESS, 10002, 0.0)
    assert (one.taken(ADDRESS), one.free(ADDRESS, 100.0)) == (0, 10)
    assert 10002 not in {other.take(ADDRESS, 0.0) for _ in range(other.free(ADDRESS, 0.0))}
    assert PortShare(0, 2, held).mine(ADDRESS, 10003)
    assert not PortShare(1, 2, held).mine(ADDRESS, 10002)


def pool(first: int, last: int, *addresses: str, quarantine: float = 60.0) -> Ports:
    return Ports(addresses or (ADDRESS,), first, last, random.Random(1).randrange, quarantine)
