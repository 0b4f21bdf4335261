//! Sums over the codes of rows that lie apart, with AVX2: their lower halves, and whole codes.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi128_si32, _mm_prefetch, _mm_set1_epi32, _mm_shuffle_epi32,
    _mm_slli_epi32, _mm_storeu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_castsi256_si128, _mm256_cmpgt_epi32, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_maskload_epi32, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_slli_epi16,
    _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::avx2_sums::{SHORT, WIDE};
use super::blocks::{Blocks, CodedQuery, LINE, MIDDLE, STEP, ZERO, check_lower};

/// Rows that lie apart and are worked on side by side.
const TOGETHER: usize = 4;
/// Bytes of them that are asked for before they are read.
const AHEAD: usize = 4 << 10;

/// The lower halves of rows that lie apart, each asked for some rows before it is worked on.
#[target_feature(enable = "avx2")]
pub(super) fn lower_sums(blocks: &Blocks<'_>, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    check_lower(blocks, picked, query, sums);
    let length = blocks.groups() * STEP;
    let halves = [query.halves[0].as_flattened(), query.halves[1].as_flattened()];
    assert!(halves.iter().all(|half| half.len() == length), "halves as long as those of rows");
    let halves = halves.map(|half| half.as_ptr());
    let start = -(2 * i32::from(ZERO) - MIDDLE) * query.total;
    let row = |place: u32| blocks.lower(place).as_ptr();
    // SAFETY: these are rows of `row`, whose lower halves are `length` bytes, as are those of the query.
    each_row(
        picked,
        length,
        start,
        sums,
        row,
        |rows| unsafe { lower_of(rows, halves, length) },
        |row| {
            // SAFETY: as above.
            unsafe { lower_of(row, halves, length) }
        },
    );
}

/// Rows that lie apart, each asked for some rows before it is worked on.
#[target_feature(enable = "avx2")]
pub(super) fn row_sums(rows: &[u8], stride: usize, picked: &[u32], query: &CodedQuery, sums: &mut [i32]) {
    assert_eq!(picked.len(), sums.len(), "a sum for each row");
    let (values, length) = (query.codes.as_flattened().as_ptr(), query.codes.len() * STEP);
    assert!(length <= stride || picked.is_empty(), "a row has room for its codes");
    let start = -2 * i32::from(ZERO) * query.total;
    let row = |at: u32| rows[at as usize * stride..][..stride].as_ptr();
    // SAFETY: these are rows of `row`, of `stride` bytes, at least `length`, as many as the query has codes.
    each_row(
        picked,
        stride,
        start,
        sums,
        row,
        |rows| unsafe { whole_of(rows, values, length) },
        |row| {
            // SAFETY: as above.
            unsafe { whole_of(row, values, length) }
        },
    );
}

/// Twice the sums that `four` or `one` have of what `row` says of picked rows, and `start`; each row is asked for some rows
/// before it is worked on.
#[inline]
#[target_feature(enable = "avx2")]
fn each_row(
    picked: &[u32],
    bytes: usize,
    start: i32,
    sums: &mut [i32],
    row: impl Fn(u32) -> *const u8,
    four: impl Fn([*const u8; TOGETHER]) -> [__m256i; TOGETHER],
    one: impl Fn([*const u8; 1]) -> [__m256i; 1],
) {
    let ahead = (AHEAD / bytes.max(1)).clamp(TOGETHER, 48);
    let ask = |place: u32| {
        let row = row(place);
        for line in (0..bytes).step_by(LINE) {
            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(line).cast());
        }
    };
    picked.iter().take(ahead).for_each(|&place| ask(place));
    let (groups, rest) = picked.as_chunks::<TOGETHER>();
    let (sums, sums_rest) = sums.as_chunks_mut::<TOGETHER>();
    for (at, (group, sums)) in groups.iter().zip(sums).enumerate() {
        let coming = at * TOGETHER + ahead;
        for &place in &picked[coming.min(picked.len())..(coming + TOGETHER).min(picked.len())] {
            ask(place);
        }
        let [a, b, c, d] = four([row(group[0]), row(group[1]), row(group[2]), row(group[3])]);
        let fours = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let sum = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours));
        let sum = _mm_add_epi32(_mm_slli_epi32::<1>(sum), _mm_set1_epi32(start));
        // SAFETY: four sums of 4 bytes.
        unsafe { _mm_storeu_si128(sums.as_mut_ptr().cast(), sum) };
    }
    for (&place, place_of_sum) in rest.iter().zip(sums_rest) {
        let [total] = one([row(place)]);
        let four = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b1110>(four));
        let sum = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)));
        *place_of_sum = 2 * sum + start;
    }
}

