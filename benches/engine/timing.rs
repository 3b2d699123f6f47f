//! How every engine is timed; `tests/peers/engine.py` does the same.

use std::time::Instant;

use sermill::error::Result;

/// Steps that are not timed: first touch of memory, caches, thread start.
const WARM_UP: u64 = 3;
/// Steps that are timed even when they take longer than they should.
const AT_LEAST: usize = 5;

/// Seconds of each `step`, for `seconds` in all; `step` is told its number.
pub fn time(seconds: f64, mut step: impl FnMut(u64) -> Result<()>) -> Result<Vec<f64>> {
    (0..WARM_UP).try_for_each(&mut step)?;
    let begun = Instant::now();
    let mut found = Vec::new();
    while found.len() < AT_LEAST || begun.elapsed().as_secs_f64() < seconds {
        let clock = Instant::now();
        step(WARM_UP + found.len() as u64)?;
        found.push(clock.elapsed().as_secs_f64());
    }
    Ok(found)
}
