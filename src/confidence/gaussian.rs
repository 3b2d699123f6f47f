//! A cloud of vectors, and how far from it another one lies (Mahalanobis).

use serde::{Deserialize, Serialize};

/// With fewer vectors there is no covariance worth the name.
pub(super) const LEAST_VECTORS: usize = 50;
/// A value that varies less than this share of what all do on average is taken to vary so much: a unit that is always the same
/// must not make every new recording a stranger. So values should be of about one size.
const LEAST_DEVIATION: f64 = 0.01;

/// Means and one covariance, as a matrix that makes it the identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaussian {
    /// `[means, dims]`: one mean, or one of each class that occurs.
    pub means: Vec<Vec<f32>>,
    /// Rows of a lower triangle one after the other, `dims (dims + 1) / 2` values.
    pub whitening: Vec<f32>,
}

impl Gaussian {
    /// Fits means and a covariance that is shrunk as far as Ledoit & Wolf (2004) say, on values divided by their deviation.
    ///
    /// `groups`  whose mean each vector belongs to; the covariance is that of what is left.
    /// `None` for fewer than [`LEAST_VECTORS`], vectors of unequal lengths, or vectors that do not vary.
    /// Proof: `distances_are_those_of_scikit_learn`.
    pub fn fit(vectors: &[Vec<f32>], groups: &[usize]) -> Option<Self> {
        let dims = vectors.first()?.len();
        let is_sound = |vector: &Vec<f32>| vector.len() == dims && vector.iter().all(|value| value.is_finite());
        if vectors.len() < LEAST_VECTORS || dims == 0 || vectors.len() != groups.len() || !vectors.iter().all(is_sound)
        {
            return None;
        }
        let means = means_of(vectors, groups, dims);
        let mut centred: Vec<Vec<f64>> = vectors
            .iter()
            .zip(groups)
            .map(|(vector, &group)| {
                let mean = means[group].as_deref().unwrap_or_default();
                vector.iter().zip(mean).map(|(&value, mean)| f64::from(value) - mean).collect()
            })
            .collect();
        let scales = standardise(&mut centred, dims)?;
        let factor = cholesky(shrunk_covariance(&centred, dims), dims)?;
        let inverse = invert_lower(&factor, dims);
        let rows = (0..dims).flat_map(|row| (0..=row).map(move |column| (row, column)));
        let whitening = rows.map(|(row, column)| (inverse[row * dims + column] / scales[column]) as f32).collect();
        let narrow = |mean: Vec<f64>| mean.into_iter().map(|value| value as f32).collect();
        Some(Self { means: means.into_iter().flatten().map(narrow).collect(), whitening })
    }

    /// Number of values of a vector.
    pub fn dims(&self) -> usize {
        self.means.first().map_or(0, Vec::len)
    }

    /// Distance to the nearest mean, root mean square over the whitened values: about 1 for what it was fitted on. Infinite for a
    /// vector of another length or with values that are not finite.
    pub fn distance(&self, vector: &[f32]) -> f32 {
        if vector.len() != self.dims() || !vector.iter().all(|value| value.is_finite()) {
            return f32::INFINITY;
        }
        self.means.iter().map(|mean| self.distance_to(mean, vector)).fold(f32::INFINITY, f32::min)
    }

    fn distance_to(&self, mean: &[f32], vector: &[f32]) -> f32 {
        let mut rest = self.whitening.as_slice();
        let mut sum = 0.0;
        for row in 0..mean.len() {
            let (own, behind) = rest.split_at(row + 1);
            rest = behind;
            let moved = mean.iter().zip(vector).map(|(&mean, &value)| f64::from(value) - f64::from(mean));
            let white: f64 = own.iter().zip(moved).map(|(&weight, value)| f64::from(weight) * value).sum();
            sum += white * white;
        }
        (sum / mean.len() as f64).sqrt() as f32
    }

    /// Whether its parts fit each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        let dims = self.dims();
        if dims == 0 || self.means.iter().any(|mean| mean.len() != dims) {
            return Err("means of unequal lengths, or none".into());
        }
        let wanted = dims * (dims + 1) / 2;
        if self.whitening.len() != wanted {
            return Err(format!("a triangle of {} values, {wanted} are needed", self.whitening.len()));
        }
        let is_finite = self.means.iter().flatten().chain(&self.whitening).all(|value| value.is_finite());
        if is_finite { Ok(()) } else { Err("a value that is not finite".into()) }
    }
}

