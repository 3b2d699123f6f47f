//! Who is left out together when something is measured on speakers that it was not fitted on.

use std::collections::BTreeMap;

/// Most groups of speakers: with fewer speakers each is left out alone; more would only cost time.
pub const N_GROUPS: usize = 20;

/// The group of each item: speakers in the order of their names take turns. An item without a speaker counts as one of its own,
/// because nothing is known of who else it may be.
pub fn groups_of(speakers: &[Option<&str>]) -> Vec<usize> {
    let names: BTreeMap<&str, usize> = speakers.iter().flatten().map(|&name| (name, 0)).collect();
    let turns: BTreeMap<&str, usize> = names.into_keys().enumerate().map(|(at, name)| (name, at % N_GROUPS)).collect();
    let mut unknown = turns.len();
    let group = |name: &Option<&str>| match name {
        Some(name) => turns[name],
        None => {
            unknown += 1;
            (unknown - 1) % N_GROUPS
        }
    };
    speakers.iter().map(group).collect()
}

/// Number of known speakers.
pub(super) fn n_speakers(speakers: &[Option<&str>]) -> usize {
    let mut names: Vec<&str> = speakers.iter().copied().flatten().collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_is_in_one_group_and_few_speakers_are_left_out_alone() {
        let few = [Some("b"), Some("a"), None, Some("b"), None];
        assert_eq!(groups_of(&few), [1, 0, 2, 1, 3]);
        assert_eq!(n_speakers(&few), 2);
        let names: Vec<String> = (0..50).map(|at| format!("s{at:02}")).collect();
        let many: Vec<Option<&str>> = names.iter().chain(&names).map(|name| Some(name.as_str())).collect();
        let groups = groups_of(&many);
        assert_eq!(groups[..50], groups[50..]);
        assert_eq!(groups.iter().copied().max(), Some(N_GROUPS - 1));
    }
}
