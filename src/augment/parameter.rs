//! What a recipe may set of an augmentation, and the values that a copy draws from it.

use crate::error::{Error, Result};
use crate::units::Seed;

/// One number of an augmentation: a recipe gives its range, every copy draws a value.
#[derive(Debug, PartialEq)]
pub struct Parameter {
    /// Key in a recipe, its unit at the end.
    pub key: &'static str,
    /// Short name in the `augmentation` column; also names the stream of its draws.
    pub label: &'static str,
    /// What a recipe that says nothing draws from, both ends included.
    pub default: [f64; 2],
    /// What a recipe may ask for.
    pub limits: [f64; 2],
    /// Values are multiples of it; 0 where any value may be drawn.
    pub step: f64,
    /// The value that would change nothing, and is never drawn.
    pub never: Option<f64>,
    /// Where the default comes from.
    pub source: &'static str,
}

/// Slack when a decimal such as 0.93 is asked to be a multiple of 0.01.
const GRID_SLACK: f64 = 1e-6;

impl Parameter {
    /// Refuses a range that is empty, reaches over the limits or lies off the grid.
    pub(super) fn check(&self, augmentation: &str, range: [f64; 2]) -> Result<()> {
        let [low, high] = range;
        let refuse = |limit: String| {
            Err(Error::recipe(format!("augmentation `{augmentation}`: {} = [{low}, {high}]: {limit}", self.key)))
        };
        if !(self.limits[0] <= low && low <= high && high <= self.limits[1]) {
            let [least, most] = self.limits;
            return refuse(format!("must be low to high, from {least} to {most}"));
        }
        let is_on_grid = |value: f64| (value / self.step - (value / self.step).round()).abs() < GRID_SLACK;
        if self.step > 0.0 && !(is_on_grid(low) && is_on_grid(high)) {
            return refuse(format!("must be multiples of {}", self.step));
        }
        if low == high && self.never == Some(low) {
            return refuse("would change nothing".into());
        }
        Ok(())
    }

    /// Every value that can be drawn from a range, in order; only for parameters with a step.
    pub(super) fn values(&self, [low, high]: [f64; 2]) -> impl Iterator<Item = f64> {
        let first = (low / self.step).round() as i64;
        let last = (high / self.step).round() as i64;
        let never = self.never.map(|value| (value / self.step).round() as i64);
        (first..=last).filter(move |&place| Some(place) != never).map(|place| place as f64 * self.step)
    }

    fn draw(&self, range: [f64; 2], seed: Seed) -> f64 {
        let seed = seed.derive(self.label, &[]);
        if self.step == 0.0 {
            return range[0] + seed.unit(0) * (range[1] - range[0]);
        }
        let n = self.values(range).count();
        let drawn = seed.below(0, n as u64) as usize;
        self.values(range).nth(drawn).expect("one of the values that were counted")
    }
}

/// The range of every parameter of one augmentation, as a recipe settled it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges(pub(super) Vec<(&'static Parameter, [f64; 2])>);

impl Ranges {
    /// The defaults.
    pub fn of_defaults(parameters: &'static [Parameter]) -> Self {
        Self(parameters.iter().map(|parameter| (parameter, parameter.default)).collect())
    }

    /// The parameter called `key` and its range; the augmentations ask for their own keys only.
    pub(super) fn of(&self, key: &str) -> (&'static Parameter, [f64; 2]) {
        let found = self.0.iter().find(|(parameter, _)| parameter.key == key);
        *found.expect("an augmentation asks for parameters that it lists")
    }

    /// One value of each; all chance comes from the seed.
    pub fn draw(&self, seed: Seed) -> Drawn {
        Drawn(self.0.iter().map(|&(parameter, range)| (parameter, parameter.draw(range, seed))).collect())
    }

