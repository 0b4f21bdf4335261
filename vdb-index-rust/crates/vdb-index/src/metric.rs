//! The three metrics. A distance is smaller for closer rows under each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How far two vectors are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - q·x`; rows and queries are unit vectors already.
    Cosine,
    /// `-(q·x)`.
    Dot,
    /// Squared Euclidean distance.
    L2,
}

impl Metric {
    /// Turn a similarity (`q·x`) or squared distance into the distance of this metric, in float64.
    #[inline]
    pub(crate) fn distance(self, raw: f64) -> f64 {
        match self {
            Metric::Cosine => 1.0 - raw,
            Metric::Dot => -raw,
            Metric::L2 => raw,
        }
    }

    /// Whether the raw kernel is an inner product (otherwise it is a squared distance).
    #[inline]
    pub(crate) fn is_inner_product(self) -> bool {
        !matches!(self, Metric::L2)
    }

    /// The metric's name as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::L2 => "l2",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "cosine" => Ok(Metric::Cosine),
            "dot" => Ok(Metric::Dot),
            "l2" => Ok(Metric::L2),
            other => Err(Error::Parameter {
                name: "metric",
                expected: "one of cosine, dot, l2".to_owned(),
                received: format!("{other:?}"),
            }),
        }
    }
}
