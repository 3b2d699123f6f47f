//! The augmentations of a recipe, planned for one front end: what a copy goes through, in order.

use super::recipe::{self, Settled};
use super::{Call, Drawn, Effect, Format, Place, Wanted, Wave};
use crate::error::Result;
use crate::units::Seed;

/// What augmentations of the mel bank call their factor.
const WARP: &str = "warp";

/// Immutable plan, shared by threads.
pub struct Chain {
    steps: Vec<Step>,
}

struct Step {
    settled: Settled,
    effect: Box<dyn Effect>,
}

/// What one copy drew: for every step its seed and values, or nothing where the step is left out.
pub struct Draws(Vec<Option<(Seed, Drawn)>>);

impl Chain {
    /// Plans the augmentations of a recipe.
    ///
    /// Errors: kind `Recipe`: names, keys or numbers that are not known or do not go with `format`.
    pub fn new(wanted: &[Wanted], format: Format) -> Result<Self> {
        let plan = |settled: Settled| {
            let effect = settled.augmentation.plan(&settled.ranges, format)?;
            Ok(Step { settled, effect })
        };
        Ok(Self { steps: recipe::settle(wanted)?.into_iter().map(plan).collect::<Result<_>>()? })
    }

    /// What a reader of the recipe should know; `None` when nothing speaks against it.
    pub fn note(&self) -> Option<String> {
        let gain = self.steps.iter().position(|step| step.settled.augmentation.name() == "gain")?;
        let is_heard = self.steps[gain..].iter().any(|step| step.settled.augmentation.depends_on_level());
        (!is_heard).then(|| {
            "`gain` is undone by the z-score: nothing after it depends on the level; name `telephone` after it".into()
        })
    }

    /// Other recordings that a copy must be given, best first: as many as it may take voices from and some in reserve, for
    /// those that have no spectrogram of their own; 0 where no copy takes voices.
    pub fn n_donors(&self) -> usize {
        const SPARE: usize = 2;
        let most = self.steps.iter().map(|step| step.settled.augmentation.most_voices(&step.settled.ranges)).max();
        most.filter(|&most| most > 0).map_or(0, |most| most + SPARE)
    }

    /// Every factor that a copy's mel bank may be warped by.
    pub fn warps(&self) -> Vec<f64> {
        let banks = self.steps.iter().filter(|step| step.settled.augmentation.place() == Place::Bank);
        let values = banks.flat_map(|step| {
            let (parameter, range) = step.settled.ranges.of(WARP);
            parameter.values(range)
        });
        values.collect()
    }

    /// What the copy of that seed goes through.
    pub fn draw(&self, seed: Seed) -> Draws {
        let one = |step: &Step| {
            let seed = seed.derive(step.settled.augmentation.name(), &[]);
            let is_in = step.settled.probability >= 1.0 || seed.derive("apply", &[]).unit(0) < step.settled.probability;
            is_in.then(|| (seed, step.settled.ranges.draw(seed)))
        };
        Draws(self.steps.iter().map(one).collect())
    }

    /// Whether anything that was drawn has its place there.
    pub fn has(&self, place: Place, draws: &Draws) -> bool {
        let mut steps = self.steps.iter().zip(&draws.0);
        steps.any(|(step, drawn)| drawn.is_some() && step.settled.augmentation.place() == place)
    }

    /// Applies what has its place there, in order; `draws` then says what was done.
    pub fn apply(&self, place: Place, draws: &mut Draws, voices: &[&[f32]], wave: &mut Wave) {
        for (step, drawn) in self.steps.iter().zip(&mut draws.0) {
            if let Some((seed, drawn)) = drawn
                && step.settled.augmentation.place() == place
            {
                step.effect.apply(&mut Call { seed: *seed, drawn, voices }, wave);
            }
        }
    }

    /// `pink-noise(snr=12.4)+room(rt60=0.41,drr=3.2)`; `none` for a copy that drew nothing.
    pub fn text(&self, draws: &Draws) -> String {
        let one = |(step, drawn): (&Step, &Option<(Seed, Drawn)>)| {
            drawn.as_ref().map(|(_, drawn)| format!("{}{}", step.settled.augmentation.name(), drawn.text()))
        };
        let done: Vec<String> = self.steps.iter().zip(&draws.0).filter_map(one).collect();
        if done.is_empty() { "none".into() } else { done.join("+") }
    }
}

impl Draws {
    /// Signal-to-noise ratio that the last noise was asked for.
    pub fn snr_db(&self) -> Option<f64> {
        self.0.iter().rev().flatten().find_map(|(_, drawn)| drawn.find("snr_db"))
    }

    /// What the frequencies of this copy's mel bank are multiplied by.
    pub fn warp(&self) -> Option<f64> {
        self.0.iter().flatten().find_map(|(_, drawn)| drawn.find(WARP))
    }

    /// Other recordings that this copy wants to hear.
    pub fn n_voices(&self) -> usize {
        self.0.iter().flatten().filter_map(|(_, drawn)| drawn.find("talkers")).fold(0.0, f64::max) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Setting;
    use crate::units::SampleRate;

    fn chain(wanted: &[Wanted]) -> Chain {
        Chain::new(wanted, Format { sample_rate: SampleRate(21_500), n_samples: 4_000 }).expect("a chain")
    }

    fn named(names: &[&str]) -> Vec<Wanted> {
        names.iter().map(|name| Wanted::Named(name.to_string())).collect()
    }

    fn with(name: &str, key: &str, value: f64) -> Wanted {
        let table = [("name", Setting::Word(name.into())), (key, Setting::Number(value))];
        Wanted::Tuned(table.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    #[test]
    fn a_probability_is_the_share_of_copies_that_an_augmentation_is_applied_to() {
        let chain = chain(&[with("pink-noise", "probability", 0.3)]);
        let n_applied = (0..2_000).filter(|&seed| chain.draw(Seed(seed)).snr_db().is_some()).count();
        // Four standard errors of a share of 0.3 of 2,000 are 82.
        assert!((518..682).contains(&n_applied), "{n_applied} of 2000");
        let left_out = (0..100).map(|seed| chain.draw(Seed(seed))).find(|draws| draws.snr_db().is_none());
        assert_eq!(chain.text(&left_out.expect("one of a hundred")), "none");
    }

    #[test]
    fn the_text_names_what_was_drawn_in_order() {
        let chain = chain(&[with("clipping", "fraction", 0.05), with("white-noise", "snr_db", 20.0)]);
        assert_eq!(chain.text(&chain.draw(Seed(1))), "clipping(fraction=0.05)+white-noise(snr=20)");
        assert_eq!(chain.draw(Seed(1)).snr_db(), Some(20.0));
    }

    #[test]
    fn a_draw_knows_nothing_of_the_augmentations_beside_it() {
        let (alone, beside) = (chain(&named(&["white-noise"])), chain(&named(&["room", "white-noise"])));
        for seed in 0..50 {
            assert_eq!(alone.draw(Seed(seed)).snr_db(), beside.draw(Seed(seed)).snr_db());
        }
    }

    #[test]
    fn gain_without_anything_that_hears_it_is_noted() {
        for (names, is_noted) in [
            (&["gain"][..], true),
            (&["gain", "room", "white-noise"], true),
            (&["telephone", "gain"], true),
            (&["gain", "telephone"], false),
            (&["telephone"], false),
        ] {
            assert_eq!(chain(&named(names)).note().is_some(), is_noted, "{names:?}");
        }
    }
}
