//! The keys of `[train]` that say how a network learns and which weights count in the end; all are optional, and left out they
//! are the paper's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::error::{Error, Result};

/// `[train] keep`: the weights that become the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Those of the epoch with the best accuracy on the monitored side; training stops after `patience` epochs without one.
    #[default]
    Best,
    /// Those of the last epoch: nothing is chosen, no side has to be monitored, and `patience` is not looked at.
    Last,
}

/// `[train] batch_norm`: the statistics that the model normalises with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNorm {
    /// Moving averages over the steps of training.
    #[default]
    Moving,
    /// Those of the training side, measured with the final weights.
    ReEstimated,
}

/// `[train.loss]`: what is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Share of the target that is spread evenly over all classes.
    pub smoothing: f64,
    pub class_weights: ClassWeights,
}

/// `[train.loss] class_weights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every item counts the same.
    #[default]
    None,
    /// Every class counts the same: in inverse proportion to how often it is drawn, with mean 1 over the items.
    Balanced,
}

/// `[train] sample`: `"all"`, or `{ corpus = "equal", class = "equal" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`sample` is \"all\", or a table such as { corpus = \"equal\", class = \"equal\" }")]
pub enum Sample {
    /// Every item of the training side once an epoch.
    All(AllItems),
    /// As many items an epoch, drawn by strata.
    Balanced(Balance),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllItems {
    All,
}

/// Which shares are made equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    pub corpus: Share,
    pub class: Share,
}

/// The share of one corpus, or of one class, in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// What it has of the items.
    #[default]
    Own,
    /// The same for each that has items.
    Equal,
}

impl Default for Sample {
    fn default() -> Self {
        Self::All(AllItems::All)
    }
}

/// Whether a key has the value that recipes without it mean; such a key is no part of settings.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TrainConfig {
    /// Refuses numbers with which no training ends, or ends in numbers. NaN fails every range.
    pub(super) fn check(&self) -> Result<()> {
        let network = &self.network;
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..1.0).contains(&value);
        for (place, value, is_sound, limit) in [
            ("[train] patience", self.patience as f64, self.patience > 0, "must be at least 1"),
            ("[train] learning_rate", self.learning_rate, positive(self.learning_rate), "must be above 0 and finite"),
            ("[train] momentum", self.momentum, share(self.momentum), "must be at least 0 and under 1"),
            ("[train] decay", self.decay, self.decay >= 0.0 && self.decay.is_finite(), "must be at least 0 and finite"),
            (
                "[train.network] dropout",
                network.dropout.into(),
                share(network.dropout.into()),
                "must be at least 0 and under 1",
            ),
            (
                "[train.network] batch_norm_epsilon",
                network.batch_norm_epsilon.into(),
                positive(network.batch_norm_epsilon.into()),
                "must be above 0 and finite",
            ),
            (
                "[train.network] batch_norm_momentum",
                network.batch_norm_momentum.into(),
                share(network.batch_norm_momentum.into()),
                "must be at least 0 and under 1",
            ),
            (
                "[train.loss] smoothing",
                self.loss.smoothing,
                share(self.loss.smoothing),
                "must be at least 0 and under 1",
            ),
        ] {
            if !is_sound {
                return Err(Error::recipe(format!("{place} = {value}: {limit}")));
            }
        }
        if self.sample == Sample::Balanced(Balance::default()) {
            return Err(
                Error::recipe("[train] sample: neither corpus nor class is `equal`").hint("write sample = \"all\"")
            );
        }
        self.schedule.check(self.epochs)?;
        self.optimiser.check()?;
        self.average.check()
    }

    /// Whether a run of more epochs is another run from its first step on, and not this one carried on: the rate depends
    /// on the length, or the last epoch, which another length has elsewhere, is the model.
    pub fn is_of_one_length(&self) -> bool {
        self.keep == Keep::Last || self.schedule.needs_length()
    }
}

