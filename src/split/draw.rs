//! How sides are drawn.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::split::{ANY, Assigned, Candidate, Groups, LARGEST_N_FOLDS, Protocol, Split, SplitConfig};
use crate::units::Seed;

/// Side of each copy of each candidate.
type Sides = Vec<Vec<Option<Split>>>;

/// A number that orders what is drawn: a recording's content with one of its copies, or the name of something held together.
pub(super) fn draw(seed: Seed, what: &str, copy: usize) -> u64 {
    seed.derive("split", &[what.as_bytes(), &(copy as u32).to_le_bytes()]).0
}

fn shuffled<T: Copy>(items: &[T], key: impl Fn(&T) -> u64) -> Vec<T> {
    let mut keyed: Vec<(u64, T)> = items.iter().map(|item| (key(item), *item)).collect();
    keyed.sort_by_key(|&(key, _)| key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

/// The paper's draw: each copy for itself.
pub(super) fn paper(config: &SplitConfig, seed: Seed, candidates: &[Candidate], n_variants: usize) -> Sides {
    let mut sides = vec![vec![None; n_variants]; candidates.len()];
    let all: Vec<(usize, usize)> =
        (0..candidates.len()).flat_map(|item| (0..n_variants).map(move |copy| (item, copy))).collect();
    let drawn = shuffled(&all, |&(item, copy)| draw(seed, candidates[item].content_hash, copy));
    let n_test = (config.test_fraction * drawn.len() as f64).ceil() as usize;
    for (rank, (item, copy)) in drawn.into_iter().enumerate() {
        sides[item][copy] = Some(if rank < n_test { Split::Test } else { Split::Train });
    }
    sides
}

/// One draw over recordings, stratified by corpus and class.
pub(super) fn by_recording(config: &SplitConfig, seed: Seed, candidates: &[Candidate], n_variants: usize) -> Sides {
    let mut sides = vec![vec![None; n_variants]; candidates.len()];
    let mut strata: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (item, candidate) in candidates.iter().enumerate() {
        strata.entry((candidate.corpus, candidate.class)).or_default().push(item);
    }
    // What rounding took from the validation side of one stratum is given back in the next: corpora of a few
    // recordings have one too.
    let mut owed = 0.0;
    for members in strata.values() {
        let drawn = shuffled(members, |&item| draw(seed, candidates[item].content_hash, 0));
        let n_test = (config.test_fraction * drawn.len() as f64).round() as usize;
        owed += config.validation_fraction * (drawn.len() - n_test) as f64;
        let n_validation = (owed.round() as usize).min(drawn.len() - n_test);
        owed -= n_validation as f64;
        for (rank, item) in drawn.into_iter().enumerate() {
            let side = match rank {
                rank if rank < n_test => Split::Test,
                rank if rank < n_test + n_validation => Split::Validation,
                _ => Split::Train,
            };
            sides[item].fill(Some(side));
        }
    }
    sides
}

/// What stands on one side together, among those of its stratum.
struct Member<'a> {
    name: &'a str,
    stratum: (&'a str, usize),
    items: Vec<usize>,
    /// Fold that tests it.
    fold: Option<usize>,
}

/// Folds of members: whoever is tested in a fold trains in all others.
pub(super) fn by_member(
    config: &SplitConfig,
    seed: Seed,
    candidates: &[Candidate],
    n_variants: usize,
) -> Result<Assigned> {
    let mut members = members_of(config.protocol, candidates)?;
    let (n_folds, notes) = place(config, seed, &mut members)?;
    if n_folds > LARGEST_N_FOLDS {
        let what = config.protocol.held_together().unwrap_or_default();
        return Err(Error::recipe(format!("[split.folds] makes {n_folds} folds of {what}, at most {LARGEST_N_FOLDS}"))
            .hint("give a number of folds, such as any = 10"));
    }
    let mut folds = Vec::with_capacity(n_folds);
    for fold in 0..n_folds {
        let mut sides = vec![vec![None; n_variants]; candidates.len()];
        let validation = carved(config, seed, fold, &members);
        for (at, member) in members.iter().enumerate() {
            let side = match member.fold {
                Some(tested) if tested == fold => Split::Test,
                _ if validation.contains(&at) => Split::Validation,
                _ => Split::Train,
            };
            // Recordings are what is tested; their copies only train.
            let n_copies = if side == Split::Train { n_variants } else { 1 };
            member.items.iter().for_each(|&item| sides[item][..n_copies].fill(Some(side)));
        }
        folds.push(sides);
    }
    Ok(Assigned { folds, notes })
}

/// The members of all strata, those of a stratum side by side, by name.
fn members_of<'a>(protocol: Protocol, candidates: &[Candidate<'a>]) -> Result<Vec<Member<'a>>> {
    let mut members: BTreeMap<((&str, usize), &str), Vec<usize>> = BTreeMap::new();
    for (item, candidate) in candidates.iter().enumerate() {
        let stratum = protocol.stratum(candidate);
        let name = protocol.member(candidate).ok_or_else(|| unnamed(protocol, candidate.corpus, candidates))?;
        members.entry((stratum, name)).or_default().push(item);
    }
    let member = |((stratum, name), items)| Member { name, stratum, items, fold: None };
    Ok(members.into_iter().map(member).collect())
}

