//! AVX2 with FMA: 8 lanes. The panel's tile is 6 rows by 2 registers: 12 sums, 2 lanes and a broadcast of 16
//! registers.

use std::arch::x86_64::{
    __m256, _mm_add_epi16, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_si128,
    _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_sign_epi8,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi16,
    _mm256_sub_ps, _mm256_xor_si256,
};

use super::blocks::{BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, Encoded, STEP, ZERO, check};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FAST_ROWS, Isa, Kernels, Lanes, Panel, check_fast_scan};
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
    super::fast_scan,
    super::code_sums,
    crate::kernels::blocks::code_screen
);

/// Two pieces at a time. A 16-bit lane holds two rows: `both` sums `row + 256 * next` and `odd` the next alone, which
/// is taken out of `both` in the end (modulo 2^16, as every sum fits).
#[target_feature(enable = "avx2")]
fn fast_scan(codes: &[u8], tables: &[u8], sums: &mut [u16; FAST_ROWS]) {
    check_fast_scan(codes, tables);
    let nibble = _mm256_set1_epi8(15);
    let mut both = [_mm256_setzero_si256(); 2];
    let mut odd = [_mm256_setzero_si256(); 2];
    for (codes, table) in codes.as_chunks::<32>().0.iter().zip(tables.as_chunks::<32>().0) {
        // SAFETY: each of the arrays has 32 bytes; the loads need no alignment.
        let (codes, table) =
            unsafe { (_mm256_loadu_si256(codes.as_ptr().cast()), _mm256_loadu_si256(table.as_ptr().cast())) };
        let halves =
            [_mm256_and_si256(codes, nibble), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble)];
        for half in 0..2 {
            let found = _mm256_shuffle_epi8(table, halves[half]);
            both[half] = _mm256_add_epi16(both[half], found);
            odd[half] = _mm256_add_epi16(odd[half], _mm256_srli_epi16::<8>(found));
        }
    }
    for half in 0..2 {
        let even = _mm256_sub_epi16(both[half], _mm256_slli_epi16::<8>(odd[half]));
        let fold = |lanes| _mm_add_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let (even, odd) = (fold(even), fold(odd[half]));
        let target = &mut sums[half * 16..half * 16 + 16];
        // SAFETY: 16 values of 2 bytes are two registers of 16 bytes.
        unsafe {
            _mm_storeu_si128(target.as_mut_ptr().cast(), _mm_unpacklo_epi16(even, odd));
            _mm_storeu_si128(target.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi16(even, odd));
        }
    }
}

/// A register holds four dimensions of eight rows. |code| times the query's code with the sign of the row's: with codes
/// from -127 to 127 no sum of two such products leaves 16 bits.
#[target_feature(enable = "avx2")]
pub(super) fn code_sums(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &mut [BlockSums]) {
    const TOGETHER: usize = 4;
    check(blocks, picked, queries, sums);
    for (at, &block) in picked.iter().enumerate().take(BLOCKS) {
        for (queries, sums) in queries.chunks(TOGETHER).zip(sums.chunks_mut(TOGETHER)) {
            match queries.len() {
                4 => block_sums::<4>(blocks.codes(block), at, queries, sums),
                3 => block_sums::<3>(blocks.codes(block), at, queries, sums),
                2 => block_sums::<2>(blocks.codes(block), at, queries, sums),
                _ => block_sums::<1>(blocks.codes(block), at, queries, sums),
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn block_sums<const Q: usize>(codes: &[u8], at: usize, queries: &[CodedQuery], sums: &mut [BlockSums]) {
    const HALF: usize = BLOCK * STEP / 2;
    let (zero, ones) = (_mm256_set1_epi8(ZERO as i8), _mm256_set1_epi16(1));
    let values: [&[[i8; STEP]]; Q] = std::array::from_fn(|q| queries[q].codes.as_slice());
    let mut total = [[_mm256_setzero_si256(); Q]; 2];
    for (step, codes) in codes.as_chunks::<{ 2 * HALF }>().0.iter().enumerate() {
        for (codes, total) in codes.as_chunks::<HALF>().0.iter().zip(&mut total) {
            // SAFETY: 32 bytes.
            let bytes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let codes = _mm256_xor_si256(bytes, zero);
            let sizes = _mm256_abs_epi8(codes);
            for (total, values) in total.iter_mut().zip(values) {
                let value = _mm256_set1_epi32(i32::from_le_bytes(values[step].map(|code| code as u8)));
                let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(value, codes));
                *total = _mm256_add_epi32(*total, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for (q, sums) in sums.iter_mut().enumerate() {
        for (sums, total) in sums[at].as_chunks_mut::<{ BLOCK / 2 }>().0.iter_mut().zip(&total) {
            // SAFETY: eight sums of 4 bytes are 32 bytes.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total[q]) };
        }
    }
}
