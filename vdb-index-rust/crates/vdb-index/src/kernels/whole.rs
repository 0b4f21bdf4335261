//! Many queries over the same rows, with AVX-512 VNNI: both halves of codes are put together once, and each query then costs
//! one instruction for 64 products, and no second look at what passed.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_NLT_UQ, _mm512_add_epi32, _mm512_and_si512, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_maskz_loadu_epi32,
    _mm512_max_epu32, _mm512_mul_ps, _mm512_or_si512, _mm512_reduce_max_epu32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_slli_epi32, _mm512_srai_epi32, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::blocks::{BLOCK, BLOCKS, BlockBounds, Blocks, LINE, STEP, ZERO};
use super::floors::{Floors, Wanted};
use super::generic::prefetch_bytes;
use super::meeting::{Asked, Line, Meeting, PLACES, Passing, WholeKernels, packed_lines};

/// Queries side by side: four blocks by six queries are 24 sums, four registers of codes and a broadcast of 32 registers.
pub(super) const QUERIES: usize = 6;

pub(super) static KERNELS: WholeKernels = WholeKernels {
    worthwhile: 32,
    steps: 1,
    assemble: |blocks, picked, next, bytes| {
        // SAFETY: only tables of a CPU with AVX-512 name this one.
        unsafe { assemble::<1>(blocks, picked, next, bytes) }
    },
    screen: |met, passing| {
        // SAFETY: only tables of a CPU with VNNI name this one.
        unsafe { screen(met, passing) }
    },
};

/// See [`AssembleKernel`](super::AssembleKernel); blocks are filled up to a multiple of `STEPS`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn assemble<const STEPS: usize>(
    blocks: &Blocks<'_>,
    picked: &[u32],
    next: &[u32],
    bytes: &mut Vec<Line>,
) {
    let lines = (blocks.groups() * 2).next_multiple_of(STEPS);
    // What is there is written over, or meets zeros: nothing needs to be cleared.
    bytes.resize(picked.len() * lines, Line([0; LINE]));
    let (first, second) = (_mm512_set1_epi8(0x0F), _mm512_set1_epi8(0xF0u8 as i8));
    for (at, (&block, bytes)) in picked.iter().zip(bytes.chunks_exact_mut(lines.max(1))).enumerate() {
        if let Some(&next) = next.get(at) {
            prefetch_bytes(blocks.codes(next));
            prefetch_bytes(blocks.lower_of(next));
        }
        let upper = blocks.codes(block).as_chunks::<LINE>().0;
        let lower = blocks.lower_of(block);
        assert_eq!(lower.len(), upper.len() * LINE, "both halves of the codes");
        let pairs = bytes.as_chunks_mut::<2>().0;
        for (at, (upper, pairs)) in upper.chunks(BLOCK).zip(pairs.chunks_mut(BLOCK)).enumerate() {
            let lower = crosswise(lower, at * BLOCK, upper.len());
            for ((line, lower), pair) in upper.iter().zip(lower).zip(pairs) {
                // SAFETY: a line of 64 bytes.
                let upper = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
                let low = _mm512_or_si512(
                    _mm512_and_si512(_mm512_slli_epi32::<4>(upper), second),
                    _mm512_and_si512(lower, first),
                );
                let high = _mm512_or_si512(
                    _mm512_and_si512(upper, second),
                    _mm512_and_si512(_mm512_srli_epi32::<4>(lower), first),
                );
                // SAFETY: lines of 64 bytes.
                unsafe {
                    _mm512_storeu_si512(pair[0].0.as_mut_ptr().cast(), low);
                    _mm512_storeu_si512(pair[1].0.as_mut_ptr().cast(), high);
                }
            }
        }
    }
}

