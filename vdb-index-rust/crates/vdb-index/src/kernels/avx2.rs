//! AVX2 with FMA: 8 lanes. The panel's tile is 6 rows by 2 registers: 12 sums, 2 lanes and a broadcast of 16
//! registers.

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_epi16, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_add_epi16, _mm256_add_ps,
    _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maddubs_epi16,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_epi16,
    _mm256_sub_ps,
};

use super::avx2_sums::pin;
use super::blocks::{BLOCK, BlockSums, Blocks, CodedQuery, Encoded, NearestRow};
use super::fast::{FAST_TABLE, check as check_fast};
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
    super::fast_scan,
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

/// Queries that share the reading of codes meet a block side by side; one alone meets two blocks.
#[target_feature(enable = "avx2")]
fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check_fast(codes, tables, sums);
    if blocks == 0 {
        return;
    }
    match tables.len() {
        4 => scan::<4, 1>(codes, tables, blocks, sums),
        3 => scan::<3, 1>(codes, tables, blocks, sums),
        2 => scan::<2, 1>(codes, tables, blocks, sums),
        _ => scan::<1, 2>(codes, tables, blocks, sums),
    }
}

/// `B` blocks at a time, and the rest of them one after the other.
#[inline]
#[target_feature(enable = "avx2")]
fn scan<const Q: usize, const B: usize>(
    codes: &[u8],
    tables: &[&[u8]],
    blocks: usize,
    sums: &mut [FastSums],
) {
    let groups = tables[0].len() / FAST_TABLE;
    let mut of_queries = [std::ptr::null(); Q];
    for (place, tables) in of_queries.iter_mut().zip(tables) {
        *place = tables.as_ptr();
    }
    let mut block = 0;
    while block + B <= blocks {
        // SAFETY: there are `blocks` blocks of `groups` times 64 bytes, and tables of as many times 128 bytes.
        let tile = unsafe { scan_tile::<Q, B>(codes.as_ptr().add(block * groups * 64), of_queries, groups) };
        for q in 0..Q {
            for b in 0..B {
                put_scanned(tile[q][b], &mut sums[q * blocks + block + b]);
            }
        }
        block += B;
    }
    for block in block..blocks {
        // SAFETY: as above.
        let tile = unsafe { scan_tile::<Q, 1>(codes.as_ptr().add(block * groups * 64), of_queries, groups) };
        for q in 0..Q {
            put_scanned(tile[q][0], &mut sums[q * blocks + block]);
        }
    }
}

/// Two lanes at a time, of the first four pieces of a group and of the others. A 16-bit lane holds two rows: the first register
/// sums `row + 256 * next` and the second the next alone.
///
/// # Safety
/// There are `B` blocks of `groups` times 64 bytes from `codes` on, and `groups` times 128 bytes from each of `tables` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn scan_tile<const Q: usize, const B: usize>(
    codes: *const u8,
    tables: [*const u8; Q],
    groups: usize,
) -> [[[__m256i; 2]; B]; Q] {
    let nibble = _mm256_set1_epi8(15);
    let second = _mm256_set1_epi16(256);
    let mut total = [[[_mm256_setzero_si256(); 2]; B]; Q];
    for group in 0..groups {
        for half in [0, 32] {
            let mut below = [_mm256_setzero_si256(); B];
            let mut above = [_mm256_setzero_si256(); B];
            for b in 0..B {
                // SAFETY: 32 bytes: `half + 32 <= 64`.
                let codes = unsafe { _mm256_loadu_si256(codes.add((b * groups + group) * 64 + half).cast()) };
                below[b] = _mm256_and_si256(codes, nibble);
                above[b] = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
            }
            for q in 0..Q {
                // SAFETY: 32 bytes each: `half + 64 + 32 <= 128`.
                let (low, high) = unsafe {
                    let table = tables[q].add(group * FAST_TABLE + half);
                    (_mm256_loadu_si256(table.cast()), _mm256_loadu_si256(table.add(64).cast()))
                };
                for b in 0..B {
                    let [both, odd] = &mut total[q][b];
                    let found = [_mm256_shuffle_epi8(low, below[b]), _mm256_shuffle_epi8(high, above[b])];
                    *both = _mm256_add_epi16(*both, found[0]);
                    *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(found[0]));
                    // Products by 1 and 0 in place of another shift: shifts and shuffles share units.
                    *both = _mm256_add_epi16(*both, found[1]);
                    *odd = _mm256_add_epi16(*odd, _mm256_maddubs_epi16(found[1], second));
                    pin(both);
                    pin(odd);
                }
            }
        }
    }
    total
}

/// The sums of a block. The odd rows are taken out of both, modulo 2^16, as every sum fits.
#[inline]
#[target_feature(enable = "avx2")]
fn put_scanned([both, odd]: [__m256i; 2], sums: &mut FastSums) {
    let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd));
    let fold = |lanes| _mm_add_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let (even, odd) = (fold(even), fold(odd));
    // SAFETY: 16 values of 2 bytes are two registers of 16 bytes.
    unsafe {
        _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_unpacklo_epi16(even, odd));
        _mm_storeu_si128(sums.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi16(even, odd));
    }
}
