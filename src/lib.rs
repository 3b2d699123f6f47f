//! Speech emotion recognition as a batch pipeline on a columnar store.
pub mod emotion;
pub mod error;
pub mod progress;
pub mod split;
pub mod storage;
pub mod tables;
pub mod units;
