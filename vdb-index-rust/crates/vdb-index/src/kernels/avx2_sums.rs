//! Sums of upper halves of codes with AVX2, which multiplies bytes in pairs and keeps 16 bits of two products.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _MM_HINT_T1, _mm_loadu_si32, _mm_prefetch, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_broadcastd_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi16,
    _mm256_storeu_si256,
};

use super::blocks::{BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, LINE, STEP, check, coming};

/// Bytes of a register.
pub(super) const WIDE: usize = 32;
/// Rows of a block whose codes of a group fill a register.
const ROWS: usize = BLOCK / 2;
/// Queries side by side: six sums of 16 bits and six of 32, codes of eight rows and a broadcast of 16 registers.
const QUERIES: usize = 6;
/// Groups whose sums stay within 16 bits: each adds two sums of two products, which are below 2^12.
pub(super) const SHORT: usize = 4;

/// A register holds eight dimensions of eight rows.
#[target_feature(enable = "avx2")]
pub(super) fn code_sums(
    blocks: &Blocks<'_>,
    picked: &[u32],
    next: &[u32],
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    check(blocks, picked, queries, sums);
    let ahead = if queries.len() == 1 { blocks.ahead() } else { BLOCKS };
    let mut next = |at: usize| coming(picked, next, at + ahead).unwrap_or(picked[at]);
    for (queries, sums) in queries.chunks(QUERIES).zip(sums.chunks_mut(QUERIES)) {
        match queries.len() {
            6 => tile::<6, 1>(blocks, picked, &mut next, queries, sums),
            5 => tile::<5, 1>(blocks, picked, &mut next, queries, sums),
            4 => tile::<4, 1>(blocks, picked, &mut next, queries, sums),
            3 => tile::<3, 1>(blocks, picked, &mut next, queries, sums),
            2 => tile::<2, 2>(blocks, picked, &mut next, queries, sums),
            _ => tile::<1, 2>(blocks, picked, &mut next, queries, sums),
        }
    }
}

/// `Q` queries meet one half of a block after the other, or two at a time. Bytes of the block that comes later are asked for while
/// those of one are worked on: all at once, memory would be waited for before there is anything to do.
#[inline]
#[target_feature(enable = "avx2")]
fn tile<const Q: usize, const H: usize>(
    blocks: &Blocks<'_>,
    picked: &[u32],
    next: &mut impl FnMut(usize) -> u32,
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    let groups = blocks.groups();
    let mut values = [std::ptr::null(); Q];
    let mut starts = [0; Q];
    for q in 0..Q {
        assert_eq!(queries[q].codes.len(), 2 * groups, "a query is as long as a row");
        (values[q], starts[q]) = (queries[q].codes.as_ptr(), queries[q].start());
    }
    for (at, &block) in picked.iter().enumerate().take(BLOCKS) {
        let coming = next(at);
        blocks.prefetch_bounds(coming);
        let (codes, mut coming) = (blocks.codes(block).as_ptr(), blocks.codes(coming).as_ptr());
        for first in (0..2).step_by(H) {
            // SAFETY: a block has `groups` lines, of which each half is one register, and each query as many pairs of fours.
            let total = unsafe { half_sums::<Q, H>(codes.add(first * WIDE), coming, values, groups) };
            coming = codes;
            for (h, total) in total.iter().enumerate() {
                for q in 0..Q {
                    let sum =
                        _mm256_add_epi32(_mm256_slli_epi32::<5>(total[q]), _mm256_set1_epi32(starts[q]));
                    let place = &mut sums[q][at].as_chunks_mut::<ROWS>().0[first + h];
                    // SAFETY: eight sums of 4 bytes are 32 bytes.
                    unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), sum) };
                }
            }
        }
    }
}

