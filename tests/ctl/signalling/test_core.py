# SPDX-License-Identifier: GPL-3.0-or-later
"""What the configuration says of signalling is what the core goes by."""

from dataclasses import asdict

from ctl.config import Config, load
from ctl.signalling import core
from ctl.signalling.core import make_core

KEYS = """
[sip]
listen = ["tcp:192.0.2.1:5060"]
domain = "voice.example"
algorithms = ["MD5"]
min_expires = 10
default_expires = 20
max_expires = 30
session_expires = 600
min_session_expires = 100
redirections = 3
diversion = "trunks"
history_info = "all"
nat_keepalive = 7
info = ["text/plain"]
pass_headers = ["X-*"]
[sip.limits]
requests_per_source = 1.5
amplification = 1.75
calls_per_user = 2.5
ban = 3.5
"""
LIMITS = ("requests_per_source", "amplification", "calls_per_user", "ban")


def settings_of(config: Config, monkeypatch):
    monkeypatch.setattr(core, "Core", lambda settings, *_: settings)
    return asdict(make_core(config, b"secret", lambda peer: peer, cores=2))


def test_each_key_reaches_the_core(tmp_path, monkeypatch):
    file = tmp_path / "voxdp.toml"
    file.write_text(KEYS)
    config = load(file)
    settings, usual = settings_of(config, monkeypatch), settings_of(load(), monkeypatch)
    named = [line.partition(" = ")[0] for line in KEYS.splitlines() if " = " in line and not line.startswith("listen")]
    for name in named:
        wanted = getattr(config.sip.limits if name in LIMITS else config.sip, name)
        assert settings[name] == wanted != usual[name], name
    assert (settings["realm"], settings["connects"], usual["connects"]) == ("voice.example", True, True)


def test_several_cores_share_what_is_forgiven(monkeypatch):
    both = settings_of(load(), monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(core, "Core", lambda settings, *_: settings)
    alone = asdict(make_core(load(), b"secret", lambda peer: peer))
    assert (both["guesses_per_hour"], both["offences"]) == (alone["guesses_per_hour"] // 2, alone["offences"] / 2)
