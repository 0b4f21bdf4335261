//! How near the rows of blocks may be to one query at most, by the upper halves of their codes: what a search keeps that looks
//! at the most promising rows first.

use super::blocks::{BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodedQuery, check};

/// The smallest possible key of each row of up to four blocks.
pub type BlockBases = [[f32; BLOCK]; BLOCKS];

/// `bases[j][row]` = the smallest key that the row of block `picked[j]` may have: minus infinity where nothing is known, and
/// the largest number where bit `16 j + row` of `live` is not set. Returns the smallest of them.
pub type CodeBasesKernel = fn(
    blocks: &Blocks<'_>,
    picked: &[u32],
    live: u64,
    query: &CodedQuery,
    sums: &BlockSums,
    bases: &mut BlockBases,
) -> f32;
/// Bit `16 j + row` = that base is not above `limit`.
pub type WithinKernel = fn(bases: &BlockBases, limit: f32) -> u64;

#[inline(always)]
pub(super) fn code_bases(
    blocks: &Blocks<'_>,
    picked: &[u32],
    live: u64,
    query: &CodedQuery,
    sums: &BlockSums,
    bases: &mut BlockBases,
) -> f32 {
    check(blocks, picked, &[query], std::slice::from_ref(sums));
    *bases = [[f32::MAX; BLOCK]; BLOCKS];
    let mut least = [f32::MAX; BLOCK];
    for (j, ((&block, sums), bases)) in picked.iter().zip(sums).zip(bases).enumerate() {
        let (BlockBounds { scale, rough, half, .. }, length) = (blocks.bounds(block), blocks.length(block));
        let live = live >> (j * BLOCK);
        for row in 0..BLOCK {
            let key = half[row] - sums[row] as f32 * scale[row] * query.scale;
            let error = query.by_residual * rough[row] + query.by_norm * length;
            let base = key - (error + query.by_half * half[row]);
            let base = if base < f32::INFINITY { base } else { f32::NEG_INFINITY };
            bases[row] = if live >> row & 1 == 1 { base } else { f32::MAX };
            least[row] = if bases[row] < least[row] { bases[row] } else { least[row] };
        }
    }
    least.into_iter().fold(f32::MAX, f32::min)
}

#[inline(always)]
pub(super) fn within(bases: &BlockBases, limit: f32) -> u64 {
    let mut passed = 0;
    for (j, bases) in bases.iter().enumerate() {
        let out = bases.map(|base| u32::from(base > limit));
        if out.iter().sum::<u32>() < BLOCK as u32 {
            let rows = out.iter().enumerate().map(|(row, &out)| u64::from(1 - out) << (j * BLOCK + row));
            passed |= rows.fold(0, |rows, row| rows | row);
        }
    }
    passed
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    //! The same with AVX-512, fused where it likes: each result is within the bound.

    use std::arch::x86_64::{
        _CMP_LT_OQ, _CMP_NGT_UQ, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_mov_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_reduce_min_ps,
        _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::{BLOCK, BlockBases, BlockBounds, BlockSums, Blocks, CodedQuery, check};

    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn code_bases(
        blocks: &Blocks<'_>,
        picked: &[u32],
        live: u64,
        query: &CodedQuery,
        sums: &BlockSums,
        bases: &mut BlockBases,
    ) -> f32 {
        check(blocks, picked, &[query], std::slice::from_ref(sums));
        let unit = _mm512_set1_ps(query.scale);
        let [by_residual, by_norm] = [query.by_residual, query.by_norm].map(|factor| _mm512_set1_ps(factor));
        let by_half = _mm512_set1_ps(query.by_half);
        let (most, lowest) = (_mm512_set1_ps(f32::MAX), _mm512_set1_ps(f32::NEG_INFINITY));
        let mut least = most;
        for (j, bases) in bases.iter_mut().enumerate() {
            let Some(&block) = picked.get(j) else {
                *bases = [f32::MAX; BLOCK];
                continue;
            };
            let BlockBounds { scale, rough, half, .. } = blocks.bounds(block);
            let length = _mm512_set1_ps(blocks.length(block));
            // SAFETY: each of the arrays has 16 values of 4 bytes.
            let (scale, rough, half, sums) = unsafe {
                (
                    _mm512_loadu_ps(scale.as_ptr()),
                    _mm512_loadu_ps(rough.as_ptr()),
                    _mm512_loadu_ps(half.as_ptr()),
                    _mm512_loadu_si512(sums[j].as_ptr().cast()),
                )
            };
            let product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), unit);
            let error = _mm512_fmadd_ps(by_residual, rough, _mm512_mul_ps(by_norm, length));
            let error = _mm512_fmadd_ps(by_half, half, error);
            let base = _mm512_sub_ps(_mm512_sub_ps(half, product), error);
            let known = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(base, _mm512_set1_ps(f32::INFINITY));
            let base = _mm512_mask_mov_ps(lowest, known, base);
            let base = _mm512_mask_mov_ps(most, (live >> (j * BLOCK)) as u16, base);
            least = _mm512_min_ps(base, least);
            // SAFETY: 16 values of 4 bytes.
            unsafe { _mm512_storeu_ps(bases.as_mut_ptr(), base) };
        }
        _mm512_reduce_min_ps(least)
    }

    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn within(bases: &BlockBases, limit: f32) -> u64 {
        let limit = _mm512_set1_ps(limit);
        let mut passed = 0;
        for (j, bases) in bases.iter().enumerate() {
            // SAFETY: 16 values of 4 bytes.
            let bases = unsafe { _mm512_loadu_ps(bases.as_ptr()) };
            passed |= u64::from(_mm512_cmp_ps_mask::<_CMP_NGT_UQ>(bases, limit)) << (j * BLOCK);
        }
        passed
    }
}
