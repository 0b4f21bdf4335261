//! By how much products with reconstructions are stretched.
//!
//! Codewords are means, and means are shorter than what they stand for. With a query that has nothing to do with a row the
//! product is right on average; with the row itself it is too small by the share `r·r' / |r|²` of its residual `r` that the
//! reconstruction `r'` keeps, by which RaBitQ divides (Gao, Long, SIGMOD 2024). Queries and the rows near them lie between, and
//! the more blurred estimates are, the less it pays to stretch them. So some of the rows ask for their neighbours, and
//! the stretch is taken under which these come earliest.

use crate::coarse::Coarse;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::pq::{Bits, Quantizer, code_at};
use crate::rng::Rng;
use crate::watch::Watch;

/// Products are stretched by no more than this, whatever the data.
pub(super) const MOST: f32 = 8.0;
/// Rows that ask.
const ASKED: usize = 64;
/// Rows that each of them looks at, in its nearest lists.
const SEEN: usize = 2048;
/// Neighbours whose places count.
const NEAREST: usize = 10;
/// Stretches that are tried, as powers of what is lost.
const EXPONENTS: [f64; 6] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25];

/// The parts of an index that has codes.
pub(super) struct Coded<'a> {
    pub(super) kernels: &'static Kernels,
    pub(super) rows: Matrix<'a>,
    pub(super) metric: Metric,
    pub(super) bits: Bits,
    pub(super) coarse: &'a Coarse,
    pub(super) lists: &'a Lists,
    pub(super) quantizer: &'a Quantizer,
    /// Packed, in the order of the lists.
    pub(super) codes: &'a [u8],
}

/// A row that was looked at: its key is estimated as `sure + stretch * product`.
struct Seen {
    exact: f64,
    sure: f64,
    product: f64,
}

/// The best stretch of some between 1 and what `share`, which reconstructions keep of residuals, makes up for.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled).
pub(super) fn best(
    coded: &Coded<'_>,
    share: f64,
    seed: u64,
    threads: usize,
    watch: &Watch<'_>,
) -> Result<f32> {
    if !(share > 0.0 && share < 1.0) {
        return Ok(1.0);
    }
    let stretches = EXPONENTS.map(|exponent| share.powf(-exponent).min(f64::from(MOST)) as f32);
    let asked = Rng::new(seed, 3).spread_sample(coded.rows.rows(), ASKED);
    let costs = pool::map(threads, asked.len(), |at| {
        watch.tick("weigh estimates", at, asked.len())?;
        let mut seen = coded.look_around(asked[at]);
        Ok(stretches.map(|stretch| places(&mut seen, f64::from(stretch))))
    });
    let mut total = [0.0; EXPONENTS.len()];
    for cost in costs {
        total.iter_mut().zip(cost?).for_each(|(total, cost)| *total += cost);
    }
    let mut best = 0;
    for at in 1..total.len() {
        if total[at] < total[best] {
            best = at;
        }
    }
    Ok(stretches[best])
}

impl Coded<'_> {
    /// The rows of the lists nearest to a row, but for itself.
    fn look_around(&self, asked: u32) -> Vec<Seen> {
        let query = self.rows.row(asked);
        let row_bytes = self.bits.row_bytes(self.quantizer.pieces());
        let mut seen = Vec::with_capacity(SEEN);
        let (mut codes, mut decoded) = (vec![0; self.quantizer.pieces()], vec![0.0; query.len()]);
        let ranked = self.coarse.rank(self.kernels, std::iter::once(query), 1, None);
        for (_, list) in ranked.into_iter().flat_map(|asked| asked.ranking) {
            let centroid = self.coarse.centroid(list);
            // What is multiplied with reconstructions.
            let towards: Vec<f32> = if self.metric == Metric::L2 {
                query.iter().zip(centroid).map(|(q, c)| 2.0 * (q - c)).collect()
            } else {
                query.to_vec()
            };
            for (position, &slot) in self.lists.range(list).zip(self.lists.slots(list)) {
                if slot == asked {
                    continue;
                }
                let packed = &self.codes[position * row_bytes..][..row_bytes];
                codes
                    .iter_mut()
                    .enumerate()
                    .for_each(|(piece, code)| *code = code_at(self.bits, packed, piece));
                self.quantizer.decode(&codes, &mut decoded);
                let row = self.rows.row(slot);
                let (exact, sure) = if self.metric == Metric::L2 {
                    let exact = self.kernels.l2_exact;
                    (exact(query, row), exact(query, centroid) + exact(row, centroid))
                } else {
                    let exact = self.kernels.dot_exact;
                    (-exact(query, row), -exact(query, centroid))
                };
                seen.push(Seen { exact, sure, product: -(self.kernels.dot_exact)(&towards, &decoded) });
            }
            if seen.len() >= SEEN {
                break;
            }
        }
        seen
    }
}

/// How late the nearest come in the order of estimates: the sum of the logarithms of their places.
fn places(seen: &mut [Seen], stretch: f64) -> f64 {
    if seen.len() <= NEAREST {
        return 0.0;
    }
    seen.select_nth_unstable_by(NEAREST, |a, b| a.exact.total_cmp(&b.exact));
    let (nearest, others) = seen.split_at(NEAREST);
    let estimate = |row: &Seen| row.sure + stretch * row.product;
    let others: Vec<f64> = others.iter().map(estimate).collect();
    nearest
        .iter()
        .map(|row| {
            let own = estimate(row);
            let before = others.iter().filter(|&&other| other < own).count();
            ((1 + before) as f64).ln()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_where_estimates_are_right() {
        let row = |exact: f64, kept: f64| Seen { exact, sure: 0.0, product: exact * kept };
        // A reconstruction that keeps half of the nearest, and all of what is farther off.
        let mut seen: Vec<Seen> =
            (0..40).map(|at| row(-100.0 + f64::from(at), if at < 10 { 0.5 } else { 1.0 })).collect();
        seen.iter_mut().take(10).for_each(|row| row.sure = -20.0);
        assert!(places(&mut seen, 1.0) > 10.0);
        assert!(places(&mut seen, 0.1) == 0.0);
        assert!(places(&mut seen[..10], 1.0) == 0.0);
    }
}
