"""Stored spectrograms against librosa, on real recordings.

    python agreement.py --corpora DIR --store DIR [--recordings 100] [--out DIR]

The store must hold features of front end `paper` (`sermill ingest` and `sermill features` with a pipeline of it). Of each
corpus 100 originals are taken, evenly spaced in the order of their ids, and computed again in float64 in two ways:

    librosa    soxr_hq resampling, librosa.stft, librosa.filters.mel: nothing of sermill
    reference  the same but for the resampler, which is sermill's definition evaluated in float64

The claim, for values of the bands that end below 9 kHz and lie above the floor in both:

    1. stored and reference differ by no more than float16 and float32 cost: half a step of float16 and 0.002
    2. stored and librosa differ by at most 0.02, or the two resamplers are why: what is above 9 kHz, where they cut off at
       other places, leaks into lower bands through the side lobes of the Hamming window and counts in the z-score. With
       everything above 9 kHz taken out of both waves, reference and librosa must agree within 0.02 in the same value; or
       the frame touches the first or last samples, where a resampler's filter hangs over the recording's cut; or the value
       lies more than 95 dB below the loudest of its recording, where the residue of sermill's resampler may stand.

Above 9 kHz the differences are only shown. Exit code 1 when the claim fails.
"""

import argparse
import json
import pathlib
import platform
import sys

import librosa
import numpy as np
import pyarrow.parquet
import scipy
import soundfile
import soxr

RATE, N_SAMPLES, N_FFT, WINDOW, HOP, N_MELS = 21_500, 65_000, 512, 256, 128, 128
OFFSET_S = 0.5
FLOOR = np.log(1e-10)
PASS_BAND_HZ = 9_000
LIMIT = 0.02
ARITHMETIC = 0.002
# What the resampler leaves of what it should not: `aliases_stay_under_minus_95_db` in the tests of `audio::resample`.
RESIDUE_DB = 95
# Frames that a cut's ringing reaches: half a window, and 100 samples for the tails of both filters.
CUT_REACH = WINDOW // 2 + 100
# sermill's resampler: zero crossings on each side, Kaiser's beta, cutoff as a share of the lower Nyquist frequency.
CROSSINGS, BETA, ROLLOFF = 32, 10.06, 0.91

BANK = librosa.filters.mel(
    sr=RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=0, fmax=RATE / 2, htk=True, norm=None, dtype=np.float64
)
TAPER = scipy.signal.windows.hamming(WINDOW, sym=True)
UPPER_EDGES = librosa.mel_frequencies(n_mels=N_MELS + 2, fmin=0, fmax=RATE / 2, htk=True)[2:]


def front_end(wave):
    """z-score over all of `wave`, 65,000 samples of it, log-mel spectrogram."""
    wave = ((wave - wave.mean()) / wave.std())[:N_SAMPLES]
    wave = np.pad(wave, (0, N_SAMPLES - len(wave)))
    spectrum = librosa.stft(
        wave, n_fft=N_FFT, hop_length=HOP, win_length=WINDOW, window=TAPER, center=True, pad_mode="constant"
    )
    return np.log(np.maximum(BANK @ (np.abs(spectrum) ** 2 / N_FFT), 1e-10))


def without_high_bands(wave):
    """Everything above the pass band taken out, without delay; a raised cosine of 100 Hz ends it."""
    spectrum = np.fft.rfft(wave, 2 * len(wave))
    hz = np.fft.rfftfreq(2 * len(wave), 1 / RATE)
    share = np.clip((hz - PASS_BAND_HZ) / 100, 0, 1)
    return np.fft.irfft(spectrum * (0.5 + 0.5 * np.cos(np.pi * share)))[: len(wave)]


