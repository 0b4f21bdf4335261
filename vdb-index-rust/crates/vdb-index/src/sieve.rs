//! Coded rows on their way to the candidates of one query or many: what codes prove to be too far never gets there.

use std::ops::Range;

use crate::alone::see_alone;
use crate::bitmap::Bitmap;
use crate::bounds::Bound;
use crate::coded::Coded;
use crate::kernels::{
    BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, Kernels, Line, MOST_AHEAD, Meeting, Packed, Pick,
    WholeKernels,
};
use crate::topk::Candidates;

/// Queries that meet a block side by side.
const TOGETHER: usize = 6;
/// Blocks after which a query is asked whether its codes are worth while, a multiple of four.
const TRIAL: usize = 1024;

/// Rows of which lower halves are asked for before the first of them is looked at.
const PENDING: usize = 16;

/// Queries as codes, with the rows that each may still return.
#[derive(Default)]
pub(crate) struct Coding {
    queries: Vec<CodedQuery>,
    candidates: Vec<Candidates>,
    /// Rows whose lower halves were asked for, those of a query together.
    pending: Vec<Pending>,
    /// Codes that were put together, and those of queries that meet them.
    bytes: Vec<Line>,
    packed: Packed,
    sums: [BlockSums; TOGETHER],
}

/// A row that upper halves did not exclude.
#[derive(Clone, Copy)]
struct Pending {
    query: u32,
    place: u32,
    slot: u32,
    sum: i32,
}

impl Coding {
    /// A query for its best `k`, and the error that its keys share.
    pub(crate) fn push(&mut self, query: CodedQuery, shared: f64, k: usize) {
        self.queries.push(query);
        self.candidates.push(Candidates::new(k, Bound::each(shared)));
    }

    /// The candidates in the order of the queries.
    pub(crate) fn finish(mut self, sieve: &Sieve<'_>) -> Vec<Candidates> {
        sieve.refine(&mut self, usize::MAX);
        self.candidates
    }
}

/// Coded rows, and the slots of rows in the order in which they were encoded (`None`: that of the slots).
pub(crate) struct Sieve<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) blocks: Blocks<'a>,
    slots: Option<&'a [u32]>,
}

impl<'a> Sieve<'a> {
    pub(crate) fn new(kernels: &'static Kernels, coded: &'a Coded, slots: Option<&'a [u32]>) -> Option<Self> {
        Some(Self { kernels, blocks: coded.blocks()?, slots })
    }

    /// Offer all rows of `picks` to the queries `who`.
    pub(crate) fn see_all(&self, picks: &[Pick], coding: &mut Coding, who: &[u32]) {
        if let &[number] = who {
            let Coding { queries, candidates, .. } = coding;
            return see_alone(self, picks, &queries[number as usize], &mut candidates[number as usize]);
        }
        if let Some(whole) = self.kernels.whole.filter(|whole| who.len() >= whole.worthwhile) {
            return self.see_together(whole, picks, coding, who);
        }
        for (at, group) in picks.chunks(BLOCKS).enumerate() {
            let next = picks.get((at + 1) * BLOCKS..).unwrap_or_default();
            self.see(group, next, coding, who);
        }
    }