    /// All that the values of a copy depend on, as text.
    pub(super) fn definition(&self) -> String {
        let one = |(parameter, [low, high]): &(&Parameter, [f64; 2])| {
            format!("{}=[{low},{high}] step {} never {:?}", parameter.key, parameter.step, parameter.never)
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// The values of one copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn(Vec<(&'static Parameter, f64)>);

impl Drawn {
    /// The value of the parameter called `key`, where there is one.
    pub fn find(&self, key: &str) -> Option<f64> {
        self.0.iter().find(|(parameter, _)| parameter.key == key).map(|&(_, value)| value)
    }

    /// The value of a parameter that the augmentation lists.
    pub(super) fn of(&self, key: &str) -> f64 {
        self.find(key).expect("an augmentation asks for parameters that it lists")
    }

    /// Says what was really done where that is another number than was drawn.
    pub(super) fn set(&mut self, key: &str, done: f64) {
        for (_, value) in self.0.iter_mut().filter(|(parameter, _)| parameter.key == key) {
            *value = done;
        }
    }

    /// Takes back a value that was not used.
    pub(super) fn forget(&mut self, key: &str) {
        self.0.retain(|(parameter, _)| parameter.key != key);
    }

    /// `(snr=12.4,talkers=5)`, three decimals at most; empty without values.
    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let one = |(parameter, value): &(&Parameter, f64)| format!("{}={}", parameter.label, compact(*value));
        format!("({})", self.0.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

fn compact(value: f64) -> String {
    // Adding 0 turns the -0 of a rounded small number into 0.
    let thousandths = (value * 1000.0).round() / 1000.0 + 0.0;
    format!("{thousandths}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LEVEL: Parameter = Parameter {
        key: "level_db",
        label: "level",
        default: [-3.0, 3.0],
        limits: [-40.0, 40.0],
        step: 1.0,
        never: Some(0.0),
        source: "a test",
    };
    const SHARE: Parameter = Parameter { key: "share", label: "share", step: 0.0, never: None, ..LEVEL };
    static BOTH: [Parameter; 2] = [LEVEL, SHARE];

    #[test]
    fn every_multiple_of_the_step_is_drawn_but_the_one_that_changes_nothing() {
        let ranges = Ranges::of_defaults(&BOTH);
        let drawn: BTreeSet<i64> = (0..300).map(|seed| ranges.draw(Seed(seed)).of("level_db") as i64).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-3, -2, -1, 1, 2, 3]);
    }

    #[test]
    fn values_without_a_step_fill_their_range_evenly() {
        let ranges = Ranges(vec![(&BOTH[1], [2.0, 4.0])]);
        let values: Vec<f64> = (0..2_000).map(|seed| ranges.draw(Seed(seed)).of("share")).collect();
        assert!(values.iter().all(|value| (2.0..4.0).contains(value)));
        // The mean of 2,000 uniform values of width 2 has a standard error of 0.013.
        let mean = values.iter().sum::<f64>() / 2_000.0;
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn wrong_ranges_are_refused_with_value_and_limit() {
        let refused = |range: [f64; 2]| BOTH[0].check("x", range).expect_err("refused").to_string();
        assert!(refused([2.0, 1.0]).contains("[2, 1]: must be low to high, from -40 to 40"));
        assert!(refused([0.0, 99.0]).contains("from -40 to 40"));
        assert!(refused([f64::NAN, 1.0]).contains("low to high"));
        assert!(refused([0.5, 1.0]).contains("multiples of 1"));
        assert!(refused([0.0, 0.0]).contains("would change nothing"));
        assert!(BOTH[0].check("x", [-3.0, 3.0]).is_ok() && BOTH[1].check("x", [0.25, 0.25]).is_ok());
    }

    #[test]
    fn text_is_compact_and_says_what_was_done() {
        let mut drawn = Drawn(vec![(&BOTH[0], -3.0), (&BOTH[1], 0.123_456)]);
        assert_eq!(drawn.text(), "(level=-3,share=0.123)");
        drawn.set("share", -0.000_01);
        assert_eq!(drawn.text(), "(level=-3,share=0)");
        drawn.forget("level_db");
        drawn.forget("share");
        assert_eq!(drawn.text(), "");
    }
}