def windowed_sinc(wave, native):
    """sermill's resampler by its definition: the sum over all samples under the window, at every output's time."""
    cutoff = ROLLOFF * min(1.0, RATE / native)
    half = int(CROSSINGS / cutoff) + 1
    padded = np.pad(wave, (half, half + 1))
    out = np.empty(-(-len(wave) * RATE // native))
    for start in range(0, len(out), 8192):
        n = np.arange(start, min(start + 8192, len(out)), dtype=np.int64)
        whole, part = n * native // RATE, (n * native % RATE) / RATE
        taps = np.arange(-half + 1, half + 1)
        crossings = cutoff * (part[:, None] - taps)
        inside = np.maximum(1 - (crossings / CROSSINGS) ** 2, 0)
        kernel = cutoff * np.sinc(crossings) * np.i0(BETA * np.sqrt(inside)) / np.i0(BETA)
        kernel[inside == 0] = 0
        out[start : start + len(n)] = np.sum(kernel * padded[whole[:, None] + taps + half], axis=1)
    return out


def sample(rows, n):
    """`n` of the rows, evenly spaced."""
    return [rows[i * len(rows) // min(n, len(rows))] for i in range(min(n, len(rows)))]


def stored_rows(store, corpora, n):
    """Originals to look at, with their spectrograms."""
    folder = store / "tables" / "features" / "v2"
    files = sorted(folder.glob("*.parquet"))
    if not files:
        sys.exit(f"{folder}: no features: run `sermill ingest` and `sermill features` first")
    columns = ["recording_id", "corpus", "copy", "status", "n_mels", "n_frames"]
    small = [
        (row["recording_id"], row["corpus"], file)
        for file in files
        for row in pyarrow.parquet.read_table(file, columns=columns).to_pylist()
        if row["copy"] == 0 and row["status"] == "ok" and (row["n_mels"], row["n_frames"]) == (N_MELS, 508)
    ]
    wanted = set()
    for corpus in sorted({corpus for _, corpus, _ in small}):
        wanted |= {id for id, _, _ in sample(sorted(row for row in small if row[1] == corpus), n)}
    manifest = pyarrow.parquet.read_table(store / "tables" / "manifest" / "v2", columns=["recording_id", "path"])
    paths = dict(zip(*(column.to_pylist() for column in manifest.columns)))
    for file in files:
        rows = pyarrow.parquet.read_table(file, columns=["recording_id", "corpus", "copy", "log_mel"]).to_pylist()
        for row in rows:
            if row["recording_id"] in wanted and row["copy"] == 0:
                values = np.frombuffer(row["log_mel"], dtype="<f2").reshape(N_MELS, 508)
                yield row["corpus"], row["recording_id"], corpora / paths[row["recording_id"]], values


class Compared:
    """One recording: every value as stored, by librosa and by the reference; the latter two without high bands too."""

    def __init__(self, path, stored):
        wave, self.native = soundfile.read(path, dtype="float64", always_2d=True)
        # Samples are kept as float32 from the first step on; librosa's loader does the same.
        wave = wave.astype(np.float32).mean(axis=1, dtype=np.float64)[int(OFFSET_S * self.native) :]
        same = self.native == RATE
        theirs = wave if same else soxr.resample(wave, self.native, RATE, quality="HQ")
        ours = wave if same else windowed_sinc(wave, self.native)
        self.stored = stored.astype(np.float64)
        self.by_librosa, self.reference = front_end(theirs), front_end(ours)
        low = front_end(without_high_bands(theirs)), front_end(without_high_bands(ours))
        self.low_apart = np.abs(low[0] - low[1])
        centre = np.arange(stored.shape[1]) * HOP
        self.at_cut = (centre < CUT_REACH) | (np.abs(centre - len(ours)) < CUT_REACH)


REGIONS = [(0, 2_000), (2_000, 5_000), (5_000, 8_000), (8_000, 9_000), (9_000, 10_000), (10_000, 10_751)]


class Tally:
    """Differences of one corpus."""

    def __init__(self):
        self.n_recordings, self.n_floor, self.failures, self.rates = 0, 0, [], {}
        self.parts = []

    def add(self, id, one):
        self.n_recordings += 1
        self.rates[one.native] = self.rates.get(one.native, 0) + 1
        # float16 rounds the floor to -23.03125.
        above = (one.stored > FLOOR + 0.02) & (one.by_librosa > FLOOR + 0.02)
        self.n_floor += int(np.sum(~above))
        band, frame = np.nonzero(above)
        edge, at_cut, low_apart = UPPER_EDGES[band], one.at_cut[frame], one.low_apart[above]
        stored, by_librosa, reference = (values[above] for values in (one.stored, one.by_librosa, one.reference))
        half_step = np.spacing(np.abs(stored).astype(np.float16)).astype(np.float64) / 2
        off_librosa, off_reference = np.abs(stored - by_librosa), np.abs(stored - reference)
        low = edge < PASS_BAND_HZ
        beyond = low & (off_librosa > LIMIT)
        leaks = beyond & ~at_cut & (low_apart <= LIMIT)
        depth_db = (by_librosa.max() - by_librosa) * 10 / np.log(10)
        residue = beyond & ~at_cut & ~leaks & (depth_db > RESIDUE_DB)
        wrong = {
            "reference": (low & (off_reference > half_step + ARITHMETIC), off_reference),
            "librosa": (beyond & ~at_cut & ~leaks & ~residue, off_librosa),
        }
        for name, (where, off) in wrong.items():
            if where.any():
                at = np.flatnonzero(where)[np.argmax(off[where])]
                self.failures.append(
                    f"{id}: {int(where.sum())} values off {name}, the worst band {band[at]} frame {frame[at]}: stored"
                    f" {stored[at]:.4f}, librosa {by_librosa[at]:.4f}, reference {reference[at]:.4f},"
                    f" without high bands {low_apart[at]:.4f} apart, {depth_db[at]:.0f} dB deep"
                )
        self.parts.append((edge, off_librosa, off_reference, off_reference - half_step, beyond & at_cut, leaks, residue))

    def table(self):
        edge, off_librosa, off_reference, arithmetic, at_cut, leaks, residue = (
            np.concatenate(column) for column in zip(*self.parts)
        )
        rows = []
        for low, high in REGIONS:
            here = (edge >= low) & (edge < high)
            if not here.any():
                continue
            rows.append(
                {
                    "bands_that_end_at_hz": f"{low} to {min(high, RATE // 2)}",
                    "values": int(here.sum()),
                    "within_0.02_percent": round(100 * float(np.mean(off_librosa[here] <= LIMIT)), 3),
                    "median": round(float(np.median(off_librosa[here])), 5),
                    "p99": round(float(np.quantile(off_librosa[here], 0.99)), 4),
                    "max": round(float(off_librosa[here].max()), 3),
                    "beyond_0.02": int((here & (off_librosa > LIMIT)).sum()),
                    "of_them_at_a_cut": int((here & at_cut).sum()) if high <= PASS_BAND_HZ else None,
                    "of_them_from_above_9_khz": int((here & leaks).sum()) if high <= PASS_BAND_HZ else None,
                    "of_them_95_db_deep": int((here & residue).sum()) if high <= PASS_BAND_HZ else None,
                    "off_reference_max": round(float(off_reference[here].max()), 5),
                    "off_reference_beyond_float16_max": round(float(arithmetic[here].max()), 6),
                }
            )
        return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=pathlib.Path, required=True)
    parser.add_argument("--store", type=pathlib.Path, required=True)
    parser.add_argument("--recordings", type=int, default=100, help="of each corpus")
    parser.add_argument("--out", type=pathlib.Path, help="folder for result.json")
    args = parser.parse_args()
    tallies = {}
    for corpus, id, path, stored in stored_rows(args.store, args.corpora, args.recordings):
        tallies.setdefault(corpus, Tally()).add(id, Compared(path, stored))
    failures = []
    result = {"versions": {"python": platform.python_version()}, "corpora": {}}
    result["versions"] |= {lib.__name__: lib.__version__ for lib in (librosa, soxr, np, scipy)}
    for corpus, tally in sorted(tallies.items()):
        failures += tally.failures
        rows = tally.table()
        result["corpora"][corpus] = {
            "recordings": tally.n_recordings,
            "rates_hz": tally.rates,
            "values_at_the_floor": tally.n_floor,
            "regions": rows,
        }
        rates = ", ".join(f"{n} at {rate} Hz" for rate, n in sorted(tally.rates.items()))
        print(f"\n{corpus}: {tally.n_recordings} recordings ({rates}); {tally.n_floor} values at the floor left out\n")
        names = [name.replace("_", " ") for name in rows[0]]
        print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
        for row in rows:
            print("| " + " | ".join("" if value is None else str(value) for value in row.values()) + " |")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print()
    for failure in failures[:20]:
        print(f"failed: {failure}")
    too_few = [corpus for corpus, tally in tallies.items() if tally.n_recordings < args.recordings]
    for corpus in too_few:
        print(f"failed: {corpus} has {tallies[corpus].n_recordings} recordings, {args.recordings} were asked for")
    print(f"{sum(tally.n_recordings for tally in tallies.values())} recordings, {len(failures)} of them failed")
    sys.exit(1 if failures or too_few or not tallies else 0)


if __name__ == "__main__":
    main()
