//! Speech emotion recognition as a batch pipeline on a columnar store.
//!
//! ```text
//! recordings --ingest--> manifest --features--> spectrogram shards --train--> model (ONNX) + history
//!                           |                          |                          |
//!                           +--------------------------+-----------score----------+--> predictions
//!                                                                                         |
//!                                                                                      report --> metrics, confusion, page
//! ```
//!
//! Floors, lowest first; a file uses lower floors only (`tests/it/floors.rs` holds it to that):

// 0: words that everything speaks
pub mod emotion;
pub mod error;
pub mod files;
pub mod leaks;
pub mod simd;
pub mod units;

// 1: values in, values out
pub mod audio;
pub mod augment;
pub mod confidence;
pub mod corpora;
pub mod definition;
pub mod extract;
pub mod labels;
pub mod metrics;
pub mod near_duplicates;
pub mod network;
pub mod paired;
pub mod pictures;
pub mod recordings;
pub mod scan;
pub mod signal;
pub mod split;
pub mod voices;

// 2: the recipe, the disk, the screen
pub mod config;
pub mod progress;
pub mod storage;

// 3: typed rows
pub mod tables;

// 4: questions to the tables
pub mod evaluation;

// 5: the work
pub mod inspect;
pub mod paper;
pub mod stages;

// 6, 7: what looks it over, what people type, and what it does
pub mod campaign;
pub mod cli;
pub mod verify;

pub mod commands;
