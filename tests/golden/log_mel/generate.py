"""Reference log-mel spectrograms from librosa, in float64, for the front ends `paper` and `lineage`.

    pip install "librosa==0.11.*"
    python generate.py

Writes, beside this script, `PROFILE-WAVE.f32`: little-endian float32, shape [n_mels, frames 0, 8, 16, ...], and
`versions.txt`. The waves are made with integers only, so that the tests rebuild them to the bit.
"""

import pathlib
import platform

import librosa
import numpy as np
import scipy

HERE = pathlib.Path(__file__).parent
SAMPLE_RATE = 21_500
N_SAMPLES = 65_000
EVERY = 8


def noise(n):
    """Upper halves of a linear congruential generator, -32768..32767."""
    values, state = np.empty(n, dtype=np.int64), 12345
    for i in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 16) - 32768
    return values


def arch(phase):
    """A sine made of two parabolas: phase 0..2**32, value -32768..32768."""
    x = (phase % 2**32 >> 16) - 32768
    return x * (32768 - np.abs(x)) >> 13


def voice(n=47_300):
    """24 harmonics on a pitch that glides up from 120 Hz, swelling five times a second, in faint noise; is padded."""
    i = np.arange(n, dtype=np.int64)
    phase = np.cumsum(24_000_000 + 400 * (i % 20_000)) % 2**32
    harmonics = sum(arch(h * phase) * (4096 // h) for h in range(1, 25))
    swell = np.minimum(i % 5000, 5000 - i % 5000)
    return (harmonics * swell >> 28) + (noise(n) >> 10)


def chirp(n=70_000):
    """A tone that rises to 7 kHz in white noise 6 dB below; is truncated."""
    i = np.arange(n, dtype=np.int64)
    return (arch(np.cumsum(20_000 * i) % 2**32) >> 2) + (noise(n) >> 3)


def conditioned(integers):
    """z-score over the whole recording, then truncation or zeros on the right."""
    wave = (integers / 32768).astype(np.float32).astype(np.float64)
    wave = ((wave - wave.mean()) / wave.std()).astype(np.float32)[:N_SAMPLES]
    return np.pad(wave, (0, N_SAMPLES - len(wave))).astype(np.float64)


def paper(wave):
    """Equations 1-4 of the paper."""
    window = scipy.signal.windows.hamming(256, sym=True)
    spectrum = librosa.stft(
        wave, n_fft=512, hop_length=128, win_length=256, window=window, center=True, pad_mode="constant"
    )
    power = np.abs(spectrum) ** 2 / 512
    bank = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=512, n_mels=128, fmin=0, fmax=SAMPLE_RATE / 2, htk=True, norm=None, dtype=np.float64
    )
    return np.log(np.maximum(bank @ power, 1e-10))


def lineage(wave):
    """What the code of the paper's family computes."""
    spectrum = librosa.stft(
        wave, n_fft=512, hop_length=128, win_length=256, window="hamming", center=True, pad_mode="constant"
    )
    bank = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=512, n_mels=128, fmin=0, fmax=4000, htk=False, norm="slaney", dtype=np.float64
    )
    return librosa.power_to_db(bank @ np.abs(spectrum) ** 2, ref=np.max, amin=1e-10, top_db=80)


for wave_name, integers in [("voice", voice()), ("chirp", chirp())]:
    wave = conditioned(integers)
    for front_end in [paper, lineage]:
        values = front_end(wave)
        assert values.shape == (128, 508) and values.dtype == np.float64
        values[:, ::EVERY].astype("<f4").tofile(HERE / f"{front_end.__name__}-{wave_name}.f32")
    # The tests hold these sums, to know that they rebuilt the same waves.
    print(wave_name, np.sum(integers * np.arange(len(integers)) % 2**32) % 2**32)

versions = [("python", platform.python_version())]
versions += [(library.__name__, library.__version__) for library in (librosa, np, scipy)]
(HERE / "versions.txt").write_text("".join(f"{name} {version}\n" for name, version in versions))
