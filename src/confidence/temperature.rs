//! One number that the logits are divided by, so that confidences are as large as the share that is right (Guo et al. 2017).

use serde::{Deserialize, Serialize};

/// Temperatures that are believed: beyond them the items say "as cold (or hot) as can be", which is what a handful of items that
/// are all right (or all wrong) say too.
pub const BOUNDS: [f64; 2] = [0.1, 10.0];

/// With fewer items a temperature is noise, and 1 is taken.
pub const LEAST_ITEMS: usize = 50;

/// Logarithm of the smallest float above zero: what a probability of 0 is taken for.
const LEAST_LOG: f64 = -103.278_929_903_431_85;

/// What a model's logits were divided by, and on how much that rests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// Above 1 the network was too sure of itself.
    pub value: f32,
    pub n_items: u64,
    pub n_speakers: u64,
}

/// Logarithms of probabilities `[n, classes]`, which are logits but for a constant of each item, and the true classes.
#[derive(Clone, Debug, Default)]
pub(super) struct LogProbabilities {
    values: Vec<f64>,
    n_classes: usize,
    classes: Vec<usize>,
}

impl LogProbabilities {
    /// `items` are probabilities `[n_classes]` and the true class.
    pub(super) fn of<'a>(n_classes: usize, items: impl IntoIterator<Item = (&'a [f32], usize)>) -> Self {
        let mut all = Self { n_classes, ..Self::default() };
        for (probabilities, class) in items {
            all.values.extend(probabilities.iter().map(|&p| f64::from(p).ln().max(LEAST_LOG)));
            all.classes.push(class);
        }
        all
    }

    fn items(&self) -> impl Iterator<Item = (&[f64], usize)> {
        self.values.chunks_exact(self.n_classes.max(1)).zip(self.classes.iter().copied())
    }

    /// Mean negative log-likelihood at a temperature.
    pub(super) fn loss(&self, temperature: f64) -> f64 {
        let beta = 1.0 / temperature;
        let loss = |(values, class): (&[f64], usize)| {
            let (highest, sum) = partition(values, beta);
            sum.ln() + beta * (highest - values[class])
        };
        self.items().map(loss).sum::<f64>() / self.classes.len() as f64
    }

    /// First and second derivative of the loss by `beta = 1 / T`: mean of `E[z] - z_true`, mean variance of `z`.
    fn derivatives(&self, beta: f64) -> (f64, f64) {
        let (mut first, mut second) = (0.0, 0.0);
        for (values, class) in self.items() {
            let (highest, sum) = partition(values, beta);
            let weighted = |power: i32| {
                let term = |&z: &f64| (beta * (z - highest)).exp() * (z - highest).powi(power);
                values.iter().map(term).sum::<f64>() / sum
            };
            let mean = weighted(1);
            first += mean - (values[class] - highest);
            second += weighted(2) - mean * mean;
        }
        (first / self.classes.len() as f64, second / self.classes.len() as f64)
    }

    /// The temperature with the least loss within [`BOUNDS`].
    ///
    /// The loss is convex in `1 / T`: Newton's steps, and the middle of the bracket where a step leaves it.
    /// Proof: `the_temperature_is_the_one_that_scipy_finds`.
    pub(super) fn fit(&self) -> f64 {
        let [mut low, mut high] = [1.0 / BOUNDS[1], 1.0 / BOUNDS[0]];
        if self.derivatives(low).0 >= 0.0 {
            return BOUNDS[1];
        }
        if self.derivatives(high).0 <= 0.0 {
            return BOUNDS[0];
        }
        let mut beta = 1.0;
        for _ in 0..100 {
            let (slope, curvature) = self.derivatives(beta);
            *(if slope < 0.0 { &mut low } else { &mut high }) = beta;
            let newton = beta - slope / curvature;
            // A curvature of zero gives no number, which is in no bracket.
            let next = if newton > low && newton < high { newton } else { (low + high) / 2.0 };
            let moved = (next - beta).abs();
            beta = next;
            if moved <= 1e-12 * beta {
                break;
            }
        }
        1.0 / beta
    }

    /// Why no temperature should be fitted, if there is a reason.
    pub(super) fn too_little(&self) -> Option<String> {
        if self.classes.len() < LEAST_ITEMS {
            return Some(format!("temperature 1: {} items, {LEAST_ITEMS} are needed", self.classes.len()));
        }
        let first = self.classes.first();
        self.classes
            .iter()
            .all(|class| Some(class) == first)
            .then(|| "temperature 1: items of one class only".to_string())
    }

    /// The probabilities at a temperature, item by item.
    pub(super) fn at(&self, temperature: f64) -> Vec<Vec<f32>> {
        self.items().map(|(values, _)| softmax(values, 1.0 / temperature)).collect()
    }
}

