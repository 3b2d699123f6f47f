"""The features stage in numpy, scipy and soxr: what hand-written, batched Python can do."""

import numpy as np
import scipy
import scipy.fft
import soundfile
import soxr
from numpy.lib.stride_tricks import sliding_window_view

import recordings
from recordings import FLOOR, HOP, N_FFT, N_FRAMES, N_MELS, N_SAMPLES, OFFSET, RATE, WINDOW

BANK, TAPER = recordings.mel_bank(), recordings.HAMMING.astype(np.float32)
GENERATOR = np.random.Generator(np.random.SFC64(1))
# Zeros before and after a wave, so that frames are centred; the window's 256 samples are all of a frame that count.
PADDED = np.zeros(N_SAMPLES + 2 * WINDOW, dtype=np.float32)
FRAMES = sliding_window_view(PADDED, WINDOW)[::HOP][:N_FRAMES]
TAPERED = np.empty((N_FRAMES, WINDOW), dtype=np.float32)
POWER, SQUARES = np.empty((2, N_FRAMES, N_FFT // 2 + 1), dtype=np.float32)
MEL = np.empty((N_MELS, N_FRAMES), dtype=np.float32)


def log_mel(wave, n_valid, out):
    """Into `out`, float16; frames that see padding alone are the floor."""
    n = min(N_FRAMES, (n_valid + WINDOW // 2 - 1) // HOP + 1)
    PADDED[WINDOW // 2 : WINDOW // 2 + N_SAMPLES] = wave
    np.multiply(FRAMES[:n], TAPER, out=TAPERED[:n])
    spectrum = scipy.fft.rfft(TAPERED[:n], n=N_FFT, axis=1)
    np.multiply(spectrum.real, spectrum.real, out=POWER[:n])
    np.multiply(spectrum.imag, spectrum.imag, out=SQUARES[:n])
    POWER[:n] += SQUARES[:n]
    mel = np.matmul(BANK, POWER[:n].T, out=MEL[:, :n] if n == N_FRAMES else None)
    np.maximum(mel, np.float32(FLOOR), out=mel)
    np.log(mel, out=mel)
    out[:, :n] = mel
    out[:, n:] = np.log(FLOOR)


def spectrograms(files):
    out = np.empty((2 * len(files), N_MELS, N_FRAMES), dtype=np.float16)
    for index, file in enumerate(files):
        samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
        samples = samples[int(OFFSET * rate) :]
        samples = samples[:, 0].astype(np.float32) if samples.shape[1] == 1 else samples.mean(1, dtype=np.float32)
        wave, n_valid = recordings.conditioned(soxr.resample(samples, rate, RATE, quality="HQ"))
        log_mel(wave, n_valid, out[2 * index])
        log_mel(recordings.with_noise(wave, GENERATOR), N_SAMPLES, out[2 * index + 1])
    return out


if __name__ == "__main__":
    recordings.run(spectrograms, f"numpy {np.__version__}, scipy {scipy.__version__}, soxr {soxr.__version__}")
