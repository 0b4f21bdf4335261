//! AVX-512 VNNI: bytes multiplied and summed four at a time. The tile is four blocks by six queries: 24 sums, four
//! registers of codes and a broadcast of 32 registers. Everything else is as for AVX-512.

use std::arch::x86_64::{
    __m512i, _CMP_EQ_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_NGT_UQ, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch,
    _mm_storeu_si128, _mm512_add_epi32, _mm512_and_si512, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
    _mm512_cvttps_epu32, _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_cmp_ps_mask, _mm512_mask_cmplt_epu32_mask, _mm512_mask_i32gather_epi32,
    _mm512_mask_mov_ps, _mm512_mask_set1_epi32, _mm512_maskz_compress_epi32, _mm512_maskz_compress_ps,
    _mm512_maskz_loadu_epi8, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_reduce_add_epi32, _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_sllv_epi32,
    _mm512_srli_epi16, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_ps,
    _mm512_test_epi32_mask,
};

use std::ops::Range;

use super::blocks::{
    BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodedQuery, LINE, MIDDLE, NearestRow, STEP, ZERO, check,
    check_lower, check_nearest,
};
use super::fast::{FAST_WORDS, MOST_PIECES, Steps, check_tables};
use super::generic::prefetch_bytes;
use super::sift::{Pick, Sifted};
use super::{Isa, Kernels, avx512, whole};

/// Queries side by side.
const QUERIES: usize = 6;

pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::Avx512Vnni,
    code_sums: |blocks, picked, next, queries, sums| {
        // SAFETY: `Kernels::of` hands this table out only after it saw the CPU's features.
        unsafe { code_sums(blocks, picked, next, queries, sums) }
    },
    lower_sums: |blocks, picked, query, sums| {
        // SAFETY: as for `code_sums`.
        unsafe { lower_sums(blocks, picked, query, sums) }
    },
    row_sums: |rows, stride, picked, query, sums| {
        // SAFETY: as for `code_sums`.
        unsafe { row_sums(rows, stride, picked, query, sums) }
    },
    fast_tables: |values, words, steps| {
        // SAFETY: as for `code_sums`.
        unsafe { fast_tables(values, words, steps) }
    },
    members: |words, rows, slots| {
        // SAFETY: as for `code_sums`.
        unsafe { members(words, rows, slots) }
    },
    sift: |blocks, picks, range, query, limit, sifted| {
        // SAFETY: as for `code_sums`.
        unsafe { sift(blocks, picks, range, query, limit, sifted) }
    },
    within: |bases, limit, found| {
        // SAFETY: as for `code_sums`.
        unsafe { within(bases, limit, found) }
    },
    whole: Some(&whole::KERNELS),
    ..avx512::KERNELS
};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn code_sums(
    blocks: &Blocks<'_>,
    picked: &[u32],
    next: &[u32],
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    check(blocks, picked, queries, sums);
    let next_of = |at: usize, block: u32| next.get(at).copied().unwrap_or(block);
    if let Ok(picked) = <[u32; BLOCKS]>::try_from(picked) {
        let next = std::array::from_fn(|at| next_of(at, picked[at]));
        tiles::<BLOCKS>(blocks, picked, next, 0, queries, sums);
    } else {
        for (at, &block) in picked.iter().enumerate() {
            tiles::<1>(blocks, [block], [next_of(at, block)], at, queries, sums);
        }
    }
}

/// As [`members`](super::members): 32 bits around each slot are gathered.
#[target_feature(enable = "avx512f,avx512bw")]
fn members(words: &[u64], rows: usize, slots: &[u32]) -> u16 {
    assert!(slots.len() <= BLOCK && rows <= words.len() * 64, "up to 16 slots, and a bit for each row");
    let there = u16::MAX.checked_shr(16 - slots.len() as u32).unwrap_or(0);
    let rows = _mm512_set1_epi32(rows.min(u32::MAX as usize) as u32 as i32);
    // SAFETY: slots past the end are outside of the mask and not read.
    let slots = unsafe { _mm512_maskz_loadu_epi32(there, slots.as_ptr().cast()) };
    let known = _mm512_mask_cmplt_epu32_mask(there, slots, rows);
    let place = _mm512_srli_epi32::<5>(slots);
    // SAFETY: a slot of the mask is below `rows`, so that its 32 bits lie within the words; on this architecture the lower
    // half of a word comes first.
    let bits = unsafe {
        _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), known, place, words.as_ptr().cast())
    };
    let bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(slots, _mm512_set1_epi32(31)));
    _mm512_test_epi32_mask(bits, bit)
}

