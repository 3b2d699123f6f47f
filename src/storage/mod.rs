//! How things lie on disk: where every path is made, how a file becomes visible, who holds a stage, what is stale.
//!
//! Nothing here knows a table's columns or a stage's work.

pub mod atomic;
pub mod commit;
pub mod depot;
pub mod fingerprint;
pub mod layout;
pub mod lock;
pub mod publish;
pub mod record;
pub mod recover;
pub mod seal;
pub mod settings;
