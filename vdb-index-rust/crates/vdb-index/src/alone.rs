//! One query over coded rows, the most promising rows first.
//!
//! A limit comes down with the near rows that were seen, so that a query which meets rows in the order in which they lie looks
//! at the lower halves of many that a later limit excludes. What upper halves tell about some thousand rows is therefore kept
//! until all of them were seen:
//!
//! ```text
//! upper halves     ─▶ the smallest key that each row may have, and the least of each 64 rows
//! first look           rows below the 4 k-th least: most of the nearest are among them
//! second look          rows below the limit that these leave
//! ```

use std::cell::RefCell;

use crate::kernels::{BLOCK, BLOCKS, BlockBases, BlockSums, CodedQuery, MOST_AHEAD};
use crate::sieve::{Pick, Sieve, bits_of, live_of};
use crate::topk::Candidates;

/// Blocks of which everything is kept until they were all seen: 64 KB.
const KEPT: usize = 512;

/// Times `k` the groups of 64 rows that the first look goes into: the nearest of so many rows are a limit that is nearly
/// the last one.
const FIRST: usize = 4;

thread_local! {
    /// A query needs some 80 KB, which every thread keeps: to ask for them and clear them took a twentieth of a short search.
    static ALONE: RefCell<Alone> = RefCell::default();
}

/// Offer the rows of `picks` to one query.
pub(crate) fn see_alone(sieve: &Sieve<'_>, picks: &[Pick], query: &CodedQuery, candidates: &mut Candidates) {
    ALONE.with_borrow_mut(|alone| {
        for start in (0..picks.len()).step_by(KEPT) {
            let (kept, next) = picks[start..].split_at(KEPT.min(picks.len() - start));
            alone.see(sieve, kept, next, query, candidates);
        }
    });
}

/// What is kept of blocks, and room for rows that passed.
#[derive(Default)]
struct Alone {
    /// Numbers of the blocks, and of those that come after them.
    blocks: Vec<u32>,
    /// The live rows of each four.
    live: Vec<u64>,
    sums: Vec<BlockSums>,
    bases: Vec<BlockBases>,
    least: Vec<f32>,
    /// The least again, for the choice of one of them moves them.
    moved: Vec<f32>,
    passed: Vec<Passed>,
    places: Vec<u32>,
    more: Vec<i32>,
}

/// A row that upper halves did not exclude.
#[derive(Clone, Copy)]
struct Passed {
    position: u32,
    sum: i32,
}

impl Alone {
    /// Offer the rows of `picks`, up to [`KEPT`]; those of `next` are asked for meanwhile.
    fn see(
        &mut self,
        sieve: &Sieve<'_>,
        picks: &[Pick],
        next: &[Pick],
        query: &CodedQuery,
        candidates: &mut Candidates,
    ) {
        let Self { blocks, live, sums, bases, least, .. } = self;
        let count = picks.len().div_ceil(BLOCKS);
        if sums.len() < count {
            sums.resize(count, BlockSums::default());
            bases.resize(count, BlockBases::default());
        }
        blocks.clear();
        blocks.extend(picks.iter().chain(next.iter().take(MOST_AHEAD)).map(|pick| pick.block));
        live.clear();
        live.extend(picks.chunks(BLOCKS).map(live_of));
        least.clear();
        let kept = sums.iter_mut().zip(bases).zip(live.iter()).take(count);
        for (((sums, bases), &live), first) in kept.zip((0..).step_by(BLOCKS)) {
            let (picked, coming) = blocks[first..].split_at(BLOCKS.min(picks.len() - first));
            let coming = &coming[..MOST_AHEAD.min(coming.len())];
            let sums = std::slice::from_mut(sums);
            (sieve.kernels.code_sums)(&sieve.blocks, picked, coming, &[query], sums);
            least.push((sieve.kernels.code_bases)(&sieve.blocks, picked, live, query, &sums[0], bases));
        }
        let limit = candidates.limit();
        let bar = self.bar(candidates.k(), limit);
        self.offer(sieve, picks, query, candidates, None, bar);
        if bar < limit {
            candidates.prune();
            let limit = candidates.limit();
            self.offer(sieve, picks, query, candidates, Some(bar), limit);
        }
    }

    /// Some times `k` rows are at or below this, unless the limit is below it.
    fn bar(&mut self, k: usize, limit: f32) -> f32 {
        let wanted = FIRST * k;
        if wanted >= self.least.len() {
            return limit;
        }
        self.moved.clone_from(&self.least);
        let (_, &mut bar, _) = self.moved.select_nth_unstable_by(wanted - 1, f32::total_cmp);
        if bar < limit { bar } else { limit }
    }

    /// Offer the live rows whose smallest possible key is not above `limit`, but for those that were offered because theirs is
    /// not above `done`.
    fn offer(
        &mut self,
        sieve: &Sieve<'_>,
        picks: &[Pick],
        query: &CodedQuery,
        candidates: &mut Candidates,
        done: Option<f32>,
        limit: f32,
    ) {
        let Self { live, sums, bases, least, passed, places, more, .. } = self;
        passed.clear();
        places.clear();
        for (at, (group, &least)) in picks.chunks(BLOCKS).zip(least.iter()).enumerate() {
            if least > limit {
                continue;
            }
            let mut rows = (sieve.kernels.within)(&bases[at], limit);
            if let Some(done) = done {
                rows &= !(sieve.kernels.within)(&bases[at], done);
            }
            for (block, row) in bits_of(rows & live[at]) {
                places.push(group[block].block * BLOCK as u32 + row as u32);
                passed.push(Passed { position: group[block].start + row as u32, sum: sums[at][block][row] });
            }
        }
        more.clear();
        more.resize(places.len(), 0);
        (sieve.kernels.lower_sums)(&sieve.blocks, places, query, more);
        for ((row, &place), &more) in passed.iter().zip(places.iter()).zip(more.iter()) {
            let (key, error) = sieve.blocks.estimate(query, place, row.sum + more);
            // Slots are looked up for the few that are kept: they lie in no cache.
            if candidates.admits(key, error) {
                candidates.offer(key, error, sieve.slot(row.position));
            }
        }
    }
}
