#!/usr/bin/env python3
"""Writes the tiny recordings of this folder: the same tone in every dialect the decoder must read.

Needs Python 3.8 or later, and the commands `sox` and `flac` for the last part.
The tone: 800 frames at 8000 Hz of 0.5 sin(2 pi 440 t), mono unless the name says otherwise; in stereo
files the left channel is 1.6 and the right 0.4 times the tone, so that the mean is the tone.
"""
import math
import pathlib
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
RATE = 8000
TONE = [0.5 * math.sin(2 * math.pi * 440 * i / RATE) for i in range(800)]
STEREO = [x for tone in TONE for x in (1.6 * tone, 0.4 * tone)]
SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def packed(values, bits, floating=False):
    if floating:
        return b"".join(struct.pack("<f" if bits == 32 else "<d", x) for x in values)
    if bits == 8:
        return bytes(round(x * 127) + 128 for x in values)
    scale = (1 << (bits - 1)) - 1
    return b"".join(round(x * scale).to_bytes(bits // 8, "little", signed=True) for x in values)


def format_body(tag, channels, bits, extensible=False, rate=RATE):
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 3 if channels == 2 else 4, tag) + SUBFORMAT_TAIL
    return head


def chunk(name, body, pad=True):
    return name + struct.pack("<I", len(body)) + body + (b"\0" if pad and len(body) % 2 else b"")


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav(bits, floating=False, values=TONE, channels=1, extensible=False, before=(), after=()):
    body = format_body(3 if floating else 1, channels, bits, extensible)
    return riff(*before, chunk(b"fmt ", body), chunk(b"data", packed(values, bits, floating)), *after)


def aiff(values):
    # 8000 Hz as an 80-bit extended float.
    rate = struct.pack(">HQ", 16383 + 12, RATE << (63 - 12))
    common = chunk_be(b"COMM", struct.pack(">hIh", 1, len(values), 16) + rate)
    samples = b"".join(round(x * 32767).to_bytes(2, "big", signed=True) for x in values)
    body = b"AIFF" + common + chunk_be(b"SSND", struct.pack(">II", 0, 0) + samples)
    return b"FORM" + struct.pack(">I", len(body)) + body


def chunk_be(name, body):
    return name + struct.pack(">I", len(body)) + body


def rf64():
    data = packed(TONE, 16)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), len(TONE), 0))
    body = b"WAVE" + ds64 + chunk(b"fmt ", format_body(1, 1, 16)) + b"data\xff\xff\xff\xff" + data
    return b"RF64\xff\xff\xff\xff" + body


def main():
    list_odd = chunk(b"LIST", b"INFOISFT\x05\0\0\0made\0")
    files = {
        "pcm_u8.wav": wav(8),
        "pcm_s16.wav": wav(16),
        "pcm_s24.wav": wav(24),
        "pcm_s32.wav": wav(32),
        "pcm_f32.wav": wav(32, floating=True),
        "pcm_f64.wav": wav(64, floating=True),
        "stereo_s16.wav": wav(16, values=STEREO, channels=2),
        "extensible_s24_stereo.wav": wav(24, values=STEREO, channels=2, extensible=True),
        "foreign_chunks.wav": wav(16, before=(chunk(b"FLLR", bytes(33)),), after=(list_odd,)),
        "no_pad_byte.wav": wav(16, before=(chunk(b"LIST", b"INFOx", pad=False),)),
        "long_rf64.wav": rf64(),
        "aiff_named.wav": aiff(TONE),
        "cut_short.wav": wav(16)[:-601],
        "unfinished.wav": wav(16)[:40] + bytes(4) + packed(TONE, 16),
    }
    # The length of the whole file was not written either.
    files["unfinished.wav"] = files["unfinished.wav"][:4] + bytes(4) + files["unfinished.wav"][8:]
    for name, content in files.items():
        (HERE / name).write_bytes(content)
    source = str(HERE / "pcm_s16.wav")
    for name, options in {
        "a_law.wav": ["-e", "a-law"],
        "mu_law.wav": ["-e", "u-law"],
        "big_endian.aiff": [],
        "core_audio.caf": [],
        "vorbis.ogg": ["-C", "0"],
    }.items():
        subprocess.run(["sox", "-D", "-R", source, *options, str(HERE / name)], check=True)
    subprocess.run(["flac", "-s", "-f", "--no-padding", "-o", str(HERE / "lossless.flac"), source], check=True)


if __name__ == "__main__":
    main()
