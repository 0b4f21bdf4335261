//! Which rows pass a limit, with AVX2: eight at a time, those that pass closed up by a table.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_NGT_UQ, _mm_cmpeq_epi16, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16, _mm_setzero_si128, _mm_subs_epu16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_blendv_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_movemask_ps, _mm256_mul_ps, _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_ps,
};
use std::ops::Range;

use super::avx2_sums::one;
use super::blocks::{BLOCK, BlockBounds, BlockSums, Blocks, CodedQuery, check};
use super::fast::{FastSums, check_screen, most};
use super::sift::{Pick, Sifted};

/// Values of a register.
pub(super) const LANES: usize = 8;

/// For each mask of eight lanes those that are set, one after the other.
static SET: [[u8; LANES]; 256] = {
    let mut table = [[0; LANES]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut count) = (0, 0);
        while lane < LANES {
            if mask >> lane & 1 == 1 {
                table[mask][count] = lane as u8;
                count += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
};

/// The lanes of a mask, one after the other.
#[inline]
#[target_feature(enable = "avx2")]
fn set(mask: u8) -> __m256i {
    // SAFETY: 8 bytes.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(SET[usize::from(mask)].as_ptr().cast()) })
}

/// What a query brings to each block.
#[derive(Clone, Copy)]
struct Asking {
    unit: __m256,
    by_residual: __m256,
    by_norm: f32,
    by_half: __m256,
    limit: __m256,
}

impl Asking {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(query: &CodedQuery, limit: f32) -> Self {
        Self {
            unit: _mm256_set1_ps(query.scale),
            by_residual: _mm256_set1_ps(query.by_residual),
            by_norm: query.by_norm,
            by_half: _mm256_set1_ps(query.by_half),
            limit: _mm256_set1_ps(limit),
        }
    }

    /// The smallest keys that eight rows of a block may have, `first` and those after it, and which are within the limit; minus
    /// infinity where nothing is known. Fused, which is within the bound.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn bases(&self, bounds: &BlockBounds, length: f32, first: usize, sums: __m256i) -> (__m256, u8) {
        let (scale, rough, half) =
            (eight_of(&bounds.scale, first), eight_of(&bounds.rough, first), eight_of(&bounds.half, first));
        let product = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale), self.unit);
        let error = _mm256_fmadd_ps(self.by_residual, rough, _mm256_set1_ps(self.by_norm * length));
        let error = _mm256_fmadd_ps(self.by_half, half, error);
        let base = _mm256_sub_ps(_mm256_sub_ps(half, product), error);
        let known = _mm256_cmp_ps::<_CMP_LT_OQ>(base, _mm256_set1_ps(f32::INFINITY));
        let base = _mm256_blendv_ps(_mm256_set1_ps(f32::NEG_INFINITY), base, known);
        let within = _mm256_cmp_ps::<_CMP_NGT_UQ>(base, self.limit);
        (base, _mm256_movemask_ps(within) as u8)
    }
}

/// As [`sift`](super::sift::sift). Nothing is kept of rows that are excluded, so that memory is read and hardly written.
#[target_feature(enable = "avx2,fma")]
pub(super) fn sift(
    blocks: &Blocks<'_>,
    picks: &[Pick],
    range: Range<usize>,
    query: &CodedQuery,
    limit: f32,
    sifted: &mut Sifted,
) {
    check(blocks, &[], &[query], &[BlockSums::default()]);
    let (bases, sums, places) = sifted.room(range.len() * BLOCK);
    let asking = Asking::of(query, limit);
    let ahead = blocks.ahead();
    let mut count = 0;
    for at in range {
        let pick = &picks[at];
        let coming = picks.get(at + ahead).unwrap_or(pick).block;
        let total = one(blocks, pick.block, coming, query);
        let (bounds, length) = (blocks.bounds(pick.block), blocks.length(pick.block));
        for (half, sum) in total.into_iter().enumerate() {
            let first = half * LANES;
            let (base, within) = asking.bases(bounds, length, first, sum);
            let near = within & (pick.live >> first) as u8;
            let lanes = set(near);
            let place = _mm256_add_epi32(_mm256_set1_epi32((at * BLOCK + first) as u32 as i32), lanes);
            // Whether there are any cannot be foreseen, and a guess that was wrong costs more than to write nothing.
            // SAFETY: up to 8 values of each half are kept, so that there are places for 8 more in what was reserved.
            unsafe {
                _mm256_storeu_ps(bases.add(count).cast(), _mm256_permutevar8x32_ps(base, lanes));
                _mm256_storeu_si256(sums.add(count).cast(), _mm256_permutevar8x32_epi32(sum, lanes));
                _mm256_storeu_si256(places.add(count).cast(), place);
            }
            count += near.count_ones() as usize;
        }
    }
    // SAFETY: so many values were written to each.
    unsafe { sifted.count_in(count) };
}

