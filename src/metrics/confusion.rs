//! Confusion matrix, accuracy, average recall, per-class scores, and what a constant or a guess would reach.
//!
//! A score whose denominator is zero is `None`, never 0 or 1: a class that never occurs has no recall, a class
//! that is never predicted has no precision. Means run over the classes that occur in the truth, so a class
//! that a corpus lacks (or a fold does not hold) neither helps nor harms.

/// Counts of `(truth, predicted)`: rows are the truth, columns the prediction, both in the order of the model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// `[truth, predicted]`
    counts: Vec<u64>,
}

/// `((truth, predicted), count)`: how many items of one class were predicted as another one.
pub type Cell = ((usize, usize), u64);

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Right predictions of the class among all predictions of it; `None` if it is never predicted.
    pub precision: Option<f64>,
    /// Right predictions of the class among all items of it; `None` if it never occurs.
    pub recall: Option<f64>,
    /// `2 TP / (2 TP + FP + FN)`: 0 if the class occurs and is never hit, `None` if it neither occurs nor is predicted.
    pub f1: Option<f64>,
    /// Items of the class in the truth.
    pub support: u64,
    /// Predictions of the class.
    pub predicted: u64,
}

impl Confusion {
    /// No items of `n_classes` classes.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// Counts pairs of `(truth, predicted)`, each a position below `n_classes`.
    pub fn from_pairs(n_classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self::new(n_classes);
        pairs.into_iter().for_each(|(truth, predicted)| confusion.add(truth, predicted, 1));
        confusion
    }

    /// Adds `count` items of `truth` that were predicted as `predicted`.
    pub fn add(&mut self, truth: usize, predicted: usize, count: u64) {
        self.counts[truth * self.n_classes + predicted] += count;
    }

    /// Adds cells `((truth, predicted), count)`.
    pub fn add_cells(&mut self, cells: &[Cell]) {
        cells.iter().for_each(|&((truth, predicted), count)| self.add(truth, predicted, count));
    }

