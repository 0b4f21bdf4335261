//! Many queries over the same rows, with AVX-512 VNNI: both halves of codes are put together once, and each query then costs
//! one instruction for 64 products, and no second look at what passed.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_LT_OQ, _mm512_add_epi32, _mm512_and_si512, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_i32gather_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512, _mm512_set_epi32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_storeu_si512,
};

use super::blocks::{
    BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodedQuery, LINE, Line, Meeting, Passing, STEP,
    WholeKernels, ZERO, packed_lines,
};

/// Queries side by side: four blocks by six queries are 24 sums, four registers of codes and a broadcast of 32 registers.
const QUERIES: usize = 6;

pub(super) static KERNELS: WholeKernels = WholeKernels {
    worthwhile: 48,
    steps: 1,
    assemble: |blocks, picked, bytes| {
        // SAFETY: only tables of a CPU with AVX-512 name this one.
        unsafe { assemble::<1>(blocks, picked, bytes) }
    },
    screen: |met, passing| {
        // SAFETY: only tables of a CPU with VNNI name this one.
        unsafe { screen(met, passing) }
    },
};

/// See [`AssembleKernel`](super::AssembleKernel); blocks are filled up to a multiple of `STEPS`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn assemble<const STEPS: usize>(blocks: &Blocks<'_>, picked: &[u32], bytes: &mut Vec<Line>) {
    let lines = (blocks.groups() * 2).next_multiple_of(STEPS);
    // What is there is written over, or meets zeros: nothing needs to be cleared.
    bytes.resize(picked.len() * lines, Line([0; LINE]));
    let rows = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    // The lower halves of a row follow those of the row before.
    let places = _mm512_mullo_epi32(rows, _mm512_set1_epi32((blocks.groups() * STEP) as i32));
    let (first, second) = (_mm512_set1_epi8(0x0F), _mm512_set1_epi8(0xF0u8 as i8));
    for (&block, bytes) in picked.iter().zip(bytes.chunks_exact_mut(lines.max(1))) {
        let upper = blocks.codes(block).as_chunks::<LINE>().0;
        let lower = blocks.lower_of(block);
        assert_eq!(lower.len(), upper.len() * LINE, "both halves of the codes");
        for (group, (line, pair)) in upper.iter().zip(bytes.as_chunks_mut::<2>().0).enumerate() {
            // SAFETY: `row * 4 groups + 4 group + 4` is at most the length of `lower`, for up to 15 rows and this group; a line
            // has 64 bytes.
            let (upper, lower) = unsafe {
                let base = lower.as_ptr().add(group * STEP);
                (_mm512_loadu_si512(line.as_ptr().cast()), _mm512_i32gather_epi32::<1>(places, base.cast()))
            };
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

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn screen(met: &Meeting<'_>, passing: &mut Passing<'_>) {
    met.check(KERNELS.steps);
    let Meeting { bytes, packed, blocks, picked, queries, limits } = *met;
    let lines = packed_lines(blocks.groups());
    let mut sums = [[[0; BLOCK]; BLOCKS]; QUERIES];
    for (number, (asked, limits)) in queries.chunks(QUERIES).zip(limits.chunks(QUERIES)).enumerate() {
        let packed = &packed[number * QUERIES * lines..];
        let mut passed = [0; QUERIES];
        if let (Ok(picked), Ok(asked)) =
            (<[u32; BLOCKS]>::try_from(picked), <[&CodedQuery; QUERIES]>::try_from(asked))
        {
            tile(bytes, packed, blocks, picked, 0, asked, limits, &mut sums, &mut passed);
        } else {
            for (q, query) in asked.iter().enumerate() {
                for (b, &block) in picked.iter().enumerate() {
                    let of_block = &bytes[b * blocks.groups() * 2..][..blocks.groups() * 2];
                    let (packed, limits) = (&packed[q * lines..], &limits[q..=q]);
                    let (sums, passed) = (&mut sums[q..=q], &mut passed[q..=q]);
                    tile(of_block, packed, blocks, [block], b, [query], limits, sums, passed);
                }
            }
        }
        for (q, (&passed, sums)) in passed.iter().zip(&sums).enumerate() {
            if passed != 0 {
                passing(number * QUERIES + q, passed, sums);
            }
        }
    }
}

/// `B` blocks, the first of which is the `first` of the sums, and `Q` queries; `screen` saw that lengths agree.
#[inline]
#[allow(clippy::too_many_arguments, reason = "the arguments of the kernel, and where the tile lies")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const B: usize, const Q: usize>(
    bytes: &[Line],
    packed: &[Line],
    blocks: &Blocks<'_>,
    picked: [u32; B],
    first: usize,
    queries: [&CodedQuery; Q],
    limits: &[f32],
    sums: &mut [BlockSums],
    passed: &mut [u64],
) {
    let steps = blocks.groups() * 2;
    let lines = packed_lines(blocks.groups());
    let values: [*const i32; Q] = std::array::from_fn(|q| packed[q * lines..].as_ptr().cast());
    let mut total: [[__m512i; B]; Q] = [[_mm512_setzero_si512(); B]; Q];
    for step in 0..steps {
        let mut codes = [_mm512_setzero_si512(); B];
        for (b, codes) in codes.iter_mut().enumerate() {
            // SAFETY: `b * steps + step < B * steps`, the number of lines.
            *codes = unsafe { _mm512_loadu_si512(bytes.as_ptr().add(b * steps + step).cast()) };
        }
        for q in 0..Q {
            // SAFETY: a query has `lines` lines, which hold at least `steps` times four codes.
            let value = _mm512_set1_epi32(unsafe { values[q].add(step).read() });
            for b in 0..B {
                total[q][b] = _mm512_dpbusd_epi32(total[q][b], codes[b], value);
            }
        }
    }
    for (b, &block) in picked.iter().enumerate() {
        let bounds = Bounds::of(blocks, block);
        for q in 0..Q {
            let asking = Asking::of(queries[q], limits[q]);
            passed[q] |=
                bounds.within(&asking, total[q][b], &mut sums[q][first + b]) << ((first + b) * BLOCK);
        }
    }
}

/// What is known about the rows of a block by whole codes.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    scale: __m512,
    half: __m512,
    most: [f32; 2],
}