/// As [`blocks::keep_nearest`](super::blocks::keep_nearest).
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn keep_nearest(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    sums: &[BlockSums],
    nearest: &mut [NearestRow],
) {
    check_nearest(blocks, picked, queries, sums, nearest);
    for ((query, sums), nearest) in queries.iter().zip(sums).zip(nearest) {
        let unit = _mm512_set1_ps(query.scale);
        // SAFETY: 16 values of 4 bytes each.
        let (mut keys, mut numbers) = unsafe {
            (_mm512_loadu_ps(nearest.keys.as_ptr()), _mm512_loadu_si512(nearest.blocks.as_ptr().cast()))
        };
        for (&block, sums) in picked.iter().zip(sums) {
            let BlockBounds { scale, half, .. } = blocks.bounds(block);
            // SAFETY: 16 values of 4 bytes each.
            let (scale, sums, half) = unsafe {
                let sums = _mm512_loadu_si512(sums.as_ptr().cast());
                (_mm512_loadu_ps(scale.as_ptr()), sums, _mm512_loadu_ps(half.as_ptr()))
            };
            let product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), unit);
            let key = _mm512_sub_ps(half, product);
            let smaller = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(key, keys);
            keys = _mm512_mask_mov_ps(keys, smaller, key);
            numbers = _mm512_mask_set1_epi32(numbers, smaller, block as i32);
        }
        // SAFETY: 16 values of 4 bytes each.
        unsafe {
            _mm512_storeu_ps(nearest.keys.as_mut_ptr(), keys);
            _mm512_storeu_si512(nearest.blocks.as_mut_ptr().cast(), numbers);
        }
    }
}

/// As [`fast::fast_tables`](super::fast::fast_tables), where there are all 16 words.
#[target_feature(enable = "avx512f,avx512bw")]
fn fast_tables(values: &[f32], words: usize, steps: &mut [u8]) -> (f32, f32) {
    let (pieces, rest) = values.as_chunks::<FAST_WORDS>();
    let mut lows = [0.0f32; MOST_PIECES];
    if words != FAST_WORDS || !rest.is_empty() || pieces.len() > MOST_PIECES {
        return super::fast::fast_tables(values, words, steps);
    }
    check_tables(pieces.len(), steps);
    let (mut widest, mut least) = (Steps::NONE, 0.0f32);
    for (at, (piece, place)) in pieces.iter().zip(&mut lows).enumerate() {
        // SAFETY: 16 values.
        let piece = unsafe { _mm512_loadu_ps(piece.as_ptr()) };
        let (low, high) = (_mm512_reduce_min_ps(piece), _mm512_reduce_max_ps(piece));
        *place = low;
        least += low;
        widest.see(at, high - low);
    }
    let (step, most) = widest.finish(pieces.len());
    let (inverse, half) = (_mm512_set1_ps(1.0 / step), _mm512_set1_ps(0.5));
    let most = _mm512_set1_ps(most);
    let (full, rest) = steps.split_at_mut(pieces.len() * FAST_WORDS);
    for ((piece, &low), steps) in pieces.iter().zip(&lows).zip(full.as_chunks_mut::<FAST_WORDS>().0) {
        // SAFETY: 16 values.
        let piece = unsafe { _mm512_loadu_ps(piece.as_ptr()) };
        let above = _mm512_fmadd_ps(_mm512_sub_ps(piece, _mm512_set1_ps(low)), inverse, half);
        // The smaller of a value that is no number and the most is the most.
        let whole = _mm512_cvtusepi32_epi8(_mm512_cvttps_epu32(_mm512_min_ps(above, most)));
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128(steps.as_mut_ptr().cast(), whole) };
    }
    rest.fill(0);
    (step, least)
}

