//! AVX2 with FMA: 8 lanes. The panel's tile is 6 rows by 2 registers: 12 sums, 2 lanes and a broadcast of 16
//! registers.

use std::arch::x86_64::{
    __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::blocks::{BLOCK, BlockSums, Blocks, CodedQuery, Encoded, NearestRow};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FastLayout, FastSums, Isa, Kernels, Lanes, Panel};
use crate::matrix::Matrix;

#[derive(Clone, Copy)]
struct F32x8(__m256);

impl Vector for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA.
        Self(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA and for 8 values at `source`.
        Self(unsafe { _mm256_loadu_ps(source) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: the caller vouches for AVX2 and FMA and for room for 8 values at `target`.
        unsafe { _mm256_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, other: Self, plus: Self) -> Self {
        // SAFETY: the caller vouches for AVX2 and FMA.
        Self(unsafe { _mm256_fmadd_ps(self.0, other.0, plus.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller vouches for AVX2 and FMA.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

kernels_of!(
    Isa::Avx2,
    F32x8,
    "avx2,fma",
    6,
    2,
    crate::kernels::avx2_exact::dot_exact,
    crate::kernels::avx2_exact::l2_exact,
    crate::kernels::avx2_fast::fast_tables,
    crate::kernels::avx2_fast::fast_scan,
    crate::kernels::avx2_sift::fast_screen,
    crate::kernels::fast::fast_keep,
    crate::kernels::avx2_sums::code_sums,
    crate::kernels::avx2_rows::lower_sums,
    crate::kernels::avx2_rows::row_sums,
    crate::kernels::avx2_sift::sift,
    crate::kernels::avx2_sift::within,
    crate::kernels::avx2_sift::code_screen,
    crate::kernels::avx2_nearest::keep_nearest
);