/// What a query brings to each block.
pub(super) struct Asking<'a> {
    query: &'a CodedQuery,
    limit: f32,
    start: __m512i,
    unit: __m512,
    by_half: __m512,
}

impl<'a> Asking<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of(query: &'a CodedQuery, limit: f32) -> Self {
        Self {
            query,
            limit,
            // Products of codes are wanted, not of bytes: less what the zeros of codes make.
            start: _mm512_set1_epi32(-i32::from(ZERO) * query.total),
            // For sums that are twice as large, as everywhere else.
            unit: _mm512_set1_ps(2.0 * query.scale),
            by_half: _mm512_set1_ps(query.by_half - 1.0),
        }
    }
}

impl Bounds {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of(blocks: &Blocks<'_>, block: u32) -> Self {
        let (BlockBounds { scale, half, .. }, most) = (blocks.bounds(block), blocks.whole(block).most);
        // SAFETY: each of the arrays has 16 values of 4 bytes.
        let (scale, half) = unsafe { (_mm512_loadu_ps(scale.as_ptr()), _mm512_loadu_ps(half.as_ptr())) };
        Self { scale, half, most }
    }

    /// Bit `row` = its key may be within the limit; then `sums` are written, from the inner products of codes and bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn within(&self, asking: &Asking<'_>, total: __m512i, sums: &mut [i32; BLOCK]) -> u64 {
        let Asking { query, limit, start, unit, by_half } = asking;
        // Whole codes leave out so little that one error, the largest of the block, does for its rows. What is no number, or
        // infinite where that error is, is never below the threshold.
        let error = query.by_residual.mul_add(self.most[0], query.by_norm * self.most[1]);
        let threshold = _mm512_set1_ps(-(limit + error));
        let total = _mm512_add_epi32(total, *start);
        // The key with its sign turned, and what half of the squared norm may be off by.
        let beside = _mm512_mul_ps(self.half, *by_half);
        let closeness = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), _mm512_mul_ps(self.scale, *unit), beside);
        let within = !_mm512_cmp_ps_mask::<_CMP_LT_OQ>(closeness, threshold);
        if within != 0 {
            // SAFETY: 16 sums of 4 bytes are 64 bytes.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_slli_epi32::<1>(total)) };
        }
        u64::from(within)
    }
}
