//! Removes plans that nobody will commit, and what was finished of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::stages::shards::commit::{is_ours, remove_plan};
use crate::stages::shards::plan_file::{LISTING, MODEL, PARTS, PLAN};
use crate::storage::atomic;
use crate::storage::layout::Store;
use crate::storage::lock::StageLock;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub n_plans: u64,
    pub n_files: u64,
    pub n_bytes: u64,
    /// Stages that are at work, whose plans were left alone.
    pub busy: Vec<String>,
}

/// Removes plans and their finished shards where nothing has been added for `older`. Files of other names are never touched, and
/// plans of a stage that is at work are left.
///
/// Errors: kind `Machine` where something cannot be looked at or removed.
pub fn sweep(store: &Store, older: Duration) -> Result<Swept> {
    let mut swept = Swept::default();
    let depot = store.depot();
    let slots: BTreeSet<String> = depot.list("plans")?.into_iter().chain(depot.list("staging")?).collect();
    for slot in slots {
        let plans = store.plans(&slot);
        let ids: BTreeSet<String> = [&plans, &store.staging(&slot)]
            .iter()
            .map(|folder| ids_in(folder))
            .collect::<Result<Vec<_>>>()?
            .concat()
            .into_iter()
            .collect();
        if ids.is_empty() {
            continue;
        }
        let _lock = match StageLock::acquire(store, &slot) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::Machine => {
                swept.busy.push(slot);
                continue;
            }
            Err(error) => return Err(error),
        };
        for id in ids {
            sweep_plan(&plans.join(&id), &store.staging_of_plan(&slot, &id), older, &mut swept)?;
        }
        atomic::remove_empty_folder(&store.staging(&slot))?;
    }
    Ok(swept)
}

/// Names of folders that plans have.
fn ids_in(folder: &Path) -> Result<Vec<String>> {
    let is_id = |name: &String| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let names = atomic::entries(folder)?.into_iter().filter(|path| path.is_dir());
    let names = names.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    Ok(names.filter(is_id).collect())
}

fn sweep_plan(plan: &Path, staging: &Path, older: Duration, swept: &mut Swept) -> Result<()> {
    let mut own = Vec::new();
    for folder in [plan, &plan.join(PARTS), staging] {
        let is_own = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
            Some(PLAN | LISTING | MODEL) => folder == plan,
            _ => folder != plan && is_ours(path),
        };
        own.extend(atomic::entries(folder)?.into_iter().filter(|path| is_own(path)));
    }
    if own.is_empty() {
        return Ok(());
    }
    let mut n_bytes = 0;
    for path in &own {
        let Some((size, age)) = size_and_age(path)? else { continue };
        if age < older {
            return Ok(());
        }
        n_bytes += size;
    }
    let staged: Vec<_> = own.iter().filter(|path| path.starts_with(staging)).collect();
    staged.iter().try_for_each(|path| atomic::remove_file(path))?;
    atomic::remove_empty_folder(staging)?;
    remove_plan(plan)?;
    swept.n_plans += 1;
    swept.n_files += own.len() as u64;
    swept.n_bytes += n_bytes;
    Ok(())
}

/// Size of a file and how long ago it was changed; a clock that was set back makes it new.
fn size_and_age(path: &Path) -> Result<Option<(u64, Duration)>> {
    let look = || std::fs::symlink_metadata(path).and_then(|found| Ok((found.len(), found.modified()?)));
    match files::again(look) {
        Ok((size, modified)) => Ok(Some((size, SystemTime::now().duration_since(modified).unwrap_or_default()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::machine("cannot be looked at").at(path).because(error)),
    }
}
