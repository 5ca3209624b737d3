# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from ctl.config import Config, load
from ctl.config_values import sip_listen
from ctl.configfile import ConfigError, run_directory


def write(path: Path, text: str) -> Path:
    file = path / "voxdp.toml"
    file.write_text(text)
    return file


def test_defaults_need_no_file() -> None:
    assert load().sip.listen == ("127.0.0.1:5060",)


def test_environment_beats_the_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, '[sip]\ndomain = "file"\nmax_expires = 9000\n')
    monkeypatch.setenv("VOXDP_SIP__DOMAIN", "environment")
    monkeypatch.setenv("VOXDP_MEDIA__ADDRESSES", '["198.18.1.1"]')
    config = load(file)
    assert (config.sip.domain, config.sip.max_expires) == ("environment", 9000)
    assert config.media.addresses == ("198.18.1.1",)


def test_a_silent_call_lasts_two_minutes_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().media.timeout == 120
    assert load(write(tmp_path, "[media]\ntimeout = 0\n")).media.timeout == 0
    monkeypatch.setenv("VOXDP_MEDIA__TIMEOUT", "4.5")
    assert load(tmp_path / "voxdp.toml").media.timeout == 4.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[sip]\nlissen = 1\n",
            "sip.lissen: unknown key; did you mean listen?",
        ),
        ("[sip]\nqqq = 1\n", "sip.qqq: unknown key; known are algorithms, default_expires, diversion, domain"),
        ("[spi]\n", "spi: unknown key; did you mean sip?"),
        ("sip = 5\n", "sip: is to be a table, such as [sip]"),
        ('[sip]\nlisten = "127.0.0.1:5060"\n', 'sip.listen: is to be a list, in brackets, such as ["a", "b"]'),
        ('[[sip.trunks]]\nnam = "t"\n', "sip.trunks.0.nam: unknown key; did you mean name?"),
        ("[sip]\nmin_expires = 'soon'\n", "sip.min_expires: Input should be a valid integer"),
        ('[sip]\nlisten = ["here"]\n', "sip.listen.0: 'here' is not [TRANSPORT:]ADDRESS:PORT"),
        ('[sip]\nlisten = ["sctp:127.0.0.1:5060"]\n', "'sctp:127.0.0.1:5060' is not [TRANSPORT:]ADDRESS:PORT"),
        ('[sip]\nlisten = ["tls:::1:5061"]\n', "'tls:::1:5061' is not [TRANSPORT:]ADDRESS:PORT"),
        ('[sip]\nlisten = ["[192.0.2.1]:5061"]\n', "an IPv6 address, and no other, stands in brackets"),
        ('[sip]\nlisten = ["ws:example.org:80"]\n', "'example.org' is not an IP address"),
        ('[sip]\nlisten = ["tls:192.0.2.1:5061"]\n', "sip: tls: and wss: need sip.tls.certificate and sip.tls.key"),
        ('[[sip.tls.names]]\nhost = ["a"]\n', "sip.tls.names.0.host: unknown key; did you mean hosts?"),
        ("[sip.limits]\nidle = 0\n", "sip.limits.idle: Input should be greater than 0"),
        ('[media]\naddresses = ["here"]\n', "media.addresses.0: 'here' is not an IP address"),
        ('[media]\naddresses = ["::ffff:192.0.2.1"]\n', "is no IPv6 address that peers can send to"),
        (
            '[media]\naddresses = ["192.0.2.1", "192.0.2.1"]\n',
            "media: give at most 8 relay addresses, none of them twice",
        ),
        ('[media]\ndefault = "pub"\n', "media: default names no interface; there are none"),
        ('[[media.interfaces]]\nname = "pub"\n', "media.interfaces.0.address: Field required"),
        (
            '[[media.interfaces]]\nname = "pub"\naddress = "10.0.0.1"\nadvertised = "2001:db8::1"\n',
            "media.interfaces.0: address and advertised must be of one family",
        ),
        (
            '[[sip.trunks]]\nname = "t"\ndomain = "t.example"\nmedia = "pub"\n',
            "configuration: sip.trunks: t names media interface pub; there are none",
        ),
        ("[media]\npolice = -1\n", "media.police: Input should be greater than or equal to 0"),
        ("[media]\nport_min = 40000\n", "media: port_min must be below port_max"),
        ("[media]\ntimeout = -1\n", "media.timeout: Input should be greater than or equal to 0"),
        ("[media]\ntimeout = 'never'\n", "media.timeout: Input should be a valid number"),
        ("[sip]\nalgorithms = []\n", "sip.algorithms: Tuple should have at least 1 item"),
        ("[sip]\nmin_expires = 9000\n", "sip: min_expires <= default_expires <= max_expires must hold"),
        ('[sip]\ndomain = "a.example"\nforeign_domains = ["*.example"]\n', "sip.foreign_domains: a.example is ours"),
        ('[sip]\nforeign_domains = ["sip:b.example"]\n', "sip.foreign_domains.0: String should match pattern"),
        ("[sip]\nlisten = []\n", "sip.listen is empty and [ng] listens nowhere"),
        ('[database]\nurl = "nowhere:pass"\n', "database.url: is no connection string, such as postgresql://"),
        ("[sip\n", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text))
    assert complaint in str(error.value)
    assert str(tmp_path / "voxdp.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/x\.toml: No such file or directory; name a readable file"):
        load(Path("/nowhere/x.toml"))


@pytest.mark.parametrize("name", ["VOXDP_SPI__LISTEN", "VOXDP_LISTEN", "VOXDP_SIP__LISSEN"])
def test_unknown_variables_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=r"(?i)" + name.rpartition("__")[2]):
        load()


def test_a_list_that_is_no_json_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXDP_SIP__LISTEN", "127.0.0.1:5060")
    with pytest.raises(ConfigError, match="VOXDP_SIP__LISTEN cannot be read; lists are written as JSON"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("VOXDP_SIP__DOMIAN", "x", "VOXDP_SIP__DOMIAN: unknown key; did you mean domain?"),
        ("VOXDP_MEDIA__PORT_MIN", "low", "VOXDP_MEDIA__PORT_MIN: Input should be a valid integer"),
        ("VOXDP_SIP__LISTEN", '["here"]', "VOXDP_SIP__LISTEN: 'here' is not"),
    ],
)
def test_what_is_wrong_in_the_environment_is_not_laid_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"^environment: ") as error:
        load(write(tmp_path, "[media]\nport_min = 2000\n"))
    assert complaint in str(error.value)


def test_the_sockets_are_found_without_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_directory(write(tmp_path, '[run]\ndirectory = "/run/here"\n')) == Path("/run/here")
    monkeypatch.setenv("VOXDP_RUN__DIRECTORY", "/run/there")
    assert run_directory(None) == Path("/run/there")


def test_what_is_listened_on_by_each_form() -> None:
    assert sip_listen("192.0.2.1:5060") == (("192.0.2.1", 5060, "udp"), ("192.0.2.1", 5060, "tcp"))
    assert sip_listen("[2001:DB8::1]:5060") == (("2001:db8::1", 5060, "udp"), ("2001:db8::1", 5060, "tcp"))
    for transport in ("udp", "tcp", "tls", "ws", "wss"):
        assert sip_listen(f"{transport}:[::1]:5061") == (("::1", 5061, transport),)


def test_wanting_sources_in_place_of_compiled_modules_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXDP_PLAIN", "1")
    assert load() == Config()
