//! AVX-512 VNNI: bytes multiplied and summed four at a time. The tile is four blocks by six queries: 24 sums, four
//! registers of codes and a broadcast of 32 registers. Everything else is as for AVX-512.

use std::arch::x86_64::{
    __m512i, _CMP_EQ_OQ, _CMP_NGT_UQ, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_sub_ps,
};

use super::blocks::{BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, STEP, check};
use super::{Isa, Kernels, avx512};

/// Queries side by side.
const QUERIES: usize = 6;

pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::Avx512Vnni,
    code_sums: |blocks, picked, queries, sums| {
        // SAFETY: `Kernels::of` hands this table out only after it saw the CPU's features.
        unsafe { code_sums(blocks, picked, queries, sums) }
    },
    ..avx512::KERNELS
};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn code_sums(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &mut [BlockSums]) {
    check(blocks, picked, queries, sums);
    if let Ok(picked) = <[u32; BLOCKS]>::try_from(picked) {
        tiles::<BLOCKS>(blocks, picked, 0, queries, sums);
    } else {
        for (at, &block) in picked.iter().enumerate() {
            tiles::<1>(blocks, [block], at, queries, sums);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tiles<const B: usize>(
    blocks: &Blocks<'_>,
    picked: [u32; B],
    at: usize,
    queries: &[CodedQuery],
    sums: &mut [BlockSums],
) {
    for (queries, sums) in queries.chunks(QUERIES).zip(sums.chunks_mut(QUERIES)) {
        match queries.len() {
            6 => tile::<B, 6>(blocks, picked, at, queries, sums),
            5 => tile::<B, 5>(blocks, picked, at, queries, sums),
            4 => tile::<B, 4>(blocks, picked, at, queries, sums),
            3 => tile::<B, 3>(blocks, picked, at, queries, sums),
            2 => tile::<B, 2>(blocks, picked, at, queries, sums),
            _ => tile::<B, 1>(blocks, picked, at, queries, sums),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const B: usize, const Q: usize>(
    blocks: &Blocks<'_>,
    picked: [u32; B],
    at: usize,
    queries: &[CodedQuery],
    sums: &mut [BlockSums],
) {
    let steps = blocks.steps();
    let codes: [*const u8; B] = std::array::from_fn(|b| blocks.codes(picked[b]).as_ptr());
    let values: [*const [i8; STEP]; Q] = std::array::from_fn(|q| queries[q].codes.as_ptr());
    let mut total = [[_mm512_setzero_si512(); B]; Q];
    for q in 0..Q {
        total[q] = [_mm512_set1_epi32(queries[q].start); B];
    }
    for step in 0..steps {
        let mut bytes = [_mm512_setzero_si512(); B];
        for b in 0..B {
            // SAFETY: a block has `steps` times 64 bytes.
            bytes[b] = unsafe { _mm512_loadu_si512(codes[b].add(step * BLOCK * STEP).cast()) };
        }
        for q in 0..Q {
            // SAFETY: `check` saw that each query has `steps` groups of codes.
            let value = unsafe { i32::from_le_bytes(values[q].add(step).cast::<[u8; STEP]>().read()) };
            let value: __m512i = _mm512_set1_epi32(value);
            for b in 0..B {
                total[q][b] = _mm512_dpbusd_epi32(total[q][b], bytes[b], value);
            }
        }
    }
    for (sums, total) in sums.iter_mut().zip(&total) {
        for (sums, &total) in sums[at..at + B].iter_mut().zip(total) {
            // SAFETY: 16 sums of 4 bytes are 64 bytes.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), total) };
        }
    }
}

/// As [`blocks::code_screen`](super::blocks::code_screen), fused where it likes: each result is within the bound.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn code_screen(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    let infinity = _mm512_set1_ps(f32::INFINITY);
    for (((query, &limit), sums), passed) in queries.iter().zip(limits).zip(sums).zip(passed) {
        let unit = _mm512_set1_ps(query.scale);
        let by_residual = _mm512_set1_ps(query.by_residual);
        let by_norm = _mm512_set1_ps(query.by_norm);
        let by_half = _mm512_set1_ps(query.by_half);
        let limit = _mm512_set1_ps(limit);
        *passed = 0;
        for (j, (&block, sums)) in picked.iter().zip(sums).enumerate() {
            let ([scale, residual, norm], half) = blocks.rows(block);
            // SAFETY: each of the arrays has 16 values of 4 bytes.
            let (scale, residual, norm, sums) = unsafe {
                (
                    _mm512_loadu_ps(scale.as_ptr()),
                    _mm512_loadu_ps(residual.as_ptr()),
                    _mm512_loadu_ps(norm.as_ptr()),
                    _mm512_loadu_si512(sums.as_ptr().cast()),
                )
            };
            let product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), unit);
            let error = _mm512_fmadd_ps(by_residual, residual, _mm512_mul_ps(by_norm, norm));
            let base = if let Some(half) = half {
                // SAFETY: 16 values.
                let half = unsafe { _mm512_loadu_ps(half.as_ptr()) };
                let error = _mm512_fmadd_ps(by_half, half, error);
                _mm512_sub_ps(_mm512_sub_ps(half, product), error)
            } else {
                _mm512_sub_ps(_mm512_sub_ps(_mm512_setzero_ps(), product), error)
            };
            let within = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(base, limit);
            let unknown = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(base, infinity);
            *passed |= u64::from(within | unknown) << (j * BLOCK);
        }
    }
}
