# SPDX-License-Identifier: GPL-3.0-or-later
"""WAV files: what every writer makes is read, what nobody should make harms nothing."""

import io
import random
import struct
import wave
import weakref

import pytest
from media._engine import ffi, lib

from tests.media import dsp
from tests.media.dsp import sine

READ = weakref.WeakKeyDictionary()
"""What a struct wav points into, for as long as there is one."""


def read(data: bytes) -> tuple[int, object]:
    wav, kept = ffi.new("struct wav *"), ffi.from_buffer(data)
    READ[wav] = kept
    return lib.wav_read(kept, len(data), wav), wav


def samples(wav, room: int = 100_000) -> list[int]:
    pcm = ffi.new("int16_t[]", room)
    return list(pcm[0 : lib.wav_samples(wav, 0, pcm, room)])


def written(pcm, rate: int = 8000, channels: int = 1) -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as out:
            out.setparams((channels, 2, rate, 0, "NONE", ""))
            out.writeframes(bytes(pcm))
        return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def form(coding: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, more: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", coding, channels, rate, rate * frame, frame, bits) + more)


def test_what_python_writes_is_read():
    pcm = sine(16000, 440, 100)
    status, wav = read(written(pcm, 16000))
    assert (status, wav.rate, wav.channels) == (0, 16000, 1)
    assert samples(wav) == list(pcm)


def test_channels_are_averaged():
    status, wav = read(riff(form(channels=2), chunk(b"data", struct.pack("<4h", 100, 300, -100, -200))))
    assert status == 0
    assert samples(wav) == [200, -150]


@pytest.mark.parametrize(("coding", "law"), [(6, "alaw"), (7, "ulaw")])
def test_g711_inside(coding, law):
    coded, pcm = bytes(range(256)), dsp.ffi.new("int16_t[256]")
    getattr(dsp.lib, f"g711_from_{law}")(coded, 256, pcm)
    status, wav = read(riff(form(coding, bits=8), chunk(b"data", coded)))
    assert status == 0
    assert samples(wav) == list(pcm)


def test_extensible_and_unknown_chunks():
    extensible = form(0xFFFE, more=struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14))
    status, wav = read(riff(chunk(b"LIST", b"odd"), extensible, chunk(b"fact", b"1234"), chunk(b"data", b"\1\0\2\0")))
    assert status == 0
    assert samples(wav) == [1, 2]


def test_a_file_that_was_never_finished_is_read_to_its_end():
    data = written(sine(8000, 440, 100))
    for length in (0xFFFFFFFF, 0x7FFFFFFE):
        cut = data[:40] + struct.pack("<I", length) + data[44:1000]
        status, wav = read(cut)
        assert (status, wav.bytes) == (0, (1000 - 44) // 2 * 2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", -1),
        (b"RIFX" + bytes(40), -1),
        (riff(), -2),
        (riff(chunk(b"data", b"\1\0")), -2),
        (riff(chunk(b"fmt ", bytes(8))), -2),
        (riff(form(coding=85)), -3),
        (riff(form(bits=24)), -3),
        (riff(form(channels=0)), -3),
        (riff(form(channels=9)), -3),
        (riff(form(rate=0)), -3),
        (riff(form(rate=400_000)), -3),
        (riff(form()), -4),
        (riff(form(), chunk(b"data", b"\1")), -4),
    ],
)
def test_what_cannot_be_played_is_told(data, status):
    assert read(data)[0] == status


def test_changed_files_harm_nothing():
    dice, good = random.Random(1), written(sine(8000, 440, 20))
    for _ in range(5000):
        data = bytearray(good[: dice.randrange(len(good) + 1)])
        for _ in range(dice.randrange(6)):
            if data:
                data[dice.randrange(min(len(data), 60))] = dice.randrange(256)
        status, wav = read(bytes(data))
        assert -4 <= status <= 0
        if status == 0:
            assert len(samples(wav, 500)) <= 500


def test_what_is_written_is_read_by_python():
    header = ffi.new("uint8_t[44]")
    lib.wav_write(header, 16000, 2, 8)
    with wave.open(io.BytesIO(bytes(ffi.buffer(header)) + bytes(8))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16000, 2, 2)
