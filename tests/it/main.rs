//! The whole program from outside: the chain, dirty folders, crashes, the house's own rules, the README's queries.

// Tests make their own dirty folders; the one writer of the program is not theirs.
#![allow(clippy::disallowed_methods)]

mod audit;
mod augmented;
mod campaign;
mod chain;
mod compare;
mod confidence;
mod damage;
mod dirty;
mod evidence;
mod floors;
mod folds;
mod front_ends;
mod fuzz;
mod inspect;
mod labels;
mod learning;
mod mill;
mod paper;
mod queries;
mod readers;
mod reading;
mod refusals;
mod shard_faults;
mod shards;
mod store;
mod trust;
