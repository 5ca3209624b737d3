# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs: what goes in comes out, at its level, in every packet time; what is no payload is refused."""

import random
from array import array

import pytest

from tests.media.dsp import (
    NUMBERS,
    RATES,
    Codec,
    Decoder,
    Encoder,
    alignment,
    ffi,
    largest_step,
    level,
    lib,
    noise_ratio,
    samples,
    sine,
    speech,
    tone_level,
)

EVERY = [
    Codec("PCMU"),
    Codec("PCMA"),
    Codec("G722"),
    Codec("G729"),
    Codec("opus", 8000),
    Codec("opus", 16000),
    Codec("opus", 48000),
]
SPEECH_RATIO = {"PCMU": 30, "PCMA": 30, "G722": 15, "G729": 3, "opus": 5}
"""dB, segmental, of something like speech after coding and decoding."""


def through(codec: Codec, pcm: array) -> array:
    encoder, decoder, count = Encoder(codec), Decoder(codec), codec.sound_rate * codec.ptime // 1000
    out = array("h")
    for start in range(0, len(pcm) - count + 1, count):
        out += decoder.decode(encoder.encode(pcm[start : start + count]))
    return out


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_a_tone_keeps_frequency_and_level(codec):
    out = through(codec, sine(codec.sound_rate, 1000, 600))
    late = out[len(out) // 2 :]
    assert tone_level(late, codec.sound_rate, 1000) == pytest.approx(-15.0, abs=1.5)
    assert tone_level(late, codec.sound_rate, 1000) == pytest.approx(level(late), abs=0.5)


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_speech_keeps_its_shape(codec):
    pcm = speech(codec.sound_rate, 1000)
    out = through(codec, pcm)
    lag = alignment(pcm, out, codec.sound_rate // 40)
    assert noise_ratio(pcm, out, lag) > SPEECH_RATIO[codec.name]


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("wanted", [10, 20, 30, 40, 50, 60])
def test_every_packet_time(name, wanted):
    ptime = lib.codec_ptime(NUMBERS[name], wanted)
    assert ptime == ({30: 20, 50: 40}.get(wanted, wanted) if name == "opus" else wanted)
    codec = Codec(name, ptime=ptime)
    out = through(codec, sine(codec.sound_rate, 500, 600))
    assert len(out) >= codec.sound_rate * (600 - ptime) // 1000


def test_alaw_codes_survive_decoding_and_encoding():
    codes = bytes(range(256))
    pcm, back = ffi.new("int16_t[256]"), ffi.new("uint8_t[256]")
    lib.g711_from_alaw(codes, 256, pcm)
    lib.g711_to_alaw(pcm, 256, back)
    assert bytes(ffi.buffer(back)) == codes


def test_ulaw_codes_survive_but_for_the_second_zero():
    codes = bytes(range(256))
    pcm, back = ffi.new("int16_t[256]"), ffi.new("uint8_t[256]")
    lib.g711_from_ulaw(codes, 256, pcm)
    lib.g711_to_ulaw(pcm, 256, back)
    assert bytes(ffi.buffer(back)) == codes.replace(b"\x7f", b"\xff")


LAWS = [("PCMU", "PCMA"), ("PCMA", "PCMU")]


def translate(decoder: Decoder, encoder: Encoder, payload: bytes) -> bytes:
    room = ffi.new("uint8_t[1472]")
    length = lib.decoder_translate(decoder.handle, encoder.handle, payload, len(payload), room, 1472)
    return bytes(ffi.buffer(room, length))


@pytest.mark.parametrize(("one", "other"), LAWS)
def test_codes_become_the_other_laws_as_by_way_of_the_sound(one, other):
    codes, encoder = bytes(range(256)) + bytes(64), Encoder(Codec(other))
    assert translate(Decoder(Codec(one)), encoder, codes) == encoder.encode(Decoder(Codec(one)).decode(codes))


@pytest.mark.parametrize(("one", "other"), LAWS)
@pytest.mark.parametrize("count", [80, 160, 240, 480])
@pytest.mark.parametrize("ahead", [1, 2, 3, 7])
def test_a_loss_sounds_the_same_whether_what_preceded_it_was_translated_or_decoded(one, other, count, ahead):
    """And so does what follows, which is joined to it, and has to be decoded for that."""
    pcm, coder, encoder = speech(8000, 1000), Encoder(Codec(one)), Encoder(Codec(other))
    payloads = [coder.encode(pcm[at : at + count]) for at in range(1600, 1600 + (ahead + 2) * count, count)]
    plain, lazy = Decoder(Codec(one)), Decoder(Codec(one))
    for payload in payloads[:ahead]:
        plain.decode(payload)
        assert translate(lazy, encoder, payload)
    assert lazy.conceal(160) == plain.conceal(160)
    assert translate(lazy, encoder, payloads[ahead]) == b""
    assert lazy.decode(payloads[ahead]) == plain.decode(payloads[ahead])
    assert len(translate(lazy, encoder, payloads[ahead + 1])) == count


def test_only_g711_is_translated():
    pairs = {(a, b) for a in NUMBERS for b in NUMBERS if lib.codec_translates(NUMBERS[a], NUMBERS[b])}
    assert pairs == {(a, b) for a in ("PCMU", "PCMA") for b in ("PCMU", "PCMA")}
    decoder, encoder = Decoder(Codec("PCMU")), Encoder(Codec("PCMA"))
    assert lib.decoder_translate(decoder.handle, encoder.handle, bytes(160), 160, ffi.new("uint8_t[80]"), 80) == 0


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_no_sample_is_off_by_more_than_half_a_step(law):
    """Steps of G.711 are a sixteenth of the magnitude, and no less than 16."""
    every = array("h", range(-32768, 32768))
    codes, back = ffi.new("uint8_t[65536]"), ffi.new("int16_t[65536]")
    getattr(lib, f"g711_to_{law}")(samples(every), 65536, codes)
    getattr(lib, f"g711_from_{law}")(codes, 65536, back)
    for sample, value in zip(every, back, strict=True):
        assert abs(sample - value) <= max(8, (abs(value) + 132) / 32), (sample, value)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("PCMU", bytes(700)),
        ("PCMA", b""),
        ("G722", bytes(641)),
        ("G729", bytes(11)),
        ("G729", bytes(130)),
        ("opus", b"\xff\xff\xff"),
        ("opus", bytes(1473)),
        ("opus", b"\x03\x3f"),
    ],
)
def test_what_is_no_payload_is_refused(name, payload):
    with pytest.raises(ValueError, match="-1"):
        Decoder(Codec(name)).decode(payload)


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_random_payloads_harm_nothing(codec):
    dice, decoder = random.Random(1), Decoder(codec)
    for _ in range(300):
        payload = dice.randbytes(dice.randrange(1, 200))
        try:
            assert len(decoder.decode(payload)) <= 5760
        except ValueError:
            continue
    assert len(decoder.conceal(codec.sound_rate // 50)[0]) == codec.sound_rate // 50


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_a_lost_packet_is_concealed_without_a_click(codec):
    """The tone goes on at nearly its level, and no step is much larger than the tone's own."""
    pcm = sine(codec.sound_rate, 400, 400)
    encoder, decoder, count = Encoder(codec), Decoder(codec), codec.sound_rate // 50
    out, lost = array("h"), array("h")
    for number, start in enumerate(range(0, len(pcm), count)):
        payload = encoder.encode(pcm[start : start + count])
        if number == 12:
            lost, _ = decoder.conceal(count)
            out += lost
            continue
        out += decoder.decode(payload)
    assert level(lost) == pytest.approx(level(out[8 * count : 11 * count]), abs=3)
    assert largest_step(out[11 * count : 15 * count]) < 1.6 * largest_step(out[6 * count : 11 * count])


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_a_long_loss_falls_silent(codec):
    pcm = sine(codec.sound_rate, 400, 200)
    encoder, decoder, count = Encoder(codec), Decoder(codec), codec.sound_rate // 50
    for start in range(0, len(pcm), count):
        decoder.decode(encoder.encode(pcm[start : start + count]))
    pieces = [decoder.conceal(count)[0] for _ in range(15)]
    assert level(pieces[-1]) < -40


@pytest.mark.parametrize("complexity", [5, 10])
def test_opus_takes_a_chord_for_voice_too(complexity):
    codec = Codec("opus", 16000, complexity=complexity, bitrate=24000)
    chord = zip(*(sine(16000, hz, 2000) for hz in (262, 330, 392, 523, 659, 784)), strict=True)
    encoder, pcm = Encoder(codec), array("h", (sum(values) // 2 for values in chord))
    payloads = [encoder.encode(pcm[start : start + 320]) for start in range(0, len(pcm), 320)]
    assert {payload[0] >> 3 for payload in payloads} == {9}  # SILK in wide band, 20 ms: RFC 6716 section 3.1


def test_opus_restores_a_packet_from_the_next_one():
    codec = Codec("opus", 16000, fec=True, loss=20, bitrate=24000)
    pcm = speech(16000, 1200)
    encoder, decoder, plain = Encoder(codec), Decoder(codec), Decoder(codec)
    payloads = [encoder.encode(pcm[start : start + 320]) for start in range(0, len(pcm), 320)]
    recovered = array("h")
    for number in range(len(payloads) - 1):
        expected = plain.decode(payloads[number])
        if number % 7 == 5:
            restored, carried = decoder.conceal(320, payloads[number + 1])
            if carried and level(expected) > -40:
                recovered.append(round(noise_ratio_of(expected, restored)))
        else:
            decoder.decode(payloads[number])
    assert len(recovered) >= 2
    assert max(recovered) > 3


def noise_ratio_of(clean: array, dirty: array) -> float:
    return level(clean) - level([a - b for a, b in zip(clean, dirty, strict=True)])


def test_opus_without_the_flag_does_not_claim_to_restore():
    codec = Codec("opus", 16000)
    encoder, decoder = Encoder(codec), Decoder(codec)
    payload = encoder.encode(sine(16000, 300, 20))
    assert decoder.conceal(320, payload)[1] is False


@pytest.mark.parametrize("codec", [Codec("G729", dtx=True), Codec("opus", 16000, dtx=True)], ids=str)
def test_silence_is_left_out(codec):
    dice, encoder = random.Random(2), Encoder(codec)
    count = codec.sound_rate // 100 if codec.name == "G729" else codec.sound_rate // 50
    sizes = [len(encoder.encode(array("h", (dice.randrange(-6, 7) for _ in range(count))))) for _ in range(100)]
    assert sizes.count(0) > 40


def test_annex_b_describes_silence_and_makes_noise_of_it():
    codec, dice = Codec("G729", dtx=True), random.Random(3)
    encoder, decoder = Encoder(codec), Decoder(codec)
    described = False
    for _ in range(250):
        payload = encoder.encode(array("h", (dice.randrange(-60, 61) for _ in range(80))))
        if payload:
            described |= len(payload) == 2
            decoder.decode(payload)
    assert described
    assert -70 < level(decoder.conceal(800)[0]) < -45
