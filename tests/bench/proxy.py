# SPDX-License-Identifier: GPL-3.0-or-later
"""The yardstick of calls: Debian's Kamailio as a mere stateful proxy between the same two SIPp, by the same scenario.

It asks for the same password and passes everything on; it has no media, no journal and no records. What counts is the
CPU time of all its processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.callers import PASSWORD, Callers
from tests.bench.processes import cpu_seconds, family
from vm.controller import DOMAIN
from vm.kamailio import modules
from vm.lab import Lab
from vm.process import Process
from vm.sipp import Sipp

MODULES = ("tm", "sl", "pv", "maxfwd", "siputils", "auth")
SETTINGS = """\
debug=2
log_stderror=yes
fork=yes
children=1
mhomed=1
auto_aliases=no
disable_tcp=yes
listen=udp:{here}:5060
listen=udp:{there}:5060
mpath="{modules}/"
{load}
modparam("auth", "secret", "as long as it is one of its own")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        t_relay();
        exit;
    }}
    if (method == "ACK") {{
        exit;
    }}
    if (!pv_proxy_authenticate("{domain}", "{password}", "0")) {{
        auth_challenge("{domain}", "1");
        exit;
    }}
    consume_credentials();
    $ru = "sip:" + $rU + "@{callee}:5060";
    t_relay();
}}
"""


@dataclass(slots=True)
class Proxy(Callers):
    """Kamailio, a caller and a callee."""

    process: Process

    def cpu(self) -> float:
        """CPU seconds that all its processes have taken so far."""
        return cpu_seconds(*family(self.process.pid))


@contextmanager
def proxying() -> Iterator[Proxy]:
    """A lab with Kamailio in it, and a callee that answers."""
    with Lab("two") as lab:
        path = lab.directory / "kamailio.cfg"
        here, there = lab.topology.relay_addresses
        path.write_text(
            SETTINGS.format(
                here=here,
                there=there,
                callee=lab.b.address,
                domain=DOMAIN,
                password=PASSWORD,
                modules=modules(),
                load="\n".join(f'loadmodule "{name}.so"' for name in MODULES),
            )
        )
        process = lab.spawn(
            lab.relay, *("kamailio", "-DD", "-E", "-f", path, "-Y", lab.directory, "-m", "256"), log="kamailio.log"
        )
        process.wait_for("Kamailio", lambda text: text.count("SO_RCVBUF is finally") == 2, 15.0)
        Sipp(lab, lab.b, "callee", ["-sn", "uas"])
        yield Proxy(lab, process)
