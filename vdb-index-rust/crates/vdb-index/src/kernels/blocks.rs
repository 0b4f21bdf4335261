//! Rows as bytes in blocks of 16, the queries that meet them, and the loops that every instruction set can run.
//!
//! ```text
//! codes[((block * steps + step) * 16 + row) * 4 + i] = code of dimension 4 step + i of row 16 block + row, plus 128
//! ```
//!
//! so that one register of 64 bytes holds four dimensions of 16 rows, and no sum ever crosses lanes.

/// Rows in a block.
pub const BLOCK: usize = 16;
/// Blocks that a call of a kernel takes at most.
pub const BLOCKS: usize = 4;
/// Dimensions that meet in one 32-bit lane.
pub(crate) const STEP: usize = 4;
/// The byte of code 0.
pub(crate) const ZERO: u8 = 128;
/// Sums of bytes stay below 2^31 up to this many dimensions.
pub(crate) const MAX_DIM: usize = 1 << 16;

/// Exact inner products of a query's codes and those of the rows of up to four blocks.
pub type BlockSums = [[i32; BLOCK]; BLOCKS];

/// `sums[q][j][row]` = inner product of the codes of query `q` and of that row of block `picked[j]`.
pub type CodeSumsKernel =
    fn(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &mut [BlockSums]);
/// Bit `16 j + row` of `passed[q]` = the row of block `picked[j]` may have a key of at most `limits[q]`.
pub type CodeScreenKernel = fn(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
);
/// Fill `codes` with those of `row - mean`.
pub type EncodeKernel = fn(row: &[f32], mean: &[f32], codes: &mut [i8]) -> Encoded;

/// A checked view of coded rows.
///
/// # Invariants
/// With `n` blocks: `codes` has `64 * steps * n` bytes, `scale`, `residual` and `norm` have `16 n` values each and
/// `half` has as many or none; `steps <= MAX_DIM / 4`. The numbers may be infinite, but are neither negative nor NaN: an
/// error of the maker that would make a search wrong, not unsafe.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    codes: &'a [u8],
    steps: usize,
    scale: &'a [f32],
    residual: &'a [f32],
    norm: &'a [f32],
    half: &'a [f32],
}

impl<'a> Blocks<'a> {
    /// View arrays as blocks; `None` when their sizes do not agree.
    pub fn new(codes: &'a [u8], steps: usize, [scale, residual, norm, half]: [&'a [f32]; 4]) -> Option<Self> {
        let rows = scale.len();
        let sizes = rows.is_multiple_of(BLOCK)
            && steps <= MAX_DIM / STEP
            && rows.checked_mul(STEP * steps) == Some(codes.len())
            && residual.len() == rows
            && norm.len() == rows
            && (half.len() == rows || half.is_empty());
        sizes.then_some(Self { codes, steps, scale, residual, norm, half })
    }

    /// Groups of four dimensions.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The bytes of a block; a number past the end panics.
    #[inline(always)]
    pub(super) fn codes(&self, block: u32) -> &'a [u8] {
        let bytes = BLOCK * STEP * self.steps;
        &self.codes[block as usize * bytes..][..bytes]
    }

    /// What is known about the rows of a block: scales, norms of the residuals, norms, and halves of squared norms
    /// where the metric has them; a number past the end panics.
    #[inline(always)]
    pub(super) fn rows(&self, block: u32) -> ([&'a [f32; BLOCK]; 3], Option<&'a [f32; BLOCK]>) {
        let start = block as usize;
        let of = |values: &'a [f32]| &values.as_chunks::<BLOCK>().0[start];
        let half = if self.half.is_empty() { None } else { Some(of(self.half)) };
        ([of(self.scale), of(self.residual), of(self.norm)], half)
    }

    /// Key of a row and how far from it the true key may be; see the `coded` module.
    #[inline]
    pub(crate) fn estimate(&self, query: &CodedQuery, slot: u32, sum: i32) -> (f32, f32) {
        let slot = slot as usize;
        let half = if self.half.is_empty() { 0.0 } else { self.half[slot] };
        let key = half - sum as f32 * self.scale[slot] * query.scale;
        let error = query.by_residual * self.residual[slot] + query.by_norm * self.norm[slot];
        (key, error + query.by_half * half)
    }
}

/// A query as bytes, and what its keys may be off by.
#[derive(Clone, Debug)]
pub struct CodedQuery {
    /// Codes in fours, zeros at the end.
    pub(crate) codes: Vec<[i8; STEP]>,
    /// What makes up for the 128 that every byte of a row has too much: -128 times the sum of the codes.
    pub(crate) start: i32,
    /// Size of a unit of the codes.
    pub(crate) scale: f32,
    /// Factors of a row's residual, norm and half squared norm in the error.
    pub(crate) by_residual: f32,
    pub(crate) by_norm: f32,
    pub(crate) by_half: f32,
}

impl CodedQuery {
    /// A query of these codes, which scales nothing and knows no error.
    pub fn new(codes: &[i8]) -> Self {
        let mut padded = codes.to_vec();
        padded.resize(codes.len().next_multiple_of(STEP), 0);
        let start = -i32::from(ZERO) * codes.iter().map(|&code| i32::from(code)).sum::<i32>();
        let codes = padded.as_chunks::<STEP>().0.to_vec();
        Self { codes, start, scale: 1.0, by_residual: 0.0, by_norm: 0.0, by_half: 0.0 }
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

pub(super) fn check(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &[BlockSums]) {
    assert!(picked.len() <= BLOCKS, "up to four blocks a call");
    assert_eq!(queries.len(), sums.len(), "room for each query");
    assert!(queries.iter().all(|query| query.codes.len() == blocks.steps), "a query is as long as a row");
}

#[inline(always)]
pub(super) fn code_sums(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &mut [BlockSums]) {
    check(blocks, picked, queries, sums);
    for (query, sums) in queries.iter().zip(sums) {
        for (&block, sums) in picked.iter().zip(sums) {
            *sums = [query.start; BLOCK];
            let (codes, _) = blocks.codes(block).as_chunks::<{ BLOCK * STEP }>();
            for (codes, query) in codes.iter().zip(&query.codes) {
                for (codes, sum) in codes.as_chunks::<STEP>().0.iter().zip(sums.iter_mut()) {
                    for (&code, &query) in codes.iter().zip(query) {
                        *sum = sum.wrapping_add(i32::from(code) * i32::from(query));
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn code_screen(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    for (((query, &limit), sums), passed) in queries.iter().zip(limits).zip(sums).zip(passed) {
        *passed = 0;
        for (j, (&block, sums)) in picked.iter().zip(sums).enumerate() {
            let ([scale, residual, norm], half) = blocks.rows(block);
            let half = half.unwrap_or(&[0.0; BLOCK]);
            let mut out = [0u32; BLOCK];
            for row in 0..BLOCK {
                let key = half[row] - sums[row] as f32 * scale[row] * query.scale;
                let error = query.by_residual * residual[row] + query.by_norm * norm[row];
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
        let code = code as i32;
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
