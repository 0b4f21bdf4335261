//! Sums in float64 with AVX2, in the order of the [`exact`](super::exact) module: the compiler, left to itself, makes two lanes of
//! them instead of four.

use std::arch::x86_64::{
    __m256d, _mm_add_pd, _mm_add_sd, _mm_cvtsd_f64, _mm_loadu_ps, _mm_unpackhi_pd, _mm256_add_pd,
    _mm256_castpd256_pd128, _mm256_cvtps_pd, _mm256_extractf128_pd, _mm256_hadd_pd, _mm256_mul_pd,
    _mm256_setzero_pd, _mm256_sub_pd,
};

use super::exact;

/// As [`exact::dot_exact`], the same to the bit.
#[target_feature(enable = "avx2")]
pub(super) fn dot_exact(a: &[f32], b: &[f32]) -> f64 {
    exact::sum(a, b, |x, y| x * y, |a, b| eights(a, b, |x, y| _mm256_mul_pd(x, y)))
}

/// As [`exact::l2_exact`], the same to the bit.
#[target_feature(enable = "avx2")]
pub(super) fn l2_exact(a: &[f32], b: &[f32]) -> f64 {
    let square = |x, y| {
        let gap = _mm256_sub_pd(x, y);
        _mm256_mul_pd(gap, gap)
    };
    exact::sum(a, b, |x, y| (x - y) * (x - y), |a, b| eights(a, b, square))
}

/// Eight sums, of every eighth term each, added up in pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn eights(a: &[[f32; 8]], b: &[[f32; 8]], term: impl Fn(__m256d, __m256d) -> __m256d) -> f64 {
    let mut sums = [_mm256_setzero_pd(); 2];
    for (x, y) in a.iter().zip(b) {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 4 of 8 values each.
            let (x, y) =
                unsafe { (_mm_loadu_ps(x.as_ptr().add(4 * half)), _mm_loadu_ps(y.as_ptr().add(4 * half))) };
            *sum = _mm256_add_pd(*sum, term(_mm256_cvtps_pd(x), _mm256_cvtps_pd(y)));
        }
    }
    // 0 + 1, 4 + 5, 2 + 3, 6 + 7
    let pairs = _mm256_hadd_pd(sums[0], sums[1]);
    let fours = _mm_add_pd(_mm256_castpd256_pd128(pairs), _mm256_extractf128_pd::<1>(pairs));
    _mm_cvtsd_f64(_mm_add_sd(fours, _mm_unpackhi_pd(fours, fours)))
}