/// Four bytes of each of 16 rows a register, from `count` times four bytes of each row of a block, `first` times four bytes on; up
/// to 16 registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn crosswise(rows: &[u8], first: usize, count: usize) -> [__m512i; BLOCK] {
    let row_bytes = rows.len() / BLOCK;
    assert!(count <= BLOCK && (first + count) * STEP <= row_bytes, "these bytes of each row");
    let there = ((1u32 << count) - 1) as u16;
    let mut lines = [_mm512_setzero_si512(); BLOCK];
    for (row, line) in lines.iter_mut().enumerate() {
        // SAFETY: `count` times four bytes from there on lie within the row; what is outside of the mask is not read.
        *line = unsafe {
            _mm512_maskz_loadu_epi32(there, rows.as_ptr().add(row * row_bytes + first * STEP).cast())
        };
    }
    // In each quarter of a register, first two rows alternate, then four; then quarters change places.
    let mut fours = [[_mm512_setzero_si512(); 4]; 4];
    for (of_four, rows) in fours.iter_mut().zip(lines.as_chunks::<4>().0) {
        let lows = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let highs = [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        *of_four = [
            _mm512_unpacklo_epi64(lows[0], lows[1]),
            _mm512_unpackhi_epi64(lows[0], lows[1]),
            _mm512_unpacklo_epi64(highs[0], highs[1]),
            _mm512_unpackhi_epi64(highs[0], highs[1]),
        ];
    }
    for i in 0..4 {
        let [a, b, c, d] = fours.map(|of_four| of_four[i]);
        let evens = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d)];
        let odds = [_mm512_shuffle_i32x4::<0xDD>(a, b), _mm512_shuffle_i32x4::<0xDD>(c, d)];
        lines[i] = _mm512_shuffle_i32x4::<0x88>(evens[0], evens[1]);
        lines[4 + i] = _mm512_shuffle_i32x4::<0x88>(odds[0], odds[1]);
        lines[8 + i] = _mm512_shuffle_i32x4::<0xDD>(evens[0], evens[1]);
        lines[12 + i] = _mm512_shuffle_i32x4::<0xDD>(odds[0], odds[1]);
    }
    lines
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn screen(met: &Meeting<'_>, passing: &mut Passing<'_>) {
    match met.picked.len() {
        0 => {}
        1 => screen_blocks::<1>(met, passing),
        2 => screen_blocks::<2>(met, passing),
        3 => screen_blocks::<3>(met, passing),
        _ => screen_blocks::<BLOCKS>(met, passing),
    }
}

/// As [`screen`], for `B` blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn screen_blocks<const B: usize>(met: &Meeting<'_>, passing: &mut Passing<'_>) {
    met.check(KERNELS.steps);
    let Meeting { bytes, packed, blocks, limits, .. } = *met;
    let (steps, lines) = (blocks.groups() * 2, packed_lines(blocks.groups()));
    let (rows, most) = rows_of::<B>(met);
    let floors = Floors::of(&rows);
    let mut sums = [[[0; BLOCK]; BLOCKS]; QUERIES];
    for (many, limits) in limits.chunks(PLACES).enumerate() {
        let wanted = floors.wanted(&packed.asked, many * PLACES, limits, most);
        for (first, limits) in (0..).step_by(QUERIES).zip(limits.chunks(QUERIES)) {
            let number = many * PLACES + first;
            let total = products::<B>(bytes, &packed.lines[number * lines..], (steps, lines), &wanted, first);
            let mut near = floors.near(&total, &wanted, first) & ((1 << limits.len()) - 1);
            if near == 0 {
                continue;
            }
            // Unrolled, so that sums stay in registers but for those that are needed.
            for q in 0..QUERIES {
                if near >> q & 1 != 0 {
                    for b in 0..B {
                        store(total[q][b], &mut sums[q][b]);
                    }
                }
            }
            while near != 0 {
                let q = near.trailing_zeros() as usize;
                near &= near - 1;
                let asking = Asking::of(&packed.asked, number + q, limits[q], most);
                let within = |(rows, sums): (&RowsOfBlock, &[i32; BLOCK])| rows.within(&asking, load(sums));
                let each = rows.iter().zip(&sums[q]).map(within);
                let passed = each.rev().fold(0, |rows, within| rows << BLOCK | u64::from(within));
                if passed != 0 {
                    passing(number + q, passed, &sums[q]);
                }
            }
        }
    }
}

