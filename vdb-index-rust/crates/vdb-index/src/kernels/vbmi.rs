//! AVX-512 VBMI: tables of 64 bytes looked up at once, four pieces of 16 rows, which VNNI adds up in fours: seven
//! instructions for 128 codes, and four more for each further query. Everything else is as for VNNI.

use std::arch::x86_64::{
    __m512i, _mm256_storeu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtusepi32_epi16,
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_or_si512, _mm512_permutexvar_epi8, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi16,
};

use super::fast::{FAST_TABLE, FastLayout, FastSums, check};
use super::{Isa, Kernels, vnni};

pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::Avx512Vbmi,
    fast_layout: FastLayout::Quads,
    fast_scan: |codes, tables, sums| {
        // SAFETY: `Kernels::of` hands this table out only after it saw the CPU's features.
        unsafe { fast_scan(codes, tables, sums) }
    },
    ..vnni::KERNELS
};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
    let blocks = check(codes, tables, sums);
    match *tables {
        [a] => blocks_of(codes, [a], blocks, sums),
        [a, b] => blocks_of(codes, [a, b], blocks, sums),
        [a, b, c] => blocks_of(codes, [a, b, c], blocks, sums),
        [a, b, c, d] => blocks_of(codes, [a, b, c, d], blocks, sums),
        _ => {}
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn blocks_of<const Q: usize>(codes: &[u8], tables: [&[u8]; Q], blocks: usize, sums: &mut [FastSums]) {
    let mut block = 0;
    while block + 2 <= blocks {
        tile::<2, Q>(codes, tables, block, blocks, sums);
        block += 2;
    }
    if block < blocks {
        tile::<1, Q>(codes, tables, block, blocks, sums);
    }
}

/// `B` blocks from `block` on, and `Q` queries; `check` saw that codes, tables and sums belong together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn tile<const B: usize, const Q: usize>(
    codes: &[u8],
    tables: [&[u8]; Q],
    block: usize,
    blocks: usize,
    sums: &mut [FastSums],
) {
    let groups = tables[0].len() / FAST_TABLE;
    let codes = &codes[block * groups * 64..][..B * groups * 64];
    let nibble = _mm512_set1_epi8(15);
    // The table of a byte's piece begins at 16 times its place among four.
    let piece = _mm512_set1_epi32(0x3020_1000);
    let ones = _mm512_set1_epi8(1);
    let mut low = [[_mm512_setzero_si512(); B]; Q];
    let mut high = [[_mm512_setzero_si512(); B]; Q];
    for group in 0..groups {
        let mut places = [[_mm512_setzero_si512(); 2]; B];
        for (b, places) in places.iter_mut().enumerate() {
            // SAFETY: `(b * groups + group + 1) * 64 <= B * groups * 64`, the length of `codes`.
            let both = unsafe { load(codes.as_ptr().add((b * groups + group) * 64)) };
            places[0] = _mm512_or_si512(_mm512_and_si512(both, nibble), piece);
            places[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(both), nibble), piece);
        }
        for q in 0..Q {
            // SAFETY: each of the tables has `groups` times 128 bytes.
            let (first, second) = unsafe {
                let table = tables[q].as_ptr().add(group * FAST_TABLE);
                (load(table), load(table.add(64)))
            };
            for b in 0..B {
                low[q][b] =
                    _mm512_dpbusd_epi32(low[q][b], _mm512_permutexvar_epi8(places[b][0], first), ones);
                high[q][b] =
                    _mm512_dpbusd_epi32(high[q][b], _mm512_permutexvar_epi8(places[b][1], second), ones);
            }
        }
    }
    for q in 0..Q {
        for b in 0..B {
            let total = _mm512_cvtusepi32_epi16(_mm512_add_epi32(low[q][b], high[q][b]));
            let target = &mut sums[q * blocks + block + b];
            // SAFETY: 16 sums of 2 bytes are 32 bytes.
            unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), total) };
        }
    }
}

/// # Safety
/// There are 64 bytes at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(source: *const u8) -> __m512i {
    // SAFETY: the caller vouches for the bytes; they need no alignment.
    unsafe { _mm512_loadu_si512(source.cast()) }
}