/// Rows that lie apart, each asked for some rows before it is worked on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn row_sums(rows: &[u8], stride: usize, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    const AHEAD: usize = 12;
    assert_eq!(picked.len(), sums.len(), "a sum for each row");
    let values = query.codes.as_flattened();
    let (lines, rest) = (values.len() / LINE, values.len() % LINE);
    let mask = (1u64 << rest) - 1;
    for &at in picked.iter().take(AHEAD) {
        prefetch_bytes(&rows[at as usize * stride..][..stride]);
    }
    for (index, (&at, sum)) in picked.iter().zip(sums).enumerate() {
        if let Some(&coming) = picked.get(index + AHEAD) {
            prefetch_bytes(&rows[coming as usize * stride..][..stride]);
        }
        let row = rows[at as usize * stride..][..values.len()].as_ptr();
        let mut total = [_mm512_setzero_si512(); 2];
        for line in 0..lines {
            // SAFETY: `(line + 1) * 64` is at most the length of both the query and the row.
            let (bytes, value) = unsafe {
                (
                    _mm512_loadu_si512(row.add(line * LINE).cast()),
                    _mm512_loadu_si512(values.as_ptr().add(line * LINE).cast()),
                )
            };
            total.swap(0, 1);
            total[0] = _mm512_dpbusd_epi32(total[0], bytes, value);
        }
        if rest > 0 {
            // SAFETY: bytes outside of the mask, past the end of both, are not read.
            let (bytes, value) = unsafe {
                (
                    _mm512_maskz_loadu_epi8(mask, row.add(lines * LINE).cast()),
                    _mm512_maskz_loadu_epi8(mask, values.as_ptr().add(lines * LINE).cast()),
                )
            };
            total[0] = _mm512_dpbusd_epi32(total[0], bytes, value);
        }
        let total = _mm512_reduce_add_epi32(_mm512_add_epi32(total[0], total[1]));
        *sum = 2 * (total - i32::from(ZERO) * query.total);
    }
}

/// Blocks by which one query asks for lines into the first-level cache, after it asked for them into the second.
const NEAR: usize = 2;

/// One block and one query: bytes are read in order, and meanwhile those of two blocks that come later are asked for. The one
/// that is far off goes into the second-level cache, which can wait for more lines at once than the first (measured: lists of
/// 32 rows at 25 GB/s instead of 16 without), the one that is near into the first, so that nothing waits for the second: on a
/// Xeon of the fifth generation 6 to 8 % less time than the far one alone.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn one(blocks: &Blocks<'_>, block: u32, [far, near]: [u32; 2], query: &CodedQuery) -> __m512i {
    blocks.prefetch_bounds(far);
    let [far, near] = [far, near].map(|block| blocks.codes(block).as_ptr());
    // The first of a byte's halves count once, the second 16 times, which is made up for in the end: nothing is shifted.
    let (nibble, beyond) = (_mm512_set1_epi8(15), _mm512_set1_epi8(-16));
    let (mut low, mut high) = ([_mm512_setzero_si512(); 2], [_mm512_setzero_si512(); 2]);
    let (twos, rest) = blocks.codes(block).as_chunks::<{ 2 * LINE }>();
    let (pairs, pairs_rest) = query.codes.as_chunks::<4>();
    for (at, (two, fours)) in twos.iter().zip(pairs).enumerate() {
        for line in 0..2 {
            // SAFETY: a line of 64 bytes; those of `far` and `near` lie within blocks as long as this one.
            let bytes = unsafe {
                _mm_prefetch::<_MM_HINT_T1>(far.add((2 * at + line) * LINE).cast());
                _mm_prefetch::<_MM_HINT_T0>(near.add((2 * at + line) * LINE).cast());
                _mm512_loadu_si512(two.as_ptr().add(line * LINE).cast())
            };
            let (below, above) = (_mm512_and_si512(bytes, nibble), _mm512_and_si512(bytes, beyond));
            low[line] = _mm512_dpbusd_epi32(low[line], below, broadcast(&fours[2 * line]));
            high[line] = _mm512_dpbusd_epi32(high[line], above, broadcast(&fours[2 * line + 1]));
        }
    }
    if let ([codes], [first, second]) = (rest.as_chunks::<LINE>().0, pairs_rest) {
        // SAFETY: a line of 64 bytes.
        let bytes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) };
        let (below, above) = (_mm512_and_si512(bytes, nibble), _mm512_and_si512(bytes, beyond));
        low[0] = _mm512_dpbusd_epi32(low[0], below, broadcast(first));
        high[0] = _mm512_dpbusd_epi32(high[0], above, broadcast(second));
    }
    let low = _mm512_slli_epi32::<5>(_mm512_add_epi32(low[0], low[1]));
    let high = _mm512_slli_epi32::<1>(_mm512_add_epi32(high[0], high[1]));
    _mm512_add_epi32(_mm512_add_epi32(low, high), _mm512_set1_epi32(query.start()))
}

