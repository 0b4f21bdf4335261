//! Many queries over the same rows, with AVX-512 VNNI: both halves of codes are put together once, and each query then costs
//! one instruction for 64 products, and no second look at what passed.
//!
//! ```text
//! assembled[(step * 64) + 4 row + i] = byte of dimension 4 step + i of a row of the block
//! ```

use std::arch::x86_64::{
    __m512i, _CMP_LT_OQ, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

use super::blocks::{
    BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodedQuery, GROUP, LINE, STEP, WholeKernels, ZERO, check,
};

/// Queries side by side: four blocks by six queries are 24 sums, four registers of codes and a broadcast of 32 registers.
const QUERIES: usize = 6;

pub(super) static KERNELS: WholeKernels = WholeKernels {
    assemble,
    screen: |bytes, blocks, picked, queries, limits, sums, passed| {
        // SAFETY: only tables of a CPU with VNNI name this one.
        unsafe { screen(bytes, blocks, picked, queries, limits, sums, passed) }
    },
};

fn assemble(blocks: &Blocks<'_>, picked: &[u32], bytes: &mut Vec<u8>) {
    let of_block = blocks.groups() * 2 * LINE;
    // What is there is written over, so that nothing needs to be cleared.
    bytes.resize(picked.len() * of_block, 0);
    for (at, &block) in picked.iter().enumerate() {
        let lines = blocks.codes(block).as_chunks::<LINE>().0;
        let (pairs, _) = bytes[at * of_block..][..of_block].as_chunks_mut::<{ 2 * LINE }>();
        for row in 0..BLOCK {
            let lower = blocks.lower(block * BLOCK as u32 + row as u32).as_chunks::<STEP>().0;
            for ((pair, line), lower) in pairs.iter_mut().zip(lines).zip(lower) {
                let upper: [u8; STEP] = std::array::from_fn(|i| line[row * STEP + i]);
                let (upper, lower) = (u32::from_le_bytes(upper), u32::from_le_bytes(*lower));
                let first = upper << 4 & 0xF0F0_F0F0 | lower & 0x0F0F_0F0F;
                let second = upper & 0xF0F0_F0F0 | lower >> 4 & 0x0F0F_0F0F;
                pair[row * STEP..][..STEP].copy_from_slice(&first.to_le_bytes());
                pair[LINE + row * STEP..][..STEP].copy_from_slice(&second.to_le_bytes());
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn screen(
    bytes: &[u8],
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    sums: &mut [BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    assert!(queries.len() == limits.len() && queries.len() == passed.len(), "a place for each query");
    assert_eq!(bytes.len(), picked.len() * blocks.groups() * 2 * LINE, "codes of each block");
    passed.fill(0);
    let mut at = 0;
    while at < queries.len() {
        let some = at..queries.len().min(at + QUERIES);
        let (asked, limits) = (&queries[some.clone()], &limits[some.clone()]);
        let (sums, passed) = (&mut sums[some.clone()], &mut passed[some.clone()]);
        if let (Ok(picked), Ok(asked)) =
            (<[u32; BLOCKS]>::try_from(picked), <[&CodedQuery; QUERIES]>::try_from(asked))
        {
            tile(bytes, blocks, picked, 0, asked, limits, sums, passed);
        } else {
            for (q, query) in asked.iter().enumerate() {
                for (b, &block) in picked.iter().enumerate() {
                    let of_block = &bytes[b * blocks.groups() * 2 * LINE..][..blocks.groups() * 2 * LINE];
                    let (limits, sums, passed) = (&limits[q..=q], &mut sums[q..=q], &mut passed[q..=q]);
                    tile(of_block, blocks, [block], b, [query], limits, sums, passed);
                }
            }
        }
        at = some.end;
    }
}

/// `B` blocks, the first of which is the `first` of the sums, and `Q` queries; `screen` saw that lengths agree.
#[inline]
#[allow(clippy::too_many_arguments, reason = "the arguments of the kernel, and where the tile lies")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const B: usize, const Q: usize>(
    bytes: &[u8],
    blocks: &Blocks<'_>,
    picked: [u32; B],
    first: usize,
    queries: [&CodedQuery; Q],
    limits: &[f32],
    sums: &mut [BlockSums],
    passed: &mut [u64],
) {
    let steps = blocks.groups() * GROUP / STEP;
    let values: [*const [i8; STEP]; Q] = std::array::from_fn(|q| queries[q].codes.as_ptr());
    // Products of codes are wanted, not of bytes: sums begin below zero by what the zeros of codes make.
    let mut total: [[__m512i; B]; Q] =
        std::array::from_fn(|q| [_mm512_set1_epi32(-i32::from(ZERO) * queries[q].total); B]);
    for step in 0..steps {
        let mut codes = [_mm512_setzero_si512(); B];
        for (b, codes) in codes.iter_mut().enumerate() {
            // SAFETY: `(b * steps + step + 1) * 64 <= B * steps * 64`, the length of `bytes`.
            *codes = unsafe { _mm512_loadu_si512(bytes.as_ptr().add((b * steps + step) * LINE).cast()) };
        }
        for q in 0..Q {
            // SAFETY: `check` saw that each query has `steps` fours of codes.
            let four = unsafe { values[q].add(step).read() };
            let value = _mm512_set1_epi32(i32::from_le_bytes(four.map(|code| code as u8)));
            for b in 0..B {
                total[q][b] = _mm512_dpbusd_epi32(total[q][b], codes[b], value);
            }
        }
    }
    for (b, &block) in picked.iter().enumerate() {
        let (BlockBounds { scale, half, .. }, most) = (blocks.bounds(block), blocks.whole(block).most);
        // SAFETY: each of the arrays has 16 values of 4 bytes.
        let (scale, half) = unsafe { (_mm512_loadu_ps(scale.as_ptr()), _mm512_loadu_ps(half.as_ptr())) };
        for q in 0..Q {
            let query = queries[q];
            // Whole codes leave out so little that one error, the largest of the block, does for its rows. What is no
            // number, or infinite where that error is, is never below the threshold.
            let error = query.by_residual.mul_add(most[0], query.by_norm * most[1]);
            let threshold = _mm512_set1_ps(-(limits[q] + error));
            // For sums that are twice as large, as everywhere else.
            let unit = _mm512_mul_ps(scale, _mm512_set1_ps(2.0 * query.scale));
            // The key with its sign turned, and what half of the squared norm may be off by.
            let beside = _mm512_mul_ps(half, _mm512_set1_ps(query.by_half - 1.0));
            let closeness = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[q][b]), unit, beside);
            let within = !_mm512_cmp_ps_mask::<_CMP_LT_OQ>(closeness, threshold);
            if within != 0 {
                passed[q] |= u64::from(within) << ((first + b) * BLOCK);
                let twice = _mm512_slli_epi32::<1>(total[q][b]);
                // SAFETY: 16 sums of 4 bytes are 64 bytes.
                unsafe { _mm512_storeu_si512(sums[q][first + b].as_mut_ptr().cast(), twice) };
            }
        }
    }
}
