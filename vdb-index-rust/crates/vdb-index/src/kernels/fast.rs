//! Sums over 4-bit codes in blocks of 16 rows, tables looked up within registers (André, Kermarrec, Le Scouarnec: "Cache
//! locality is not enough", VLDB 2015; with 64-byte tables: "Quicker ADC", PAMI 2019).
//!
//! Eight pieces of 16 rows fill 64 bytes; the low half of a byte is a code of the first four pieces, the high half one of the
//! others. Tables of the same pieces fill 128 bytes, 16 a piece, the first four pieces first:
//!
//! ```text
//! Lanes  byte 16 p + row    pieces p and p + 4 of a row: a register of 16 bytes looks up one piece of 16 rows
//! Quads  byte 4 row + p     four pieces side by side: a register of 64 bytes looks up four pieces of 16 rows, and an
//!                           instruction that adds bytes in fours sums them
//! ```
//!
//! Pieces that are missing from the last eight have code 0 and tables of zeros.

use super::BLOCK;
use crate::shortlist::item;

/// Pieces that share 64 bytes of a block.
pub const FAST_GROUP: usize = 8;
/// Codewords a piece.
pub const FAST_WORDS: usize = 16;
/// Bytes of tables of eight pieces.
pub const FAST_TABLE: usize = FAST_GROUP * FAST_WORDS;
/// Pieces whose smallest values kernels of tables keep on the stack.
#[cfg(target_arch = "x86_64")]
pub(super) const MOST_PIECES: usize = 512;
/// Queries that share the reading of codes, at most.
pub const TABLES_TOGETHER: usize = 4;

/// A sum for each row of a block.
pub type FastSums = [u16; BLOCK];
/// `sums[q * blocks + block][row]` = sum over pieces of the entry of the `q`-th tables that the code of the row names; sums
/// fit 16 bits, and parts of them 8, see [`Steps`]. Up to [`TABLES_TOGETHER`] queries.
pub type FastScanKernel = fn(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]);
/// Bit `row` of `passed[block]` is clear only where `step * sum + term` is greater than `limit`, `terms` being all 0 where
/// there are none.
pub type FastScreenKernel =
    fn(sums: &[FastSums], terms: &[[f32; BLOCK]], step: f32, limit: f32, passed: &mut [u16]);
/// Append the items of rows, of those in `picked`, whose keys are not greater than the limit; see [`crate::shortlist`].
pub type FastKeepKernel = fn(sums: &[FastSums], picked: &[u16], keys: &FastKeys<'_>, items: &mut Vec<u64>);
/// Round tables of `words` values a piece to [`Steps`] above the smallest value of each piece, the same for all; the size of
/// a step, and the sum of the smallest values.
pub type FastTablesKernel = fn(values: &[f32], words: usize, steps: &mut [u8]) -> (f32, f32);

/// Keys of rows are `list + (least + step * sum + term)`, rounded in this order.
#[derive(Clone, Copy, Debug)]
pub struct FastKeys<'a> {
    /// Of the rows of each block those that count at all.
    pub live: &'a [u16],
    /// A term of each row of each block, or none.
    pub terms: &'a [[f32; BLOCK]],
    /// What a sum counts in.
    pub step: f32,
    /// The key of a row whose sum is 0, but for its list.
    pub least: f32,
    /// What all rows of the list share.
    pub list: f32,
    /// The greatest key that is of use.
    pub limit: f32,
    /// Number of the first row.
    pub first: u32,
}

/// How codes of a block lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastLayout {
    /// Rows of a piece side by side.
    Lanes,
    /// Pieces of a row side by side.
    Quads,
}

impl FastLayout {
    /// Where a code lies in its block: byte and shift.
    #[inline]
    pub fn place(self, row: usize, piece: usize) -> (usize, u32) {
        let (group, piece) = (piece / FAST_GROUP, piece % FAST_GROUP);
        let (lane, high) = (piece % 4, piece / 4);
        let byte = match self {
            FastLayout::Lanes => lane * BLOCK + row,
            FastLayout::Quads => row * 4 + lane,
        };
        (group * 64 + byte, 4 * high as u32)
    }
}