    /// Its cells that are not empty, row by row.
    pub fn cells(&self) -> Vec<Cell> {
        let n = self.n_classes;
        let cells = self.counts.iter().enumerate().map(|(at, &count)| ((at / n, at % n), count));
        cells.filter(|(_, count)| *count > 0).collect()
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How many items of `truth` were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.n_classes + predicted]
    }

    /// All items.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Items on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.n_classes).map(|class| self.count(class, class)).sum()
    }

    /// Share of right predictions; `None` without items.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.total())
    }

    /// Unweighted average recall: the mean recall of the classes that occur; `None` without items.
    pub fn uar(&self) -> Option<f64> {
        mean((0..self.n_classes).filter_map(|class| self.class(class).recall))
    }

    /// The mean F1 of the classes that occur; `None` without items.
    ///
    /// scikit-learn's macro F1 also counts, as 0, classes that are predicted but never occur; it is the same
    /// number whenever every class occurs.
    pub fn macro_f1(&self) -> Option<f64> {
        let occurring = (0..self.n_classes).map(|class| self.class(class)).filter(|score| score.support > 0);
        mean(occurring.filter_map(|score| score.f1))
    }

    /// Classes that occur in the truth.
    pub fn n_occurring(&self) -> usize {
        (0..self.n_classes).filter(|&class| self.class(class).support > 0).count()
    }

    /// The accuracy of always saying the class that occurs most often here; `None` without items.
    pub fn majority_accuracy(&self) -> Option<f64> {
        let most = (0..self.n_classes).map(|class| self.class(class).support).max();
        ratio(most.unwrap_or(0), self.total())
    }

    /// The UAR of always saying one class, or of guessing: 1 / classes that occur; `None` without items.
    pub fn chance_uar(&self) -> Option<f64> {
        ratio(1, self.n_occurring() as u64)
    }

    /// The mean recall of the classes that `takes_part` names and that occur; `None` without items of them.
    pub fn uar_of(&self, takes_part: &[bool]) -> Option<f64> {
        let classes = (0..self.n_classes).filter(|&class| takes_part[class]);
        mean(classes.filter_map(|class| self.class(class).recall))
    }

    /// The scores of one class.
    pub fn class(&self, class: usize) -> ClassScore {
        let hits = self.count(class, class);
        let support: u64 = (0..self.n_classes).map(|predicted| self.count(class, predicted)).sum();
        let predicted: u64 = (0..self.n_classes).map(|truth| self.count(truth, class)).sum();
        ClassScore {
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, support + predicted),
            support,
            predicted,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 7;

    const ANGRY: usize = 0;
    const FEAR: usize = 2;
    const HAPPY: usize = 3;
    const SAD: usize = 5;

    fn close(found: Option<f64>, wanted: f64) {
        let found = found.expect("a number");
        assert!((found - wanted).abs() < 1e-12, "{found}, wanted {wanted}");
    }

    /// Angry: 3 of 4 right, one called sad. Sad: 1 of 2 right, one called fear. FEAR and others never occur.
    fn small() -> Confusion {
        Confusion::from_pairs(
            N,
            [(ANGRY, ANGRY), (ANGRY, ANGRY), (ANGRY, ANGRY), (ANGRY, SAD), (SAD, SAD), (SAD, FEAR)],
        )
    }

    #[test]
    fn scores_are_those_worked_out_by_hand() {
        let confusion = small();
        assert_eq!((confusion.total(), confusion.correct()), (6, 4));
        assert_eq!((confusion.count(ANGRY, SAD), confusion.count(SAD, ANGRY)), (1, 0));
        close(confusion.accuracy(), 4.0 / 6.0);
        close(confusion.uar(), (0.75 + 0.5) / 2.0);
        let (angry, sad) = (confusion.class(ANGRY), confusion.class(SAD));
        assert_eq!((angry.support, angry.predicted, sad.support, sad.predicted), (4, 3, 2, 2));
        close(angry.precision, 1.0);
        close(angry.recall, 0.75);
        close(angry.f1, 6.0 / 7.0);
        close(sad.precision, 0.5);
        close(sad.f1, 0.5);
        // Fear is predicted but never occurs: it counts in no mean.
        close(confusion.macro_f1(), (6.0 / 7.0 + 0.5) / 2.0);
    }

    #[test]
    fn a_score_without_a_denominator_is_none() {
        let fear = small().class(FEAR);
        assert_eq!((fear.precision, fear.recall, fear.f1), (Some(0.0), None, Some(0.0)));
        let happy = small().class(HAPPY);
        assert_eq!((happy.precision, happy.recall, happy.f1), (None, None, None));
        let missed = Confusion::from_pairs(N, [(HAPPY, SAD)]).class(HAPPY);
        assert_eq!((missed.precision, missed.recall, missed.f1), (None, Some(0.0), Some(0.0)));
        let empty = Confusion::new(N);
        assert_eq!((empty.accuracy(), empty.uar(), empty.macro_f1()), (None, None, None));
        assert_eq!((empty.majority_accuracy(), empty.chance_uar(), empty.uar_of(&[true; N])), (None, None, None));
    }

    #[test]
    fn the_papers_accuracy_is_1687_of_1890() {
        // 270 of each class, 241 right: 1687 of 1890 = 89.26 %.
        let mut confusion = Confusion::new(N);
        for class in 0..N {
            confusion.add(class, class, 241);
            confusion.add(class, (class + 1) % N, 29);
        }
        assert_eq!((confusion.correct(), confusion.total()), (1687, 1890));
        assert_eq!(format!("{:.2}", 100.0 * confusion.accuracy().expect("items")), "89.26");
        // Each class is as often right, and as often wrongly named, as any other.
        for score in (0..N).map(|class| confusion.class(class)) {
            close(score.precision, 241.0 / 270.0);
            close(score.recall, 241.0 / 270.0);
            close(score.f1, 241.0 / 270.0);
        }
        close(confusion.uar(), 241.0 / 270.0);
        close(confusion.macro_f1(), 241.0 / 270.0);
    }

    #[test]
    fn a_constant_and_a_guess_have_the_scores_that_their_names_say() {
        let confusion = small();
        close(confusion.majority_accuracy(), 4.0 / 6.0);
        close(confusion.chance_uar(), 0.5);
        let always_angry = Confusion::from_pairs(N, [ANGRY, ANGRY, ANGRY, ANGRY, SAD, SAD].map(|truth| (truth, ANGRY)));
        assert_eq!(always_angry.accuracy(), confusion.majority_accuracy());
        assert_eq!(always_angry.uar(), confusion.chance_uar());
    }

    #[test]
    fn a_mean_of_some_classes_is_over_those_that_occur() {
        let mut takes_part = [false; N];
        (takes_part[SAD], takes_part[HAPPY]) = (true, true);
        close(small().uar_of(&takes_part), 0.5);
        assert_eq!(small().uar_of(&[false; N]), None);
        assert_eq!(small().uar_of(&[true; N]), small().uar());
    }
}