impl Balance {
    /// Share of each stratum, a `(corpus, class)` that has items, in an epoch; they sum to 1. `counts` are its items.
    ///
    /// An equal share of corpora goes to every corpus with items, and inside it an equal share of classes to every class that
    /// this corpus has: a class that is absent from a corpus, or from all, leaves its share to the classes that are there.
    pub fn shares(&self, counts: &BTreeMap<(u16, u8), usize>) -> BTreeMap<(u16, u8), f64> {
        let total: usize = counts.values().sum();
        let of = |wanted: &dyn Fn(u16, u8) -> bool| {
            let chosen = counts.iter().filter(|((corpus, class), _)| wanted(*corpus, *class));
            chosen.map(|(_, n)| *n as f64).sum::<f64>()
        };
        let n_corpora = counts.keys().map(|(corpus, _)| corpus).collect::<std::collections::BTreeSet<_>>().len() as f64;
        let all_classes = counts.keys().map(|(_, class)| class).collect::<std::collections::BTreeSet<_>>().len() as f64;
        let share = |(&(corpus, class), &n): (&(u16, u8), &usize)| {
            let here = of(&|c, _| c == corpus);
            let classes_here = counts.keys().filter(|(c, _)| *c == corpus).count() as f64;
            let share = match (self.corpus, self.class) {
                (Share::Own, Share::Own) => n as f64 / total as f64,
                (Share::Equal, Share::Own) => n as f64 / here / n_corpora,
                (Share::Equal, Share::Equal) => 1.0 / classes_here / n_corpora,
                (Share::Own, Share::Equal) => n as f64 / of(&|_, c| c == class) / all_classes,
            };
            ((corpus, class), share)
        };
        counts.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pipeline;

    const PAPER: &str = include_str!("../../pipelines/paper.toml");

    fn set(items: &[&str]) -> Result<Pipeline> {
        Pipeline::parse(PAPER, &items.iter().map(|item| (*item).to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn a_recipe_that_names_no_newer_key_has_the_settings_it_always_had() {
        let train = serde_json::to_value(set(&[]).expect("paper").train).expect("a JSON form");
        let keys: Vec<&String> = train.as_object().expect("a table").keys().collect();
        assert_eq!(keys, ["batch", "decay", "epochs", "learning_rate", "momentum", "network", "patience"]);
        let defaults = [
            "train.keep=best",
            "train.schedule=inverse",
            "train.optimiser=sgd",
            "train.average=none",
            "train.batch_norm=moving",
            "train.sample=all",
            "train.loss.smoothing=0",
            "train.loss.class_weights=none",
            "augment.mixup=0",
        ];
        assert_eq!(set(&defaults).expect("spelled out"), set(&[]).expect("paper"));
    }

    #[test]
    fn every_key_is_read_from_text_and_from_set() {
        let more = "keep = \"last\"\nschedule = { cosine = { warmup_epochs = 5 } }\noptimiser = { adamw = {} }\n\
                    average = { ema = 0.99 }\nbatch_norm = \"re-estimated\"\nsample = { corpus = \"equal\" }\n\
                    loss = { smoothing = 0.1, class_weights = \"balanced\" }\n[train.network]\n";
        let text = PAPER.replace("[train.network]\n", more);
        let written = Pipeline::parse(&text, &[]).unwrap_or_else(|error| panic!("{error}"));
        let typed = set(&[
            "train.keep=last",
            "train.schedule={cosine={warmup_epochs=5}}",
            "train.optimiser={adamw={}}",
            "train.average={ema=0.99}",
            "train.batch_norm=re-estimated",
            "train.sample={corpus=\"equal\"}",
            "train.loss.smoothing=0.1",
            "train.loss.class_weights=balanced",
        ]);
        assert_eq!(written, typed.unwrap_or_else(|error| panic!("{error}")));
        let json = serde_json::to_string(&written.train).expect("a JSON form");
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).expect("read back"), written.train);
    }

    #[test]
    fn values_out_of_their_limits_are_refused_by_name() {
        for (item, words) in [
            ("train.keep=first", "first"),
            ("train.schedule={cosine={warmup_epochs=100}}", "warmup_epochs = 100: must be under [train] epochs"),
            ("train.schedule={cosine={floor=2}}", "floor = 2"),
            ("train.schedule={cosine={flour=0}}", "flour"),
            ("train.optimiser={adamw={weight_decay=1}}", "adamw: weight_decay = 1"),
            ("train.optimiser={adamw={beta1=nan}}", "beta1 = NaN"),
            ("train.optimiser={adamw={beta2=1}}", "beta2 = 1"),
            ("train.optimiser={adamw={epsilon=0}}", "epsilon = 0"),
            ("train.optimiser=adam", "adam"),
            ("train.average={ema=1}", "ema = 1"),
            ("train.batch_norm=moved", "moved"),
            ("train.loss.smoothing=1", "[train.loss] smoothing = 1"),
            ("train.loss.smoothing=nan", "[train.loss] smoothing = NaN"),
            ("train.loss.class_weights=equal", "equal"),
            ("train.sample=some", "`sample` is \"all\", or a table"),
            ("train.sample={corpora=\"equal\"}", "`sample` is \"all\", or a table"),
            ("train.sample={}", "neither corpus nor class is `equal`"),
            ("augment.mixup=-1", "[augment] mixup = -1"),
            ("augment.mixup=inf", "[augment] mixup = inf"),
        ] {
            let error = set(&[item]).expect_err(item);
            assert!(error.to_string().contains(words), "{item}: {error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
    }

    #[test]
    fn shares_are_equal_where_asked_and_an_absent_class_leaves_its_share() {
        // Corpus 0: classes 0 and 1; corpus 1: class 0 alone.
        let counts = BTreeMap::from([((0, 0), 60), ((0, 1), 20), ((1, 0), 20)]);
        let of = |corpus, class| {
            let shares: Vec<f64> = Balance { corpus, class }.shares(&counts).into_values().collect();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
            shares
        };
        let near = |have: Vec<f64>, want: [f64; 3]| {
            assert!(have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{have:?} {want:?}");
        };
        near(of(Share::Own, Share::Own), [0.6, 0.2, 0.2]);
        near(of(Share::Equal, Share::Own), [0.375, 0.125, 0.5]);
        near(of(Share::Own, Share::Equal), [0.375, 0.5, 0.125]);
        near(of(Share::Equal, Share::Equal), [0.25, 0.25, 0.5]);
    }
}
