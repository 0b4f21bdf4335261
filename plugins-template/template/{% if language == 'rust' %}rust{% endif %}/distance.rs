//! How far rows are from a query, or from each other: smaller is closer, whatever the metric.

use std::sync::LazyLock;

/// Numbers that are added side by side: one register of AVX-512, two of AVX2, four of SSE2 or NEON.
const LANES: usize = 16;

type Kernel = fn(&[f32], &[f32]) -> f32;

/// Asked once: asking the CPU in every call would cost more than a short row.
static DOT: LazyLock<Kernel> = LazyLock::new(|| pick(dot, wide::dot));
static SQUARES: LazyLock<Kernel> = LazyLock::new(|| pick(squares, wide::squares));

/// Which rows count as near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// 1 - dot; rows and queries have unit length.
    Cosine,
    /// Negative dot product.
    Dot,
    /// Squared Euclidean distance.
    L2,
}

impl Metric {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Self::Cosine),
            "dot" => Some(Self::Dot),
            "l2" => Some(Self::L2),
            _ => None,
        }
    }
}

/// The engine's matrix, and what an inner product needs beside it to become a distance.
#[derive(Clone, Copy)]
pub(crate) struct Space<'a> {
    pub(crate) metric: Metric,
    pub(crate) rows: &'a [f32],
    pub(crate) dim: usize,
    /// Under `dot`, a coordinate a row that gives all rows the length of the longest; see [`lift`]. Else empty.
    pub(crate) lift: &'a [f32],
}

impl<'a> Space<'a> {
    pub(crate) fn row(self, slot: u32) -> &'a [f32] {
        let start = slot as usize * self.dim;
        &self.rows[start..start + self.dim]
    }

    /// Distance of a row to a query. It never is NaN: what overflows is as far as can be.
    pub(crate) fn to_query(self, query: &[f32], slot: u32) -> f32 {
        let distance = match self.metric {
            Metric::Cosine => 1.0 - DOT(query, self.row(slot)),
            Metric::Dot => -DOT(query, self.row(slot)),
            Metric::L2 => SQUARES(query, self.row(slot)),
        };
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    /// Distance between two rows, which orders neighbours while the graph is built.
    pub(crate) fn between(self, one: u32, other: u32) -> f32 {
        let distance = self.to_query(self.row(one), other);
        match self.metric {
            Metric::Dot => {
                let lifted = distance - self.lift[one as usize] * self.lift[other as usize];
                if lifted.is_nan() { f32::INFINITY } else { lifted }
            }
            Metric::Cosine | Metric::L2 => distance,
        }
    }
}

/// The coordinate that brings each row to the length of the longest: among rows of one length the largest inner
/// product is the smallest angle, and a graph of neighbours works (Bachrach et al., "Speeding Up the Xbox Recommender
/// System Using a Euclidean Transformation for Inner-Product Spaces", RecSys 2014).
pub(crate) fn lift(rows: &[f32], dim: usize) -> Vec<f32> {
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let norms: Vec<f64> = rows.chunks_exact(dim.max(1)).map(norm).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max);
    norms.into_iter().map(|norm| (longest - norm).max(0.0).sqrt() as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |x, y| x * y)
}

fn squares(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |x, y| (x - y) * (x - y))
}

/// The same order of additions on every CPU and for every row: equal rows are equally far, everywhere.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane], y[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| term(*x, *y)).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(target_arch = "x86_64")]
fn pick(plain: Kernel, wide: Kernel) -> Kernel {
    if std::arch::is_x86_feature_detected!("avx2") { wide } else { plain }
}

#[cfg(not(target_arch = "x86_64"))]
fn pick(plain: Kernel, _wide: Kernel) -> Kernel {
    plain
}

/// The same loops, compiled for registers of eight numbers: about twice as quick as what every x86-64 can run.
mod wide {
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) use super::{dot, squares};

    #[cfg(target_arch = "x86_64")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        #[target_feature(enable = "avx2")]
        fn inner(a: &[f32], b: &[f32]) -> f32 {
            super::sum(a, b, |x, y| x * y)
        }
        // SAFETY: `pick` hands this out only where the CPU has AVX2.
        unsafe { inner(a, b) }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn squares(a: &[f32], b: &[f32]) -> f32 {
        #[target_feature(enable = "avx2")]
        fn inner(a: &[f32], b: &[f32]) -> f32 {
            super::sum(a, b, |x, y| (x - y) * (x - y))
        }
        // SAFETY: `pick` hands this out only where the CPU has AVX2.
        unsafe { inner(a, b) }
    }
}
