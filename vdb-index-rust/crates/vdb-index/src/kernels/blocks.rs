//! Rows as 8-bit codes in two planes, the queries that meet them, and the loops that every instruction set can run.
//!
//! A code from -127 to 127, plus 128, is a byte: its upper half is kept in blocks of 16 rows, which every query reads, its
//! lower half row by row, which only the rows get to see that the upper half could not exclude:
//!
//! ```text
//! upper[(block * groups + group) * 64 + 4 row + i]    dimensions 8 group + i (low half of the byte) and 8 group + 4 + i
//! lower[(16 block + row) * 4 groups + 4 group + i]    of a row of a block; the same dimensions in the same halves
//! ```
//!
//! so that one register of 64 bytes holds eight dimensions of 16 rows, and no sum ever crosses lanes. What an upper half `h`
//! stands for is `16 h - 120.5`, the middle of the codes that share it; sums are kept twice as large, as whole numbers.

use crate::huge::Zeroed;

/// Rows in a block.
pub const BLOCK: usize = 16;
/// Blocks that a call of a kernel takes at most.
pub const BLOCKS: usize = 4;
/// Blocks that a kernel of sums may ask for ahead.
pub(crate) const MOST_AHEAD: usize = 16;
/// Bytes by which one query asks for memory before it reads it: what memory brings in half a microsecond.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 12 << 10;
/// Dimensions that meet in one 32-bit lane.
pub(crate) const STEP: usize = 4;
/// Dimensions that share the halves of four bytes.
pub(crate) const GROUP: usize = 2 * STEP;
/// Bytes of a group of a block.
pub(crate) const LINE: usize = BLOCK * STEP;
/// The byte of code 0.
pub(crate) const ZERO: u8 = 128;
/// Twice what the middle of the codes of upper half 0 is below code 0.
pub(crate) const MIDDLE: i32 = 241;
/// Sums of codes stay below 2^31 up to this many dimensions.
pub(crate) const MAX_DIM: usize = 1 << 15;

/// Twice the inner products of a query's codes and what the upper halves of up to four blocks stand for, exactly.
pub type BlockSums = [[i32; BLOCK]; BLOCKS];

/// `sums[q][j][row]` = that of query `q` and that row of block `picked[j]`. The blocks of `next`
/// which come after them are asked for meanwhile: lists lie anywhere, so that the hardware cannot foresee them.
pub type CodeSumsKernel =
    fn(blocks: &Blocks<'_>, picked: &[u32], next: &[u32], queries: &[&CodedQuery], sums: &mut [BlockSums]);
/// Bit `16 j + row` of `passed[q]` = the row of block `picked[j]` may have a key of at most `limits[q]`.
pub type CodeScreenKernel = fn(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
);
/// What the lower halves of the rows at `picked` places add to their [`BlockSums`].
pub type LowerSumsKernel = fn(blocks: &Blocks<'_>, picked: &[u32], query: &CodedQuery, sums: &mut [i32]);
/// `sums[i]` = twice the inner product of the codes of a query and of row `picked[i]`. Rows lie one after the other,
/// `stride` bytes each, the codes, a byte each, first.
pub type RowSumsKernel = fn(rows: &[u8], stride: usize, picked: &[u32], query: &CodedQuery, sums: &mut [i32]);
/// Fill `codes` with those of `row - mean`.
pub type EncodeKernel = fn(row: &[f32], mean: &[f32], codes: &mut [i8]) -> Encoded;

/// What is known about the rows of a block, four lines of 64 bytes that every query reads.
///
/// The numbers may be infinite, but are neither negative nor NaN. Half of a square is infinite where nothing is known, and the
/// residual with it, or where there is no row.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockBounds {
    /// Sizes of a unit of the codes.
    pub scale: [f32; BLOCK],
    /// Norms of what the upper halves leave out.
    pub rough: [f32; BLOCK],
    /// Norms of what the codes leave out.
    pub residual: [f32; BLOCK],
    /// Halves of squared norms under l2, else 0.
    pub half: [f32; BLOCK],
}

// SAFETY: numbers, of which 0 is one.
unsafe impl Zeroed for BlockBounds {}

/// Put down what is known about a row of a block, and the norm of what its upper halves leave out; `length` is the largest
/// norm of what the codes of a row of the block, or their upper halves alone, stand for, or more.
pub fn put_bound(block: &mut BlockBounds, length: &mut f32, row: usize, bound: RowBound, rough: f32) {
    // What upper halves stand for is at most as long as the row and what they leave out. Each sum is rounded up.
    let of_row = ((bound.norm + bound.residual).next_up() + rough).next_up();
    (block.scale[row], block.rough[row], block.residual[row]) = (bound.scale, rough, bound.residual);
    block.half[row] = bound.half;
    *length = if of_row > *length || of_row.is_nan() { of_row } else { *length };
}

/// What a view of coded rows is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planes<'a> {
    /// The upper halves of the codes.
    pub upper: &'a [u8],
    /// The lower halves; none where nobody asks for them.
    pub lower: &'a [u8],
    /// What is known beside them, block by block.
    pub bounds: &'a [BlockBounds],
    /// For each block the largest norm of what codes stand for.
    pub lengths: &'a [f32],
}

