# SPDX-License-Identifier: GPL-3.0-or-later
"""A million random packets on random flow tables: the kernel and the model of docs/verdicts.md do the same."""

from tests.bpf import harness, model
from tests.bpf.campaign import ROUND, Campaign

PACKETS = 1_000_000
EVERY_REASON = [*range(17), 19, 20, *range(32, 37)]
RARE = 30


def test_kernel_and_model_agree(relay, capsys):
    with harness.network_namespace():
        campaign = Campaign(relay, seed=20260101)
        for number in range(PACKETS // ROUND):
            campaign.round(number)
    result = campaign.result
    with capsys.disabled():
        print(f"\nmodel: {result.packets} packets, {len(result.differences)} differences")
    assert not result.differences, result.differences[0]
    assert result.packets == PACKETS
    assert result.reasons[model.FORWARDED] > PACKETS // 10
    assert all(result.reasons[reason] > RARE for reason in EVERY_REASON), result.reasons
