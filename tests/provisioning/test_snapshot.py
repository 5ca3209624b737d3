# SPDX-License-Identifier: GPL-3.0-or-later
from provisioning.plan import Number, TenantPlan
from provisioning.snapshot import Snapshot


def test_a_number_leads_to_its_user() -> None:
    numbers = {each.number: each for each in (Number("+4930555", user="anna"), Number("+4930556", group="sales"))}
    snapshot = Snapshot.of("example.org", []).planned({7: TenantPlan(7, numbers=numbers)})
    assert [snapshot.user_of(number) for number in ("+4930555", "4930555")] == ["anna"] * 2
    assert [snapshot.user_of(number) for number in ("4930556", "4930557", "anna", "")] == [None] * 4