/// As [`sift`](super::sift::sift), fused where it likes: each result is within the bound. Nothing is kept of rows that are
/// excluded, so that memory is read and hardly written.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sift(
    blocks: &Blocks<'_>,
    picks: &[Pick],
    range: Range<usize>,
    query: &CodedQuery,
    limit: f32,
    sifted: &mut Sifted,
) {
    check(blocks, &[], &[query], &[BlockSums::default()]);
    let (bases, sums, places) = sifted.room(range.len() * BLOCK);
    let unit = _mm512_set1_ps(query.scale);
    let [by_residual, by_norm] = [query.by_residual, query.by_norm].map(|factor| _mm512_set1_ps(factor));
    let by_half = _mm512_set1_ps(query.by_half);
    let (most, lowest) = (_mm512_set1_ps(f32::INFINITY), _mm512_set1_ps(f32::NEG_INFINITY));
    let limit = _mm512_set1_ps(limit);
    let rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let ahead = blocks.ahead();
    let mut count = 0;
    for at in range {
        let pick = &picks[at];
        let coming = |ahead: usize| picks.get(at + ahead).unwrap_or(pick).block;
        let total = one(blocks, pick.block, [coming(ahead), coming(NEAR)], query);
        let BlockBounds { scale, rough, half, .. } = blocks.bounds(pick.block);
        let length = _mm512_set1_ps(blocks.length(pick.block));
        // SAFETY: each of the arrays has 16 values of 4 bytes.
        let (scale, rough, half) = unsafe {
            (_mm512_loadu_ps(scale.as_ptr()), _mm512_loadu_ps(rough.as_ptr()), _mm512_loadu_ps(half.as_ptr()))
        };
        let product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(total), scale), unit);
        let error = _mm512_fmadd_ps(by_residual, rough, _mm512_mul_ps(by_norm, length));
        let error = _mm512_fmadd_ps(by_half, half, error);
        let base = _mm512_sub_ps(_mm512_sub_ps(half, product), error);
        let known = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(base, most);
        let base = _mm512_mask_mov_ps(lowest, known, base);
        let near = _mm512_mask_cmp_ps_mask::<_CMP_NGT_UQ>(pick.live, base, limit);
        let place = _mm512_add_epi32(_mm512_set1_epi32((at * BLOCK) as u32 as i32), rows);
        // Whether a block has any cannot be foreseen, and a guess that was wrong costs more than to write nothing.
        // SAFETY: up to 16 values a block are kept, so that at each block there are places for 16 more in what was reserved.
        unsafe {
            _mm512_storeu_ps(bases.add(count).cast(), _mm512_maskz_compress_ps(near, base));
            _mm512_storeu_si512(sums.add(count).cast(), _mm512_maskz_compress_epi32(near, total));
            _mm512_storeu_si512(places.add(count).cast(), _mm512_maskz_compress_epi32(near, place));
        }
        count += near.count_ones() as usize;
    }
    // SAFETY: so many values were written to each.
    unsafe { sifted.count_in(count) };
}