/// A checked view of coded rows.
///
/// # Invariants
/// With `n` blocks: `upper` has `64 * groups * n` bytes and `lower` as many or none, and `bounds` and `lengths` have `n`
/// values each; `groups <= MAX_DIM / 8`.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    planes: Planes<'a>,
    groups: usize,
}

impl<'a> Blocks<'a> {
    /// View arrays as blocks; `None` when their sizes do not agree.
    pub fn new(planes: Planes<'a>, groups: usize) -> Option<Self> {
        let Planes { upper, lower, bounds, lengths } = planes;
        let sizes = groups <= MAX_DIM / GROUP
            && bounds.len().checked_mul(LINE * groups) == Some(upper.len())
            && lengths.len() == bounds.len()
            && (lower.len() == upper.len() || lower.is_empty());
        sizes.then_some(Self { planes, groups })
    }

    /// Groups of eight dimensions.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// The upper halves of a block; a number past the end panics.
    #[inline(always)]
    pub(super) fn codes(&self, block: u32) -> &'a [u8] {
        let bytes = LINE * self.groups;
        &self.planes.upper[block as usize * bytes..][..bytes]
    }

    /// The lower halves of a row; a place past the end panics.
    #[inline(always)]
    pub(crate) fn lower(&self, place: u32) -> &'a [u8] {
        let bytes = STEP * self.groups;
        &self.planes.lower[place as usize * bytes..][..bytes]
    }

    /// The lower halves of a block, row after row; a number past the end panics.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn lower_of(&self, block: u32) -> &'a [u8] {
        let bytes = LINE * self.groups;
        &self.planes.lower[block as usize * bytes..][..bytes]
    }

    /// By how many blocks one query, which memory bounds, asks for memory before it reads it.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn ahead(&self) -> usize {
        (AHEAD / (self.groups * LINE).max(1)).clamp(BLOCKS, MOST_AHEAD)
    }

    /// Ask for what is known about the rows of a block.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn prefetch_bounds(&self, block: u32) {
        let bounds = self.bounds(block);
        [&bounds.scale, &bounds.rough, &bounds.residual, &bounds.half]
            .into_iter()
            .for_each(|line| super::generic::prefetch_row(line));
    }

    /// What is known about the rows of a block; a number past the end panics.
    #[inline(always)]
    pub(super) fn bounds(&self, block: u32) -> &'a BlockBounds {
        &self.planes.bounds[block as usize]
    }

    /// The largest norm of what the codes of a row of a block stand for; a number past the end panics.
    #[inline(always)]
    pub(super) fn length(&self, block: u32) -> f32 {
        self.planes.lengths[block as usize]
    }

    /// `factor` times the keys of the rows of a block.
    #[inline]
    pub(crate) fn keys(
        &self,
        query: &CodedQuery,
        block: u32,
        sums: &[i32; BLOCK],
        factor: f32,
        keys: &mut [f32; BLOCK],
    ) {
        let BlockBounds { scale, half, .. } = self.bounds(block);
        let unit = factor * query.scale;
        for (row, key) in keys.iter_mut().enumerate() {
            *key = factor * half[row] - sums[row] as f32 * scale[row] * unit;
        }
    }

    /// Key of a row by its whole code, and how far from it the true key may be; see the `basis` module.
    #[inline]
    pub(crate) fn estimate(&self, query: &CodedQuery, place: u32, sum: i32) -> (f32, f32) {
        let (block, row) = (place / BLOCK as u32, place as usize % BLOCK);
        let BlockBounds { scale, residual, half, .. } = self.bounds(block);
        RowBound { scale: scale[row], residual: residual[row], norm: self.length(block), half: half[row] }
            .estimate(query, sum)
    }
}

