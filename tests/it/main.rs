//! The whole program from outside: the chain, dirty folders, crashes, the house's own rules, the README's queries.

mod chain;
mod dirty;
mod floors;
mod mill;
mod queries;
mod refusals;
