"""Reference log-mel spectrograms from librosa and from torchaudio, in float64, for every named front end.

    pip install "librosa==0.11.*" "torch==2.*" "torchaudio==2.*"
    python generate.py

Writes, beside this script, `PROFILE-WAVE.f32`: little-endian float32, shape [n_mels, frames 0, 8, 16, ...], and
`versions.txt`. The waves are made with integers only, so that the tests rebuild them to the bit. Both libraries are given
every constant, none is left to a default, and each is run by itself. One file stands for both: it is written only if they
agree within 1e-9 everywhere and round to the same float32 in every value that is kept.
"""

import pathlib
import platform

import librosa
import numpy as np
import scipy
import torch

# torchaudio refuses to be imported beside a torch that was built for another CUDA; only its Python code is used here.
torch.version.cuda = None
import torchaudio  # noqa: E402

HERE = pathlib.Path(__file__).parent
EVERY = 8

# Profile: rate, n_fft, periodic window, power over n_fft, HTK scale, area norm, fmax, decibels below the maximum.
CONSTANTS = {
    "paper": (21_500, 512, False, True, True, False, 10_750, False),
    "lineage": (21_500, 512, True, False, False, True, 4_000, True),
    "full-rank": (21_500, 1_024, False, True, False, False, 10_750, False),
    "full-rank-16k": (16_000, 1_024, False, True, False, False, 8_000, False),
    "full-rank-16k-wide": (16_000, 1_024, False, True, False, False, 8_000, False),
    "full-rank-22k": (22_050, 1_024, False, True, False, False, 11_025, False),
    "speech-64": (16_000, 512, True, True, False, False, 8_000, False),
    "speech-128": (16_000, 1_024, True, True, False, False, 8_000, False),
}
# Samples, window, hop, bands, and whether it is the kept samples that are measured and, where they are too few, repeated.
PAPER_SHAPE, SPEECH = (65_000, 256, 128, 128, False), {"speech-64": (512, 64), "speech-128": (1_024, 128)}
SHAPES = {name: PAPER_SHAPE for name in CONSTANTS}
SHAPES |= {name: (303 * 160, window, 160, n_mels, True) for name, (window, n_mels) in SPEECH.items()}


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


def conditioned(integers, n_samples, _window, _hop, _n_mels, is_speech):
    """z-score over the whole recording, then truncation or zeros on the right; or over what is kept, and the same again."""
    wave = (integers / 32768).astype(np.float32).astype(np.float64)
    measured = wave[:n_samples] if is_speech else wave
    wave = ((wave - measured.mean()) / measured.std()).astype(np.float32)[:n_samples]
    if is_speech:
        return np.resize(wave, n_samples).astype(np.float64)
    return np.pad(wave, (0, n_samples - len(wave))).astype(np.float64)


def of_librosa(wave, shape, rate, n_fft, periodic, over_n_fft, htk, area, fmax, decibels):
    _, win_length, hop, n_mels, _ = shape
    window = scipy.signal.windows.hamming(win_length, sym=not periodic)
    spectrum = librosa.stft(
        wave, n_fft=n_fft, hop_length=hop, win_length=win_length, window=window, center=True, pad_mode="constant"
    )
    power = np.abs(spectrum) ** 2 / (n_fft if over_n_fft else 1)
    norm = "slaney" if area else None
    bank = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=0, fmax=fmax, htk=htk, norm=norm, dtype=np.float64
    )
    mel = bank @ power
    if decibels:
        return librosa.power_to_db(mel, ref=np.max, amin=1e-10, top_db=80)
    return np.log(np.maximum(mel, 1e-10))


def of_torchaudio(wave, shape, rate, n_fft, periodic, over_n_fft, htk, area, fmax, decibels):
    _, win_length, hop, n_mels, _ = shape
    spectrogram = torchaudio.transforms.MelSpectrogram(
        sample_rate=rate,
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop,
        f_min=0.0,
        f_max=float(fmax),
        pad=0,
        n_mels=n_mels,
        window_fn=torch.hamming_window,
        power=2.0,
        normalized=False,
        wkwargs={"periodic": periodic},
        center=True,
        pad_mode="constant",
        norm="slaney" if area else None,
        mel_scale="htk" if htk else "slaney",
    )
    mel = spectrogram(torch.from_numpy(wave)) / (n_fft if over_n_fft else 1)
    if decibels:
        # Its decibels are below 1, not below the maximum.
        values = torchaudio.transforms.AmplitudeToDB("power", top_db=80)(mel)
        return (values - values.max()).numpy()
    return torch.log(torch.clamp(mel, min=1e-10)).numpy()


# Windows, banks and transforms of torchaudio are made in the default type.
torch.set_default_dtype(torch.float64)
for wave_name, integers in [("voice", voice()), ("chirp", chirp())]:
    for profile, constants in CONSTANTS.items():
        shape = SHAPES[profile]
        wave = conditioned(integers, *shape)
        by_library = {
            "librosa": of_librosa(wave, shape, *constants),
            "torchaudio": of_torchaudio(wave, shape, *constants),
        }
        apart = np.abs(by_library["librosa"] - by_library["torchaudio"]).max()
        print(f"{profile} {wave_name}: librosa and torchaudio are {apart:.1e} apart")
        assert apart < 1e-9
        kept = {library: values[:, ::EVERY].astype("<f4") for library, values in by_library.items()}
        assert all(values.shape == (shape[3], 1 + shape[0] // shape[2]) and values.dtype == np.float64 for values in by_library.values())
        assert kept["librosa"].tobytes() == kept["torchaudio"].tobytes()
        kept["librosa"].tofile(HERE / f"{profile}-{wave_name}.f32")
    # The tests hold these sums, to know that they rebuilt the same waves.
    print(wave_name, np.sum(integers * np.arange(len(integers)) % 2**32) % 2**32)

versions = [("python", platform.python_version())]
versions += [(library.__name__, library.__version__) for library in (librosa, torch, torchaudio, np, scipy)]
(HERE / "versions.txt").write_text("".join(f"{name} {version}\n" for name, version in versions))