/// The sums of a block and one query, each half a register.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn one(blocks: &Blocks<'_>, block: u32, coming: u32, query: &CodedQuery) -> [__m256i; 2] {
    let groups = blocks.groups();
    assert_eq!(query.codes.len(), 2 * groups, "a query is as long as a row");
    blocks.prefetch_bounds(coming);
    let (codes, coming) = (blocks.codes(block).as_ptr(), blocks.codes(coming).as_ptr());
    // SAFETY: a block has `groups` lines, and the query as many pairs of fours.
    let total = unsafe { half_sums::<1, 2>(codes, coming, [query.codes.as_ptr()], groups) };
    let start = _mm256_set1_epi32(query.start());
    total.map(|[total]| _mm256_add_epi32(_mm256_slli_epi32::<5>(total), start))
}

/// Sums of products of `H` halves of a block, of which the first one's first register is at `codes`.
///
/// # Safety
/// The block has `groups` lines, and there are as many pairs of fours from each of `values` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half_sums<const Q: usize, const H: usize>(
    mut codes: *const u8,
    mut coming: *const u8,
    mut values: [*const [i8; STEP]; Q],
    groups: usize,
) -> [[__m256i; Q]; H] {
    let ones = _mm256_set1_epi16(1);
    let nibble = _mm256_set1_epi8(15);
    let mut total = [[_mm256_setzero_si256(); Q]; H];
    for run in 0..groups.div_ceil(SHORT) {
        let mut short = [[_mm256_setzero_si256(); Q]; H];
        // One of a known length, so that it is unrolled.
        if (run + 1) * SHORT <= groups {
            for line in 0..SHORT {
                // SAFETY: the caller vouches for this many lines.
                unsafe { add_line(&mut short, codes, coming, values, line, nibble) };
            }
        } else {
            for line in 0..groups % SHORT {
                // SAFETY: as above.
                unsafe { add_line(&mut short, codes, coming, values, line, nibble) };
            }
        }
        for h in 0..H {
            for q in 0..Q {
                total[h][q] = _mm256_add_epi32(total[h][q], _mm256_madd_epi16(short[h][q], ones));
            }
        }
        codes = codes.wrapping_add(SHORT * LINE);
        coming = coming.wrapping_add(SHORT * LINE);
        for values in &mut values {
            *values = values.wrapping_add(2 * SHORT);
        }
    }
    total
}

/// # Safety
/// As for [`half_sums`], of a line.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_line<const Q: usize, const H: usize>(
    short: &mut [[__m256i; Q]; H],
    codes: *const u8,
    coming: *const u8,
    values: [*const [i8; STEP]; Q],
    line: usize,
    nibble: __m256i,
) {
    _mm_prefetch::<_MM_HINT_T1>(coming.wrapping_add(line * LINE).cast());
    for (h, short) in short.iter_mut().enumerate() {
        // SAFETY: 32 bytes of a line.
        let bytes = unsafe { _mm256_loadu_si256(codes.add(line * LINE + h * WIDE).cast()) };
        let below = _mm256_and_si256(bytes, nibble);
        let above = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
        for (short, values) in short.iter_mut().zip(values) {
            // SAFETY: a pair of fours for each line.
            let [first, second] = unsafe { [&*values.add(2 * line), &*values.add(2 * line + 1)] };
            *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(below, broadcast(first)));
            *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(above, broadcast(second)));
            pin(short);
        }
    }
}

/// Four codes in each lane, straight from memory.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(four: &[i8; STEP]) -> __m256i {
    // SAFETY: 4 bytes.
    _mm256_broadcastd_epi32(unsafe { _mm_loadu_si32(four.as_ptr().cast()) })
}

/// Have sums made in this order: regrouped, they would need more registers than there are (measured: a tenth of the time).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pin(sum: &mut __m256i) {
    // SAFETY: no instruction at all, whose one operand is a register of AVX2.
    unsafe { asm!("/* {0} */", inout(ymm_reg) * sum, options(pure, nomem, nostack, preserves_flags)) };
}