/// What is known about a row beside its codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowBound {
    /// Size of a unit of the codes.
    pub scale: f32,
    /// Norm of what the codes leave out, or more.
    pub residual: f32,
    /// Norm of what the codes stand for, or more.
    pub norm: f32,
    /// Half of the squared norm of both under l2, else 0.
    pub half: f32,
}

impl RowBound {
    /// A row that codes say nothing about.
    pub const UNKNOWN: RowBound = RowBound { scale: 0.0, residual: f32::INFINITY, norm: 0.0, half: 0.0 };

    /// Key of a row and how far from it the true key may be; see the `basis` module.
    #[inline]
    pub fn estimate(&self, query: &CodedQuery, sum: i32) -> (f32, f32) {
        let key = self.half - sum as f32 * self.scale * query.scale;
        let error = query.by_residual * self.residual + query.by_norm * self.norm;
        (key, error + query.by_half * self.half)
    }
}

/// A query as codes, and what its keys may be off by.
#[derive(Clone, Debug, Default)]
pub struct CodedQuery {
    /// Codes in fours, zeros at the end; fours come in pairs.
    pub(crate) codes: Vec<[i8; STEP]>,
    /// The first four of each eight, then the second four of each: what the halves of bytes meet.
    pub(crate) halves: [Vec<[i8; STEP]>; 2],
    /// Sum of the codes.
    pub(crate) total: i32,
    /// Half the size of a unit of the codes, for sums are twice as large.
    pub(crate) scale: f32,
    /// Factors of a row's residual, norm and half squared norm in the error.
    pub(crate) by_residual: f32,
    pub(crate) by_norm: f32,
    pub(crate) by_half: f32,
}

impl CodedQuery {
    /// A query of these codes, which scales nothing and knows no error.
    pub fn new(codes: &[i8]) -> Self {
        let total = codes.iter().map(|&code| i32::from(code)).sum();
        let mut padded = codes.to_vec();
        padded.resize(codes.len().next_multiple_of(GROUP), 0);
        let codes = padded.as_chunks::<STEP>().0.to_vec();
        let half = |first: usize| codes.iter().copied().skip(first).step_by(2).collect();
        Self { halves: [half(0), half(1)], codes, total, scale: 0.5, ..Self::default() }
    }

    /// What is added to sums of upper halves, 32 times as large each.
    #[inline(always)]
    pub(super) fn start(&self) -> i32 {
        -MIDDLE * self.total
    }
}

/// The row with the smallest key so far, in each of the 16 places that rows have in blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestRow {
    pub(super) keys: [f32; BLOCK],
    pub(super) blocks: [u32; BLOCK],
}

impl NearestRow {
    /// Nothing seen yet.
    pub const NONE: NearestRow = NearestRow { keys: [f32::INFINITY; BLOCK], blocks: [0; BLOCK] };

    /// The smallest key, and the number of its row; the smallest number of equals.
    pub fn smallest(&self) -> (f32, u32) {
        // Where nothing compares (NaN, overflow) the first row is as good as any.
        let mut smallest = (f32::INFINITY, 0);
        for (row, (&key, &block)) in self.keys.iter().zip(&self.blocks).enumerate() {
            let number = block * BLOCK as u32 + row as u32;
            if key < smallest.0 || (key == smallest.0 && number < smallest.1) {
                smallest = (key, number);
            }
        }
        smallest
    }
}

