//! What `paper` writes.

use std::io::Write;

use serde_json::json;

use super::print;
use crate::cli::PaperArgs;
use crate::error::Result;
use crate::files;
use crate::paper::paper;
use crate::storage::atomic;

/// Writes the page and its figures, and prints where they are.
pub(super) fn write_paper(typed: &PaperArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let made = paper(&typed.store)?;
    for (name, text) in &made.files {
        atomic::publish_beside(&typed.out.join(name), text.as_bytes())?;
    }
    let page = files::text_of(&typed.out.join("paper.md"));
    print(stdout, &json!({ "paper": page, "figures": made.files.len() - 1 }))?;
    Ok(0)
}
