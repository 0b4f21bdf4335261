//! The rows of many blocks that one query cannot exclude by the upper halves of their codes: what a search keeps that looks
//! at the most promising rows first.

use std::ops::Range;

use super::blocks::{BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodedQuery, MOST_AHEAD};

/// Up to 16 rows of one block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick {
    /// Number of the block.
    pub block: u32,
    /// Position of its first row in the order in which rows were encoded, blocks that are not full closed up.
    pub start: u32,
    /// Bit `i`: the `i`-th row may be returned.
    pub live: u16,
}

/// Rows that were not excluded, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sifted {
    /// The smallest key that each may have: minus infinity where nothing is known.
    pub bases: Vec<f32>,
    /// Its [`BlockSums`].
    pub sums: Vec<i32>,
    /// 16 times the number of its block among those that were picked, and the number of the row.
    pub places: Vec<u32>,
}

impl Sifted {
    /// None, with the room that there is.
    pub fn clear(&mut self) {
        self.bases.clear();
        self.sums.clear();
        self.places.clear();
    }

    /// Have room for so many more.
    fn reserve(&mut self, more: usize) {
        self.bases.reserve(more);
        self.sums.reserve(more);
        self.places.reserve(more);
    }

    /// Where bases, sums and places of so many more may be written.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn room(&mut self, more: usize) -> (*mut f32, *mut i32, *mut u32) {
        self.reserve(more);
        let (bases, sums) = (self.bases.spare_capacity_mut(), self.sums.spare_capacity_mut());
        let places = self.places.spare_capacity_mut();
        (bases.as_mut_ptr().cast(), sums.as_mut_ptr().cast(), places.as_mut_ptr().cast())
    }

    /// Count what was written there.
    ///
    /// # Safety
    /// There was room for `count` more, and so many of each were written, from the beginning of the room on.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn count_in(&mut self, count: usize) {
        // SAFETY: the caller vouches for room and values.
        unsafe {
            self.bases.set_len(self.bases.len() + count);
            self.sums.set_len(self.sums.len() + count);
            self.places.set_len(self.places.len() + count);
        }
    }

    #[inline(always)]
    fn push(&mut self, base: f32, sum: i32, place: u32) {
        self.bases.push(base);
        self.sums.push(sum);
        self.places.push(place);
    }
}

/// Append the live rows of `picks[range]` whose smallest possible key is not above `limit`. The blocks that come after them are
/// asked for meanwhile.
pub type SiftKernel = fn(
    blocks: &Blocks<'_>,
    picks: &[Pick],
    range: Range<usize>,
    query: &CodedQuery,
    limit: f32,
    sifted: &mut Sifted,
);

/// `found` = the numbers of the bases that are numbers and not above `limit`, in their order.
pub type WithinKernel = fn(bases: &[f32], limit: f32, found: &mut Vec<u32>);

#[inline(always)]
pub(super) fn within(bases: &[f32], limit: f32, found: &mut Vec<u32>) {
    found.clear();
    found.resize(bases.len(), 0);
    let mut count = 0;
    // Which of them it is cannot be foreseen: each is put down, and stays if it is one.
    for (number, &base) in (0..).zip(bases) {
        found[count] = number;
        count += usize::from(base <= limit);
    }
    found.truncate(count);
}

/// With the sums of an instruction set.
#[inline(always)]
pub(super) fn sift(
    blocks: &Blocks<'_>,
    picks: &[Pick],
    range: Range<usize>,
    query: &CodedQuery,
    limit: f32,
    sifted: &mut Sifted,
    code_sums: impl Fn(&Blocks<'_>, &[u32], &[u32], &[&CodedQuery], &mut [BlockSums]),
) {
    sifted.reserve(range.len() * BLOCK);
    let mut sums = [BlockSums::default()];
    let last = picks.len().min(range.end + MOST_AHEAD);
    let numbers: Vec<u32> = picks[range.start..last].iter().map(|pick| pick.block).collect();
    let mut left = numbers.as_slice();
    for (group, first) in picks[range.clone()].chunks(BLOCKS).zip(range.step_by(BLOCKS)) {
        let (picked, coming) = left.split_at(group.len());
        left = coming;
        code_sums(blocks, picked, &coming[..MOST_AHEAD.min(coming.len())], &[query], &mut sums);
        for ((pick, sums), at) in group.iter().zip(&sums[0]).zip(first..) {
            let bases = bases(blocks, pick.block, query, sums);
            let near = bases.map(|base| 1 - u32::from(base > limit));
            let near = near.iter().enumerate().fold(0, |near, (row, &bit)| near | bit << row);
            let mut near = near & u32::from(pick.live);
            while near != 0 {
                let row = near.trailing_zeros() as usize;
                near &= near - 1;
                sifted.push(bases[row], sums[row], (at * BLOCK + row) as u32);
            }
        }
    }
}

/// Define `sift` with the sums of an instruction set that has no more of its own for it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! sift_with {
    ($feature:literal, $code_sums:path) => {
        #[inline]
        #[target_feature(enable = $feature)]
        fn sift(
            blocks: &Blocks<'_>,
            picks: &[super::sift::Pick],
            range: std::ops::Range<usize>,
            query: &CodedQuery,
            limit: f32,
            sifted: &mut super::sift::Sifted,
        ) {
            super::sift::sift(
                blocks,
                picks,
                range,
                query,
                limit,
                sifted,
                |blocks, picked, next, queries, sums| $code_sums(blocks, picked, next, queries, sums),
            );
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use sift_with;

/// The smallest key that each row of a block may have.
#[inline(always)]
fn bases(blocks: &Blocks<'_>, block: u32, query: &CodedQuery, sums: &[i32; BLOCK]) -> [f32; BLOCK] {
    let (BlockBounds { scale, rough, half, .. }, length) = (blocks.bounds(block), blocks.length(block));
    let mut bases = [0.0; BLOCK];
    for row in 0..BLOCK {
        let key = half[row] - sums[row] as f32 * scale[row] * query.scale;
        let error = query.by_residual * rough[row] + query.by_norm * length;
        let base = key - (error + query.by_half * half[row]);
        bases[row] = if base < f32::INFINITY { base } else { f32::NEG_INFINITY };
    }
    bases
}