/// What became of a vector besides its codes.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Size of a unit of the codes.
    pub scale: f32,
    /// Norm of what the codes leave out; infinite where the vector has no meaningful codes.
    pub residual: f64,
    /// Norm of what the codes stand for.
    pub norm: f64,
    /// Norm of the whole, mean taken off.
    pub whole: f64,
}

/// Block `at` of the picked ones and of those that come after them, if there are as many.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn coming(picked: &[u32], next: &[u32], at: usize) -> Option<u32> {
    picked.get(at).or_else(|| next.get(at - picked.len())).copied()
}

pub(super) fn check(blocks: &Blocks<'_>, picked: &[u32], queries: &[&CodedQuery], sums: &[BlockSums]) {
    assert!(picked.len() <= BLOCKS, "up to four blocks a call");
    assert_eq!(queries.len(), sums.len(), "room for each query");
    assert!(
        queries.iter().all(|query| query.codes.len() == 2 * blocks.groups),
        "a query is as long as a row"
    );
}

#[inline(always)]
pub(super) fn row_sums(rows: &[u8], stride: usize, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    assert_eq!(picked.len(), sums.len(), "a sum for each row");
    let values = query.codes.as_flattened();
    for (&at, sum) in picked.iter().zip(sums) {
        let row = &rows[at as usize * stride..][..values.len()];
        let products = row.iter().zip(values).map(|(&row, &query)| i32::from(row) * i32::from(query));
        *sum = 2 * (products.sum::<i32>() - i32::from(ZERO) * query.total);
    }
}

#[inline(always)]
pub(super) fn code_sums(
    blocks: &Blocks<'_>,
    picked: &[u32],
    _next: &[u32],
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    check(blocks, picked, queries, sums);
    for (query, sums) in queries.iter().zip(sums) {
        for (&block, sums) in picked.iter().zip(sums) {
            let mut total = [0i32; BLOCK];
            let (codes, _) = blocks.codes(block).as_chunks::<LINE>();
            for (codes, pair) in codes.iter().zip(query.codes.as_chunks::<2>().0) {
                for (codes, sum) in codes.as_chunks::<STEP>().0.iter().zip(total.iter_mut()) {
                    for (i, &code) in codes.iter().enumerate() {
                        *sum += i32::from(code & 15) * i32::from(pair[0][i]);
                        *sum += i32::from(code >> 4) * i32::from(pair[1][i]);
                    }
                }
            }
            *sums = total.map(|sum| 32 * sum + query.start());
        }
    }
}

#[inline(always)]
pub(super) fn check_lower(blocks: &Blocks<'_>, picked: &[u32], query: &CodedQuery, sums: &[i32]) {
    assert_eq!(picked.len(), sums.len(), "a sum for each row");
    assert_eq!(query.codes.len(), 2 * blocks.groups, "a query is as long as a row");
}

#[inline(always)]
pub(super) fn lower_sums(blocks: &Blocks<'_>, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    check_lower(blocks, picked, query, sums);
    let [first, second] = [query.halves[0].as_flattened(), query.halves[1].as_flattened()];
    for (&place, sum) in picked.iter().zip(sums) {
        let products = blocks.lower(place).iter().zip(first).zip(second).map(|((&code, &first), &second)| {
            i32::from(code & 15) * i32::from(first) + i32::from(code >> 4) * i32::from(second)
        });
        *sum = 2 * products.sum::<i32>() - (2 * i32::from(ZERO) - MIDDLE) * query.total;
    }
}

#[inline(always)]
pub(super) fn code_screen(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    for (((query, &limit), sums), passed) in queries.iter().zip(limits).zip(sums).zip(passed) {
        *passed = 0;
        for (j, (&block, sums)) in picked.iter().zip(sums).enumerate() {
            let (BlockBounds { scale, rough, half, .. }, length) =
                (blocks.bounds(block), blocks.length(block));
            let mut out = [0u32; BLOCK];
            for row in 0..BLOCK {
                let key = half[row] - sums[row] as f32 * scale[row] * query.scale;
                let error = query.by_residual * rough[row] + query.by_norm * length;
                let base = key - (error + query.by_half * half[row]);
                out[row] = u32::from((base > limit) & (base < f32::INFINITY));
            }
            if out.iter().sum::<u32>() < BLOCK as u32 {
                for (row, &out) in out.iter().enumerate() {
                    *passed |= u64::from(1 - out) << (j * BLOCK + row);
                }
            }
        }
    }
}

