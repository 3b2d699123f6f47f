//! sermill's side of the benchmarks, one engine a process; `tests/peers/bench.py` runs it in turn with its peers.
//!
//!     engine inputs FOLDER                                        what every engine reads: log_mel.f32, model.onnx
//!     engine train  FOLDER BATCH SECONDS THREADS                  training steps
//!     engine score  FOLDER BATCH SECONDS THREADS PROVIDER LIBRARY inference through one provider
//!     engine features CORPORA OUT                                 steps of the features stage apart, over recordings
//!     engine peak   THREADS                                       fused multiply-adds that the machine can do
//!
//! Prints one JSON object.

mod features;
mod inputs;
mod peak;
mod score;
mod timing;
mod train;

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use sermill::error::{Error, Result};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(Some(line)) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Ok(None) => {
            eprintln!(
                "`make bench-train`, `make bench-score` and `make bench-features` run this; see benches/engine/main.rs"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(args: &[&str]) -> Result<Option<serde_json::Value>> {
    Ok(Some(match *args {
        [] => return Ok(None),
        ["inputs", folder] => inputs::write(Path::new(folder))?,
        ["train", folder, batch, seconds, threads] => {
            train::run(Path::new(folder), number(batch)?, number(seconds)?, number(threads)?)?
        }
        ["score", folder, batch, seconds, threads, provider, library] => score::run(
            Path::new(folder),
            (number(batch)?, number(seconds)?, number(threads)?),
            provider.parse()?,
            Path::new(library),
        )?,
        ["features", corpora, out] => features::run(Path::new(corpora), Path::new(out))?,
        ["peak", threads] => peak::run(number(threads)?),
        _ => return Err(Error::recipe(format!("no engine takes {args:?}"))),
    }))
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::recipe(format!("`{text}` is no number")))
}
