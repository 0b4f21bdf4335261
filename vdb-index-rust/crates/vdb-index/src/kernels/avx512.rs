//! AVX-512F and BW: 16 lanes. The panel's tile is 12 rows by 2 registers: 24 sums, 2 lanes and a broadcast of 32 registers.

use std::arch::x86_64::{
    __m512, _CMP_NGT_UQ, _CMP_UNORD_Q, _mm_add_epi16, _mm_storeu_si128, _mm_unpackhi_epi16,
    _mm_unpacklo_epi16, _mm256_add_epi16, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm512_add_epi16, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps_si512, _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cmple_epu16_mask,
    _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtepu32_epi64, _mm512_extracti64x4_epi64,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_mov_ps, _mm512_mask_reduce_add_ps,
    _mm512_maskz_compress_epi64, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi16, _mm512_slli_epi64, _mm512_srai_epi32,
    _mm512_srli_epi16, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi16, _mm512_sub_ps,
    _mm512_xor_si512,
};

use super::blocks::{BLOCK, BlockSums, Blocks, CodedQuery, Encoded, NearestRow};
use super::fast::{FAST_TABLE, FastKeys, check as check_fast, check_keep, check_screen, most};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FastLayout, FastSums, Isa, Kernels, Lanes, Panel};
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
    crate::kernels::avx2_exact::dot_exact,
    crate::kernels::avx2_exact::l2_exact,
    crate::kernels::avx2_fast::fast_tables,
    super::fast_scan,
    super::fast_screen,
    super::fast_keep,
    crate::kernels::avx2_sums::code_sums,
    crate::kernels::blocks::lower_sums,
    crate::kernels::blocks::row_sums,
    super::sift,
    crate::kernels::sift::within,
    crate::kernels::vnni::code_screen,
    crate::kernels::vnni::keep_nearest
);

// Sums of upper halves are those of AVX2.
super::sift::sift_with!("avx512f,avx512bw", super::avx2_sums::code_sums);

/// Four lanes at a time, of the first four pieces of a group and of the others; rows as in the AVX2 version.
#[target_feature(enable = "avx512f,avx512bw")]
fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check_fast(codes, tables, sums);
    if blocks == 0 {
        return;
    }
    let nibble = _mm512_set1_epi8(15);
    for (tables, sums) in tables.iter().zip(sums.chunks_mut(blocks)) {
        let (tables, _) = tables.as_chunks::<FAST_TABLE>();
        for (block, sums) in codes.chunks(tables.len() * 64).zip(sums) {
            let mut both = [_mm512_setzero_si512(); 2];
            let mut odd = [_mm512_setzero_si512(); 2];
            for (codes, table) in block.as_chunks::<64>().0.iter().zip(tables) {
                // SAFETY: 64 bytes of codes, 128 of tables; the loads need no alignment.
                let (codes, tables) = unsafe {
                    let table = table.as_ptr();
                    let tables = [_mm512_loadu_si512(table.cast()), _mm512_loadu_si512(table.add(64).cast())];
                    (_mm512_loadu_si512(codes.as_ptr().cast()), tables)
                };
                let halves = [
                    _mm512_and_si512(codes, nibble),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble),
                ];
                for half in 0..2 {
                    let found = _mm512_shuffle_epi8(tables[half], halves[half]);
                    both[half] = _mm512_add_epi16(both[half], found);
                    odd[half] = _mm512_add_epi16(odd[half], _mm512_srli_epi16::<8>(found));
                }
            }
            let (both, odd) = (_mm512_add_epi16(both[0], both[1]), _mm512_add_epi16(odd[0], odd[1]));
            let even = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd));
            let fold = |lanes| {
                let two =
                    _mm256_add_epi16(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
                _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two))
            };
            let (even, odd) = (fold(even), fold(odd));
            // SAFETY: 16 values of 2 bytes are two registers of 16 bytes.
            unsafe {
                _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(sums.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi16(even, odd));
            }
        }
    }
}

