//! Batches in a given order, read by a thread of their own while the one before is worked on.

use std::sync::mpsc::sync_channel;

use crate::error::{Error, Result};
use crate::stages::train::dataset::Dataset;

/// Batches in memory at a time: one that is worked on, one that waits, one that is being read.
pub const BATCHES: usize = 3;

/// Where batches come from; read by threads of its own.
pub trait Source: Sync {
    /// Values of one spectrogram.
    fn size(&self) -> usize;

    /// Position of an item's class.
    fn label(&self, item: usize) -> usize;

    /// Fills `log_mel` (`[items, n_mels, n_frames]`); `scratch` is kept from batch to batch.
    fn fill(&self, items: &[usize], scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()>;
}

impl Source for Dataset {
    fn size(&self) -> usize {
        Dataset::size(self)
    }

    fn label(&self, item: usize) -> usize {
        Dataset::label(self, item)
    }

    fn fill(&self, items: &[usize], scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        let mut slots = items.iter().zip(log_mel.chunks_exact_mut(Dataset::size(self)));
        slots.try_for_each(|(&item, log_mel)| Dataset::fill(self, item, scratch, log_mel))
    }
}

/// Spectrograms and labels of one step.
#[derive(Default)]
pub struct Batch {
    /// `[items, n_mels, n_frames]`
    pub log_mel: Vec<f32>,
    /// `[items]`
    pub labels: Vec<usize>,
    /// Bytes of one spectrogram as they are stored.
    scratch: Vec<u8>,
}

impl Batch {
    /// Takes the place of what was there: the items at the positions `items` of `data`.
    fn load(&mut self, data: &impl Source, items: &[usize]) -> Result<()> {
        self.log_mel.resize(items.len() * data.size(), 0.0);
        self.labels.clear();
        self.labels.extend(items.iter().map(|&item| data.label(item)));
        data.fill(items, &mut self.scratch, &mut self.log_mel)
    }
}

/// Gives `work` the items of `data` at the positions `order`, `batch` at a time and in this order.
///
/// [`BATCHES`] batches are made and reused. An error of `work` or of reading ends it; batches before one that cannot be
/// read have been worked on.
///
/// Proof: `streamed_training_gives_the_same_bytes_as_reading_everything`, `every_item_comes_once_an_epoch_in_the_drawn_order`,
/// `a_shard_cut_while_training_is_an_error_that_names_it`.
pub fn each_batch(
    data: &impl Source,
    order: &[usize],
    batch: usize,
    mut work: impl FnMut(&Batch) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (filled, next) = sync_channel::<Result<Batch>>(1);
        let (used, free) = sync_channel::<Batch>(BATCHES);
        for _ in 0..BATCHES {
            used.send(Batch::default()).map_err(|_| ended_early())?;
        }
        scope.spawn(move || {
            for items in order.chunks(batch) {
                // A closed channel says that the work ended with an error of its own.
                let Ok(mut batch) = free.recv() else { return };
                let read = batch.load(data, items).map(|()| batch);
                let failed = read.is_err();
                if filled.send(read).is_err() || failed {
                    return;
                }
            }
        });
        for _ in order.chunks(batch) {
            let batch = next.recv().map_err(|_| ended_early())??;
            work(&batch)?;
            // The reader is gone once it has read the last batch.
            let _ = used.send(batch);
        }
        Ok(())
    })
}

