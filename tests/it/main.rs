//! The whole program from outside: the chain, dirty folders, crashes, the house's own rules, the README's queries.

// Tests make their own dirty folders; the one writer of the program is not theirs.
#![allow(clippy::disallowed_methods)]

mod audit;
mod augmented;
mod chain;
mod damage;
mod dirty;
mod evidence;
mod floors;
mod front_ends;
mod fuzz;
mod inspect;
mod labels;
mod mill;
mod queries;
mod readers;
mod reading;
mod refusals;
mod shard_faults;
mod shards;
mod store;
mod trust;