/// The number of blocks.
#[inline(always)]
pub(super) fn check(codes: &[u8], tables: &[&[u8]], sums: &[FastSums]) -> usize {
    let Some(first) = tables.first() else { return 0 };
    assert!(tables.len() <= TABLES_TOGETHER, "up to four queries a call");
    assert!(first.len().is_multiple_of(FAST_TABLE), "pieces come in eights");
    assert!(tables.iter().all(|tables| tables.len() == first.len()), "queries have the same pieces");
    let blocks = sums.len() / tables.len();
    assert_eq!(sums.len(), blocks * tables.len(), "sums for each query");
    assert_eq!(codes.len(), blocks * first.len() / 2, "codes of each block");
    blocks
}

#[inline(always)]
pub(super) fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check(codes, tables, sums);
    if blocks == 0 {
        return;
    }
    for (tables, sums) in tables.iter().zip(sums.chunks_mut(blocks)) {
        let (tables, _) = tables.as_chunks::<FAST_TABLE>();
        for (block, sums) in codes.chunks(tables.len() * 64).zip(sums) {
            *sums = [0; BLOCK];
            for (codes, table) in block.as_chunks::<64>().0.iter().zip(tables) {
                for (lane, codes) in codes.as_chunks::<BLOCK>().0.iter().enumerate() {
                    for (sum, &code) in sums.iter_mut().zip(codes) {
                        let low = table[lane * FAST_WORDS + usize::from(code & 15)];
                        let high = table[(lane + 4) * FAST_WORDS + usize::from(code >> 4)];
                        *sum = sum.wrapping_add(u16::from(low) + u16::from(high));
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn check_screen(sums: &[FastSums], terms: &[[f32; BLOCK]], passed: &[u16]) {
    assert!(terms.is_empty() || terms.len() == sums.len(), "a term for each row, or none");
    assert_eq!(sums.len(), passed.len(), "a place for each block");
}

#[inline(always)]
pub(super) fn check_keep(sums: &[FastSums], picked: &[u16], keys: &FastKeys<'_>) {
    check_screen(sums, keys.terms, picked);
    assert_eq!(keys.live.len(), picked.len(), "which rows of each block count");
}

/// The largest sum that passes where there are no terms.
#[inline(always)]
pub(super) fn most(step: f32, limit: f32) -> u16 {
    let most = limit / step;
    if most.is_nan() { u16::MAX } else { most as u16 }
}

#[inline(always)]
pub(super) fn fast_screen(
    sums: &[FastSums],
    terms: &[[f32; BLOCK]],
    step: f32,
    limit: f32,
    passed: &mut [u16],
) {
    check_screen(sums, terms, passed);
    if terms.is_empty() {
        let most = if limit < 0.0 { None } else { Some(most(step, limit)) };
        for (sums, passed) in sums.iter().zip(passed) {
            let bits = |most| sums.iter().rev().fold(0, |bits, &sum| bits << 1 | u16::from(sum <= most));
            *passed = most.map_or(0, bits);
        }
        return;
    }
    for ((sums, terms), passed) in sums.iter().zip(terms).zip(passed) {
        let mut out = [0u16; BLOCK];
        for row in 0..BLOCK {
            out[row] = u16::from(f32::from(sums[row]) * step + terms[row] > limit);
        }
        *passed = !out.iter().rev().fold(0, |bits, &out| bits << 1 | out);
    }
}

#[inline(always)]
pub(super) fn fast_keep(sums: &[FastSums], picked: &[u16], keys: &FastKeys<'_>, items: &mut Vec<u64>) {
    check_keep(sums, picked, keys);
    let FastKeys { live, terms, step, least, list, limit, first } = *keys;
    for (block, ((sums, &picked), &live)) in sums.iter().zip(picked).zip(live).enumerate() {
        let mut rows = picked & live;
        while rows != 0 {
            let row = rows.trailing_zeros() as usize;
            rows &= rows - 1;
            let term = terms.get(block).map_or(0.0, |terms| terms[row]);
            let key = list + (least + step * f32::from(sums[row]) + term);
            if key > limit {
                continue;
            }
            items.push(item(key, first + (block * BLOCK + row) as u32));
        }
    }
}

#[inline(always)]
pub(super) fn check_tables(pieces: usize, steps: &[u8]) {
    let expected = pieces.next_multiple_of(FAST_GROUP) * FAST_WORDS;
    assert_eq!(steps.len(), expected, "16 steps a piece, pieces in eights");
}

/// How large steps have to be: as small as they can be while four values fit a byte, one of each of the pieces 0, 2, 4 and 6 of
/// a group, or of 1, 3, 5 and 7, and all of them 16 bits.
///
/// Recall does not suffer, as codes blur estimates far more (measured: the documentation of indexes).
pub(super) struct Steps {
    /// Sums of the spans of such pieces of the last group.
    spans: [f32; 2],
    widest: f32,
}

impl Steps {
    pub(super) const NONE: Steps = Steps { spans: [0.0; 2], widest: 0.0 };

    /// From the smallest to the largest value of a piece it is so far; pieces come in order.
    #[inline(always)]
    pub(super) fn see(&mut self, piece: usize, span: f32) {
        if piece.is_multiple_of(FAST_GROUP) {
            self.spans = [0.0; 2];
        }
        let spans = &mut self.spans[piece % 2];
        *spans += span;
        self.widest = if *spans > self.widest { *spans } else { self.widest };
    }

    /// The size of a step, and the most of them that a value may be.
    #[inline(always)]
    pub(super) fn finish(self, pieces: usize) -> (f32, f32) {
        const TOGETHER: usize = 4;
        let sums = pieces.div_ceil(FAST_GROUP).max(1) * FAST_GROUP / TOGETHER;
        // Rounding adds up to half a step to each value.
        let levels = (usize::from(u16::MAX) / sums).min(255).saturating_sub(TOGETHER / 2) as f32;
        if self.widest > 0.0 && self.widest < f32::INFINITY && levels > 0.0 {
            (self.widest / levels, levels)
        } else {
            (1.0, (levels / TOGETHER as f32).floor())
        }
    }
}

#[inline(always)]
pub(super) fn fast_tables(values: &[f32], words: usize, steps: &mut [u8]) -> (f32, f32) {
    assert!(words <= FAST_WORDS, "up to 16 words a piece");
    let pieces = values.len() / words.max(1);
    check_tables(pieces, steps);
    let (mut widest, mut least) = (Steps::NONE, 0.0f32);
    let smaller = |a: f32, b: f32| if b < a { b } else { a };
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    for (at, piece) in values.chunks(words).enumerate() {
        let (low, high) = ends(piece, smaller, greater);
        least += low;
        widest.see(at, high - low);
    }
    let (step, most) = widest.finish(pieces);
    let inverse = 1.0 / step;
    let (full, rest) = steps.split_at_mut(pieces * FAST_WORDS);
    for (piece, steps) in values.chunks(words).zip(full.as_chunks_mut::<FAST_WORDS>().0) {
        let (low, _) = ends(piece, smaller, greater);
        let round = |value: f32| smaller((value - low) * inverse + 0.5, most) as u8;
        if let Ok(piece) = <&[f32; FAST_WORDS]>::try_from(piece) {
            for word in 0..FAST_WORDS {
                steps[word] = round(piece[word]);
            }
        } else {
            *steps = [0; FAST_WORDS];
            steps.iter_mut().zip(piece).for_each(|(step, &value)| *step = round(value));
        }
    }
    rest.fill(0);
    (step, least)
}

/// The smallest and the largest value of a piece.
#[inline(always)]
fn ends(piece: &[f32], smaller: impl Fn(f32, f32) -> f32, greater: impl Fn(f32, f32) -> f32) -> (f32, f32) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let (chunks, rest) = piece.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            low[lane] = smaller(low[lane], chunk[lane]);
            high[lane] = greater(high[lane], chunk[lane]);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        low[lane] = smaller(low[lane], value);
        high[lane] = greater(high[lane], value);
    }
    (low.into_iter().fold(f32::INFINITY, &smaller), high.into_iter().fold(f32::NEG_INFINITY, &greater))
}