fn ended_early() -> Error {
    Error::bug("the thread that reads batches ended early")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;
    use crate::network::network::{Network, SgdConfig, Trainer};
    use crate::network::spec::{BlockSpec, NetworkSpec};
    use crate::split::Split;
    use crate::stages::train::dataset::Known;
    use crate::tables::feature_index::FeatureIndexRow;
    use crate::tables::features::{FeatureRow, from_blob, to_blob};
    use crate::tables::manifest::Status;
    use crate::tables::spectrograms::FeatureIndex;
    use crate::tables::{publish_rows, read_rows};
    use crate::units::Seed;

    const SGD: SgdConfig = SgdConfig { learning_rate: 0.01, momentum: 0.8, decay: 1e-6 };

    fn spec() -> NetworkSpec {
        let block = |n_maps, pool: usize| BlockSpec { n_maps, pool: pool.into() };
        NetworkSpec {
            n_mels: 8,
            n_frames: 24,
            window: 8,
            hop: 8,
            blocks: vec![block(4, 2), block(6, 4)],
            lstm_units: 5,
            ..NetworkSpec::paper(8, 24)
        }
    }

    /// Row `number`: sides, copies, rejects and unlabelled ones all mixed; the first value of a spectrogram is its number.
    fn row(number: usize) -> FeatureRow {
        let (spec, seed) = (spec(), Seed(number as u64));
        let mut log_mel: Vec<f32> =
            (0..spec.n_mels * spec.n_frames).map(|at| -8.0 + 4.0 * seed.unit(at as u64) as f32).collect();
        log_mel[0] = number as f32;
        let rejected = number % 11 == 3;
        FeatureRow {
            // Names do not follow the order of the rows.
            recording_id: format!("c/{:03}.wav", (number / 2 * 37) % 101),
            copy: (number % 2) as u32,
            n_mels: if rejected { 0 } else { spec.n_mels as u32 },
            n_frames: if rejected { 0 } else { spec.n_frames as u32 },
            log_mel: (!rejected).then(|| to_blob(&log_mel)),
            status: if rejected { Status::Rejected } else { Status::Ok },
            ..FeatureRow::default()
        }
    }

    /// What the tables would say of row `number`, where it has a class and a side.
    fn known_of(number: usize) -> Option<Known> {
        let side = [Some(Split::Train), Some(Split::Train), Some(Split::Validation), None][number / 2 % 4]?;
        (number % 13 != 5).then(|| Known {
            class: number % 7,
            corpus: 0,
            side,
            sound: blake3::hash(&number.to_le_bytes()),
        })
    }

    /// The same, of a recording and copy.
    fn known(recording_id: &str, copy: u32) -> Option<Known> {
        (0..200).find(|&number| row(number).recording_id == recording_id && row(number).copy == copy).and_then(known_of)
    }

    /// The items of some sides of shards.
    fn items<const N: usize>(files: &[PathBuf], sides: [Split; N], spec: &NetworkSpec) -> Result<[Dataset; N]> {
        let (index, files) = FeatureIndex::of_shards(files)?;
        let all: HashMap<(String, u32), Option<Known>> = (0..200)
            .map(|number| (row(number), known_of(number)))
            .map(|(row, known)| ((row.recording_id, row.copy), known))
            .collect();
        let known = |row: &FeatureIndexRow| Ok(all.get(&(row.recording_id.clone(), row.copy)).copied().flatten());
        Dataset::find((&index, Arc::new(files)), known, sides, spec)
    }

    /// 200 rows in 3 shards, each of more than one row group.
    fn shards(folder: &Path) -> Vec<PathBuf> {
        (0..3)
            .map(|shard| {
                let path = folder.join(format!("part-{shard}.parquet"));
                let rows: Vec<FeatureRow> = (0..200).filter(|number| number * 7 % 3 == shard).map(row).collect();
                publish_rows(&folder.join("staging"), &path, &rows).expect("written");
                path
            })
            .collect()
    }

    /// The same side, read whole through the Parquet reader.
    fn in_memory(files: &[PathBuf], side: Split) -> Vec<(usize, Vec<f32>)> {
        let mut rows: Vec<FeatureRow> = files.iter().flat_map(|file| read_rows(file).expect("a table")).collect();
        rows.retain(|row| {
            row.status == Status::Ok && known(&row.recording_id, row.copy).is_some_and(|known| known.side == side)
        });
        rows.sort_by(|a, b| (&a.recording_id, a.copy).cmp(&(&b.recording_id, b.copy)));
        let item = |row: FeatureRow| {
            let label = known(&row.recording_id, row.copy).expect("a label").class;
            let mut log_mel = vec![0.0; spec().n_mels * spec().n_frames];
            from_blob(&row.log_mel.expect("a spectrogram"), &mut log_mel).expect("its size");
            (label, log_mel)
        };
        rows.into_iter().map(item).collect()
    }

    fn trainer() -> Trainer {
        let network = Network::initialise(spec(), Seed(5)).expect("shapes divide");
        Trainer::new(spec(), network.parameters, SGD, 8, 2).expect("its own shapes")
    }

    #[test]
    fn streamed_training_gives_the_same_bytes_as_reading_everything() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = shards(folder.path());
        let [train, validation] = items(&files, [Split::Train, Split::Validation], &spec()).expect("sound shards");
        for (data, side) in [(&train, Split::Train), (&validation, Split::Validation)] {
            let expected = in_memory(&files, side);
            let mut read = Vec::new();
            each_batch(data, &(0..data.len()).collect::<Vec<_>>(), 7, |batch| {
                let spectrograms = batch.log_mel.chunks_exact(data.size()).map(<[f32]>::to_vec);
                read.extend(batch.labels.iter().copied().zip(spectrograms));
                Ok(())
            })
            .expect("sound shards");
            assert!(expected.len() > 30 && read == expected, "{} items of {}", read.len(), expected.len());
        }
        let (mut streamed, mut whole, expected) = (trainer(), trainer(), in_memory(&files, Split::Train));
        for epoch in 0..2_u64 {
            let order = Seed(1).derive("shuffle", &[&epoch.to_le_bytes()]).permutation(train.len());
            each_batch(&train, &order, 8, |batch| {
                let seed = Seed(streamed.state().iteration);
                streamed.step(&batch.log_mel, &batch.labels, Some(seed)).map(|_| ())
            })
            .expect("sound shards");
            for items in order.chunks(8) {
                let labels: Vec<usize> = items.iter().map(|&item| expected[item].0).collect();
                let log_mel: Vec<f32> = items.iter().flat_map(|&item| expected[item].1.clone()).collect();
                let seed = Seed(whole.state().iteration);
                whole.step(&log_mel, &labels, Some(seed)).expect("a good batch");
            }
        }
        assert!(streamed.state().iteration > 10);
        assert!(streamed.state().to_bytes() == whole.state().to_bytes());
    }

    #[test]
    fn every_item_comes_once_an_epoch_in_the_drawn_order() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = shards(folder.path());
        let [train] = items(&files, [Split::Train], &spec()).expect("sound shards");
        let names: Vec<f32> = in_memory(&files, Split::Train).iter().map(|(_, log_mel)| log_mel[0]).collect();
        let epoch = |epoch: u64, batch: usize| {
            let order = Seed(1).derive("shuffle", &[&epoch.to_le_bytes()]).permutation(train.len());
            let mut seen = Vec::new();
            each_batch(&train, &order, batch, |batch| {
                seen.extend(batch.log_mel.chunks_exact(train.size()).map(|log_mel| log_mel[0]));
                Ok(())
            })
            .expect("sound shards");
            let drawn: Vec<f32> = order.iter().map(|&item| names[item]).collect();
            assert_eq!(seen, drawn);
            seen
        };
        let (first, second) = (epoch(1, 8), epoch(2, 8));
        assert_ne!(first, second, "each epoch draws anew");
        assert_eq!(first, epoch(1, 1), "the order does not depend on the batch");
        assert_eq!(first, epoch(1, 1000), "one batch of all");
        let sorted = |mut numbers: Vec<f32>| {
            numbers.sort_by(f32::total_cmp);
            numbers
        };
        assert_eq!(sorted(first), sorted(names.clone()));
        assert_eq!(sorted(second), sorted(names));
    }

    #[test]
    fn a_shard_cut_while_training_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = shards(folder.path());
        let [train] = items(&files, [Split::Train], &spec()).expect("sound shards");
        let order: Vec<usize> = (0..train.len()).collect();
        let (mut n_batches, mut was_cut) = (0, false);
        let error = each_batch(&train, &order, 4, |_| {
            n_batches += 1;
            if !was_cut {
                was_cut = true;
                let shard = std::fs::read(&files[1]).expect("a shard");
                crate::storage::atomic::publish_bytes(folder.path(), &files[0], &shard).expect("replaced");
                let file = std::fs::File::options().write(true).open(&files[1]).expect("a shard");
                file.set_len(1000).expect("cut");
            }
            Ok(())
        })
        .expect_err("a shard was cut");
        assert!(n_batches >= 1 && n_batches < order.len().div_ceil(4));
        assert!(error.to_string().contains("part-1.parquet") && error.hint_text().is_some(), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn an_error_of_the_work_ends_the_reading() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let [train] = items(&shards(folder.path()), [Split::Train], &spec()).expect("sound shards");
        let order: Vec<usize> = (0..train.len()).collect();
        let mut n_batches = 0;
        let error = each_batch(&train, &order, 1, |_| {
            n_batches += 1;
            if n_batches == 3 { Err(Error::input("loss is not finite")) } else { Ok(()) }
        })
        .expect_err("the work failed");
        assert_eq!((n_batches, error.to_string().as_str()), (3, "loss is not finite"));
        each_batch(&train, &[], 4, |_| Err(Error::bug("no batch"))).expect("nothing to do");
    }

    #[test]
    fn damaged_shards_and_other_shapes_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = shards(folder.path());
        let refused = |spec: &NetworkSpec| {
            let error = items(&files, [Split::Train], spec).err().expect("refused");
            assert!(error.to_string().contains("part-") && error.hint_text().is_some(), "{error}");
            error.to_string()
        };
        let wider = NetworkSpec { n_frames: 32, ..spec() };
        assert!(refused(&wider).contains("8 x 24 for a network of 8 x 32"));
        let bytes = std::fs::read(&files[2]).expect("a shard");
        for length in [0, 3, 100, bytes.len() / 2, bytes.len() - 1] {
            crate::storage::atomic::publish_bytes(folder.path(), &files[2], &bytes[..length]).expect("cut");
            assert!(refused(&spec()).contains("part-2.parquet"), "{length} bytes");
        }
    }
}
