//! Sums over 4-bit codes with AVX2, and the tables for them.

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_epi16, _mm_cvtss_f32, _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpacklo_epi16,
    _mm256_add_epi8, _mm256_add_epi16, _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_si128,
    _mm256_cvttps_epi32, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps, _mm256_packs_epi32, _mm256_packus_epi16,
    _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    _mm256_storeu_si256, _mm256_sub_epi16, _mm256_sub_ps, _mm256_xor_ps,
};

use super::avx2_sums::pin;
use super::fast::{self, FAST_TABLE, FAST_WORDS, FastSums, MOST_PIECES, Steps, check, check_tables};

/// Queries that share the reading of codes meet a block side by side; one alone meets two blocks.
#[target_feature(enable = "avx2")]
pub(super) fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check(codes, tables, sums);
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

/// Two pieces of 16 rows in a register. What four registers of a group look up is added as bytes, which [`Steps`] leaves room for;
/// then a 16-bit lane holds two rows: the first register sums `row + 256 * next` and the second the next alone.
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
    let mut total = [[[_mm256_setzero_si256(); 2]; B]; Q];
    for group in 0..groups {
        let mut places = [[_mm256_setzero_si256(); 4]; B];
        for (b, places) in places.iter_mut().enumerate() {
            for half in 0..2 {
                // SAFETY: 32 bytes: `32 * half + 32 <= 64`.
                let codes =
                    unsafe { _mm256_loadu_si256(codes.add((b * groups + group) * 64 + half * 32).cast()) };
                places[half] = _mm256_and_si256(codes, nibble);
                places[half + 2] = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
            }
        }
        for q in 0..Q {
            let table = |at: usize| {
                // SAFETY: 32 bytes: `32 * at + 32 <= 128`.
                unsafe { _mm256_loadu_si256(tables[q].add(group * FAST_TABLE + at * 32).cast()) }
            };
            for ([both, odd], places) in total[q].iter_mut().zip(&places) {
                let mut found = _mm256_shuffle_epi8(table(0), places[0]);
                for (at, &places) in places.iter().enumerate().skip(1) {
                    found = _mm256_add_epi8(found, _mm256_shuffle_epi8(table(at), places));
                }
                *both = _mm256_add_epi16(*both, found);
                *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(found));
                pin(both);
                pin(odd);
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

/// As [`fast::fast_tables`], fused where it likes.
#[target_feature(enable = "avx2,fma")]
pub(super) fn fast_tables(values: &[f32], words: usize, steps: &mut [u8]) -> (f32, f32) {
    let (pieces, rest) = values.as_chunks::<FAST_WORDS>();
    let mut lows = [0.0f32; MOST_PIECES];
    if words != FAST_WORDS || !rest.is_empty() || pieces.len() > MOST_PIECES {
        return fast::fast_tables(values, words, steps);
    }
    check_tables(pieces.len(), steps);
    let (mut widest, mut least) = (Steps::NONE, 0.0f32);
    for (at, (piece, place)) in pieces.iter().zip(&mut lows).enumerate() {
        let (low, high) = ends(sixteen(piece));
        *place = low;
        least += low;
        widest.see(at, high - low);
    }
    let (step, most) = widest.finish(pieces.len());
    let (inverse, most) = (_mm256_set1_ps(1.0 / step), _mm256_set1_ps(most));
    let round = |values: __m256, low: __m256| {
        let above = _mm256_fmadd_ps(_mm256_sub_ps(values, low), inverse, _mm256_set1_ps(0.5));
        // What is no number stays one that the conversion makes negative, and the packing 0.
        _mm256_cvttps_epi32(_mm256_min_ps(most, above))
    };
    let in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let (full, rest) = steps.split_at_mut(pieces.len() * FAST_WORDS);
    let write = |at: usize, pair: [&[f32; FAST_WORDS]; 2], steps: &mut [u8; 2 * FAST_WORDS]| {
        let [first, second] = pair.map(|piece| sixteen(piece));
        let low = |at: usize| _mm256_set1_ps(lows[at.min(MOST_PIECES - 1)]);
        let first = first.map(|values| round(values, low(at)));
        let second = second.map(|values| round(values, low(at + 1)));
        let halves = _mm256_packus_epi16(
            _mm256_packs_epi32(first[0], first[1]),
            _mm256_packs_epi32(second[0], second[1]),
        );
        // SAFETY: room for 32 bytes.
        unsafe {
            let bytes = _mm256_permutevar8x32_epi32(halves, in_order);
            _mm256_storeu_si256(steps.as_mut_ptr().cast(), bytes);
        }
    };
    let (pairs, last) = full.as_chunks_mut::<{ 2 * FAST_WORDS }>();
    for (at, (pieces, steps)) in pieces.as_chunks::<2>().0.iter().zip(pairs).enumerate() {
        write(2 * at, [&pieces[0], &pieces[1]], steps);
    }
    if let ([.., piece], [_, ..]) = (pieces, &mut *last) {
        let mut both = [0; 2 * FAST_WORDS];
        write(pieces.len() - 1, [piece, piece], &mut both);
        last.copy_from_slice(&both[..FAST_WORDS]);
    }
    rest.fill(0);
    (step, least)
}

/// The values of a piece.
#[inline]
#[target_feature(enable = "avx2")]
fn sixteen(piece: &[f32; FAST_WORDS]) -> [__m256; 2] {
    // SAFETY: 8 values each.
    unsafe { [_mm256_loadu_ps(piece.as_ptr()), _mm256_loadu_ps(piece.as_ptr().add(8))] }
}

/// The smallest and the largest value of a piece.
#[inline]
#[target_feature(enable = "avx2")]
fn ends([a, b]: [__m256; 2]) -> (f32, f32) {
    // The largest is the smallest of all with the other sign, so that both are found at once.
    let sign = _mm256_set1_ps(-0.0);
    let (low, high) = (_mm256_min_ps(a, b), _mm256_xor_ps(_mm256_max_ps(a, b), sign));
    let least =
        _mm256_min_ps(_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high));
    let least = _mm256_min_ps(least, _mm256_permute_ps::<0b01_00_11_10>(least));
    let least = _mm256_min_ps(least, _mm256_permute_ps::<0b10_11_00_01>(least));
    (_mm_cvtss_f32(_mm256_castps256_ps128(least)), -_mm_cvtss_f32(_mm256_extractf128_ps::<1>(least)))
}
