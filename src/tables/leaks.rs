//! `leaks`: what two sides of a fold have in common.

use serde::{Deserialize, Serialize};

use crate::leaks::LeakKind;
use crate::split::Split;
use crate::tables::Row;

/// See `schemas/leaks.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakRow {
    pub protocol: String,
    pub fold: u32,
    pub kind: LeakKind,
    pub shared: Option<String>,
    pub side_a: Split,
    pub recording_a: String,
    pub copy_a: u32,
    pub n_a: u32,
    pub side_b: Split,
    pub recording_b: String,
    pub copy_b: u32,
    pub n_b: u32,
    pub evidence: f64,
    pub because: String,
    pub allowed: bool,
}

impl Row for LeakRow {
    const SCHEMA: &'static str = include_str!("../../schemas/leaks.toml");
}

#[cfg(test)]
impl LeakRow {
    pub(crate) fn example() -> Self {
        Self {
            protocol: "paper".into(),
            fold: 0,
            kind: LeakKind::NearDuplicates,
            shared: None,
            side_a: Split::Train,
            recording_a: "a/b.wav".into(),
            copy_a: 0,
            n_a: 1,
            side_b: Split::Test,
            recording_b: "a/c.wav".into(),
            copy_b: 1,
            n_b: 1,
            evidence: 0.02,
            because: "2.0 % of 300 cells differ".into(),
            allowed: true,
        }
    }
}
