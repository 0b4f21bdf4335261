//! AVX2 with FMA: 8 lanes. The panel's tile is 6 rows by 2 registers: 12 sums, 2 lanes and a broadcast of 16
//! registers.

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_epi16, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si32, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_broadcastd_epi32, _mm256_castps256_ps128,
    _mm256_castsi256_si128, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_epi16, _mm256_sub_ps,
};

use super::blocks::{
    BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, Encoded, LINE, NearestRow, STEP, check, coming,
};
use super::fast::{FAST_TABLE, check as check_fast};
use super::generic::{self, Vector, kernels_of, prefetch_bytes};
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
    crate::kernels::fast::fast_screen,
    crate::kernels::fast::fast_keep,
    super::code_sums,
    crate::kernels::blocks::code_screen
);

/// Two lanes at a time, of the first four pieces of a group and of the others. A 16-bit lane holds two rows: `both` sums
/// `row + 256 * next` and `odd` the next alone, which is taken out of `both` in the end (modulo 2^16, as every sum fits).
#[target_feature(enable = "avx2")]
fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check_fast(codes, tables, sums);
    if blocks == 0 {
        return;
    }
    let nibble = _mm256_set1_epi8(15);
    for (tables, sums) in tables.iter().zip(sums.chunks_mut(blocks)) {
        let (tables, _) = tables.as_chunks::<FAST_TABLE>();
        for (block, sums) in codes.chunks(tables.len() * 64).zip(sums) {
            let (mut both, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (codes, table) in block.as_chunks::<64>().0.iter().zip(tables) {
                for (codes, half) in codes.as_chunks::<32>().0.iter().zip([0, 32]) {
                    // SAFETY: 32 bytes each: `half + 64 + 32 <= 128`.
                    let (codes, low, high) = unsafe {
                        (
                            _mm256_loadu_si256(codes.as_ptr().cast()),
                            _mm256_loadu_si256(table.as_ptr().add(half).cast()),
                            _mm256_loadu_si256(table.as_ptr().add(half + 64).cast()),
                        )
                    };
                    let below = _mm256_and_si256(codes, nibble);
                    let above = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
                    for found in [_mm256_shuffle_epi8(low, below), _mm256_shuffle_epi8(high, above)] {
                        both = _mm256_add_epi16(both, found);
                        odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(found));
                    }
                }
            }
            let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd));
            let fold =
                |lanes| _mm_add_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
            let (even, odd) = (fold(even), fold(odd));
            // SAFETY: 16 values of 2 bytes are two registers of 16 bytes.
            unsafe {
                _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(sums.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi16(even, odd));
            }
        }
    }
}

/// A register holds eight dimensions of eight rows. Sums of two products of upper halves are below 2^12, so that eight of
/// them stay within 16 bits.
#[target_feature(enable = "avx2")]
pub(super) fn code_sums(
    blocks: &Blocks<'_>,
    picked: &[u32],
    next: &[u32],
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    const TOGETHER: usize = 4;
    check(blocks, picked, queries, sums);
    let ahead = if queries.len() == 1 { blocks.ahead() } else { BLOCKS };
    for (at, &block) in picked.iter().enumerate().take(BLOCKS) {
        let codes = blocks.codes(block);
        let coming = coming(picked, next, at + ahead).unwrap_or(block);
        blocks.prefetch_bounds(coming);
        let mut coming = blocks.codes(coming);
        for (queries, sums) in queries.chunks(TOGETHER).zip(sums.chunks_mut(TOGETHER)) {
            match queries.len() {
                4 => block_sums::<4>(codes, coming, at, queries, sums),
                3 => block_sums::<3>(codes, coming, at, queries, sums),
                2 => block_sums::<2>(codes, coming, at, queries, sums),
                _ => block_sums::<1>(codes, coming, at, queries, sums),
            }
            coming = codes;
        }
    }
}

/// Bytes of `coming` are asked for while those of `codes` are worked on: all at once, memory would be waited for before there is
/// anything to do.
#[inline]
#[target_feature(enable = "avx2")]
fn block_sums<const Q: usize>(
    codes: &[u8],
    coming: &[u8],
    at: usize,
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    let ones = _mm256_set1_epi16(1);
    let values: [&[[[i8; STEP]; 2]]; Q] = std::array::from_fn(|q| queries[q].codes.as_chunks::<2>().0);
    let mut total = [[_mm256_setzero_si256(); Q]; 2];
    let (runs, rest) = codes.as_chunks::<{ SHORT * LINE }>();
    let (coming_runs, coming_rest) = coming.as_chunks::<{ SHORT * LINE }>();
    let mut add = |short: [[__m256i; Q]; 2]| {
        for (total, short) in total.as_flattened_mut().iter_mut().zip(short.as_flattened()) {
            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(*short, ones));
        }
    };
    for (at, (codes, coming)) in runs.iter().zip(coming_runs).enumerate() {
        // Of a known length, so that it is unrolled.
        let pairs: [&[[[i8; STEP]; 2]; SHORT]; Q] =
            std::array::from_fn(|q| &values[q].as_chunks::<SHORT>().0[at]);
        add(short_sums(codes, coming, pairs.map(|pairs| pairs.as_slice())));
    }
    add(short_sums(rest, coming_rest, std::array::from_fn(|q| values[q].as_chunks::<SHORT>().1)));
    for (q, sums) in sums.iter_mut().enumerate() {
        let start = _mm256_set1_epi32(queries[q].start());
        for (sums, total) in sums[at].as_chunks_mut::<{ BLOCK / 2 }>().0.iter_mut().zip(&total) {
            let sum = _mm256_add_epi32(_mm256_slli_epi32::<5>(total[q]), start);
            // SAFETY: eight sums of 4 bytes are 32 bytes.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), sum) };
        }
    }
}

/// Groups whose sums stay within 16 bits; each adds two.
const SHORT: usize = 4;

/// Sums of up to [`SHORT`] groups.
#[inline]
#[target_feature(enable = "avx2")]
fn short_sums<const Q: usize>(
    codes: &[u8],
    coming: &[u8],
    values: [&[[[i8; STEP]; 2]]; Q],
) -> [[__m256i; Q]; 2] {
    const HALF: usize = LINE / 2;
    let nibble = _mm256_set1_epi8(15);
    let mut short = [[_mm256_setzero_si256(); Q]; 2];
    let lines = codes.as_chunks::<LINE>().0.iter().zip(coming.as_chunks::<LINE>().0);
    for (at, (codes, coming)) in lines.enumerate() {
        prefetch_bytes(coming);
        for (codes, short) in codes.as_chunks::<HALF>().0.iter().zip(&mut short) {
            // SAFETY: 32 bytes.
            let bytes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let below = _mm256_and_si256(bytes, nibble);
            let above = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
            for (short, values) in short.iter_mut().zip(values) {
                let [first, second] = &values[at];
                *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(below, broadcast(first)));
                *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(above, broadcast(second)));
            }
        }
    }
    short
}

/// Four codes in each lane, straight from memory.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(four: &[i8; STEP]) -> __m256i {
    // SAFETY: 4 bytes.
    _mm256_broadcastd_epi32(unsafe { _mm_loadu_si32(four.as_ptr().cast()) })
}