/// As [`within`](super::sift::within).
#[target_feature(enable = "avx512f")]
fn within(bases: &[f32], limit: f32, found: &mut Vec<u32>) {
    found.clear();
    found.reserve(bases.len().next_multiple_of(BLOCK));
    let limit = _mm512_set1_ps(limit);
    let mut numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut count = 0;
    for bases in bases.chunks(BLOCK) {
        let there = u16::MAX >> (BLOCK - bases.len());
        // SAFETY: what is outside of the mask, past the end, is not read.
        let bases = unsafe { _mm512_maskz_loadu_ps(there, bases.as_ptr()) };
        let near = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(there, bases, limit);
        // SAFETY: up to 16 numbers of each chunk are kept, so that there is room for 16 more, of which there is one chunk less.
        unsafe {
            let place = found.as_mut_ptr().add(count);
            _mm512_storeu_si512(place.cast(), _mm512_maskz_compress_epi32(near, numbers));
        }
        count += near.count_ones() as usize;
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(BLOCK as i32));
    }
    // SAFETY: so many were written.
    unsafe { found.set_len(count) };
}

/// Four codes in each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(four: &[i8; STEP]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(four.map(|code| code as u8)))
}

/// Bytes of lower halves that are asked for before they are read.
const LOWER_AHEAD: usize = 3 << 10;

