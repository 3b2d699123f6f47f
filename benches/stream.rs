//! Training from 100,000 recordings against training from a few: time per recording and peak memory.
//!
//! Writes two synthetic sets of features shards (noise, no audio) with the program's own writer, then draws a true
//! permutation over each and takes steps of the paper's network from it, on the path of `sermill train`: the index, the
//! reading thread, the trainer. Each case is a process of its own, so that its peak memory is its own. The last line of
//! stdout is one JSON object.
//!
//!     make bench-stream ARGS="small=2000 large=100000 batch=16 steps=30 rounds=2 folder=target/bench-stream keep=no"
//!
//! 100,000 recordings take 13 GB of disk, which are freed at the end unless `keep=yes`: then the next run finds them.
//! `steps=0` measures the reading alone.

// The bench writes to the kernel's switch that empties the page cache; the program's one writer is for files.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use rayon::prelude::*;
use serde_json::{Value, json};

use sermill::error::{Error, Result};
use sermill::network::network::{Network, SgdConfig, Trainer};
use sermill::network::spec::NetworkSpec;
use sermill::split::Split;
use sermill::stages::train::dataset::{Dataset, Known};
use sermill::stages::train::memory::{self, MemoryPlan};
use sermill::stages::train::stream::each_batch;
use sermill::storage::atomic;
use sermill::tables::TableWriter;
use sermill::tables::feature_index::FeatureIndexRow;
use sermill::tables::features::FeatureRow;
use sermill::tables::spectrograms::FeatureIndex;
use sermill::units::Seed;

/// As in the shipped recipes.
const SHARD_RECORDINGS: usize = 64;
/// Steps before the clock starts: they touch every buffer for the first time.
const WARM_UP: usize = 2;
/// Items drawn where reading alone is measured.
const DRAWS: usize = 20_000;