/// The products of the lower halves of `R` rows, each a register of sums still.
///
/// # Safety
/// Each row and each half of the query has `length` bytes, a multiple of four.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn lower_of<const R: usize>(
    rows: [*const u8; R],
    halves: [*const i8; 2],
    length: usize,
) -> [__m256i; R] {
    let mut total = [_mm256_setzero_si256(); R];
    let wide = length / WIDE;
    for run in (0..wide).step_by(SHORT) {
        let mut short = [_mm256_setzero_si256(); R];
        if run + SHORT <= wide {
            // Of a known length, so that it is unrolled.
            for step in run..run + SHORT {
                // SAFETY: `step < wide`, so that there are 32 bytes more.
                unsafe { add_lower(&mut short, rows, halves, step * WIDE) };
            }
        } else {
            for step in run..wide {
                // SAFETY: as above.
                unsafe { add_lower(&mut short, rows, halves, step * WIDE) };
            }
        }
        widen(&mut total, short);
    }
    if !length.is_multiple_of(WIDE) {
        let (from, mask) = (wide * WIDE, mask(length % WIDE));
        let mut short = [_mm256_setzero_si256(); R];
        // SAFETY: what is outside of the mask, past the end, is not read.
        unsafe {
            let first = _mm256_maskload_epi32(halves[0].add(from).cast(), mask);
            let second = _mm256_maskload_epi32(halves[1].add(from).cast(), mask);
            for r in 0..R {
                let bytes = _mm256_maskload_epi32(rows[r].add(from).cast(), mask);
                short[r] = lower_products(bytes, first, second);
            }
        }
        widen(&mut total, short);
    }
    total
}

/// # Safety
/// There are 32 bytes in each row and in each half of the query from `from` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_lower<const R: usize>(
    short: &mut [__m256i; R],
    rows: [*const u8; R],
    halves: [*const i8; 2],
    from: usize,
) {
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        let first = _mm256_loadu_si256(halves[0].add(from).cast());
        let second = _mm256_loadu_si256(halves[1].add(from).cast());
        for r in 0..R {
            let bytes = _mm256_loadu_si256(rows[r].add(from).cast());
            short[r] = _mm256_add_epi16(short[r], lower_products(bytes, first, second));
        }
    }
}

/// Sums of four products.
#[inline]
#[target_feature(enable = "avx2")]
fn lower_products(bytes: __m256i, first: __m256i, second: __m256i) -> __m256i {
    let nibble = _mm256_set1_epi8(15);
    let below = _mm256_and_si256(bytes, nibble);
    let above = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
    _mm256_add_epi16(_mm256_maddubs_epi16(below, first), _mm256_maddubs_epi16(above, second))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen<const R: usize>(total: &mut [__m256i; R], short: [__m256i; R]) {
    for r in 0..R {
        total[r] = _mm256_add_epi32(total[r], _mm256_madd_epi16(short[r], _mm256_set1_epi16(1)));
    }
}

/// The products of whole codes of `R` rows, each a register of sums still. A sum of two of them needs more than 16 bits: even and
/// odd bytes are taken apart.
///
/// # Safety
/// Each row and the query have `length` bytes, a multiple of four.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn whole_of<const R: usize>(rows: [*const u8; R], values: *const i8, length: usize) -> [__m256i; R] {
    let mut total = [_mm256_setzero_si256(); R];
    let wide = length / WIDE * WIDE;
    for from in (0..wide).step_by(WIDE) {
        // SAFETY: `from + 32 <= length`.
        unsafe {
            let values = apart(_mm256_loadu_si256(values.add(from).cast()));
            for r in 0..R {
                add_whole(&mut total[r], _mm256_loadu_si256(rows[r].add(from).cast()), values);
            }
        }
    }
    if wide < length {
        let mask = mask(length % WIDE);
        // SAFETY: what is outside of the mask, past the end, is not read.
        unsafe {
            let values = apart(_mm256_maskload_epi32(values.add(wide).cast(), mask));
            for r in 0..R {
                add_whole(&mut total[r], _mm256_maskload_epi32(rows[r].add(wide).cast(), mask), values);
            }
        }
    }
    total
}

/// Even and odd codes in 16 bits each.
#[inline]
#[target_feature(enable = "avx2")]
fn apart(values: __m256i) -> [__m256i; 2] {
    [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(values)), _mm256_srai_epi16::<8>(values)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_whole(total: &mut __m256i, bytes: __m256i, [even, odd]: [__m256i; 2]) {
    let of_even = _mm256_madd_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(255)), even);
    let of_odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(bytes), odd);
    *total = _mm256_add_epi32(*total, _mm256_add_epi32(of_even, of_odd));
}

/// The first bytes of a register, a multiple of four.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(bytes: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32((bytes / STEP) as i32), lanes)
}