/// Mean of each group; `None` for one without vectors.
fn means_of(vectors: &[Vec<f32>], groups: &[usize], dims: usize) -> Vec<Option<Vec<f64>>> {
    let n_groups = groups.iter().max().map_or(0, |last| last + 1);
    let mut sums = vec![(0usize, vec![0.0; dims]); n_groups];
    for (vector, &group) in vectors.iter().zip(groups) {
        sums[group].0 += 1;
        sums[group].1.iter_mut().zip(vector).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter().map(|(n, sum)| (n > 0).then(|| sum.into_iter().map(|value| value / n as f64).collect())).collect()
}

/// Divides each column by its deviation and gives the deviations.
fn standardise(centred: &mut [Vec<f64>], dims: usize) -> Option<Vec<f64>> {
    let n = centred.len() as f64;
    let variance = |column: usize| centred.iter().map(|row| row[column] * row[column]).sum::<f64>() / n;
    let variances: Vec<f64> = (0..dims).map(variance).collect();
    let typical = (variances.iter().sum::<f64>() / dims as f64).sqrt();
    if typical.is_nan() || typical <= 0.0 {
        return None;
    }
    let scales: Vec<f64> = variances.iter().map(|variance| variance.sqrt().max(LEAST_DEVIATION * typical)).collect();
    for row in centred {
        row.iter_mut().zip(&scales).for_each(|(value, scale)| *value /= scale);
    }
    Some(scales)
}

/// `[dims, dims]`: the covariance of rows with mean 0, moved towards a multiple of the identity as far as Ledoit and Wolf say.
fn shrunk_covariance(rows: &[Vec<f64>], dims: usize) -> Vec<f64> {
    let n = rows.len() as f64;
    let (mut covariance, mut fourth) = (vec![0.0; dims * dims], 0.0);
    for row in rows {
        for (out, &a) in covariance.chunks_exact_mut(dims).zip(row) {
            out.iter_mut().zip(row).for_each(|(out, &b)| *out += a * b);
        }
        fourth += row.iter().map(|value| value * value).sum::<f64>().powi(2);
    }
    covariance.iter_mut().for_each(|value| *value /= n);
    let square = covariance.iter().map(|value| value * value).sum::<f64>();
    let mean = (0..dims).map(|at| covariance[at * dims + at]).sum::<f64>() / dims as f64;
    let noise = (fourth / n - square) / (n * dims as f64);
    let spread = square / dims as f64 - mean * mean;
    // Without correlations there is nothing to shrink, nor harm in doing so.
    let share = if spread > 0.0 { (noise / spread).clamp(0.0, 1.0) } else { 1.0 };
    covariance.iter_mut().for_each(|value| *value *= 1.0 - share);
    (0..dims).for_each(|at| covariance[at * dims + at] += share * mean);
    covariance
}

/// Lower factor of a positive matrix; `None` for another.
fn cholesky(mut matrix: Vec<f64>, dims: usize) -> Option<Vec<f64>> {
    for row in 0..dims {
        for column in 0..=row {
            let known: f64 = (0..column).map(|at| matrix[row * dims + at] * matrix[column * dims + at]).sum();
            let rest = matrix[row * dims + column] - known;
            matrix[row * dims + column] = match row == column {
                true if rest > 1e-12 => rest.sqrt(),
                true => return None,
                false => rest / matrix[column * dims + column],
            };
        }
    }
    Some(matrix)
}

/// Inverse of a lower factor.
fn invert_lower(factor: &[f64], dims: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; dims * dims];
    for column in 0..dims {
        for row in column..dims {
            let known: f64 = (column..row).map(|at| factor[row * dims + at] * inverse[at * dims + column]).sum();
            let own = if row == column { 1.0 } else { 0.0 };
            inverse[row * dims + column] = (own - known) / factor[row * dims + row];
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn cloud(n: usize, dims: usize, seed: u64) -> Vec<Vec<f32>> {
        (0..n)
            .map(|item| (0..dims).map(|at| Seed(seed).normal_pair((item * dims + at) as u64).0 as f32).collect())
            .collect()
    }

    #[test]
    fn distances_do_not_depend_on_units_or_on_what_is_mixed_with_what() {
        let plain = cloud(400, 3, 1);
        let mix = |v: &Vec<f32>| vec![v[0] * 10.0 + 5.0, v[1] + 0.2 * v[0], 0.5 * v[2] - 0.2 * v[1]];
        let mixed: Vec<Vec<f32>> = plain.iter().map(mix).collect();
        let (a, b) = (Gaussian::fit(&plain, &[0; 400]), Gaussian::fit(&mixed, &[0; 400]));
        let (a, b) = (a.expect("varies"), b.expect("varies"));
        let square = |x: f32| x * x;
        let mean = plain.iter().map(|v| square(a.distance(v))).sum::<f32>() / 400.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        for (v, m) in plain.iter().zip(&mixed).take(20) {
            assert!((a.distance(v) - b.distance(m)).abs() < 0.15, "{} {}", a.distance(v), b.distance(m));
        }
        assert!(a.distance(&[10.0, 0.0, 0.0]) > 5.0);
        assert_eq!(a.check(), Ok(()));
    }

    #[test]
    fn a_vector_is_near_if_it_is_near_one_of_the_means() {
        let mut vectors = cloud(200, 2, 2);
        let groups: Vec<usize> = (0..200).map(|item| item % 2 * 2).collect();
        vectors.iter_mut().zip(&groups).for_each(|(v, &group)| v[0] += group as f32 * 10.0);
        let gaussian = Gaussian::fit(&vectors, &groups).expect("varies");
        assert_eq!(gaussian.means.len(), 2, "group 1 has no vector");
        assert!(gaussian.distance(&[20.0, 0.0]) < 0.5 && gaussian.distance(&[0.0, 0.0]) < 0.5);
        assert!(gaussian.distance(&[10.0, 0.0]) > 5.0);
    }

    #[test]
    fn what_cannot_be_fitted_or_compared_gives_no_small_distance() {
        assert_eq!(Gaussian::fit(&cloud(49, 2, 3), &[0; 49]), None);
        assert_eq!(Gaussian::fit(&vec![vec![1.0, 2.0]; 60], &[0; 60]), None);
        assert_eq!(Gaussian::fit(&[], &[]), None);
        let mut odd = cloud(60, 2, 3);
        odd[7][1] = f32::NAN;
        assert_eq!(Gaussian::fit(&odd, &[0; 60]), None);
        let mut still = cloud(60, 3, 3);
        still.iter_mut().for_each(|v| v[2] = 4.0);
        let gaussian = Gaussian::fit(&still, &[0; 60]).expect("two of three vary");
        assert!(gaussian.distance(&[0.0, 0.0, 4.0]) < 1.0);
        assert_eq!(gaussian.distance(&[0.0, 0.0]), f32::INFINITY);
        assert_eq!(gaussian.distance(&[0.0, f32::NAN, 4.0]), f32::INFINITY);
        assert!(Gaussian { whitening: vec![1.0; 5], ..gaussian }.check().is_err());
    }
}