fn main() -> Result<()> {
    let mut options: BTreeMap<String, String> = [
        ("small", "2000"),
        ("large", "100000"),
        ("batch", "16"),
        ("steps", "30"),
        ("rounds", "2"),
        ("folder", "target/bench-stream"),
        ("keep", "no"),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .into();
    for arg in std::env::args().skip(1).filter(|arg| arg != "--bench") {
        let (key, value) = arg.split_once('=').ok_or_else(|| Error::recipe(format!("`{arg}` is no key=value")))?;
        options.insert(key.into(), value.into());
    }
    if options.contains_key("case") {
        println!("{}", case(&options)?);
        return Ok(());
    }
    println!("{}", compare(&options)?);
    Ok(())
}

fn number(options: &BTreeMap<String, String>, key: &str) -> Result<usize> {
    let text = options.get(key).map_or("", String::as_str);
    text.parse().map_err(|error| Error::recipe(format!("{key}={text}")).because(error))
}

/// Writes both sets, measures them in turn, removes them.
fn compare(options: &BTreeMap<String, String>) -> Result<Value> {
    let folder = PathBuf::from(&options["folder"]);
    let sets = [("small", number(options, "small")?), ("large", number(options, "large")?)];
    for (name, n) in sets {
        let clock = Instant::now();
        write_set(&set_folder(&folder, name, n), n)?;
        eprintln!("{name}: {n} recordings there after {:.1} s", clock.elapsed().as_secs_f64());
    }
    let best = rounds(options, &folder, sets);
    if options["keep"] != "yes" {
        sets.iter().try_for_each(|&(name, n)| remove_set(&set_folder(&folder, name, n)))?;
    }
    summary(options, sets, &best?)
}

fn set_folder(folder: &Path, name: &str, n: usize) -> PathBuf {
    folder.join(format!("{name}-{n}"))
}

/// The best of each set's cases, as `small steps`.
fn rounds(
    options: &BTreeMap<String, String>,
    folder: &Path,
    sets: [(&str, usize); 2],
) -> Result<BTreeMap<String, Value>> {
    // The rounds alternate, so that a machine whose speed drifts does not favour one set; the best of each counts.
    let mut best: BTreeMap<String, Value> = BTreeMap::new();
    for _ in 0..number(options, "rounds")?.max(1) {
        for kind in ["cold", "warm", "steps"] {
            for (name, n) in sets {
                if kind == "steps" && options["steps"] == "0" {
                    continue;
                }
                let found = measure(options, &set_folder(folder, name, n), kind)?;
                eprintln!("{name} {kind}: {found}");
                let rate = |value: &Value| value["recordings_per_s"].as_f64().unwrap_or(0.0);
                let known = best.entry(format!("{name} {kind}")).or_insert_with(|| found.clone());
                if rate(&found) > rate(known) {
                    *known = found;
                }
            }
        }
    }
    Ok(best)
}

fn summary(
    options: &BTreeMap<String, String>,
    sets: [(&str, usize); 2],
    best: &BTreeMap<String, Value>,
) -> Result<Value> {
    let get = |case: &str, key: &str| best.get(case).map_or(Value::Null, |found| found[key].clone());
    let ratio = |kind: &str| {
        let rate = |name: &str| get(&format!("{name} {kind}"), "recordings_per_s").as_f64();
        rate("small").zip(rate("large")).map(|(small, large)| (small / large * 1000.0).round() / 1000.0)
    };
    Ok(json!({
        "ratio_time_per_recording": ratio("steps"),
        "recordings_per_s_small": get("small steps", "recordings_per_s"),
        "recordings_per_s_large": get("large steps", "recordings_per_s"),
        "peak_memory_mb_small": get("small steps", "peak_memory_mb"),
        "peak_memory_mb_large": get("large steps", "peak_memory_mb"),
        "planned_memory_mb_large": get("large steps", "planned_memory_mb"),
        "read_per_s_small_cold": get("small cold", "recordings_per_s"),
        "read_per_s_large_cold": get("large cold", "recordings_per_s"),
        "read_per_s_small_warm": get("small warm", "recordings_per_s"),
        "read_per_s_large_warm": get("large warm", "recordings_per_s"),
        "read_peak_memory_mb_large": get("large cold", "peak_memory_mb"),
        "index_s_small": get("small cold", "index_s"),
        "index_s_large": get("large cold", "index_s"),
        "cache_dropped": get("large cold", "cache_dropped"),
        "planned_memory_mb_small": get("small steps", "planned_memory_mb"),
        "recordings_small": sets[0].1,
        "recordings_large": sets[1].1,
        "batch": number(options, "batch")?,
        "steps": number(options, "steps")?,
    }))
}

/// One case in a process of its own; steps and cold reads begin with an empty page cache where the machine allows it.
fn measure(options: &BTreeMap<String, String>, folder: &Path, kind: &str) -> Result<Value> {
    let dropped = kind != "warm" && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let program = std::env::current_exe().map_err(|error| Error::machine("no path of its own").because(error))?;
    let output = Command::new(program)
        .arg(format!("case={kind}"))
        .arg(format!("folder={}", folder.display()))
        .args(["batch", "steps"].map(|key| format!("{key}={}", options[key])))
        .output()
        .map_err(|error| Error::machine("cannot start a case").because(error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found: Value = serde_json::from_str(text.trim()).map_err(|error| {
        Error::bug(format!("case {kind}: {}", String::from_utf8_lossy(&output.stderr))).at(folder).because(error)
    })?;
    found["cache_dropped"] = dropped.into();
    Ok(found)
}

/// Measures one set: index, then steps or reading alone, over items drawn from a permutation of all.
fn case(options: &BTreeMap<String, String>) -> Result<Value> {
    let (folder, batch) = (PathBuf::from(&options["folder"]), number(options, "batch")?);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|error| Error::input("cannot list").at(&folder).because(error))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let spec = NetworkSpec::paper(128, 508);
    let clock = Instant::now();
    let (index, shards) = FeatureIndex::of_shards(&files)?;
    let known = |row: &FeatureIndexRow| {
        let class = row.recording_id.bytes().map(usize::from).sum::<usize>() % 7;
        Ok(Some(Known { class, corpus: 0, side: Split::Train, sound: blake3::hash(row.recording_id.as_bytes()) }))
    };
    let [data] = Dataset::find((&index, Arc::new(shards)), known, [Split::Train], &spec)?;
    let index_s = clock.elapsed().as_secs_f64();
    let order = Seed(1).derive("shuffle", &[&1_u64.to_le_bytes()]).permutation(data.len());
    let steps = number(options, "steps")?;
    let (n_items, seconds) = match options["case"].as_str() {
        "steps" => take_steps(&data, &order, batch, steps, &spec)?,
        // Reading from the disk ends with the set; reading from the page cache goes round.
        "cold" => read_alone(&data, &order, batch, data.len().min(DRAWS))?,
        _ => read_alone(&data, &order, batch, DRAWS)?,
    };
    Ok(json!({
        "recordings_per_s": (n_items as f64 / seconds * 100.0).round() / 100.0,
        "seconds": seconds,
        "recordings": n_items,
        "index_s": index_s,
        "peak_memory_mb": memory::peak().map(|peak| peak.megabytes().round()),
        "planned_memory_mb": MemoryPlan::new(&spec, batch, data.len()).total().megabytes().round(),
    }))
}

fn take_steps(data: &Dataset, order: &[usize], batch: usize, steps: usize, spec: &NetworkSpec) -> Result<(usize, f64)> {
    let network = Network::initialise(spec.clone(), Seed(1))?;
    let sgd = SgdConfig { learning_rate: 0.01, momentum: 0.8, decay: 1e-6 };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut trainer = Trainer::new(spec.clone(), network.parameters, sgd, batch, n_threads)?;
    let (mut step, mut n_items, mut clock) = (0, 0, Instant::now());
    let drawn = &order[..order.len().min((WARM_UP + steps) * batch)];
    each_batch(data, drawn, batch, |items| {
        trainer.step(&items.log_mel, &items.labels, Some(Seed(step as u64)))?;
        step += 1;
        match step <= WARM_UP {
            true => clock = Instant::now(),
            false => n_items += items.labels.len(),
        }
        Ok(())
    })?;
    Ok((n_items, clock.elapsed().as_secs_f64()))
}

fn read_alone(data: &Dataset, order: &[usize], batch: usize, n_items: usize) -> Result<(usize, f64)> {
    let (clock, mut sum) = (Instant::now(), 0.0);
    let drawn: Vec<usize> = order.iter().copied().cycle().take(n_items).collect();
    each_batch(data, &drawn, batch, |items| {
        sum += items.log_mel[0];
        Ok(())
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    eprintln!("{n_items} read, first values sum to {sum}");
    Ok((n_items, seconds))
}

/// Shards of `n` noise spectrograms, each a pure function of its number; those that are there already are left alone.
fn write_set(folder: &Path, n: usize) -> Result<()> {
    let staging = folder.with_extension("staging");
    (0..n.div_ceil(SHARD_RECORDINGS)).into_par_iter().try_for_each(|shard| {
        let target = folder.join(format!("part-{shard:05}.parquet"));
        if target.exists() {
            return Ok(());
        }
        atomic::publish(&staging, &target, |out| {
            let mut writer = TableWriter::<FeatureRow>::new(out)?;
            for item in shard * SHARD_RECORDINGS..n.min((shard + 1) * SHARD_RECORDINGS) {
                writer.write(&[noise_row(item)])?;
            }
            writer.finish()
        })
        .map(|_| ())
    })?;
    atomic::remove_empty_folder(&staging).map(|_| ())
}

/// Removes a set that was written here.
fn remove_set(folder: &Path) -> Result<()> {
    atomic::entries(folder)?.iter().try_for_each(|shard| atomic::remove_file(shard))?;
    atomic::remove_empty_folder(folder).map(|_| ())
}

fn noise_row(item: usize) -> FeatureRow {
    let (n_mels, n_frames, seed) = (128_u32, 508_u32, Seed(item as u64));
    // Four values from each 64 bits: float16 between -16 and -8, the ten bits of the mantissa drawn.
    let values = (0..u64::from(n_mels * n_frames / 4)).flat_map(|at| {
        let bits = seed.bits(at);
        (0..4).map(move |part| f16::from_bits(0xc800 | (bits >> (16 * part)) as u16 & 0x3ff))
    });
    FeatureRow {
        // Names in another order than the rows.
        recording_id: format!("noise/{:016x}.wav", seed.bits(u64::MAX)),
        corpus: "noise".into(),
        content_hash: format!("{item:064x}"),
        n_mels,
        n_frames,
        valid_frames: n_frames,
        log_mel: Some(values.flat_map(f16::to_le_bytes).collect()),
        fingerprint: "noise".into(),
        ..FeatureRow::default()
    }
}
