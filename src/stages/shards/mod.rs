//! Plan, shard, commit: a stage whose work is cut into shards, for the threads of one process or for many processes.
//!
//! A stage says what there is to do ([`Sharded::plan`]), does one shard without knowing of the others ([`Sharded::make`]), and makes
//! one output of all ([`Sharded::fold`]). `sermill STAGE` is these three in one process; `sermill plan`, `sermill shard` and
//! `sermill commit` are the same three with a folder in between, so that anything which can start processes and repeat them may
//! share out the work. Tables have the same bytes either way.

mod commit;
pub mod part;
mod plan;
pub mod plan_file;
mod seen;
mod sweep;
mod work;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::stages::{Ctx, Done, Read, Stage, features, ingest, score};
use crate::storage::atomic;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::{content_named, content_of, stem_of};
use crate::storage::record::Content;
use crate::tables::Row;
use crate::tables::spectrograms::shard_stem;

pub use commit::{Committed, what_stands};
pub use plan_file::PlanFolder;
pub use seen::Seen;
pub use sweep::{Swept, sweep};

/// Recordings in a shard unless somebody says otherwise: some seconds of work.
pub const SHARD_RECORDINGS: usize = 1024;

/// Every stage whose work can be shared out, in the order of the chain.
pub const SHARDED: &[&dyn AnySharded] = &[&ingest::Ingest, &features::Features, &score::Score];

/// A stage whose work is cut into shards.
pub trait Sharded: Stage {
    /// All that a shard's bytes depend on beside the settings, a row for each recording or copy of one.
    type Row: Row + Clone + Send + Sync;
    /// What there is to do, and what stands.
    type Plan: Sync;
    /// What became of one shard.
    type Made: Counted + Send;

    /// What a plan goes by that may be other by the time of its commit, and that no commit of the store says.
    fn look(&self, _ctx: &Ctx, _read: &Read) -> Result<Seen> {
        Ok(Seen::default())
    }
    /// What there is to do. The same inputs give the same shards.
    fn plan(&self, ctx: &Ctx, read: &Read, seen: &mut Seen) -> Result<Self::Plan>;
    /// The shards that must be made.
    fn shards<'p>(&self, plan: &'p Self::Plan) -> Vec<Shard<'p, Self::Row>>;
    /// Makes shards. `done` is called once for each as soon as it is finished, which means on disk where [`Job::is_kept`].
    fn make(&self, ctx: &Ctx, seen: &Seen, jobs: &[Job<Self::Row>], done: Finish<Self::Made>) -> Result<()>;
    /// A finished shard that waits in `file`, if it is whole and of these rows.
    ///
    /// Errors: those that say nothing about the file, because the machine failed at it.
    fn open(&self, ctx: &Ctx, file: &Path, id: &str, rows: &[Self::Row]) -> Result<Option<Self::Made>>;
    /// The stage's output, of what stands and what was made: the shards in the order of [`Sharded::shards`].
    fn fold(&self, ctx: &Ctx, read: &Read, plan: Self::Plan, made: Vec<Self::Made>) -> Result<Done>;
}

/// Takes finished shards: the position of each among the jobs, what became of it, and how.
pub type Finish<'a, M> = &'a (dyn Fn(usize, M, Finished) -> Result<()> + Sync);

/// How a shard was finished.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// It had been made before.
    pub was_there: bool,
    pub seconds: f64,
}

/// What can be counted of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub n_rows: u64,
    /// Rows with a reason.
    pub n_rejected: u64,
    /// Those among them that the machine failed at.
    pub n_unread: u64,
    /// Of its file.
    pub n_bytes: u64,
}

/// Something that [`Counts`] can be given of.
pub trait Counted {
    fn counts(&self) -> Counts;
}

/// One piece of work: it knows nothing of the others.
#[derive(Clone, Copy, Debug)]
pub struct Shard<'a, R> {
    /// Hash of the settings and the rows.
    pub id: &'a str,
    pub rows: &'a [R],
}

/// The id of a shard, from the fingerprints of its rows.
pub fn shard_id(settings: &Fingerprint, rows: &[Fingerprint]) -> String {
    Fingerprint::of_value(&(settings, rows)).short().to_string()
}

/// A shard that is to be made.
pub struct Job<'a, R> {
    pub id: &'a str,
    /// Rows of its plan.
    pub n_rows: usize,
    source: Source<'a, R>,
    /// Folder where a file of it waits.
    pub staging: &'a Path,
    /// Whether a file of it must outlive this process.
    pub is_kept: bool,
    /// Files that may be this shard, finished.
    waiting: Vec<PathBuf>,
}