/// As [`within`](super::sift::within).
#[target_feature(enable = "avx2")]
pub(super) fn within(bases: &[f32], limit: f32, found: &mut Vec<u32>) {
    found.clear();
    found.reserve(bases.len());
    let at_most = _mm256_set1_ps(limit);
    let (eights, rest) = bases.as_chunks::<LANES>();
    let mut count = 0;
    for (at, eight) in eights.iter().enumerate() {
        // SAFETY: 8 values.
        let eight = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
        let near = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(eight, at_most)) as u8;
        let numbers = _mm256_add_epi32(_mm256_set1_epi32((at * LANES) as u32 as i32), set(near));
        // SAFETY: up to 8 numbers of each eight are kept, so that there is room for 8 more.
        unsafe { _mm256_storeu_si256(found.as_mut_ptr().add(count).cast(), numbers) };
        count += near.count_ones() as usize;
    }
    // SAFETY: so many were written.
    unsafe { found.set_len(count) };
    let first = (eights.len() * LANES) as u32;
    found.extend((first..).zip(rest).filter(|&(_, &base)| base <= limit).map(|(number, _)| number));
}

/// As [`code_screen`](super::blocks::code_screen).
#[target_feature(enable = "avx2,fma")]
pub(super) fn code_screen(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    for (((query, &limit), sums), passed) in queries.iter().zip(limits).zip(sums).zip(passed) {
        let asking = Asking::of(query, limit);
        *passed = 0;
        for (j, (&block, sums)) in picked.iter().zip(sums).enumerate() {
            let (bounds, length) = (blocks.bounds(block), blocks.length(block));
            for (half, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
                // SAFETY: 8 values.
                let sums = unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) };
                let (_, within) = asking.bases(bounds, length, half * LANES, sums);
                *passed |= u64::from(within) << (j * BLOCK + half * LANES);
            }
        }
    }
}

/// As [`fast_screen`](super::fast::fast_screen).
#[target_feature(enable = "avx2")]
pub(super) fn fast_screen(
    sums: &[FastSums],
    terms: &[[f32; BLOCK]],
    step: f32,
    limit: f32,
    passed: &mut [u16],
) {
    check_screen(sums, terms, passed);
    if terms.is_empty() {
        if limit < 0.0 {
            passed.fill(0);
            return;
        }
        let at_most = _mm_set1_epi16(most(step, limit) as i16);
        for (sums, passed) in sums.iter().zip(passed) {
            // Nothing is left of sums that are at most so large.
            let [low, high] = halves_of(sums)
                .map(|sums| _mm_cmpeq_epi16(_mm_subs_epu16(sums, at_most), _mm_setzero_si128()));
            *passed = _mm_movemask_epi8(_mm_packs_epi16(low, high)) as u16;
        }
        return;
    }
    let (step, limit) = (_mm256_set1_ps(step), _mm256_set1_ps(limit));
    for ((sums, terms), passed) in sums.iter().zip(terms).zip(passed) {
        let mut within = [0; 2];
        for (half, (sums, within)) in halves_of(sums).into_iter().zip(&mut within).enumerate() {
            let looked_up = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(sums)), step);
            let keys = _mm256_add_ps(looked_up, eight_of(terms, half * LANES));
            *within = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(keys, limit)) as u8;
        }
        *passed = u16::from_le_bytes(within);
    }
}

/// The sums of eight rows each.
#[inline]
#[target_feature(enable = "avx2")]
fn halves_of(sums: &FastSums) -> [__m128i; 2] {
    // SAFETY: 16 sums of 2 bytes are two registers of 16 bytes.
    unsafe { [_mm_loadu_si128(sums.as_ptr().cast()), _mm_loadu_si128(sums.as_ptr().add(LANES).cast())] }
}

/// Eight values, the `first` and those after it, of the rows of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn eight_of(values: &[f32; BLOCK], first: usize) -> __m256 {
    let eight = &values.as_chunks::<LANES>().0[first / LANES];
    // SAFETY: 8 values.
    unsafe { _mm256_loadu_ps(eight.as_ptr()) }
}