/// Largest value and sum of `exp(beta (z - largest))`.
fn partition(values: &[f64], beta: f64) -> (f64, f64) {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (highest, values.iter().map(|&z| (beta * (z - highest)).exp()).sum())
}

fn softmax(values: &[f64], beta: f64) -> Vec<f32> {
    let (highest, sum) = partition(values, beta);
    values.iter().map(|&z| ((beta * (z - highest)).exp() / sum) as f32).collect()
}

/// Whether a fitted temperature lies on one of the bounds.
pub(super) fn is_at_bound(temperature: f64) -> bool {
    BOUNDS.contains(&temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivatives_are_those_of_the_loss() {
        let items = [([0.7f32, 0.2, 0.1], 0), ([0.5, 0.3, 0.2], 2), ([0.05, 0.05, 0.9], 2), ([0.4, 0.6, 0.0], 1)];
        let all = LogProbabilities::of(3, items.iter().map(|(p, class)| (&p[..], *class)));
        let loss = |beta: f64| all.loss(1.0 / beta);
        for beta in [0.3, 1.0, 2.5] {
            let (first, second) = all.derivatives(beta);
            let h = 1e-4;
            assert!((first - (loss(beta + h) - loss(beta - h)) / (2.0 * h)).abs() < 1e-6);
            let bend = (loss(beta + h) - 2.0 * loss(beta) + loss(beta - h)) / (h * h);
            assert!((second - bend).abs() < 1e-4, "{second} {bend}");
        }
    }

    #[test]
    fn items_that_are_all_right_or_all_wrong_end_at_a_bound() {
        let all_of = |class: usize| LogProbabilities::of(2, std::iter::repeat_n((&[0.6f32, 0.4][..], class), 9));
        assert_eq!(all_of(0).fit(), BOUNDS[0]);
        assert_eq!(all_of(1).fit(), BOUNDS[1]);
        assert!(is_at_bound(all_of(1).fit()));
    }

    #[test]
    fn two_classes_by_hand() {
        // p = .9, right in 3 of 4: the best constant confidence is .75, so T = ln 9 / ln 3 = 2.
        let items = (0..100).map(|at| (&[0.9f32, 0.1][..], usize::from(at % 4 == 0)));
        let all = LogProbabilities::of(2, items);
        let temperature = all.fit();
        assert!((temperature - 2.0).abs() < 1e-6, "{temperature}");
        assert!((f64::from(all.at(temperature)[0][0]) - 0.75).abs() < 1e-6);
        assert_eq!(all.too_little(), None);
    }

    #[test]
    fn too_few_items_or_one_class_are_said() {
        let of = |n: usize, classes: usize| {
            LogProbabilities::of(2, (0..n).map(|at| (&[0.9f32, 0.1][..], at % classes))).too_little()
        };
        assert!(of(49, 2).is_some_and(|text| text.contains("49 items")));
        assert!(of(50, 1).is_some_and(|text| text.contains("one class")));
        assert_eq!(of(50, 2), None);
    }

    #[test]
    fn a_probability_of_zero_costs_much_but_not_everything() {
        let all = LogProbabilities::of(2, [(&[1.0f32, 0.0][..], 1)]);
        assert!((all.loss(1.0) - 103.3).abs() < 0.1);
    }
}
