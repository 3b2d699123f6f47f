"""The features stage in librosa, by its own calls: load with soxr_hq, STFT, and the bank, which is made once."""

import warnings

import librosa
import numpy as np

import recordings
from recordings import FLOOR, HOP, N_FFT, N_FRAMES, N_MELS, OFFSET, RATE, WINDOW

GENERATOR = np.random.Generator(np.random.SFC64(1))
# The paper's bank has three bands without a bin.
warnings.filterwarnings("ignore", "Empty filters")
# librosa.feature.melspectrogram makes its bank anew on each call; as a careful user would, this does it once.
BANK = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS, htk=True, norm=None) / np.float32(N_FFT)


def log_mel(wave):
    spectrum = librosa.stft(wave, n_fft=N_FFT, hop_length=HOP, win_length=WINDOW, window=recordings.HAMMING,
                            center=True, pad_mode="constant")
    return np.log(np.maximum(BANK @ (np.abs(spectrum) ** 2), np.float32(FLOOR)))


def spectrograms(files):
    out = np.empty((2 * len(files), N_MELS, N_FRAMES), dtype=np.float16)
    for index, file in enumerate(files):
        samples, _ = librosa.load(file, sr=RATE, mono=True, offset=OFFSET, res_type="soxr_hq")
        wave, _ = recordings.conditioned(samples)
        out[2 * index] = log_mel(wave)
        out[2 * index + 1] = log_mel(recordings.with_noise(wave, GENERATOR))
    return out


if __name__ == "__main__":
    recordings.run(spectrograms, f"librosa {librosa.__version__}, numpy {np.__version__}")
