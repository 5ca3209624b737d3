# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Kamailio as the proxy and registrar of the lab, with its rtpengine module pointed at relays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm.lab import Lab
from vm.process import PATIENCE, LabError, Process

SETTINGS = """\
debug=2
log_stderror=yes
fork=yes
children=2
mhomed=1
auto_aliases=no
alias="{domain}"
{listen}
mpath="{modules}/"
{load}
modparam("rtpengine", "rtpengine_sock", "{relays}")
modparam("rtpengine", "rtpengine_tout_ms", 5000)
modparam("rtpengine", "rtpengine_retr", 1)
modparam("rtpengine", "mos_min_pv", "$avp(mos_min)")
modparam("rtpengine", "mos_max_pv", "$avp(mos_max)")
modparam("rtpengine", "mos_max_at_pv", "$avp(mos_max_at)")
modparam("rtpengine", "mos_average_pv", "$avp(mos_average)")
modparam("rtpengine", "mos_average_samples_pv", "$avp(mos_samples)")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{
            rtpengine_manage();
            t_relay();
        }}
        exit;
    }}
    if (has_totag()) {{
        route(DIALOG);
        exit;
    }}
    if (is_method("REGISTER")) {{
        save("location");
        exit;
    }}
    record_route();
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    if (is_method("INVITE")) {{
        if (!rtpengine_manage("{words}")) {{
            sl_send_reply("503", "No Media");
            exit;
        }}
        t_on_reply("MEDIA");
        t_on_failure("MEDIA");
    }}
    t_relay();
}}

route[DIALOG] {{
    if (!loose_route()) {{
        if (is_method("ACK") && t_check_trans()) {{
            t_relay();
        }}
        exit;
    }}
    if (is_method("BYE")) {{
        $var(totals) = $rtpstat;
        rtpengine_manage();
        $var(usual) = "[" + $avp(mos_average) + "] [" + $avp(mos_min) + "] [" + $avp(mos_samples) + "]";
        xlog("L_NOTICE", "MEDIA [$var(totals)] $var(usual) [$avp(mos_max)] [$avp(mos_max_at)]\\n");
    }}
    if (is_method("INVITE")) {{
        rtpengine_manage("{words}");
        t_on_reply("MEDIA");
    }}
    t_relay();
}}

onreply_route[MEDIA] {{
    if (has_body("application/sdp")) {{
        rtpengine_manage("{words}");
    }}
}}

failure_route[MEDIA] {{
    rtpengine_manage();
}}
"""
MODULES = (*("tm", "sl", "rr", "pv", "maxfwd", "usrloc", "registrar", "textops", "siputils", "xlog", "rtpengine"),)
WORDS = "replace-origin replace-session-connection ICE=remove"


class Kamailio:
    """One running proxy at both of the relay's addresses. relays: ng addresses such as `udp:127.0.0.1:2223`.

    words: what each offer and answer asks of the relay.
    """

    def __init__(self, lab: Lab, domain: str, relays: Sequence[str], words: str = WORDS) -> None:
        addresses = lab.topology.relay_addresses
        path = lab.directory / "kamailio.cfg"
        path.write_text(
            SETTINGS.format(
                domain=domain,
                listen="\n".join(f"listen=udp:{address}:5060" for address in addresses),
                modules=modules(),
                load="\n".join(f'loadmodule "{name}.so"' for name in MODULES),
                relays=" ".join(relays),
                words=words,
            )
        )
        command = ("kamailio", "-DD", "-E", "-f", path, "-Y", lab.directory, "-m", "64", "-M", "8")
        self.process: Process = lab.spawn(lab.relay, *command, log="kamailio.log")
        self.process.wait_for("start", lambda text: "support for it enabled" in text)

    def accounted(self, timeout: float = PATIENCE) -> list[str]:
        """What it was told of a call at its end: totals, average and lowest MOS, samples, highest MOS and when."""
        self.process.wait_for("end of a call", lambda text: "MEDIA [" in text, timeout)
        line = next(line for line in self.process.text().splitlines() if "MEDIA [" in line)
        return [part.strip("[] ") for part in line.partition("MEDIA ")[2].split("] [")]


def modules() -> Path:
    """Where Kamailio's modules are. LabError where it is not installed."""
    for place in sorted(Path("/usr/lib").glob("**/kamailio/modules")):
        return place
    raise LabError("kamailio is not installed; run: scripts/setup tests")