/// Where the rows of a shard come from.
enum Source<'a, R> {
    Memory(&'a [R]),
    /// The plan, and the position of the shard in it.
    Plan(&'a PlanFolder, usize),
}

impl<'a, R: Row + Clone> Job<'a, R> {
    /// Its rows; read when they are asked for, so that no process holds those of all its shards.
    pub fn rows(&self) -> Result<Cow<'a, [R]>> {
        match &self.source {
            Source::Memory(rows) => Ok(Cow::Borrowed(rows)),
            Source::Plan(plan, at) => plan.rows(*at).map(Cow::Owned),
        }
    }

    /// The shard as it waits, if it is whole and the machine failed at none of its recordings.
    pub fn waits<M: Counted>(&self, open: impl Fn(&Path) -> Result<Option<M>>) -> Result<Option<M>> {
        for file in &self.waiting {
            if let Some(made) = open(file)?.filter(|made| made.counts().n_unread == 0) {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }
}

/// The three steps in one process.
pub fn run<S: Sharded>(stage: &S, ctx: &Ctx, read: &Read) -> Result<Done> {
    let mut seen = stage.look(ctx, read)?;
    let plan = stage.plan(ctx, read, &mut seen)?;
    let staging = ctx.store.staging(&stage.slot(ctx));
    let made = {
        let mut waiting = waiting_in(&[&staging])?;
        let shards = stage.shards(&plan);
        let job = |shard: &Shard<'_, S::Row>| waiting.remove(&shard_stem(shard.id)).unwrap_or_default();
        let waiting: Vec<Vec<PathBuf>> = shards.iter().map(job).collect();
        let jobs: Vec<Job<S::Row>> = shards
            .iter()
            .zip(waiting)
            .map(|(shard, waiting)| Job {
                id: shard.id,
                n_rows: shard.rows.len(),
                source: Source::Memory(shard.rows),
                staging: &staging,
                is_kept: false,
                waiting,
            })
            .collect();
        let made: Mutex<Vec<Option<S::Made>>> = Mutex::new(jobs.iter().map(|_| None).collect());
        stage.make(ctx, &seen, &jobs, &|at, one, _| {
            made.lock().expect("no panic while a shard is kept")[at] = Some(one);
            Ok(())
        })?;
        let made = made.into_inner().expect("no panic while a shard is kept");
        made.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| Error::bug("a shard that was not made"))?
    };
    stage.fold(ctx, read, plan, made)
}

/// [`Sharded`] without its types, for lists.
pub trait AnySharded: Sync {
    fn stage(&self) -> &dyn Stage;
    /// Writes a plan into the store; see `plan::plan`.
    fn plan(&self, ctx: &Ctx) -> Result<Value>;
    /// Makes some shards of a plan, and tells each; see `work::work`.
    fn shard(&self, ctx: &Ctx, plan: &PlanFolder, wanted: &Wanted, tell: &Tell) -> Result<()>;
    /// Commits a plan; see `commit::commit`.
    fn commit(&self, ctx: &Ctx, plan: &PlanFolder) -> Result<Committed>;
}

/// Takes the line that tells of a finished shard.
pub type Tell<'a> = dyn Fn(Value) -> Result<()> + Sync + 'a;

impl<S: Sharded> AnySharded for S {
    fn stage(&self) -> &dyn Stage {
        self
    }

    fn plan(&self, ctx: &Ctx) -> Result<Value> {
        plan::plan(self, ctx)
    }

    fn shard(&self, ctx: &Ctx, plan: &PlanFolder, wanted: &Wanted, tell: &Tell) -> Result<()> {
        work::work(self, ctx, plan, wanted, tell)
    }

    fn commit(&self, ctx: &Ctx, plan: &PlanFolder) -> Result<Committed> {
        commit::commit(self, ctx, plan)
    }
}

/// The sharded stage called `name`.
pub fn sharded(name: &str) -> Result<&'static dyn AnySharded> {
    SHARDED.iter().find(|sharded| sharded.stage().name() == name).copied().ok_or_else(|| {
        let known: Vec<&str> = SHARDED.iter().map(|sharded| sharded.stage().name()).collect();
        Error::recipe(format!("`{name}` has no shards")).hint(format!("stages with shards are {}", known.join(", ")))
    })
}

/// Which shards of a plan a process makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one at `index` and every `of`-th after it; `None`: that one alone.
    Strided { index: usize, of: Option<usize> },
    /// Those with these ids.
    Ids(Vec<String>),
}

impl Wanted {
    /// Positions in a plan of `ids`.
    ///
    /// Errors: kind `Recipe` for an index beyond what it counts by, and for an id that the plan does not have.
    pub fn positions(&self, ids: &[&str]) -> Result<Vec<usize>> {
        match self {
            Self::Strided { index, of } => {
                let of = of.unwrap_or(ids.len()).max(1);
                if *index >= of {
                    return Err(Error::recipe(format!("--index {index}: there are 0 to {}", of - 1)));
                }
                Ok((*index..ids.len()).step_by(of).collect())
            }
            Self::Ids(wanted) => {
                let place: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
                let find = |id: &String| {
                    place
                        .get(id.as_str())
                        .copied()
                        .ok_or_else(|| Error::recipe(format!("the plan has no shard `{id}`")))
                };
                wanted.iter().map(find).collect()
            }
        }
    }
}

/// Finished shards in folders, by the stems of their names; those of one stem in the order of their names.
fn waiting_in(folders: &[&Path]) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for folder in folders {
        for path in atomic::entries(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if stem_of(&name) != name {
                found.entry(stem_of(&name).to_string()).or_default().push(path);
            }
        }
    }
    Ok(found)
}

/// Size and hash of a finished shard, if its name holds that hash.
pub fn whole(file: &Path, id: &str) -> Result<Option<Content>> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let content = content_of(file)?;
    Ok(content.filter(|content| content_named(&shard_stem(id), content) == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_comes_once_for_any_number_of_workers() {
        let ids: Vec<String> = (0..23).map(|i| format!("{i:02}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        for of in 1..=40 {
            let mut all = Vec::new();
            for index in 0..of {
                let wanted = Wanted::Strided { index, of: Some(of) };
                all.extend(wanted.positions(&ids).expect("within"));
            }
            all.sort_unstable();
            assert_eq!(all, (0..23).collect::<Vec<_>>(), "{of} workers");
            assert!(Wanted::Strided { index: of, of: Some(of) }.positions(&ids).is_err());
        }
        assert_eq!(Wanted::Strided { index: 22, of: None }.positions(&ids).expect("the last"), [22]);
        assert!(Wanted::Strided { index: 23, of: None }.positions(&ids).is_err());
        assert_eq!(Wanted::Ids(vec!["03".into(), "01".into()]).positions(&ids).expect("known"), [3, 1]);
        assert!(Wanted::Ids(vec!["99".into()]).positions(&ids).is_err());
    }
}
