"""The features stage in torchaudio, with soxr for the resampling: its own resampler is several times slower, and for
24,414 Hz its kernel has 10,750 rows."""

import numpy as np
import soundfile
import soxr
import torch

# torchaudio refuses a torch that was built for another CUDA; here everything runs on the CPU.
torch.version.cuda = None
import torchaudio  # noqa: E402

import recordings  # noqa: E402
from recordings import FLOOR, HOP, N_FFT, N_FRAMES, N_MELS, OFFSET, RATE, WINDOW  # noqa: E402

torch.set_num_threads(1)
GENERATOR = torch.Generator().manual_seed(1)


def taper(length):
    return torch.hamming_window(length, periodic=False)


SPECTRUM = torchaudio.transforms.Spectrogram(n_fft=N_FFT, win_length=WINDOW, hop_length=HOP, window_fn=taper, power=2,
                                             center=True, pad_mode="constant")
BANK = torchaudio.transforms.MelScale(N_MELS, RATE, n_stft=N_FFT // 2 + 1, mel_scale="htk", norm=None)
BANK.fb /= N_FFT


def both(wave):
    """The wave and its noisy copy, as one batch."""
    snr_db = torch.randint(*recordings.SNRS_DB, (1,), generator=GENERATOR)
    deviation = (wave.square().mean() / 10 ** (snr_db / 10)).sqrt()
    return torch.stack([wave, wave + deviation * torch.randn(wave.shape, generator=GENERATOR)])


@torch.inference_mode()
def spectrograms(files):
    out = np.empty((2 * len(files), N_MELS, N_FRAMES), dtype=np.float16)
    for index, file in enumerate(files):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        samples = samples[int(OFFSET * rate) :]
        samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)
        wave, _ = recordings.conditioned(soxr.resample(samples, rate, RATE, quality="HQ"))
        log_mel = BANK(SPECTRUM(both(torch.from_numpy(wave)))).clamp_(min=FLOOR).log_()
        out[2 * index : 2 * index + 2] = log_mel.half().numpy()
    return out


if __name__ == "__main__":
    recordings.run(spectrograms, f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, soxr {soxr.__version__}")
