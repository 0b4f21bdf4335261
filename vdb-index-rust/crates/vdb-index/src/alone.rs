//! One query over coded rows, the most promising rows first.
//!
//! A limit comes down with the near rows that were seen, so that a query which meets rows in the order in which they lie looks
//! at the lower halves of many that a later limit excludes. What upper halves do not exclude of some thousand rows is therefore
//! kept until all of them were seen:
//!
//! ```text
//! upper halves     ─▶ the smallest key that each row may have that the limit so far does not exclude
//! first look           rows up to about the 4 k-th least: most of the nearest are among them
//! second look          rows below the limit that these leave
//! ```
//!
//! The first of them are few, for nothing is excluded before there is a limit.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernels::{BLOCK, CodedQuery, Pick, Sifted};
use crate::sieve::Sieve;
use crate::topk::Candidates;

/// Blocks that are seen before their rows are looked at, where there is no limit yet.
const START: usize = 64;
/// The same where there is one.
const KEPT: usize = 512;

/// Times `k` the rows that the first look goes into: the nearest of so many are a limit that is nearly the last one.
const FIRST: usize = 4;
/// The same where there is a limit that few rows can bring down.
const LATER: usize = 1;

/// So many rows are kept at most before the rest of them is looked at: half a megabyte, which matters where bounds exclude
/// hardly any. Few in tests, so that they get there.
const MOST: usize = if cfg!(test) { 100 } else { 1 << 15 };

thread_local! {
    /// A query needs some KB, which every thread keeps: to ask for them and clear them took a twentieth of a short search.
    static ALONE: RefCell<Alone> = RefCell::default();
}

/// Offer the rows of `picks` to one query.
pub(crate) fn see_alone(sieve: &Sieve<'_>, picks: &[Pick], query: &CodedQuery, candidates: &mut Candidates) {
    ALONE.with_borrow_mut(|alone| {
        alone.sifted.clear();
        let mut start = 0;
        while start < picks.len() {
            let most = if candidates.limit() < f32::INFINITY { KEPT } else { START };
            let end = picks.len().min(start + most);
            alone.first_look(sieve, picks, start..end, query, candidates);
            start = end;
            if start == picks.len() || alone.sifted.bases.len() > MOST {
                alone.offer(sieve, picks, 0, query, candidates, candidates.limit());
                alone.sifted.clear();
            }
        }
    });
}

/// Room for rows that passed.
#[derive(Default)]
struct Alone {
    /// Rows that upper halves did not exclude; those that were looked at have no base.
    sifted: Sifted,
    /// The least of each few bases.
    least: Vec<f32>,
    /// Rows that are looked at: their numbers among those that were sifted, and where they lie.
    passed: Vec<u32>,
    places: Vec<u32>,
    more: Vec<i32>,
}

impl Alone {
    /// Sift the rows of `picks[range]`, and offer the most promising ones.
    fn first_look(
        &mut self,
        sieve: &Sieve<'_>,
        picks: &[Pick],
        range: Range<usize>,
        query: &CodedQuery,
        candidates: &mut Candidates,
    ) {
        let (before, limit) = (self.sifted.bases.len(), candidates.limit());
        (sieve.kernels.sift)(&sieve.blocks, picks, range, query, limit, &mut self.sifted);
        let times = if limit < f32::INFINITY { LATER } else { FIRST };
        let bar = self.bar(before, candidates.k().saturating_mul(times), limit);
        self.offer(sieve, picks, before, query, candidates, bar);
        candidates.prune();
    }

    /// About so many of the rows that were sifted from number `before` on are at or below this, unless the limit is below it.
    fn bar(&mut self, before: usize, wanted: usize, limit: f32) -> f32 {
        let Self { sifted, least, .. } = self;
        let bases = &sifted.bases[before..];
        if wanted >= bases.len() {
            return limit;
        }
        // The least of a few rows are chosen from in less time than all of them, and hardly two of the nearest are among so few.
        let few = (bases.len() / wanted / 3).max(1);
        least.clear();
        least.extend(bases.chunks(few).map(|bases| bases.iter().copied().fold(f32::MAX, f32::min)));
        let (_, &mut bar, _) = least.select_nth_unstable_by(wanted - 1, f32::total_cmp);
        if bar < limit { bar } else { limit }
    }

