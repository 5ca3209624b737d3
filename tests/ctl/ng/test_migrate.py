# SPDX-License-Identifier: GPL-3.0-or-later
import tomllib

import pytest

from ctl.config import Config
from ctl.ng.migrate import Unreadable, as_toml, read_arguments, read_file, translate

FILE = """\
[rtpengine]
table = 0
interface = pub/192.0.2.1!203.0.113.7;priv/10.0.0.1
listen-ng = localhost:2223
listen-http = 2225   # for the web
port-min = 30000
port-max = 40000
timeout = 60
silent-timeout = 3600
delete-delay = 5
offer-timeout = 90
recording-dir = /var/spool/rtpengine
log-level = 6
[other]
x = y
"""


def test_the_file_in_our_words():
    translation = translate(read_file(FILE))
    assert translation.tables == {
        "media": {
            "interfaces": [
                {"name": "pub", "address": "192.0.2.1", "advertised": "203.0.113.7"},
                {"name": "priv", "address": "10.0.0.1"},
            ],
            "default": "pub",
            "port_min": 30000,
            "port_max": 40000,
            "timeout": 60,
            "hold_timeout": 3600,
        },
        "ng": {"listen": ["127.0.0.1:2223"], "listen_http": ["127.0.0.1:2225"], "delete_delay": 5, "offer_timeout": 90},
        "recording": {"directory": "/var/spool/rtpengine"},
        "log": {"level": "info"},
        "sip": {"listen": []},
    }
    assert set(translation.ignored) == {"table"}


def test_the_command_line_in_our_words():
    words = ["-i", "192.0.2.1", "--listen-ng=127.0.0.1:2223", "-m", "30000", "--port-max", "40000", "-f", "--tos=184"]
    translation = translate(read_arguments(words))
    assert translation.tables["media"]["interfaces"] == [{"name": "default", "address": "192.0.2.1"}]
    assert translation.tables["ng"]["listen"] == ["127.0.0.1:2223"]
    assert set(translation.ignored) == {"foreground"}
    assert translation.tables["ng"]["tos"] == 184


def test_what_comes_of_it_is_a_configuration():
    tables = translate(read_file(FILE)).tables
    read = tomllib.loads("\n".join(as_toml(tables)))
    assert read == tables
    config = Config(**read)
    assert config.ng.listen == ("127.0.0.1:2223",)
    assert [each.name for each in config.media.interfaces] == ["pub", "priv"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["interface"], "is no option"),
        (["--port-min"], "needs a value"),
        (["--port-min=many"], "port-min: 'many'"),
        (["--listen-ng=nowhere"], "listen-ng"),
    ],
)
def test_a_command_line_that_cannot_be_is_told(words, why):
    with pytest.raises(Unreadable, match=why):
        translate(read_arguments(words))


@pytest.mark.parametrize("text", ["", "interface = 1", "[other]\nx = 1", "[rtpengine\n", "[rtpengine]\n= = =\n==[\n"])
def test_a_file_that_is_none_is_told_in_one_line(text):
    with pytest.raises(Unreadable, match=r"^[^\n]+$"):
        read_file(text)


def test_quotes_and_backslashes_survive():
    tables = {"recording": {"directory": 'a "b" \\ c'}}
    assert tomllib.loads("\n".join(as_toml(tables))) == tables
