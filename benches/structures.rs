//! Training steps of networks of different structures: `cargo bench --bench structures [-- BATCH THREADS SECONDS [PART OF A NAME]]`.
//!
//! Prints recordings per second of the fastest step, and what the trainer takes of memory.

use std::time::Instant;

use sermill::error::Result;
use sermill::network::head::Head;
use sermill::network::{BlockSpec, Network, NetworkSpec, Pool, SgdConfig, Trainer, Trunk};
use sermill::units::Seed;

const SGD: SgdConfig = SgdConfig { learning_rate: 1e-3, momentum: 0.8, decay: 1e-6 };

/// Pools that keep bands at first, and pools that give them up late: `[mel, time]` of each block.
const EARLY: [[usize; 2]; 4] = [[4, 2], [2, 2], [2, 2], [2, 2]];
const LATE: [[usize; 2]; 4] = [[2, 2], [2, 2], [4, 2], [4, 2]];

/// A network whose LSTM reads groups of columns behind the last block.
fn columns(n_frames: usize, maps: [usize; 4], pools: [[usize; 2]; 4]) -> NetworkSpec {
    let block = |(n_maps, [mel, time]): (usize, [usize; 2])| BlockSpec { n_maps, pool: Pool { mel, time } };
    NetworkSpec {
        window: 16,
        hop: 16,
        trunk: Trunk::Shared,
        blocks: maps.into_iter().zip(pools).map(block).collect(),
        lstm_units: 128,
        head: Head::MeanDeviation,
        n_classes: 8,
        ..NetworkSpec::paper(128, n_frames)
    }
}

fn networks() -> Vec<(String, NetworkSpec)> {
    let paper = NetworkSpec::paper(128, 508);
    let mut lean = NetworkSpec { trunk: Trunk::Shared, ..paper.clone() };
    lean.blocks[0].n_maps = 32;
    let mut networks: Vec<(String, NetworkSpec)> = vec![("paper".into(), paper), ("32,64,128,128 shared".into(), lean)];
    for n_frames in [508, 380] {
        for maps in [[16, 32, 64, 128], [32, 64, 96, 128]] {
            for (name, pools) in [("early", EARLY), ("late", LATE)] {
                networks.push((format!("{maps:?} {name} {n_frames}"), columns(n_frames, maps, pools)));
            }
        }
    }
    networks
}

/// Seconds of the fastest step, and of the mean one.
fn time(spec: &NetworkSpec, batch: usize, n_threads: usize, seconds: f64) -> Result<(f64, f64)> {
    let network = Network::initialise(spec.clone(), Seed(1))?;
    let n_values = batch * spec.n_mels * spec.n_frames;
    let log_mel: Vec<f32> = (0..n_values).map(|at| (3.0 * Seed(2).normal_pair(at as u64).0 - 8.0) as f32).collect();
    let labels: Vec<usize> = (0..batch).map(|at| at % spec.n_classes).collect();
    let mut trainer = Trainer::new(spec.clone(), network.parameters, SGD, batch, n_threads)?;
    let (mut fastest, mut total, mut n_steps) = (f64::INFINITY, 0.0, 0);
    // The first step touches its memory.
    trainer.step(&log_mel, &labels, Some(Seed(0)))?;
    while total < seconds || n_steps < 3 {
        let clock = Instant::now();
        trainer.step(&log_mel, &labels, Some(Seed(n_steps)))?;
        let seconds = clock.elapsed().as_secs_f64();
        (fastest, total, n_steps) = (seconds.min(fastest), total + seconds, n_steps + 1);
    }
    Ok((fastest, total / n_steps as f64))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number =
        |index: usize, otherwise: f64| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (batch, n_threads, seconds) = (number(0, 32.0) as usize, number(1, 2.0) as usize, number(2, 10.0));
    println!("recordings/s of training steps, batch {batch}, {n_threads} threads: fastest, mean; trainer's memory");
    for (name, spec) in networks().iter().filter(|(name, _)| arguments.get(3).is_none_or(|part| name.contains(part))) {
        let (fastest, mean) = time(spec, batch, n_threads, seconds)?;
        let megabytes = Trainer::memory_bytes(spec, batch) as f64 * 1e-6;
        println!("{name:32} {:6.1} {:6.1}   {megabytes:5.0} MB", batch as f64 / fastest, batch as f64 / mean);
    }
    Ok(())
}
