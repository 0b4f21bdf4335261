//! The nearest of many rows, with AVX2: what is smallest so far stays in registers while blocks come by.

use std::arch::x86_64::{
    _CMP_LT_OQ, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtepi32_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_ps,
};

use super::avx2_sift::{LANES, eight_of};
use super::blocks::{BlockSums, Blocks, CodedQuery, NearestRow, check_nearest};

/// As [`keep_nearest`](super::blocks::keep_nearest), the same to the bit.
#[target_feature(enable = "avx2")]
pub(super) fn keep_nearest(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    sums: &[BlockSums],
    nearest: &mut [NearestRow],
) {
    check_nearest(blocks, picked, queries, sums, nearest);
    for ((query, sums), NearestRow { keys, blocks: numbers }) in queries.iter().zip(sums).zip(nearest) {
        let unit = _mm256_set1_ps(query.scale);
        let halves = keys.as_chunks_mut::<LANES>().0.iter_mut().zip(numbers.as_chunks_mut::<LANES>().0);
        for (half, (keys, numbers)) in halves.enumerate() {
            let first = half * LANES;
            // SAFETY: 8 values each.
            let (mut least, mut number) =
                unsafe { (_mm256_loadu_ps(keys.as_ptr()), _mm256_loadu_si256(numbers.as_ptr().cast())) };
            for (&block, sums) in picked.iter().zip(sums) {
                let bounds = blocks.bounds(block);
                // SAFETY: 8 values.
                let sums = unsafe { _mm256_loadu_si256(sums.as_chunks::<LANES>().0[half].as_ptr().cast()) };
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), eight_of(&bounds.scale, first));
                let key = _mm256_sub_ps(eight_of(&bounds.half, first), _mm256_mul_ps(product, unit));
                let smaller = _mm256_cmp_ps::<_CMP_LT_OQ>(key, least);
                least = _mm256_blendv_ps(least, key, smaller);
                let block = _mm256_set1_epi32(block as i32);
                number = _mm256_castps_si256(_mm256_blendv_ps(
                    _mm256_castsi256_ps(number),
                    _mm256_castsi256_ps(block),
                    smaller,
                ));
            }
            // SAFETY: room for 8 values each.
            unsafe {
                _mm256_storeu_ps(keys.as_mut_ptr(), least);
                _mm256_storeu_si256(numbers.as_mut_ptr().cast(), number);
            }
        }
    }
}