fn unnamed(protocol: Protocol, corpus: &str, candidates: &[Candidate]) -> Error {
    let own = || candidates.iter().filter(|candidate| candidate.corpus == corpus);
    let n_unnamed = own().filter(|candidate| protocol.member(candidate).is_none()).count();
    let what = protocol.held_together().unwrap_or_default();
    let column = match protocol {
        Protocol::SpeakerIndependent => "speaker",
        Protocol::TextDisjoint => "statement",
        _ => "given_fold",
    };
    Error::input(format!(
        "corpus `{corpus}`: {n_unnamed} of {} labelled recordings have no `{column}` in the manifest, and protocol `{}` keeps {what} \
         on one side",
        own().count(),
        protocol.name()
    ))
    .hint("give that column in the corpus' table of labels, leave the corpus out, or choose protocol source-disjoint")
}

/// Says which fold tests each member; gives the number of folds, and what the user should know.
fn place(config: &SplitConfig, seed: Seed, members: &mut [Member]) -> Result<(usize, Vec<String>)> {
    let what = config.protocol.held_together().unwrap_or_default();
    let (mut n_folds, mut notes) = (1, Vec::new());
    for stratum in members.chunk_by_mut(|a, b| a.stratum == b.stratum) {
        let corpus = stratum[0].stratum.0;
        let of_stratum = if corpus.is_empty() { "the whole".to_string() } else { format!("corpus `{corpus}`") };
        let groups = config.folds.get(corpus).or_else(|| config.folds.get(ANY)).cloned();
        let Some(groups) = groups.or_else(|| config.default_groups()) else {
            draw_test_side(config.test_fraction, seed, stratum);
            continue;
        };
        let sizes: Vec<(&str, usize)> = stratum.iter().map(|member| (member.name, member.items.len())).collect();
        let placed = groups.place(&sizes, &format!("{what} of {of_stratum}"), seed)?;
        if !placed.absent.is_empty() {
            notes.push(format!("{of_stratum}: not there to be tested: {}", placed.absent.join(", ")));
        }
        if let Groups::Named(_) = groups
            && stratum.len() == 1
        {
            notes.push(format!("{of_stratum} has one of its {what}, `{}`: fold 0 tests it", stratum[0].name));
        }
        n_folds = n_folds.max(placed.n_folds);
        stratum.iter_mut().zip(placed.folds).for_each(|(member, fold)| member.fold = fold);
    }
    Ok((n_folds, notes))
}

/// One fold: members are drawn until the test side has its share of the stratum's recordings.
fn draw_test_side(fraction: f64, seed: Seed, stratum: &mut [Member]) {
    let total: usize = stratum.iter().map(|member| member.items.len()).sum();
    let order: Vec<usize> = (0..stratum.len()).collect();
    let (wanted, mut tested) = (fraction * total as f64, 0);
    for at in shuffled(&order, |&at| draw(seed, stratum[at].name, 0)) {
        if tested as f64 >= wanted {
            break;
        }
        stratum[at].fold = Some(0);
        tested += stratum[at].items.len();
    }
}

/// The members of the validation side of a fold: drawn among those that would train, as the test side is, stratum by stratum.
fn carved(config: &SplitConfig, seed: Seed, fold: usize, members: &[Member]) -> Vec<usize> {
    let mut carved = Vec::new();
    let mut first = 0;
    for stratum in members.chunk_by(|a, b| a.stratum == b.stratum) {
        let free: Vec<usize> = (0..stratum.len()).filter(|&at| stratum[at].fold != Some(fold)).collect();
        let total: usize = free.iter().map(|&at| stratum[at].items.len()).sum();
        let (wanted, mut n_drawn) = (config.validation_fraction * total as f64, 0);
        // The last one trains.
        let most = free.len().saturating_sub(1);
        for at in shuffled(&free, |&at| draw(seed, stratum[at].name, 1 + fold)).into_iter().take(most) {
            if n_drawn as f64 >= wanted {
                break;
            }
            n_drawn += stratum[at].items.len();
            carved.push(first + at);
        }
        first += stratum.len();
    }
    carved
}