/// The lower halves of rows that lie apart, each asked for some rows before it is worked on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn lower_sums(blocks: &Blocks<'_>, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    check_lower(blocks, picked, query, sums);
    let ahead = (LOWER_AHEAD / (blocks.groups() * STEP).max(1)).clamp(4, 48);
    for &coming in picked.iter().take(ahead) {
        prefetch_bytes(blocks.lower(coming));
    }
    let halves = [query.halves[0].as_flattened(), query.halves[1].as_flattened()];
    let (lines, rest) = (halves[0].len() / LINE, halves[0].len() % LINE);
    let masks = [u64::MAX, (1u64 << rest) - 1];
    let nibble = _mm512_set1_epi8(15);
    let start = -(2 * i32::from(ZERO) - MIDDLE) * query.total;
    for (index, (&place, sum)) in picked.iter().zip(sums).enumerate() {
        if let Some(&coming) = picked.get(index + ahead) {
            prefetch_bytes(blocks.lower(coming));
        }
        let row = blocks.lower(place).as_ptr();
        let mut total = [_mm512_setzero_si512(); 2];
        for line in 0..lines + usize::from(rest > 0) {
            let mask = masks[usize::from(line == lines)];
            // SAFETY: bytes outside of the mask, past the end of the row and of the halves, which are as long, are not read.
            let (bytes, first, second) = unsafe {
                (
                    _mm512_maskz_loadu_epi8(mask, row.add(line * LINE).cast()),
                    _mm512_maskz_loadu_epi8(mask, halves[0].as_ptr().add(line * LINE)),
                    _mm512_maskz_loadu_epi8(mask, halves[1].as_ptr().add(line * LINE)),
                )
            };
            let below = _mm512_and_si512(bytes, nibble);
            let above = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
            total[0] = _mm512_dpbusd_epi32(total[0], below, first);
            total[1] = _mm512_dpbusd_epi32(total[1], above, second);
        }
        *sum = 2 * _mm512_reduce_add_epi32(_mm512_add_epi32(total[0], total[1])) + start;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tiles<const B: usize>(
    blocks: &Blocks<'_>,
    picked: [u32; B],
    next: [u32; B],
    at: usize,
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    for (queries, sums) in queries.chunks(QUERIES).zip(sums.chunks_mut(QUERIES)) {
        match queries.len() {
            6 => tile::<B, 6>(blocks, picked, next, at, queries, sums),
            5 => tile::<B, 5>(blocks, picked, next, at, queries, sums),
            4 => tile::<B, 4>(blocks, picked, next, at, queries, sums),
            3 => tile::<B, 3>(blocks, picked, next, at, queries, sums),
            2 => tile::<B, 2>(blocks, picked, next, at, queries, sums),
            _ => tile::<B, 1>(blocks, picked, next, at, queries, sums),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const B: usize, const Q: usize>(
    blocks: &Blocks<'_>,
    picked: [u32; B],
    next: [u32; B],
    at: usize,
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    let groups = blocks.groups();
    let codes: [*const u8; B] = std::array::from_fn(|b| blocks.codes(picked[b]).as_ptr());
    let next: [*const u8; B] = std::array::from_fn(|b| blocks.codes(next[b]).as_ptr());
    let values: [&[[[i8; STEP]; 2]]; Q] = std::array::from_fn(|q| queries[q].codes.as_chunks::<2>().0);
    let nibble = _mm512_set1_epi8(15);
    let mut total = [[_mm512_setzero_si512(); B]; Q];
    for group in 0..groups {
        let mut bytes = [_mm512_setzero_si512(); B];
        for b in 0..B {
            // SAFETY: a block has `groups` lines of 64 bytes.
            unsafe {
                bytes[b] = _mm512_loadu_si512(codes[b].add(group * LINE).cast());
                _mm_prefetch::<_MM_HINT_T1>(next[b].add(group * LINE).cast());
            }
        }
        for half in 0..2 {
            let halves: [__m512i; B] = std::array::from_fn(|b| {
                let bytes = if half == 0 { bytes[b] } else { _mm512_srli_epi16::<4>(bytes[b]) };
                _mm512_and_si512(bytes, nibble)
            });
            for q in 0..Q {
                // SAFETY: `check` saw that each query has `groups` pairs of fours.
                let value = broadcast(unsafe { &values[q].get_unchecked(group)[half] });
                for b in 0..B {
                    total[q][b] = _mm512_dpbusd_epi32(total[q][b], halves[b], value);
                }
            }
        }
    }
    for ((sums, total), query) in sums.iter_mut().zip(&total).zip(queries) {
        let start = _mm512_set1_epi32(query.start());
        for (sums, &total) in sums[at..at + B].iter_mut().zip(total) {
            let total = _mm512_add_epi32(_mm512_slli_epi32::<5>(total), start);
            // SAFETY: 16 sums of 4 bytes are 64 bytes.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), total) };
        }
    }
}

/// As [`blocks::code_screen`](super::blocks::code_screen), fused where it likes: each result is within the bound.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn code_screen(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    sums: &[BlockSums],
    passed: &mut [u64],
) {
    check(blocks, picked, queries, sums);
    let infinity = _mm512_set1_ps(f32::INFINITY);
    for (((query, &limit), sums), passed) in queries.iter().zip(limits).zip(sums).zip(passed) {
        let unit = _mm512_set1_ps(query.scale);
        let by_residual = _mm512_set1_ps(query.by_residual);
        let by_norm = _mm512_set1_ps(query.by_norm);
        let by_half = _mm512_set1_ps(query.by_half);
        let limit = _mm512_set1_ps(limit);
        *passed = 0;
        for (j, (&block, sums)) in picked.iter().zip(sums).enumerate() {
            let BlockBounds { scale, rough, half, .. } = blocks.bounds(block);
            let length = _mm512_set1_ps(blocks.length(block));
            // SAFETY: each of the arrays has 16 values of 4 bytes.
            let (scale, rough, half, sums) = unsafe {
                (
                    _mm512_loadu_ps(scale.as_ptr()),
                    _mm512_loadu_ps(rough.as_ptr()),
                    _mm512_loadu_ps(half.as_ptr()),
                    _mm512_loadu_si512(sums.as_ptr().cast()),
                )
            };
            let product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), unit);
            let error = _mm512_fmadd_ps(by_residual, rough, _mm512_mul_ps(by_norm, length));
            let error = _mm512_fmadd_ps(by_half, half, error);
            let base = _mm512_sub_ps(_mm512_sub_ps(half, product), error);
            let within = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(base, limit);
            let unknown = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(base, infinity);
            *passed |= u64::from(within | unknown) << (j * BLOCK);
        }
    }
}