    /// Offer the rows to so many queries that it pays to put codes together for them, those of four blocks at a time.
    fn see_together(&self, whole: &WholeKernels, picks: &[Pick], coding: &mut Coding, who: &[u32]) {
        let Coding { queries, candidates, bytes, packed, .. } = coding;
        let asking: Vec<&CodedQuery> = who.iter().map(|&number| &queries[number as usize]).collect();
        let limit_of = |candidates: &[Candidates], number: usize| candidates[who[number] as usize].limit();
        let mut limits: Vec<f32> = (0..who.len()).map(|number| limit_of(candidates, number)).collect();
        let mut lower = Vec::new();
        packed.pack(&asking);
        for (at, group) in picks.chunks(BLOCKS).enumerate() {
            let (picked, count) = blocks_of::<BLOCKS>(group);
            let (next, coming) = blocks_of::<BLOCKS>(picks.get((at + 1) * BLOCKS..).unwrap_or_default());
            let (picked, live) = (&picked[..count], live_of(group));
            (whole.assemble)(&self.blocks, picked, &next[..coming], bytes);
            let mut offer = |number: usize, passed: u64, sums: &BlockSums| {
                let (query, found) = (asking[number], &mut candidates[who[number] as usize]);
                lower.push(number);
                for (at, row) in bits_of(passed & live) {
                    let place = picked[at] * BLOCK as u32 + row as u32;
                    let (key, error) = self.blocks.estimate(query, place, sums[at][row]);
                    found.offer(key, error, self.slot(group[at].start + row as u32));
                }
            };
            let blocks = &self.blocks;
            let met = Meeting { bytes, packed, blocks, picked, limits: &limits };
            (whole.screen)(&met, &mut offer);
            for number in lower.drain(..) {
                limits[number] = limit_of(candidates, number);
            }
        }
    }

    /// Offer the rows of up to four blocks. Their codes stay in the first-level cache while the queries come by, a tile
    /// of them at a time; the blocks of `next` are asked for meanwhile.
    fn see(&self, picks: &[Pick], next: &[Pick], coding: &mut Coding, who: &[u32]) {
        let (picked, count) = blocks_of::<BLOCKS>(picks);
        let (following, coming) = blocks_of::<MOST_AHEAD>(next);
        let live = live_of(picks);
        for (group, who) in who.chunks(TOGETHER).enumerate() {
            let Some(&first) = who.first() else { return };
            let Coding { queries, candidates, pending, sums, .. } = coding;
            let asking: [&CodedQuery; TOGETHER] =
                std::array::from_fn(|q| &queries[*who.get(q).unwrap_or(&first) as usize]);
            let (asking, sums) = (&asking[..who.len()], &mut sums[..who.len()]);
            let (mut limits, mut passed) = ([0.0f32; TOGETHER], [0u64; TOGETHER]);
            for (limit, &number) in limits.iter_mut().zip(who) {
                *limit = candidates[number as usize].limit();
            }
            let following = if group == 0 { &following[..coming] } else { &[] };
            (self.kernels.code_sums)(&self.blocks, &picked[..count], following, asking, sums);
            let (limits, passed) = (&limits[..who.len()], &mut passed[..who.len()]);
            (self.kernels.code_screen)(&self.blocks, &picked[..count], asking, limits, sums, passed);
            let before = pending.len();
            for (q, &query) in who.iter().enumerate() {
                for (at, row) in bits_of(passed[q] & live) {
                    let place = picked[at] * BLOCK as u32 + row as u32;
                    (self.kernels.prefetch)(self.blocks.lower(place));
                    pending.push(Pending {
                        query,
                        place,
                        slot: self.slot(picks[at].start + row as u32),
                        sum: sums[q][at][row],
                    });
                }
            }
            // What was asked for one step ago is there by now.
            if before >= PENDING {
                self.refine(coding, before);
            }
        }
    }

    /// Offer the first `count` pending rows by their whole codes.
    fn refine(&self, coding: &mut Coding, count: usize) {
        const ROWS: usize = 64;
        let Coding { queries, candidates, pending, .. } = coding;
        let count = count.min(pending.len());
        let same = |a: &Pending, b: &Pending| a.query == b.query;
        for rows in pending[..count].chunk_by(same).flat_map(|rows| rows.chunks(ROWS)) {
            let number = rows[0].query as usize;
            let (mut places, mut more) = ([0u32; ROWS], [0i32; ROWS]);
            places.iter_mut().zip(rows).for_each(|(place, row)| *place = row.place);
            let more = &mut more[..rows.len()];
            (self.kernels.lower_sums)(&self.blocks, &places[..rows.len()], &queries[number], more);
            for (row, &more) in rows.iter().zip(more.iter()) {
                let (key, error) = self.blocks.estimate(&queries[number], row.place, row.sum + more);
                candidates[number].offer(key, error, row.slot);
            }
        }
        pending.drain(..count);
    }

