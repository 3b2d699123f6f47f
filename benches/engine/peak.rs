//! The machine's peak: fused multiply-adds in registers, in as many independent chains as hide their latency.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use serde_json::{Value, json};
use sermill::simd::Isa;

/// Multiply-adds of one chain in one measurement, a fraction of a second.
const N_STEPS: u64 = 100_000_000;
/// Measurements, of which the best counts: what disturbs one only makes it slower.
const TRIES: usize = 3;

/// Peak of `n_threads` threads at once, with the widest instruction set that the kernels know.
pub fn run(n_threads: usize) -> Value {
    let isa = Isa::fastest();
    let best = (0..TRIES).map(|_| gflops(isa, n_threads)).fold(0.0, f64::max);
    json!({ "n_threads": n_threads, "instructions": format!("{isa:?}").to_lowercase(), "gflops": best })
}

fn gflops(isa: Isa, n_threads: usize) -> f64 {
    let barrier = Barrier::new(n_threads);
    let timed = || {
        barrier.wait();
        let clock = Instant::now();
        let n_flop = chains(isa);
        (n_flop, clock.elapsed().as_secs_f64())
    };
    let found: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(timed)).collect();
        threads.into_iter().map(|thread| thread.join().expect("arithmetic does not panic")).collect()
    });
    let slowest = found.iter().fold(0.0, |slowest: f64, one| slowest.max(one.1));
    found.iter().map(|one| one.0).sum::<f64>() / slowest * 1e-9
}

/// Runs the chains once; gives their floating-point operations.
fn chains(isa: Isa) -> f64 {
    match isa {
        // SAFETY: the value proves the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => unsafe { x86::avx512(N_STEPS) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => unsafe { x86::avx2(N_STEPS) },
        Isa::Portable => portable(N_STEPS),
    }
}

/// Chains of four lanes that every compiler turns into the vector instructions that all machines have.
fn portable(n_steps: u64) -> f64 {
    let (factor, summand) = (black_box(0.5f32), black_box(0.5f32));
    let mut chains = black_box([[1.0f32; 4]; 8]);
    for _ in 0..n_steps {
        for chain in &mut chains {
            chain.iter_mut().for_each(|lane| *lane = *lane * factor + summand);
        }
    }
    black_box(chains);
    n_steps as f64 * 8.0 * 4.0 * 2.0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    /// 24 chains of 16 lanes; x * 0.5 + 0.5 stays at 1.
    #[target_feature(enable = "avx512f")]
    pub fn avx512(n_steps: u64) -> f64 {
        let half = _mm512_set1_ps(black_box(0.5));
        let mut chains = [_mm512_set1_ps(black_box(1.0)); 24];
        for _ in 0..n_steps {
            chains.iter_mut().for_each(|chain| *chain = _mm512_fmadd_ps(*chain, half, half));
        }
        black_box(chains);
        n_steps as f64 * 24.0 * 16.0 * 2.0
    }

    /// 12 chains of 8 lanes.
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(n_steps: u64) -> f64 {
        let half = _mm256_set1_ps(black_box(0.5));
        let mut chains = [_mm256_set1_ps(black_box(1.0)); 12];
        for _ in 0..n_steps {
            chains.iter_mut().for_each(|chain| *chain = _mm256_fmadd_ps(*chain, half, half));
        }
        black_box(chains);
        n_steps as f64 * 12.0 * 8.0 * 2.0
    }
}