/// The inner products of codes of six queries, from the place `first` on, and the rows of `B` blocks. There are `steps` of `bytes` a
/// block, and `lines` of `packed` a query, which hold at least as many steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn products<const B: usize>(
    bytes: &[Line],
    packed: &[Line],
    (steps, lines): (usize, usize),
    wanted: &Wanted,
    first: usize,
) -> [[__m512i; B]; QUERIES] {
    assert!(bytes.len() >= B * steps && packed.len() >= QUERIES * lines, "codes of all blocks and queries");
    assert!(lines * BLOCK >= steps, "codes of a whole query");
    let values: [*const i32; QUERIES] = std::array::from_fn(|q| packed[q * lines..].as_ptr().cast());
    let mut total: [[__m512i; B]; QUERIES] =
        std::array::from_fn(|q| [_mm512_set1_epi32(wanted.starts[first + q]); B]);
    for step in 0..steps {
        let mut codes = [_mm512_setzero_si512(); B];
        for (b, codes) in codes.iter_mut().enumerate() {
            // SAFETY: `b * steps + step < B * steps`, at most the number of lines.
            *codes = unsafe { _mm512_loadu_si512(bytes.as_ptr().add(b * steps + step).cast()) };
        }
        for q in 0..QUERIES {
            // SAFETY: a query has `lines` lines, which hold at least `steps` times four codes.
            let value = _mm512_set1_epi32(unsafe { values[q].add(step).read() });
            for b in 0..B {
                total[q][b] = _mm512_dpbusd_epi32(total[q][b], codes[b], value);
            }
        }
    }
    total
}

/// What is known about the rows of a block.
#[derive(Clone, Copy)]
pub(super) struct RowsOfBlock {
    pub(super) scale: __m512,
    /// What half of the squared norm takes from closeness at least.
    pub(super) half: __m512,
}

/// What a query brings to each block.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    start: i32,
    unit: f32,
    threshold: f32,
}

/// What is known about the rows of each block, the last one again where there are fewer; the largest residual of any, and the
/// largest length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn rows_of<const B: usize>(met: &Meeting<'_>) -> ([RowsOfBlock; B], [f32; 2]) {
    let by_half = _mm512_set1_ps(met.packed.by_half - 1.0);
    // Bits of numbers that are not negative are in their order, with what is no number above them all.
    let (mut longest, mut left) = (0, _mm512_setzero_si512());
    let mut rows = [RowsOfBlock { scale: _mm512_setzero_ps(), half: _mm512_setzero_ps() }; B];
    for (b, rows) in rows.iter_mut().enumerate() {
        let block = met.picked[b.min(met.picked.len() - 1)];
        let BlockBounds { scale, half, residual, .. } = met.blocks.bounds(block);
        // SAFETY: each of the arrays has 16 values of 4 bytes.
        let (scale, half, residual) = unsafe {
            (
                _mm512_loadu_ps(scale.as_ptr()),
                _mm512_loadu_ps(half.as_ptr()),
                _mm512_loadu_si512(residual.as_ptr().cast()),
            )
        };
        longest = met.blocks.length(block).to_bits().max(longest);
        left = _mm512_max_epu32(left, residual);
        *rows = RowsOfBlock { scale, half: _mm512_mul_ps(half, by_half) };
    }
    (rows, [_mm512_reduce_max_epu32(left), longest].map(f32::from_bits))
}

impl Asking {
    /// What a query wants of rows, whose residuals and lengths are these at most.
    #[inline]
    pub(super) fn of(asked: &Asked, number: usize, limit: f32, most: [f32; 2]) -> Self {
        // Whole codes leave out so little that one error, the largest of the blocks, does for all rows. What is no number, or
        // infinite where that error is, is never below the threshold.
        let error = asked.by_residual[number].mul_add(most[0], asked.by_norm[number] * most[1]);
        // Products of codes are wanted, not of bytes: less what the zeros of codes make.
        let start = -i32::from(ZERO) * asked.total[number];
        Self { start, unit: asked.unit[number], threshold: -(limit + error) }
    }

    /// The inner product of codes, from that of codes and bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn begin(&self, total: __m512i) -> __m512i {
        _mm512_add_epi32(total, _mm512_set1_epi32(self.start))
    }
}

impl RowsOfBlock {
    /// Bit `row` = its key may be within the limit, by the inner products of codes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn within(&self, asking: &Asking, total: __m512i) -> u16 {
        let factor = _mm512_mul_ps(self.scale, _mm512_set1_ps(asking.unit));
        // The key with its sign turned.
        let closeness = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), factor, self.half);
        _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(closeness, _mm512_set1_ps(asking.threshold))
    }
}

/// Inner products of codes, of sums that are twice as large.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(sums: &[i32; BLOCK]) -> __m512i {
    // SAFETY: 16 sums of 4 bytes are 64 bytes.
    _mm512_srai_epi32::<1>(unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) })
}

/// Inner products of codes as sums, which are twice as large.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store(total: __m512i, sums: &mut [i32; BLOCK]) {
    // SAFETY: 16 sums of 4 bytes are 64 bytes.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_slli_epi32::<1>(total)) };
}
