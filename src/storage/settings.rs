//! The settings that an output was made with, by name, so that two recipes can be told apart by what differs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::storage::fingerprint::Fingerprint;

/// Longest value that is shown whole.
const SHOWN: usize = 60;

/// Named values; names are those of the recipe, such as `features.front_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Value>);

/// The first value that differs between two recipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `section.key`, as far as both have it.
    pub name: String,
    /// What it was.
    pub then: String,
    /// What it is.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}, the recipe says {}", self.name, self.then, self.now)
    }
}

impl Settings {
    /// None but the revision of the code that works by them.
    pub fn of_revision(revision: u32) -> Self {
        Self::default().with("revision", revision)
    }

    /// One more value.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("settings have a JSON form");
        self.0.insert(name.to_string(), value);
        self
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Equal for equal settings.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_value(self)
    }

    /// What differs from `now`, if anything does.
    pub fn difference(&self, now: &Self) -> Option<Difference> {
        self.differences(now).into_iter().next()
    }

    /// Everything that differs from `now`.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let names = self.0.keys().chain(now.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut found = Vec::new();
        names.for_each(|name| differences(name, self.0.get(name), now.0.get(name), &mut found));
        found
    }
}

fn differences(name: &str, then: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    if then == now {
        return;
    }
    match (then, now) {
        (Some(Value::Object(then)), Some(Value::Object(now))) => {
            let keys = then.keys().chain(now.keys().filter(|key| !then.contains_key(*key)));
            keys.for_each(|key| differences(&format!("{name}.{key}"), then.get(key), now.get(key), found));
        }
        (Some(Value::Array(then)), Some(Value::Array(now))) if then.len() == now.len() => {
            let pairs = then.iter().zip(now).enumerate();
            pairs.for_each(|(at, (a, b))| differences(&format!("{name}[{at}]"), Some(a), Some(b), found));
        }
        _ => found.push(Difference { name: name.to_string(), then: shown(then), now: shown(now) }),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".into() };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values_and_nothing_else_is() {
        let then = Settings::of_revision(3).with("split", json!({ "protocol": "paper", "test_fraction": 0.2 }));
        let now = Settings::of_revision(3).with("split", json!({ "protocol": "unsplit", "test_fraction": 0.2 }));
        let found = then.difference(&now).expect("another protocol");
        assert_eq!(found.to_string(), "split.protocol = \"paper\", the recipe says \"unsplit\"");
        assert_ne!(then.fingerprint(), now.fingerprint());
        assert_eq!(then.difference(&then), None);
        let more = then.clone().with("seed", 7);
        assert_eq!(then.difference(&more).expect("more").to_string(), "seed = nothing, the recipe says 7");
        assert_eq!(more.difference(&then).expect("less").to_string(), "seed = 7, the recipe says nothing");
        let corpora = |root: &str| Settings::default().with("corpus", json!([{ "root": "a" }, { "root": root }]));
        let found = corpora("b").difference(&corpora("c")).expect("another root");
        assert_eq!(found.to_string(), "corpus[1].root = \"b\", the recipe says \"c\"");
        let all = corpora("b").with("seed", 7).differences(&corpora("c").with("epochs", 9));
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["corpus[1].root", "seed", "epochs"]);
        let long = Settings::default().with("a", "\u{e4}".repeat(100));
        let shown = long.difference(&Settings::default()).expect("long").then;
        assert!(shown.chars().count() < 70 && shown.ends_with("..."), "{shown}");
    }
}