/// As [`fast::fast_screen`](super::fast::fast_screen), fused where it likes.
#[target_feature(enable = "avx512f,avx512bw")]
fn fast_screen(sums: &[FastSums], terms: &[[f32; BLOCK]], step: f32, limit: f32, passed: &mut [u16]) {
    check_screen(sums, terms, passed);
    if terms.is_empty() {
        if limit < 0.0 {
            passed.fill(0);
            return;
        }
        let most = most(step, limit);
        let at_most = _mm512_set1_epi16(most as i16);
        let (pairs, rest) = sums.as_chunks::<2>();
        let (passed_pairs, passed_rest) = passed.as_chunks_mut::<2>();
        for (pair, passed) in pairs.iter().zip(passed_pairs) {
            // SAFETY: 32 sums of 2 bytes.
            let pair = unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) };
            let mask = _mm512_cmple_epu16_mask(pair, at_most);
            *passed = [mask as u16, (mask >> 16) as u16];
        }
        for (sums, passed) in rest.iter().zip(passed_rest) {
            *passed = sums.iter().rev().fold(0, |bits, &sum| bits << 1 | u16::from(sum <= most));
        }
        return;
    }
    let (step, limit) = (_mm512_set1_ps(step), _mm512_set1_ps(limit));
    for ((sums, terms), passed) in sums.iter().zip(terms).zip(passed) {
        // SAFETY: 16 sums of 2 bytes and 16 terms of 4.
        let (sums, terms) =
            unsafe { (_mm256_loadu_si256(sums.as_ptr().cast()), _mm512_loadu_ps(terms.as_ptr())) };
        let keys = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)), step, terms);
        *passed = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(keys, limit);
    }
}

/// As [`fast::fast_keep`](super::fast::fast_keep), the rows of a block at once.
#[target_feature(enable = "avx512f,avx512bw")]
fn fast_keep(sums: &[FastSums], picked: &[u16], keys: &FastKeys<'_>, items: &mut Vec<u64>) {
    check_keep(sums, picked, keys);
    let (step, least) = (_mm512_set1_ps(keys.step), _mm512_set1_ps(keys.least));
    let (list, limit) = (_mm512_set1_ps(keys.list), _mm512_set1_ps(keys.limit));
    let infinity = _mm512_set1_ps(f32::INFINITY);
    let sign = _mm512_set1_epi32(i32::MIN);
    let rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (block, ((sums, &picked), &live)) in sums.iter().zip(picked).zip(keys.live).enumerate() {
        let picked = picked & live;
        if picked == 0 {
            continue;
        }
        // SAFETY: 16 sums of 2 bytes.
        let sums = unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) };
        let looked_up = _mm512_mul_ps(step, _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)));
        let mut key = _mm512_add_ps(least, looked_up);
        if let Some(terms) = keys.terms.get(block) {
            // SAFETY: 16 terms of 4 bytes.
            key = _mm512_add_ps(key, unsafe { _mm512_loadu_ps(terms.as_ptr()) });
        }
        key = _mm512_add_ps(list, key);
        let kept = picked & _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(key, limit);
        // As `shortlist::ordered`: what is no number counts as infinite, and -0 as 0.
        let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(key, key);
        key = _mm512_mask_mov_ps(_mm512_add_ps(key, _mm512_setzero_ps()), none, infinity);
        let bits = _mm512_castps_si512(key);
        let ordered = _mm512_xor_si512(bits, _mm512_or_si512(_mm512_srai_epi32::<31>(bits), sign));
        let first = keys.first + (block * BLOCK) as u32;
        let slots = _mm512_add_epi32(_mm512_set1_epi32(first as i32), rows);
        let halves = [
            (kept as u8, _mm512_castsi512_si256(ordered), _mm512_castsi512_si256(slots)),
            (
                (kept >> 8) as u8,
                _mm512_extracti64x4_epi64::<1>(ordered),
                _mm512_extracti64x4_epi64::<1>(slots),
            ),
        ];
        items.reserve(BLOCK);
        for (kept, ordered, slots) in halves {
            let high = _mm512_slli_epi64::<32>(_mm512_cvtepu32_epi64(ordered));
            let all = _mm512_or_si512(high, _mm512_cvtepu32_epi64(slots));
            let length = items.len();
            // SAFETY: there is room for 16 more items than before the first half, which made up to 8, so for these 8; those
            // that count were written.
            unsafe {
                let end = items.as_mut_ptr().add(length);
                _mm512_storeu_si512(end.cast(), _mm512_maskz_compress_epi64(kept, all));
                items.set_len(length + kept.count_ones() as usize);
            }
        }
    }
}
