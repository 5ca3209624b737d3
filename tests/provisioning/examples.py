# SPDX-License-Identifier: GPL-3.0-or-later
"""One object of each kind, each after those it refers to, and a change of it."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "calendar": (
        {
            "name": "office", "timezone": "Europe/Paris",
            "hours": [{"days": ["mon", "fri"], "opens": "08:00", "closes": "18:00"}],
            "exceptions": [{"day": "2026-12-25", "description": "Noël"}],
        },
        {"timezone": "Europe/Berlin"},
    ),
    "dial_plan": (
        {"name": "fr", "country": "FR", "rules": [{"prefix": "9", "strip": 1}], "emergency": ["119"]},
        {"area_code": "1"},
    ),
    "user": (
        {"username": "anna", "password": "secret", "dial_plan": "fr"},
        {"display_name": "Anna Ö.", "media": "lan", "dtmf": "info", "ice": "lite"},
    ),
    "group": ({"name": "sales", "extension": "500", "members": [{"user": "anna"}]}, {"members": []}),
    "device": ({"name": "desk", "user": "anna", "mac": "0004f2aabbcc"}, {"vendor": "Polycom"}),
    "rate_deck": ({"name": "cheap"}, {"currency": "USD"}),
    "skill": ({"name": "french"}, {"description": "speaks French"}),
    "agent": ({"name": "anna", "user": "anna", "skills": [{"skill": "french", "level": 3}]}, {"enabled": False}),
    "queue": (
        {
            "name": "support", "extension": "600", "calendar": "office",
            "skills": [{"skill": "french"}], "agents": [{"agent": "anna", "tier": 2}],
        },
        {"agents": [], "strategy": "top_down"},
    ),
    "number": ({"number": "+33123456789", "queue": "support"}, {"queue": None, "user": "anna"}),
    "trunk": (
        {"name": "paris", "host": "sip.example.com", "username": "u", "password": "pw", "rate_deck": "cheap"},
        {
            "channel_limit": 30, "retry_causes": [34], "trusted": True, "refer": True, "probe_seconds": 0,
            "media": "pub", "latch": True, "ice": "lite", "srtp": "off", "dtmf": "inband",
            "certificates": ["sip.example.com"], "from_user": "+33123456789",
        },
    ),
    "route": (
        {"name": "france", "prefix": "33", "calendar": "office", "trunks": [{"trunk": "paris", "weight": 2}]},
        {"strategy": "weighted", "trunks": [{"trunk": "paris"}, {"trunk": "paris", "priority": 1}]},
    ),
    "restriction": ({"name": "no-cuba", "prefix": "53"}, {"action": "open"}),
    "webhook": ({"name": "crm", "url": "https://crm.example/h", "events": ["call.ended"], "secret": "s"},
                {"enabled": False}),
}  # fmt: skip
