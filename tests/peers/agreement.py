"""Stored spectrograms against librosa, on real recordings.

    python agreement.py --corpora DIR --store DIR [--recordings 100] [--out DIR]

The store must hold features of a front end that skips an offset, pads with zeros and takes natural logarithms, such as `paper`,
`full-rank` or `full-rank-16k-wide` (`sermill ingest` and `sermill features` with a pipeline of it); its constants are read from the
commit. Of each corpus 100 originals are taken, evenly spaced in the order of their ids, and computed again in float64 in two ways:

    librosa    soxr_hq resampling, librosa.stft, librosa.filters.mel: nothing of sermill
    reference  the same but for the resampler, which is sermill's definition evaluated in float64

The claim, for values of the bands that end within the pass band of both resamplers and lie above the floor in both:

    1. stored and reference differ by no more than float16 and float32 cost: half a step of float16 and 0.002
    2. stored and librosa differ by at most 0.02, or the two resamplers are why: what is above 9 kHz, where they cut off at
       other places, leaks into lower bands through the side lobes of the Hamming window and counts in the z-score. With
       everything above the pass band taken out of both waves, reference and librosa must agree within 0.02 in the same value; or
       the frame touches the first or last samples, where a resampler's filter hangs over the recording's cut; or the value
       lies more than 95 dB below the loudest of its recording, where the residue of sermill's resampler may stand.

The pass band is a share of the lower of the two Nyquist frequencies, that of the recording and that of the front end: sermill's
`standard` resampler passes 0.837 of it, its `wide` one 0.95, librosa's (soxr HQ) 0.913. A recording of 16 kHz is therefore held to
the claim up to 6.7 kHz by the standard resampler and up to 7.3 kHz by the wide one; one at the front end's own rate up to its end.
Above the pass band the differences are only shown. Exit code 1 when the claim fails.
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
import scipy.special
import soundfile
import soxr

LIMIT = 0.02
ARITHMETIC = 0.002
# What the resampler leaves of what it should not: `aliases_stay_under_minus_95_db` in the tests of `audio::resample`.
RESIDUE_DB = 95
# Pass bands as shares of the lower Nyquist frequency.
LIBROSA, SERMILL = 0.913, {"standard": 0.837, "wide": 0.95}


class FrontEnd:
    """The front end that a store's features were made with."""

    def __init__(self, store):
        commit = json.loads((store / "index" / "features.json").read_text())
        made = commit["evidence"]["front_end"]
        self.rate, self.n_samples, self.offset_s = made["sample_rate"], made["n_samples"], made["offset_s"]
        self.n_fft, self.window, self.hop, self.n_mels = (
            made[key] for key in ("n_fft", "window_length", "hop", "n_mels")
        )
        self.n_frames = 1 + self.n_samples // self.hop
        self.resampler = made.get("resampler", "standard")
        later = {"start": "offset", "pad": "zeros", "band_mean": "none"}
        unlike = [key for key, known in later.items() if made.get(key, known) != known]
        if unlike or "natural" not in made["log"] or made["channel"] != "mix" or made["power"] != "over-n-fft":
            sys.exit(f"{store}: this compares front ends such as `paper`, `full-rank` and `full-rank-16k-wide` only: {made}")
        self.least = made["log"]["natural"]["floor"]
        self.floor = np.log(self.least)
        mel = {"fmin": made["fmin_hz"], "fmax": made["fmax_hz"], "htk": made["mel_scale"] == "htk"}
        norm = "slaney" if made["mel_norm"] == "slaney-area" else None
        self.bank = librosa.filters.mel(
            sr=self.rate, n_fft=self.n_fft, n_mels=self.n_mels, norm=norm, dtype=np.float64, **mel
        )
        self.taper = scipy.signal.windows.hamming(self.window, sym=made["window"] == "hamming-symmetric")
        self.upper_edges = librosa.mel_frequencies(n_mels=self.n_mels + 2, **mel)[2:]
        # Frames that a cut's ringing reaches: half a window, and the tails of both filters.
        self.cut_reach = self.window // 2 + (250 if self.resampler == "wide" else 100)

    def pass_band_hz(self, native):
        """Up to where both resamplers let everything through; 9 kHz at most, as ever since `paper` was compared."""
        if native == self.rate:
            return self.rate / 2 + 1
        return min(9_000, min(LIBROSA, SERMILL[self.resampler]) * min(native, self.rate) / 2)

    def log_mel(self, wave):
        """z-score over all of `wave`, so many samples of it, log-mel spectrogram."""
        wave = ((wave - wave.mean()) / wave.std())[: self.n_samples]
        wave = np.pad(wave, (0, self.n_samples - len(wave)))
        spectrum = librosa.stft(
            wave,
            n_fft=self.n_fft,
            hop_length=self.hop,
            win_length=self.window,
            window=self.taper,
            center=True,
            pad_mode="constant",
        )
        return np.log(np.maximum(self.bank @ (np.abs(spectrum) ** 2 / self.n_fft), self.least))

    def without_high_bands(self, wave, native):
        """Everything above the pass band taken out, without delay; a raised cosine of 100 Hz ends it."""
        spectrum = np.fft.rfft(wave, 2 * len(wave))
        hz = np.fft.rfftfreq(2 * len(wave), 1 / self.rate)
        share = np.clip((hz - self.pass_band_hz(native)) / 100, 0, 1)
        return np.fft.irfft(spectrum * (0.5 + 0.5 * np.cos(np.pi * share)))[: len(wave)]

    def resampled(self, wave, native):
        """sermill's resampler by its definition, the standard one or both steps of the wide one."""
        if native == self.rate:
            return wave
        lower = min(native, self.rate)
        if self.resampler == "standard":
            return windowed_sinc(wave, native, self.rate, 32, 10.06, 0.91 * lower / native)
        up, down = 1, 1
        if native % self.rate == 0 or self.rate % native == 0:
            up, down = max(1, self.rate // native), max(1, native // self.rate)
        elif native >= 1.1 * self.rate:
            down = int(native / (1.1 * self.rate))
        else:
            while up * native < 1.1 * self.rate:
                up *= 2
        between = windowed_sinc(wave, down, up, 136, 10.94, 0.975 * lower / native)
        if native * up == self.rate * down:
            return between
        crossings = np.ceil(3.5 / (1 - lower * down / (native * up)))
        made = windowed_sinc(between, native * up, self.rate * down, crossings, 10.94, 1.0)
        return made[: -(-len(wave) * self.rate // native)]


def windowed_sinc(wave, native, rate, crossings_per_side, beta, cutoff):
    """The sum over all samples under a windowed sinc, at every output's time: `native / rate` samples from one to the next."""
    half = int(crossings_per_side / cutoff) + 1
    padded = np.pad(wave, (half, half + 1))
    # Outputs fall between two samples at so many places, over and over.
    divisor = int(np.gcd(native, rate))
    native, rate = native // divisor, rate // divisor
    taps = np.arange(-half + 1, half + 1)
    crossings = cutoff * (np.arange(rate)[:, None] / rate - taps)
    inside = np.maximum(1 - (crossings / crossings_per_side) ** 2, 0)
    kernel = cutoff * np.sinc(crossings) * scipy.special.i0(beta * np.sqrt(inside)) / scipy.special.i0(beta)
    kernel[inside == 0] = 0
    out = np.empty(-(-len(wave) * rate // native))
    for start in range(0, len(out), 8192):
        n = np.arange(start, min(start + 8192, len(out)), dtype=np.int64)
        whole = n * native // rate
        out[start : start + len(n)] = np.sum(kernel[n * native % rate] * padded[whole[:, None] + taps + half], axis=1)
    return out


def sample(rows, n):
    """`n` of the rows, evenly spaced."""
    return [rows[i * len(rows) // min(n, len(rows))] for i in range(min(n, len(rows)))]


def newest(store, table):
    """The folder of a table's highest version."""
    folders = sorted((store / "tables" / table).glob("v*"), key=lambda folder: int(folder.name[1:]))
    if not folders:
        sys.exit(f"{store}: no table `{table}`: run `sermill ingest` and `sermill features` first")
    return folders[-1]


def stored_rows(store, corpora, n, front_end):
    """Originals to look at, with their spectrograms."""
    folder = newest(store, "features")
    files = sorted(folder.glob("*.parquet"))
    if not files:
        sys.exit(f"{folder}: no features: run `sermill ingest` and `sermill features` first")
    columns = ["recording_id", "corpus", "copy", "status", "n_mels", "n_frames"]
    shape = (front_end.n_mels, front_end.n_frames)
    small = [
        (row["recording_id"], row["corpus"], file)
        for file in files
        for row in pyarrow.parquet.read_table(file, columns=columns).to_pylist()
        if row["copy"] == 0 and row["status"] == "ok" and (row["n_mels"], row["n_frames"]) == shape
    ]
    wanted = set()
    for corpus in sorted({corpus for _, corpus, _ in small}):
        wanted |= {id for id, _, _ in sample(sorted(row for row in small if row[1] == corpus), n)}
    manifest = pyarrow.parquet.read_table(newest(store, "manifest"), columns=["recording_id", "path"])
    paths = dict(zip(*(column.to_pylist() for column in manifest.columns)))
    for file in files:
        rows = pyarrow.parquet.read_table(file, columns=["recording_id", "corpus", "copy", "log_mel"]).to_pylist()
        for row in rows:
            if row["recording_id"] in wanted and row["copy"] == 0:
                values = np.frombuffer(row["log_mel"], dtype="<f2").reshape(shape)
                yield row["corpus"], row["recording_id"], corpora / paths[row["recording_id"]], values


class Compared:
    """One recording: every value as stored, by librosa and by the reference; the latter two without high bands too."""

    def __init__(self, path, stored, front_end):
        self.front_end = front_end
        wave, self.native = soundfile.read(path, dtype="float64", always_2d=True)
        # Samples are kept as float32 from the first step on; librosa's loader does the same.
        wave = wave.astype(np.float32).mean(axis=1, dtype=np.float64)[int(front_end.offset_s * self.native) :]
        same = self.native == front_end.rate
        theirs = wave if same else soxr.resample(wave, self.native, front_end.rate, quality="HQ")
        ours = front_end.resampled(wave, self.native)
        self.stored = stored.astype(np.float64)
        self.by_librosa, self.reference = front_end.log_mel(theirs), front_end.log_mel(ours)
        low = [front_end.log_mel(front_end.without_high_bands(one, self.native)) for one in (theirs, ours)]
        self.low_apart = np.abs(low[0] - low[1])
        centre = np.arange(stored.shape[1]) * front_end.hop
        reach = front_end.cut_reach
        self.at_cut = (centre < reach) | (np.abs(centre - len(ours)) < reach)


REGIONS = [
    *((0, 2_000), (2_000, 5_000), (5_000, 6_690), (6_690, 7_300), (7_300, 8_001)),
    *((8_001, 9_000), (9_000, 10_000), (10_000, 11_026)),
]


class Tally:
    """Differences of one corpus."""

    def __init__(self):
        self.n_recordings, self.n_floor, self.failures, self.rates = 0, 0, [], {}
        self.parts = []

    def add(self, id, one):
        self.n_recordings += 1
        self.rates[one.native] = self.rates.get(one.native, 0) + 1
        # float16 rounds the floor to -23.03125.
        front_end = one.front_end
        above = (one.stored > front_end.floor + 0.02) & (one.by_librosa > front_end.floor + 0.02)
        self.n_floor += int(np.sum(~above))
        band, frame = np.nonzero(above)
        edge, at_cut, low_apart = front_end.upper_edges[band], one.at_cut[frame], one.low_apart[above]
        stored, by_librosa, reference = (values[above] for values in (one.stored, one.by_librosa, one.reference))
        half_step = np.spacing(np.abs(stored).astype(np.float16)).astype(np.float64) / 2
        off_librosa, off_reference = np.abs(stored - by_librosa), np.abs(stored - reference)
        low = edge < front_end.pass_band_hz(one.native)
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
                    "bands_that_end_at_hz": f"{low} to {high}",
                    "values": int(here.sum()),
                    "within_0.02_percent": round(100 * float(np.mean(off_librosa[here] <= LIMIT)), 3),
                    "median": round(float(np.median(off_librosa[here])), 5),
                    "p99": round(float(np.quantile(off_librosa[here], 0.99)), 4),
                    "max": round(float(off_librosa[here].max()), 3),
                    "beyond_0.02": int((here & (off_librosa > LIMIT)).sum()),
                    "of_them_at_a_cut": int((here & at_cut).sum()),
                    "of_them_from_above_the_pass_band": int((here & leaks).sum()),
                    "of_them_95_db_deep": int((here & residue).sum()),
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
    front_end, tallies = FrontEnd(args.store), {}
    for corpus, id, path, stored in stored_rows(args.store, args.corpora, args.recordings, front_end):
        tallies.setdefault(corpus, Tally()).add(id, Compared(path, stored, front_end))
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
