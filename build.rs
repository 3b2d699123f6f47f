//! Says which commit the program is built from, where that is known: commits of a store name it.

use std::path::Path;
use std::process::Command;

fn main() {
    // Whoever builds from an archive may say it.
    println!("cargo:rerun-if-env-changed=SERMILL_COMMIT");
    if let Some(given) = std::env::var("SERMILL_COMMIT").ok().filter(|given| !given.is_empty()) {
        println!("cargo:rustc-env=SERMILL_COMMIT={given}");
        println!("cargo:rerun-if-changed=build.rs");
        return;
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
    };
    println!("cargo:rerun-if-changed=build.rs");
    // A commit moves the head's log; a folder that is no clone has none.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    // The clone must be this package's own, not one that it happens to lie in.
    let is_own = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty());
    let commit = if is_own { git(&["rev-parse", "HEAD"]) } else { None };
    println!("cargo:rustc-env=SERMILL_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
}
