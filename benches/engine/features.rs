//! Steps of the features stage apart, on real recordings: where one thread's time goes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sermill::audio;
use sermill::augment::{Chain, Format, Place, Wanted, Wave};
use sermill::error::{Error, Result};
use sermill::scan::recordings_below;
use sermill::signal::condition::{condition, skip_offset};
use sermill::signal::log_mel::MelPlan;
use sermill::signal::profile::profile;
use sermill::signal::summary::summary;
use sermill::storage::atomic;
use sermill::tables::features::{FeatureRow, FeatureWriter};
use sermill::units::{SampleRate, Seed};

/// As in the shipped recipes: recordings in one file.
const SHARD_RECORDINGS: usize = 64;

/// The steps in order, and what each is bound by.
const STEPS: [(&str, &str); 10] = [
    ("read", "the kernel's copy out of the page cache"),
    ("hash", "BLAKE3's arithmetic"),
    ("decode", "first touch of the samples' memory, then one load and one store a sample"),
    ("resample", "multiplications and additions, two registers of each a cycle; a fifth of the taps are zeros"),
    ("condition", "arithmetic in f64, three passes over the second-level cache"),
    ("noise", "integer multiplications of the generator, then a logarithm, a root and a sine"),
    ("stft, both", "additions and multiplications in registers; the work fits the first-level cache"),
    ("mel and ln, both", "the logarithm's polynomial; stores into 128 rows"),
    (
        "summary, f16, Parquet, both",
        "copies: narrowing into memory behind the caches, two by the writer, one into the page cache",
    ),
    ("fsync", "the disk"),
];

/// Runs every step over all recordings below `corpora`, shard by shard; files go to `out`.
pub fn run(corpora: &Path, out: &Path) -> Result<Value> {
    let mut clock = Clock::default();
    let files = recordings_below(corpora)?.recordings;
    let front_end = profile("paper")?;
    let plan = MelPlan::new(&front_end)?;
    let format = Format { sample_rate: front_end.sample_rate, n_samples: front_end.n_samples };
    let chain = Chain::new(&[Wanted::Named("white-noise".into())], format)?;
    let mut resamplers = Resamplers::default();
    let mut scratch = plan.scratch();
    let (mut decoded, mut resampled, mut wave) = (Vec::new(), Vec::new(), Vec::new());
    let mut log_mel = vec![0.0; front_end.n_mels * front_end.n_frames()];
    let mut seconds_of_audio = 0.0;
    for (index, shard) in files.chunks(SHARD_RECORDINGS).enumerate() {
        let begun = Instant::now();
        let mut inside = Duration::ZERO;
        atomic::publish(&out.join("staging"), &out.join(format!("{index}.parquet")), |file| {
            let mut writer = FeatureWriter::new(file)?;
            for scanned in shard {
                let bytes = clock.time(0, || std::fs::read(&scanned.file));
                let bytes = bytes.map_err(|error| Error::input("cannot be read").at(&scanned.file).because(error))?;
                let hash = clock.time(1, || blake3::hash(&bytes));
                let rate = clock.time(2, || audio::decode(&bytes, front_end.channel, &mut decoded))?.sample_rate;
                seconds_of_audio += rate.seconds(decoded.len());
                let kept = skip_offset(&decoded, rate, front_end.offset_s);
                let resampler = resamplers.of(rate, front_end.sample_rate)?;
                clock.time(3, || resampler.resample(kept, &mut resampled));
                let shape = clock.time(4, || condition(&resampled, &front_end, &mut wave))?;
                for copy in 0..2 {
                    if copy == 1 {
                        clock.time(5, || {
                            let mut draws = chain.draw(Seed(1).derive("bench", &[hash.as_bytes()]));
                            let mut wave = Wave { samples: &mut wave, valid: shape.valid_samples };
                            chain.apply(Place::Conditioned, &mut draws, &[], &mut wave);
                        });
                    }
                    // The transform alone, then all of it again: what mel and logarithm add is the difference.
                    let before = clock.seconds[6];
                    clock.time(6, || plan.power(&wave, &mut scratch));
                    let transform = clock.seconds[6] - before;
                    clock.time(7, || plan.log_mel(&wave, &mut scratch, &mut log_mel));
                    clock.seconds[7] -= transform;
                    let row = FeatureRow { copy, ..FeatureRow::default() };
                    clock.time(8, || {
                        let found = summary(&log_mel);
                        writer.push(FeatureRow { mel_mean: Some(found.mean), ..row }, Some(&log_mel));
                    });
                }
                clock.time(8, || writer.write_full_group())?;
            }
            clock.time(8, || writer.finish().map(|_| ()))?;
            clock.time(8, || std::io::Write::flush(file)).map_err(|error| Error::machine("flush").because(error))?;
            inside = begun.elapsed();
            Ok(())
        })?;
        // What publishing took beside the closure: making the file, syncing it, renaming it, syncing the folder.
        clock.seconds[9] += (begun.elapsed() - inside).as_secs_f64();
    }
    Ok(json!({ "recordings": files.len(), "seconds_of_audio": seconds_of_audio, "steps": clock.steps(files.len()) }))
}

/// Seconds of each step so far.
#[derive(Default)]
struct Clock {
    seconds: [f64; STEPS.len()],
}

impl Clock {
    fn time<T>(&mut self, step: usize, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.seconds[step] += begun.elapsed().as_secs_f64();
        done
    }

    fn steps(&self, n_recordings: usize) -> Vec<Value> {
        let each = STEPS.iter().zip(self.seconds).map(|((step, bound), seconds)| {
            json!({ "step": step, "us_per_recording": seconds * 1e6 / n_recordings as f64, "bound": bound })
        });
        each.collect()
    }
}

/// Plans, one per rate.
#[derive(Default)]
struct Resamplers(Vec<(SampleRate, audio::Resampler)>);

impl Resamplers {
    fn of(&mut self, from: SampleRate, to: SampleRate) -> Result<&audio::Resampler> {
        let known = self.0.iter().position(|(rate, _)| *rate == from);
        let index = match known {
            Some(index) => index,
            None => {
                self.0.push((from, audio::Resampler::new(from, to)?));
                self.0.len() - 1
            }
        };
        Ok(&self.0[index].1)
    }
}
