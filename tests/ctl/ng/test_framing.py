# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest

from ctl.ng.bencode import encode
from ctl.ng.errors import Dropped, Malformed
from ctl.ng.framing import MAX_MESSAGE, Splitter, read, split

PING = {"command": "ping"}
STREAM = b'c1 d7:command4:pinge\n c2 {"command": "ping", "text": "a \\" } brace"}c3 ' + encode({"list": ["x"] * 3})


def test_a_datagram_is_a_cookie_and_a_document():
    message = split(b"1234_5_6 d7:command4:pinge")
    assert (message.cookie, message.encoding, message.read()) == (b"1234_5_6", "bencode", PING)
    assert message.reply({"result": "pong"}) == b"1234_5_6 d6:result4:ponge"


def test_json_is_answered_in_json():
    message = split(b'x {"command":"ping","call-id":"\xc3\xa4"}')
    assert message.read() == {"command": "ping", "call-id": "ä"}
    assert json.loads(message.reply({"sdp": "ä", "n": 1})[2:]) == {"sdp": "ä", "n": 1}


@pytest.mark.parametrize("datagram", [b"", b"nothing", b" d7:command4:pinge", b"x" * 300 + b" d7:command4:pinge"])
def test_without_a_cookie_there_is_no_answer(datagram):
    with pytest.raises(Dropped):
        split(datagram)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"hello",
        b"d",
        b"{",
        b"{}x",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":' + b"9" * 30 + b"}",
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a":' + b"[" * 30000 + b"]" * 30000 + b"}",
        b"d" + b" " * MAX_MESSAGE,
    ],
)
def test_refuses_what_is_no_dictionary(document):
    with pytest.raises(Malformed):
        read(document)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_cut_into_messages_wherever_it_is_split(size):
    splitter, found = Splitter(), []
    for place in range(0, len(STREAM), size):
        found += splitter.feed(STREAM[place : place + size])
    assert [message.cookie for message in found] == [b"c1", b"c2", b"c3"]
    assert found[0].read() == PING
    assert found[1].read() == {"command": "ping", "text": 'a " } brace'}
    assert found[2].read() == {"list": ["x", "x", "x"]}


@pytest.mark.parametrize("garbage", [b"c1 hello ", b"c" * 300, b"c1 d3:abc" + b"x" * 10, b"c1 {" + b" " * 70000])
def test_a_stream_of_something_else_is_given_up(garbage):
    with pytest.raises(Malformed):
        Splitter().feed(garbage)


def test_what_is_no_text_goes_through_json_as_well():
    message = split(b'c {"sdp":"\xff"}')
    assert message.reply(message.read())  # a surrogate is escaped, not fatal
