//! The smallest and the largest value of a type whose values are stored as whole numbers and written otherwise.

use serde::{Deserialize, Serialize};

/// Bounds in the stored form: a decimal's scaled integer, a time's milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::NONE
    }
}

impl Bounds {
    /// Any value.
    pub const NONE: Self = Self { min: i64::MIN, max: i64::MAX };

    /// Whether any value is within.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether a value is within.
    #[must_use]
    pub fn hold(&self, int: i64) -> bool {
        (self.min..=self.max).contains(&int)
    }

    /// Whether every value within the other bounds is within these.
    #[must_use]
    pub fn contain(&self, other: &Self) -> bool {
        self.min <= other.min && self.max >= other.max
    }

    /// In words, with values written as the type writes them: ` from 2026-01-01 to any`; empty without bounds.
    #[must_use]
    pub fn words(&self, write: impl Fn(i64) -> String) -> String {
        let end = |wanted: bool, int: i64| if wanted { write(int) } else { "any".to_owned() };
        match self.is_none() {
            true => String::new(),
            false => format!(" from {} to {}", end(self.min > i64::MIN, self.min), end(self.max < i64::MAX, self.max)),
        }
    }
}
