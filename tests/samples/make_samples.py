#!/usr/bin/env python3
"""Writes the tiny recordings of this folder: the same tone in every dialect the decoder must read.

Needs Python 3.8 or later, and the commands `sox`, `flac`, `lame`, `opusenc` and `ffmpeg` for the last part.
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
# Gains of six channels; their mean is 1.
SIX = [1.5, 0.5, 1.75, 0.25, 1.25, 0.75]
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


def aiff(samples, bits=16, compression=None):
    """AIFF, or AIFC where a compression is named."""
    # 8000 Hz as an 80-bit extended float.
    rate = struct.pack(">HQ", 16383 + 12, RATE << (63 - 12))
    common = struct.pack(">hIh", 1, len(TONE), bits) + rate
    if compression:
        common += compression + b"\x01x"
    version = chunk_be(b"FVER", struct.pack(">I", 0xA2805140)) if compression else b""
    form = b"AIFC" if compression else b"AIFF"
    body = form + version + chunk_be(b"COMM", common) + chunk_be(b"SSND", struct.pack(">II", 0, 0) + samples)
    return b"FORM" + struct.pack(">I", len(body)) + body


def big_endian(values):
    return b"".join(round(x * 32767).to_bytes(2, "big", signed=True) for x in values)


def chunk_be(name, body):
    return name + struct.pack(">I", len(body)) + body


def rf64(name=b"RF64", after=b""):
    data = packed(TONE, 16)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), len(TONE), 0))
    body = b"WAVE" + ds64 + chunk(b"fmt ", format_body(1, 1, 16)) + b"data\xff\xff\xff\xff" + data + after
    return name + b"\xff\xff\xff\xff" + body


def wave64():
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")

    def part(name, body):
        return name + tail + struct.pack("<Q", 24 + len(body)) + body + bytes(-len(body) % 8)

    body = part(b"junk", b"odd") + part(b"fmt ", format_body(1, 1, 16)) + part(b"data", packed(TONE, 16))
    riff_tail = bytes.fromhex("2e91cf11a5d628db04c10000")
    return b"riff" + riff_tail + struct.pack("<Q", 40 + len(body)) + b"wave" + tail + body


def two_data_chunks():
    data = packed(TONE, 16)
    return riff(chunk(b"fmt ", format_body(1, 1, 16)), chunk(b"data", data[:1000]), chunk(b"data", data[1000:]))


def id3(body=b"TIT2\0\0\0\x05\0\0\0tone"):
    return b"ID3\x03\0\0" + bytes([0, 0, len(body) >> 7, len(body) & 127]) + body


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
        "bw64.wav": rf64(b"BW64", chunk(b"axml", b"<x/>")),
        "wave64.w64": wave64(),
        "six_channels_s16.wav": wav(16, values=[g * x for x in TONE for g in SIX], channels=6),
        "short_format.wav": riff(chunk(b"fmt ", format_body(1, 1, 16)[:14]), chunk(b"data", packed(TONE, 16))),
        "two_data_chunks.wav": two_data_chunks(),
        "id3_before.wav": id3() + wav(16),
        "streamed.wav": b"RIFF\xff\xff\xff\xff" + wav(16)[8:40] + b"\xff\xff\xff\xff" + packed(TONE, 16),
        "aiff_named.wav": aiff(big_endian(TONE)),
        "sowt.aifc": aiff(packed(TONE, 16), compression=b"sowt"),
        "fl32.aifc": aiff(b"".join(struct.pack(">f", x) for x in TONE), 32, b"fl32"),
        "cut_short.wav": wav(16)[:-601],
        "unfinished.wav": wav(16)[:40] + bytes(4) + packed(TONE, 16),
    }
    # The length of the whole file was not written either.
    files["unfinished.wav"] = files["unfinished.wav"][:4] + bytes(4) + files["unfinished.wav"][8:]
    for name, content in files.items():
        (HERE / name).write_bytes(content)
    encode(str(HERE / "pcm_s16.wav"))


def encode(source):
    for name, options in {
        "a_law.wav": ["-e", "a-law"],
        "mu_law.wav": ["-e", "u-law"],
        "ms_adpcm.wav": ["-e", "ms-adpcm"],
        "ima_adpcm.wav": ["-e", "ima-adpcm"],
        "gsm.wav": ["-e", "gsm-full-rate"],
        "big_endian.aiff": [],
        "core_audio.caf": [],
        "vorbis.ogg": ["-C", "0"],
    }.items():
        subprocess.run(["sox", "-D", "-R", source, *options, str(HERE / name)], check=True)
    subprocess.run(["flac", "-s", "-f", "--no-padding", "-o", str(HERE / "lossless.flac"), source], check=True)
    mp3 = HERE / "mpeg_layer_3.mp3"
    subprocess.run(["lame", "--silent", "-b", "32", "--id3v2-only", "--tt", "tone", source, str(mp3)], check=True)
    (HERE / "mp3_inside.wav").write_bytes(riff(chunk(b"fmt ", format_body(0x55, 1, 0)), chunk(b"data", mp3.read_bytes())))
    opus = ["opusenc", "--quiet", "--serial", "1", "--discard-comments", "--padding", "0"]
    stereo = str(HERE / "stereo_s16.wav")
    six = str(HERE / "six_channels_s16.wav")
    for name, options in {
        "speech.opus": ["--speech", "--bitrate", "12", source],
        "music.opus": ["--music", "--bitrate", "48", stereo],
        "six_channels.opus": ["--bitrate", "96", six],
    }.items():
        subprocess.run([*opus, *options, str(HERE / name)], check=True)
    for name, options in {
        "mpeg_layer_2.mp2": ["-ar", "16000", "-c:a", "mp2", "-b:a", "32k"],
        "adts.aac": ["-c:a", "aac", "-b:a", "24k"],
        "aac.m4a": ["-c:a", "aac", "-b:a", "24k"],
        "alac.m4a": ["-c:a", "alac"],
        "vorbis.mka": ["-c:a", "libvorbis", "-q:a", "2"],
        "opus.webm": ["-c:a", "libopus", "-b:a", "16k"],
    }.items():
        exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
        command = ["ffmpeg", "-v", "error", "-y", "-i", source, *options, *exact, str(HERE / name)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