    /// Offer the rows that were sifted from number `before` on whose smallest possible key is not above `limit`, but for those
    /// that were offered.
    fn offer(
        &mut self,
        sieve: &Sieve<'_>,
        picks: &[Pick],
        before: usize,
        query: &CodedQuery,
        candidates: &mut Candidates,
        limit: f32,
    ) {
        let Self { sifted, passed, places, more, .. } = self;
        let (bases, sums) = (&mut sifted.bases[before..], &sifted.sums[before..]);
        let rows = &sifted.places[before..];
        (sieve.kernels.within)(bases, limit, passed);
        let of = |number: u32| {
            let place = rows[number as usize];
            (&picks[place as usize / BLOCK], place % BLOCK as u32)
        };
        places.clear();
        places.extend(passed.iter().map(|&number| {
            bases[number as usize] = f32::NAN;
            let (pick, row) = of(number);
            pick.block * BLOCK as u32 + row
        }));
        more.clear();
        more.resize(places.len(), 0);
        (sieve.kernels.lower_sums)(&sieve.blocks, places, query, more);
        for ((&number, &place), &more) in passed.iter().zip(places.iter()).zip(more.iter()) {
            let (key, error) = sieve.blocks.estimate(query, place, sums[number as usize] + more);
            // Slots are looked up for the few that are kept: they lie in no cache.
            if candidates.admits(key, error) {
                let (pick, row) = of(number);
                candidates.offer(key, error, sieve.slot(pick.start + row));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::{Basis, mean};
    use crate::bounds::Bound;
    use crate::coded::Coded;
    use crate::kernels::{Isa, Kernels};
    use crate::matrix::Matrix;
    use crate::metric::Metric;
    use crate::rng::Rng;
    use crate::watch::{Unobserved, Watch};

    /// Rows that a search starts with, more than are kept before a look, and some of which few are sifted.
    #[test]
    fn the_nearest_are_left_in_whatever_order_rows_lie() {
        let (count, dim) = ((START + 2 * KEPT + 9) * BLOCK - 5, 24);
        let mut rng = Rng::new(9, 0);
        let mut values =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(2001) as f32 / 1000.0 - 1.0).collect() };
        let (query, rows) = (values(dim), values(count * dim));
        let others = values(20 * dim);
        let best = Kernels::best();
        let far = |row: &[f32]| (best.l2_exact)(&query, row);
        let mut sorted: Vec<&[f32]> = rows.chunks(dim).collect();
        sorted.sort_by(|a, b| far(a).total_cmp(&far(b)));
        let near_first = sorted.concat();
        sorted.reverse();
        for rows in [rows.clone(), near_first, sorted.concat()] {
            let matrix = Matrix::new(&rows, count, dim).unwrap();
            let basis = Basis::new(best, Metric::L2, mean(matrix));
            let coded = Coded::encode(best, basis, matrix, None, 1, &Watch::new(&Unobserved)).unwrap();
            let picks: Vec<Pick> = (0..count.div_ceil(BLOCK) as u32)
                .map(|block| Pick { block, start: block * BLOCK as u32, live: u16::MAX })
                .collect();
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
                let sieve = Sieve::new(kernels, &coded, None).unwrap();
                let each = others.chunks(dim).map(|other| (other, 1));
                for (query, k) in each.chain([(&query[..], 10), (&query[..], 700)]) {
                    let far = |slot: &u32| (best.l2_exact)(query, matrix.row(*slot));
                    let (coded_query, shared) = coded.basis().query(kernels, query).unwrap();
                    let mut candidates = Candidates::new(k, Bound::each(shared));
                    see_alone(&sieve, &picks, &coded_query, &mut candidates);
                    let mut found: Vec<u32> =
                        candidates.finish().filter(|&slot| slot < count as u32).collect();
                    found.sort_unstable();
                    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "no row is offered twice");
                    let mut order: Vec<u32> = (0..count as u32).collect();
                    order.select_nth_unstable_by(k - 1, |a, b| far(a).total_cmp(&far(b)));
                    assert!(
                        order[..k].iter().all(|slot| found.binary_search(slot).is_ok()),
                        "{}",
                        kernels.isa
                    );
                    assert!(found.len() < 2 * k + 50, "{}: {} of {k}", kernels.isa, found.len());
                }
            }
        }
    }
}
