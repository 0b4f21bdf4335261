//! How far a float32 kernel may be from the truth: what makes a float32 scan a safe sieve for exact results.
//!
//! With `u = 2^-24` and `γ_m = m u / (1 - m u)`, a sum of `n` products in any order, fused or not, obeys
//! (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., §3.1, then Cauchy-Schwarz)
//!
//! ```text
//! |fl(q·x) - q·x|     <=  γ_n Σ|q_i x_i|  <=  γ_n |q| |x|
//! |fl(|q-x|²) - |q-x|²|  <=  γ_(n+2) |q-x|²          all terms are positive: the error is relative
//! ```
//!
//! Used with `γ_(n+16)`: the 14 spare units of `|q| |x|` (or of the distance) pay for every later rounding: that
//! of the bound's own arithmetic in float32, of the norms, and of the float64 sums that decide in the end, which are
//! off by at most `n 2^-53`. Underflow adds at most `2^-126` a term, also where the thread flushes denormals to
//! zero; for cosine, `1 - q·x` in float64 may merge values that are `2^-53` apart. A sum that overflowed is infinite or
//! NaN, never finite, and a value that is not finite is never trusted.

use crate::metric::Metric;

/// Absolute error of one term by underflow, with room for rounding.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64 * 4.0;

/// The error of raw float32 keys of one query, where a *key* is the raw value with the sign that makes smaller closer
/// (`-q·x` or `|q-x|²`): the true key is within `scale * |x| + rel * |key| + abs` of the computed one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Factor of the row's norm.
    pub(crate) scale: f32,
    rel: f32,
    abs: f32,
}

impl Bound {
    /// Keys come with an error of their own each, handed over in place of a norm; all are off by up to `abs` besides.
    pub(crate) fn each(abs: f64) -> Self {
        // The thousandth pays for rounding where it is added up.
        Self { scale: 1.0, rel: 0.0, abs: up(abs * 1.001) }
    }

    /// The bound for a query of the given norm.
    pub(crate) fn new(metric: Metric, dim: usize, query_norm: f64) -> Self {
        let terms = (dim + 16) as f64 * 2f64.powi(-24);
        // A row of eight million values would need a longer float: then nothing is trusted.
        let gamma = if terms < 0.5 { terms / (1.0 - terms) } else { f64::INFINITY };
        let root = (dim as f64).sqrt();
        let (scale, rel, abs) = match metric {
            Metric::L2 => (0.0, gamma, UNDERFLOW * dim as f64),
            Metric::Dot | Metric::Cosine => {
                let merged = if metric == Metric::Cosine { 2f64.powi(-52) } else { 0.0 };
                let abs = UNDERFLOW * (root * query_norm + dim as f64) + merged;
                (gamma * query_norm + UNDERFLOW * root, 0.0, abs)
            }
        };
        Self { scale: up(scale), rel: up(rel), abs: up(abs) }
    }

    /// The smallest key that the row may have, up to what [`limit`](Self::limit) puts on the other side.
    #[inline]
    pub(crate) fn base(&self, key: f32, norm: f32) -> f32 {
        key - self.scale * norm
    }

    /// The largest key that the row may have; infinite when nothing is known.
    #[inline]
    pub(crate) fn upper(&self, key: f32, norm: f32) -> f32 {
        let upper = key + self.scale * norm + self.rel * key.abs() + self.abs;
        if key.is_finite() && !upper.is_nan() { upper } else { f32::INFINITY }
    }

    /// Whether a row of this base is out. A base of `+inf` or NaN comes from a sum that overflowed on the way, whose
    /// true value may be anything.
    #[inline]
    pub(crate) fn excludes(base: f32, limit: f32) -> bool {
        base > limit && base < f32::INFINITY
    }

    /// The limit for [`base`](Self::base): a row whose base is greater has a true key above `upper`.
    #[inline]
    pub(crate) fn limit(&self, upper: f32) -> f32 {
        if upper == f32::INFINITY || !self.rel.is_finite() {
            return f32::INFINITY;
        }
        up((f64::from(upper) + f64::from(self.abs)) / (1.0 - f64::from(self.rel)))
    }
}

/// The next float32 above a float64.
pub(crate) fn up(value: f64) -> f32 {
    (value as f32).next_up()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Isa, Kernels};
    use crate::matrix::Matrix;
    use proptest::prelude::*;

    fn wild() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => -1.0f32..1.0,
            1 => -1e18f32..1e18,
            1 => -1e20f32..1e20,
            1 => -1e-18f32..1e-18,
            1 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        ]
    }

    /// Pairs that have nothing in common, and runs of one pair, whose roundings all go the same way.
    fn pairs() -> impl Strategy<Value = Vec<(f32, f32)>> {
        prop_oneof![
            prop::collection::vec((wild(), wild()), 1..200),
            ((0.1f32..1.0, 0.1f32..1.0), 500..3000usize).prop_map(|(pair, count)| vec![pair; count]),
        ]
    }

    proptest! {
        /// The interval around every key of every kernel holds the float64 key.
        #[test]
        fn the_truth_is_inside(
            pairs in pairs(),
            metric in prop_oneof![Just(Metric::Dot), Just(Metric::Cosine), Just(Metric::L2)],
        ) {
            let (query, row): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let dim = query.len();
            let matrix = Matrix::new(&row, 1, dim).unwrap();
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
                let norm_of = |v: &[f32]| (kernels.dot_exact)(v, v).sqrt();
                let bound = Bound::new(metric, dim, norm_of(&query));
                let norm = if metric == Metric::L2 { 0.0 } else { up(norm_of(&row)) };
                let mut raw = [0.0];
                let (truth, sign) = if metric == Metric::L2 {
                    (kernels.l2_rows)(&query, matrix, &[0], &mut raw);
                    ((kernels.l2_exact)(&query, &row), 1.0)
                } else {
                    (kernels.dot_rows)(&query, matrix, &[0], &mut raw);
                    (-(kernels.dot_exact)(&query, &row), -1.0)
                };
                let key = sign * raw[0];
                let upper = bound.upper(key, norm);
                prop_assert!(f64::from(upper) >= truth, "{upper} < {truth}");
                // A row whose true key equals some other row's upper end must pass the limit of that end.
                prop_assert!(!Bound::excludes(bound.base(key, norm), bound.limit(up(truth))));
            }
        }
    }
}