pub(super) fn check_nearest(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    sums: &[BlockSums],
    nearest: &[NearestRow],
) {
    check(blocks, picked, queries, sums);
    assert_eq!(queries.len(), nearest.len(), "a place for each query");
}

#[inline(always)]
pub(super) fn keep_nearest(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    sums: &[BlockSums],
    nearest: &mut [NearestRow],
) {
    check_nearest(blocks, picked, queries, sums, nearest);
    for ((query, sums), nearest) in queries.iter().zip(sums).zip(nearest) {
        for (&block, sums) in picked.iter().zip(sums) {
            let BlockBounds { scale, half, .. } = blocks.bounds(block);
            for row in 0..BLOCK {
                let key = half[row] - sums[row] as f32 * scale[row] * query.scale;
                let smaller = key < nearest.keys[row];
                nearest.keys[row] = if smaller { key } else { nearest.keys[row] };
                nearest.blocks[row] = if smaller { block } else { nearest.blocks[row] };
            }
        }
    }
}

/// A whole number from -127 to 127 as an integer. A cast would look at each by itself whether it fits: added to a number whose last
/// bit is 1, it is in the last bits of the sum.
#[inline(always)]
fn whole_number(value: f32) -> i32 {
    const LAST_BIT_IS_ONE: f32 = (3 << 22) as f32;
    (value + LAST_BIT_IS_ONE).to_bits() as i32 - LAST_BIT_IS_ONE.to_bits() as i32
}

/// Scale a vector so that its largest value becomes 127, and round. Sums are made in float64, where neither their
/// size nor their rounding matters.
#[inline(always)]
pub(super) fn encode(row: &[f32], mean: &[f32], codes: &mut [i8]) -> Encoded {
    const LANES: usize = 16;
    assert!(row.len() == mean.len() && row.len() == codes.len(), "one mean and one code a value");
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (means, mean_rest) = mean.as_chunks::<LANES>();
    let mut most = [0.0f32; LANES];
    for (row, mean) in rows.iter().zip(means) {
        for lane in 0..LANES {
            let value = (row[lane] - mean[lane]).abs();
            most[lane] = if value > most[lane] { value } else { most[lane] };
        }
    }
    let rest = row_rest.iter().zip(mean_rest).map(|(row, mean)| (row - mean).abs());
    let most = most.into_iter().chain(rest).fold(0.0, f32::max);
    let scale = most / 127.0;
    // Tiny units are not worth the trouble of numbers that lose bits or are flushed to zero.
    let scale = if (1e-30..1e30).contains(&scale) { scale } else { 0.0 };
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let unit = f64::from(scale);
    let (mut residual, mut whole, mut squares) = ([0.0f64; LANES], [0.0f64; LANES], [0i32; LANES]);
    let mut one = |lane: usize, row: f32, mean: f32| {
        let code = ((row - mean) * inverse).round_ties_even().clamp(-127.0, 127.0);
        let value = f64::from(row) - f64::from(mean);
        let left = value - unit * f64::from(code);
        residual[lane] += left * left;
        whole[lane] += value * value;
        // What is no number becomes 0; the sums above then say that the codes mean nothing.
        let code = whole_number(if code.is_nan() { 0.0 } else { code });
        squares[lane] += code * code;
        code as i8
    };
    let (chunks, codes_rest) = codes.as_chunks_mut::<LANES>();
    for ((row, mean), codes) in rows.iter().zip(means).zip(chunks) {
        for lane in 0..LANES {
            codes[lane] = one(lane, row[lane], mean[lane]);
        }
    }
    for (lane, ((&row, &mean), code)) in row_rest.iter().zip(mean_rest).zip(codes_rest).enumerate() {
        *code = one(lane, row, mean);
    }
    let squares: i64 = squares.into_iter().map(i64::from).sum();
    Encoded {
        scale,
        residual: residual.into_iter().sum::<f64>().sqrt(),
        norm: unit * (squares as f64).sqrt(),
        whole: whole.into_iter().sum::<f64>().sqrt(),
    }
}
