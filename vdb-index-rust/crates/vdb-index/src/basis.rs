//! Vectors as int8 codes with a proven bound on what they hide: a sieve that reads a quarter of the bytes of float32.
//!
//! With a mean `m` taken off, a row `y = x - m` becomes `s c + r`: a unit, integers from -127 to 127, and what is left. A
//! query `v` (`q`, or `q - m` under l2) becomes `t b + e` likewise. Then
//!
//! ```text
//! v·y  =  t s (b·c)  +  e·(s c)  +  v·r
//! |v·y - t s (b·c)|  <=  |e| |s c|  +  |v| |r|             Cauchy-Schwarz, twice
//! ```
//!
//! `b·c` is an exact integer; `|s c|` and `|r|` are kept for each row. Keys are `-v·y` for inner products, which differ from
//! `-q·x` by `q·m`, the same for all rows; and `|y|²/2 - v·y` under l2, which is `(|q - x|² - |v|²) / 2`.
//!
//! Rounding. Norms are made in float64, off by less than `10^-9` of themselves for up to 65,536 dimensions, which a factor
//! pays for; what is stored as float32 is rounded up. Float32 sums of keys and errors round fewer than 16 times, each
//! time by at most `u = 2^-24` of a value of at most `|y|²/2 + |t b| |s c|` plus the error itself: `64 u` of these
//! are added. So much also covers what float64, which decides in the end, makes of `|q| |y|` (`2^-36` of it); what it
//! makes of `|q| |m|` and of `|v|²` is the same for all rows and is added to the bound as such, as is underflow, also where
//! the thread flushes denormals. Vectors that do not fit (not finite, beyond `10^32`, all but 0) have an error that is
//! infinite or as large as they are. What is infinite or NaN excludes nothing.

use crate::bounds::up;
use crate::kernels::{CodedQuery, Kernels, MAX_DIM, RowBound};
use crate::matrix::Matrix;
use crate::metric::Metric;

/// Fewer rows are scanned in less time than it takes to encode them.
const MIN_ROWS: usize = 4097;
/// Shorter rows are compared in float32 as quickly.
const MIN_DIM: usize = 80;
/// Rows that the mean is made of.
const SAMPLE: usize = 4096;
/// What pays for rounding in float64.
pub(crate) const EXACT: f64 = 1.0 + 1e-9;
/// What pays for rounding in float32.
const ROUNDING: f64 = 64.0 / (1u64 << 24) as f64;
/// What pays for values that are flushed to zero: `2^-110`.
const FLUSHED: f64 = 1.0 / (1u128 << 110) as f64;

/// Whether codes make a search of such rows faster.
pub(crate) fn pays(rows: usize, dim: usize) -> bool {
    rows >= MIN_ROWS && dim >= MIN_DIM && fits(dim)
}

/// Whether sums of codes stay within their integers.
pub(crate) fn fits(dim: usize) -> bool {
    dim <= MAX_DIM
}

/// What is taken off before vectors become codes: the same for all that are to meet.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    metric: Metric,
    mean: Vec<f32>,
    mean_norm: f64,
}

impl Basis {
    pub(crate) fn new(kernels: &Kernels, metric: Metric, mean: Vec<f32>) -> Self {
        let mean_norm = (kernels.dot_exact)(&mean, &mean).sqrt() * EXACT;
        Self { metric, mean, mean_norm }
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// A row as codes.
    pub(crate) fn row(&self, kernels: &Kernels, row: &[f32], codes: &mut [i8]) -> RowBound {
        let made = (kernels.encode)(row, &self.mean, codes);
        let square = (made.whole * made.whole * 0.5) as f32;
        let left = up(made.residual * EXACT + FLUSHED);
        let l2 = self.metric == Metric::L2;
        if !left.is_finite() || !square.is_finite() {
            return RowBound { half: if l2 { f32::INFINITY } else { 0.0 }, ..RowBound::UNKNOWN };
        }
        let half = if l2 { square } else { 0.0 };
        RowBound { scale: made.scale, residual: left, norm: up(made.norm * EXACT), half }
    }

    /// A query as codes, and the error that all its keys share; `None` where it has no meaningful codes.
    pub(crate) fn query(&self, kernels: &Kernels, query: &[f32]) -> Option<(CodedQuery, f64)> {
        let l2 = self.metric == Metric::L2;
        let mut codes = vec![0; query.len()];
        let made = if l2 {
            (kernels.encode)(query, &self.mean, &mut codes)
        } else {
            (kernels.encode)(query, &vec![0.0; query.len()], &mut codes)
        };
        let (left, whole) = (made.residual * EXACT, made.whole * EXACT);
        let shared = if l2 { whole * whole } else { whole * self.mean_norm };
        let merged = if self.metric == Metric::Cosine { 2f64.powi(-50) } else { 0.0 };
        let shared = shared * 2f64.powi(-34) + merged + FLUSHED * (1.0 + whole + self.mean_norm);
        let coded = CodedQuery {
            scale: made.scale / 2.0,
            by_residual: up(whole * (1.0 + ROUNDING) + FLUSHED),
            by_norm: up((left + ROUNDING * made.norm) * (1.0 + ROUNDING) + FLUSHED),
            by_half: if l2 { up(ROUNDING) } else { 0.0 },
            ..CodedQuery::new(&codes)
        };
        let known = left.is_finite() && coded.by_residual.is_finite() && up(shared).is_finite();
        known.then_some((coded, shared))
    }
}

/// Mean of a sample of the rows: any vector would do, this one makes what is left small.
pub(crate) fn mean(rows: Matrix<'_>) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.dim()];
    let mut count = 0.0;
    for slot in (0..rows.rows()).step_by(rows.rows().div_ceil(SAMPLE).max(1)) {
        let row = rows.row(slot as u32);
        if row.iter().all(|value| value.is_finite()) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            count += 1.0;
        }
    }
    sums.into_iter().map(|sum| if count > 0.0 { (sum / count) as f32 } else { 0.0 }).collect()
}