    /// The slot of the row at a position in the order in which rows were encoded.
    #[inline]
    pub(crate) fn slot(&self, position: u32) -> u32 {
        self.slots.map_or(position, |slots| slots[position as usize])
    }
}

/// The numbers of up to `N` blocks, and how many there are.
#[inline]
fn blocks_of<const N: usize>(picks: &[Pick]) -> ([u32; N], usize) {
    let mut blocks = [0; N];
    picks.iter().zip(&mut blocks).for_each(|(pick, block)| *block = pick.block);
    (blocks, picks.len().min(N))
}

/// Bit `16 j + row` = that row of the `j`-th of up to four blocks may be returned.
#[inline]
pub(crate) fn live_of(picks: &[Pick]) -> u64 {
    picks.iter().rev().fold(0, |live, pick| live << BLOCK | u64::from(pick.live))
}

/// Block and row of each bit.
#[inline]
pub(crate) fn bits_of(mut rows: u64) -> impl Iterator<Item = (usize, usize)> {
    std::iter::from_fn(move || {
        (rows != 0).then(|| {
            let bit = rows.trailing_zeros() as usize;
            rows &= rows - 1;
            (bit / BLOCK, bit % BLOCK)
        })
    })
}

/// For each query the rows of `range` that may be among its best `k`; `None` where codes tell too little. Rows were
/// encoded in the order of their slots, and the range starts at a multiple of 64.
pub(crate) fn search_range<'q>(
    kernels: &'static Kernels,
    coded: &Coded,
    queries: impl Iterator<Item = &'q [f32]>,
    k: usize,
    allowed: Option<Bitmap<'_>>,
    range: Range<usize>,
) -> Vec<Option<Candidates>> {
    let mut results = Vec::new();
    let mut coding = Coding::default();
    let mut places = Vec::new();
    for query in queries {
        if let Some((query, shared)) = coded.basis().query(kernels, query) {
            places.push(results.len());
            coding.push(query, shared, k);
        }
        results.push(None);
    }
    let Some(sieve) = Sieve::new(kernels, coded, None) else { return results };
    let mut who: Vec<u32> = (0..places.len() as u32).collect();
    let (mut seen, mut picks) = (0, Vec::with_capacity(TRIAL));
    for first in range.clone().step_by(64) {
        let left = range.end - first;
        let mut word = if left < 64 { (1u64 << left) - 1 } else { u64::MAX };
        if let Some(allowed) = allowed {
            word &= allowed.word(first / 64);
        }
        seen += word.count_ones() as usize;
        let quarters: [Pick; 64 / BLOCK] = std::array::from_fn(|quarter| {
            let start = (first + quarter * BLOCK) as u32;
            Pick { block: start / BLOCK as u32, start, live: (word >> (quarter * BLOCK)) as u16 }
        });
        if word == u64::MAX {
            picks.extend_from_slice(&quarters);
        } else {
            picks.extend(quarters.into_iter().filter(|pick| pick.live != 0));
        }
        if picks.len() >= TRIAL {
            sieve.see_all(&picks, &mut coding, &who);
            picks.clear();
            give_up(&mut who, &coding, k, seen);
            if who.is_empty() {
                return results;
            }
        }
    }
    sieve.see_all(&picks, &mut coding, &who);
    who.sort_unstable();
    for (number, candidates) in coding.finish(&sieve).into_iter().enumerate() {
        if who.binary_search(&(number as u32)).is_ok() {
            results[places[number]] = Some(candidates);
        }
    }
    results
}

/// Let go of queries that keep more than an eighth of what they saw: reading float32 rows is cheaper then.
fn give_up(who: &mut Vec<u32>, coding: &Coding, k: usize, seen: usize) {
    let most = (seen / 8).max(8 * k);
    who.retain(|&number| coding.candidates[number as usize].len() <= most);
}
