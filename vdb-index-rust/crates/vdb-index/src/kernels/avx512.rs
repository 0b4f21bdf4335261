//! AVX-512F and BW: 16 lanes. The panel's tile is 12 rows by 2 registers: 24 sums, 2 lanes and a broadcast of 32 registers.

use std::arch::x86_64::{
    __m512, _mm_add_epi16, _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_add_epi16,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm512_add_epi16, _mm512_add_ps, _mm512_and_si512,
    _mm512_castsi512_si256, _mm512_extracti64x4_epi64, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_reduce_add_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_ps,
    _mm512_sub_epi16, _mm512_sub_ps,
};

use super::blocks::{BlockSums, Blocks, CodedQuery, Encoded};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FAST_ROWS, Isa, Kernels, Lanes, Panel, check_fast_scan};
use crate::matrix::Matrix;

#[derive(Clone, Copy)]
struct F32x16(__m512);

impl Vector for F32x16 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX-512F and for 16 values at `source`.
        Self(unsafe { _mm512_loadu_ps(source) })
    }

    #[inline(always)]
    unsafe fn load_part(source: &[f32]) -> Self {
        let mask = ((1u32 << source.len().min(16)) - 1) as u16;
        // SAFETY: the caller vouches for AVX-512F; lanes outside of the mask, past the slice, are not read.
        Self(unsafe { _mm512_maskz_loadu_ps(mask, source.as_ptr()) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: the caller vouches for AVX-512F and for room for 16 values at `target`.
        unsafe { _mm512_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, other: Self, plus: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_fmadd_ps(self.0, other.0, plus.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_mask_reduce_add_ps(u16::MAX, self.0) }
    }
}

kernels_of!(
    Isa::Avx512,
    F32x16,
    "avx512f,avx512bw",
    12,
    2,
    super::fast_scan,
    crate::kernels::avx2::code_sums,
    crate::kernels::vnni::code_screen
);

/// Four pieces at a time; lanes as in the AVX2 version.
#[target_feature(enable = "avx512f,avx512bw")]
fn fast_scan(codes: &[u8], tables: &[u8], sums: &mut [u16; FAST_ROWS]) {
    check_fast_scan(codes, tables);
    let nibble = _mm512_set1_epi8(15);
    let mut both = [_mm512_setzero_si512(); 2];
    let mut odd = [_mm512_setzero_si512(); 2];
    for (codes, table) in codes.as_chunks::<64>().0.iter().zip(tables.as_chunks::<64>().0) {
        // SAFETY: each of the arrays has 64 bytes; the loads need no alignment.
        let (codes, table) =
            unsafe { (_mm512_loadu_si512(codes.as_ptr().cast()), _mm512_loadu_si512(table.as_ptr().cast())) };
        let halves =
            [_mm512_and_si512(codes, nibble), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble)];
        for half in 0..2 {
            let found = _mm512_shuffle_epi8(table, halves[half]);
            both[half] = _mm512_add_epi16(both[half], found);
            odd[half] = _mm512_add_epi16(odd[half], _mm512_srli_epi16::<8>(found));
        }
    }
    for half in 0..2 {
        let even = _mm512_sub_epi16(both[half], _mm512_slli_epi16::<8>(odd[half]));
        let fold = |lanes| {
            let two = _mm256_add_epi16(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
            _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two))
        };
        let (even, odd) = (fold(even), fold(odd[half]));
        let target = &mut sums[half * 16..half * 16 + 16];
        // SAFETY: 16 values of 2 bytes are two registers of 16 bytes.
        unsafe {
            _mm_storeu_si128(target.as_mut_ptr().cast(), _mm_unpacklo_epi16(even, odd));
            _mm_storeu_si128(target.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi16(even, odd));
        }
    }
}
