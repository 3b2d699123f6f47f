//! Sides of a max pool: a number in recipes and model cards where both are equal, else `[mel, time]`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sides, and strides, of one max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Pool {
    /// Rows of the image, along the mel axis.
    pub mel: usize,
    /// Columns of the image, along time.
    pub time: usize,
}

/// How a pool is written: models from before there were pairs hold numbers, and square pools still do.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a pool is a number, or a pair [mel, time]")]
enum Written {
    Square(usize),
    Pair([usize; 2]),
}

impl From<Written> for Pool {
    fn from(written: Written) -> Self {
        match written {
            Written::Square(side) => side.into(),
            Written::Pair([mel, time]) => Self { mel, time },
        }
    }
}

impl From<Pool> for Written {
    fn from(pool: Pool) -> Self {
        if pool.mel == pool.time { Self::Square(pool.mel) } else { Self::Pair([pool.mel, pool.time]) }
    }
}

impl From<usize> for Pool {
    /// A square pool.
    fn from(side: usize) -> Self {
        Self { mel: side, time: side }
    }
}

impl Pool {
    /// Values that become one.
    pub const fn cells(self) -> usize {
        self.mel.saturating_mul(self.time)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mel == self.time { write!(f, "{}", self.mel) } else { write!(f, "{} x {}", self.mel, self.time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_pools_are_numbers_and_others_are_pairs() {
        let pools: Vec<Pool> = serde_json::from_str("[2,[4,2],[3,3]]").expect("pools");
        assert_eq!(pools, [2.into(), Pool { mel: 4, time: 2 }, 3.into()]);
        assert_eq!(serde_json::to_string(&pools).expect("JSON"), "[2,[4,2],3]");
        for wrong in ["-1", "\"2\"", "[2]", "[1,2,3]", "2.5"] {
            let error = serde_json::from_str::<Pool>(wrong).expect_err(wrong);
            assert!(error.to_string().contains("a pool is a number, or a pair [mel, time]"), "{error}");
        }
    }
}
