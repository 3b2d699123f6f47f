//! Parses, runs, prints the error, sets the exit code; everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use sermill::error::printable;

fn main() -> ExitCode {
    match sermill::commands::run(std::env::args_os(), &mut std::io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            // There is nowhere to report a stderr that is closed.
            let _ = writeln!(stderr, "error: {}", printable(&error.to_string()));
            if let Some(hint) = error.hint_text() {
                let _ = writeln!(stderr, "hint: {}", printable(hint));
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}
