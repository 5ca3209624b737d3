# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is dialled to E.164. Pure.

Calling codes: ITU-T E.164 (list of assigned country codes). Emergency numbers: ITU-T E.161.1 recommends 112 and 911
everywhere; those of each country are its regulator's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

EVERYWHERE = frozenset({"112", "911"})

_CODES = """
AD376 AE971 AF93 AG1 AI1 AL355 AM374 AO244 AR54 AS1 AT43 AU61 AW297 AX358 AZ994 BA387 BB1 BD880 BE32 BF226 BG359 BH973
BI257 BJ229 BL590 BM1 BN673 BO591 BQ599 BR55 BS1 BT975 BW267 BY375 BZ501 CA1 CC61 CD243 CF236 CG242 CH41 CI225 CK682
CL56 CM237 CN86 CO57 CR506 CU53 CV238 CW599 CX61 CY357 CZ420 DE49 DJ253 DK45 DM1 DO1 DZ213 EC593 EE372 EG20 EH212
ER291 ES34 ET251 FI358 FJ679 FK500 FM691 FO298 FR33 GA241 GB44 GD1 GE995 GF594 GG44 GH233 GI350 GL299 GM220 GN224
GP590 GQ240 GR30 GT502 GU1 GW245 GY592 HK852 HN504 HR385 HT509 HU36 ID62 IE353 IL972 IM44 IN91 IO246 IQ964 IR98 IS354
IT39 JE44 JM1 JO962 JP81 KE254 KG996 KH855 KI686 KM269 KN1 KP850 KR82 KW965 KY1 KZ7 LA856 LB961 LC1 LI423 LK94 LR231
LS266 LT370 LU352 LV371 LY218 MA212 MC377 MD373 ME382 MF590 MG261 MH692 MK389 ML223 MM95 MN976 MO853 MP1 MQ596 MR222
MS1 MT356 MU230 MV960 MW265 MX52 MY60 MZ258 NA264 NC687 NE227 NF672 NG234 NI505 NL31 NO47 NP977 NR674 NU683 NZ64 OM968
PA507 PE51 PF689 PG675 PH63 PK92 PL48 PM508 PR1 PS970 PT351 PW680 PY595 QA974 RE262 RO40 RS381 RU7 RW250 SA966 SB677
SC248 SD249 SE46 SG65 SH290 SI386 SJ47 SK421 SL232 SM378 SN221 SO252 SR597 SS211 ST239 SV503 SX1 SY963 SZ268 TC1 TD235
TG228 TH66 TJ992 TK690 TL670 TM993 TN216 TO676 TR90 TT1 TV688 TW886 TZ255 UA380 UG256 US1 UY598 UZ998 VA39 VC1 VE58
VG1 VI1 VN84 VU678 WF681 WS685 XK383 YE967 YT262 ZA27 ZM260 ZW263
"""
CALLING_CODES = {entry[:2]: entry[2:] for entry in _CODES.split()}

_EMERGENCY = {
    "AR": "100 101 107", "AT": "122 133 144", "AU": "000 106", "BE": "100 101", "BR": "190 192 193",
    "CH": "117 118 144",
    "CL": "131 132 133", "CN": "110 119 120", "CO": "123", "CZ": "150 155 158", "DE": "110", "DZ": "14 17",
    "EG": "122 123 180",
    "ES": "061 062 080 085 091 092", "FR": "15 17 18 114 115 119 191 196", "GB": "999 18000", "GR": "100 166 199",
    "HK": "999", "HU": "104 105 107", "IE": "999", "IL": "100 101 102", "IN": "100 101 102 108", "IT": "113 115 118",
    "JP": "110 118 119", "KR": "119", "LU": "113", "MA": "15 19", "MX": "060 065 066", "MY": "999", "NO": "110 113",
    "NZ": "111", "PH": "117", "PK": "15 16 1122", "PL": "997 998 999", "RU": "101 102 103", "SA": "997 998 999",
    "SE": "", "SG": "995 999", "TH": "191 199 1669", "TN": "190 197 198", "TR": "110 155 156", "TW": "110 119",
    "UA": "101 102 103", "US": "", "VN": "113 114 115", "ZA": "10111 10177",
}  # fmt: skip

_SEPARATORS = str.maketrans("", "", "-.() ")
_E164 = re.compile(r"\+[1-9][0-9]{3,14}")
NATIONAL_DIGITS = 7
"""A number without prefix is a whole national one from this length on, where a country has no national prefix."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is dialled with `prefix` loses `strip` characters and gets `prepend` before it."""

    prefix: str
    strip: int = 0
    prepend: str = ""


@dataclass(frozen=True, slots=True)
class DialPlan:
    """The customs of a place. country: ISO 3166; emergency: numbers added to the country's."""

    country: str = ""
    international_prefix: str = "00"
    national_prefix: str = "0"
    area_code: str = ""
    emergency: frozenset[str] = frozenset()
    rules: tuple[Rewrite, ...] = ()

    @property
    def calling_code(self) -> str:
        """The country's digits in E.164, "" if the country is not known."""
        return CALLING_CODES.get(self.country, "")


@cache
def emergency_numbers(country: str) -> frozenset[str]:
    """Return the numbers that call for help in a country; 112 and 911 in every one."""
    return EVERYWHERE | frozenset(_EMERGENCY.get(country, "").split())


def is_emergency(dialled: str, plan: DialPlan) -> bool:
    """Whether this calls for help: as dialled, or behind the plan's own rules."""
    known = emergency_numbers(plan.country)
    if dialled in known or dialled in plan.emergency:
        return True
    rewritten = rewrite(dialled, plan.rules)
    return rewritten in known or rewritten in plan.emergency


def normalise(dialled: str, plan: DialPlan) -> str | None:
    """Return the number in E.164 with its plus, None for what is no telephone number, such as an extension."""
    text = rewrite(dialled, plan.rules).translate(_SEPARATORS)
    number = text if text.startswith("+") else _with_country(text, plan)
    return number if number and _E164.fullmatch(number) else None


def rewrite(dialled: str, rules: Iterable[Rewrite]) -> str:
    """Apply the first rule that fits."""
    for rule in rules:
        if dialled.startswith(rule.prefix):
            return rule.prepend + dialled[rule.strip :]
    return dialled


def _with_country(text: str, plan: DialPlan) -> str | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if plan.international_prefix and text.startswith(plan.international_prefix):
        return "+" + text.removeprefix(plan.international_prefix)
    code = plan.calling_code
    if not code:
        return None
    if plan.national_prefix and text.startswith(plan.national_prefix):
        return f"+{code}{text.removeprefix(plan.national_prefix)}"
    if len(text) == 10 and code == "1":  # NANP numbers are dialled with or without the 1
        return f"+1{text}"
    if plan.area_code and len(text) >= 5:
        return f"+{code}{plan.area_code}{text}"
    if not plan.national_prefix and len(text) >= NATIONAL_DIGITS:
        return f"+{code}{text}"
    return None
