//! One algorithm for every vector unit, over the [`Vector`] trait.
//!
//! Everything here is `#[inline(always)]` and becomes part of the function of one instruction set that calls it,
//! compiled with that set enabled.

use super::{Lanes, PANEL, Panel};
use crate::matrix::Matrix;

/// A register of float32 lanes.
///
/// # Safety
/// The functions may run only on a CPU that has the instruction set of the implementation.
pub(super) trait Vector: Copy {
    /// Values in a register.
    const LANES: usize;

    /// All lanes 0.
    unsafe fn zero() -> Self;
    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self;
    /// `LANES` values from `source`, aligned or not; the caller vouches that they are there.
    unsafe fn load(source: *const f32) -> Self;
    /// `LANES` values to `target`; the caller vouches for the room.
    unsafe fn store(self, target: *mut f32);
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self * other + plus`.
    unsafe fn mul_add(self, other: Self, plus: Self) -> Self;
    /// Sum of the lanes.
    unsafe fn sum(self) -> f32;

    /// The values of `source`, fewer than `LANES`, and zeros.
    #[inline(always)]
    unsafe fn load_part(source: &[f32]) -> Self {
        let mut whole = [0.0f32; PANEL];
        whole[..source.len()].copy_from_slice(source);
        // SAFETY: `LANES <= PANEL` for each implementation; the caller vouches for the instruction set.
        unsafe { Self::load(whole.as_ptr()) }
    }
}

/// What is summed over the dimensions.
pub(super) trait Term {
    /// `sum + term(a, b)` in each lane.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V;
}

/// `a * b`.
pub(super) struct Dot;
/// `(a - b)²`.
pub(super) struct L2;

impl Term for Dot {
    #[inline(always)]
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { a.mul_add(b, sum) }
    }
}

impl Term for L2 {
    #[inline(always)]
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            let difference = a.sub(b);
            difference.mul_add(difference, sum)
        }
    }
}

/// Rows that are read side by side by [`rows`]: enough independent sums to hide the latency of FMA.
const TOGETHER: usize = 4;

/// `out[i] = Σ_d term(query[d], row(slots[i])[d])`.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn rows<V: Vector, T: Term>(
    query: &[f32],
    rows: Matrix<'_>,
    slots: &[u32],
    out: &mut [f32],
) {
    assert_eq!(query.len(), rows.dim(), "a query has as many values as a row");
    assert_eq!(slots.len(), out.len(), "one result a slot");
    let (groups, rest) = slots.as_chunks::<TOGETHER>();
    let (out_groups, out_rest) = out.as_chunks_mut::<TOGETHER>();
    for (index, (group, values)) in groups.iter().zip(out_groups).enumerate() {
        let now = group.map(|slot| rows.row(slot));
        let next = groups.get(index + 1).map_or(now, |group| group.map(|slot| rows.row(slot)));
        // SAFETY: the caller vouches for the instruction set.
        *values = unsafe { several::<V, T, TOGETHER>(query, now, next) };
    }
    for (&slot, value) in rest.iter().zip(out_rest) {
        // SAFETY: the caller vouches for the instruction set.
        [*value] = unsafe { several::<V, T, 1>(query, [rows.row(slot)], [rows.row(slot)]) };
    }
}

/// Raw values of a query and `R` rows that are as long as it. Rows lie anywhere, so that the hardware cannot foresee
/// them: each line of the `next` ones is asked for while the same line of these is worked on.
///
/// # Safety
/// The CPU has the instruction set of `V`; each row has as many values as the query.
#[inline(always)]
unsafe fn several<V: Vector, T: Term, const R: usize>(
    query: &[f32],
    rows: [&[f32]; R],
    next: [&[f32]; R],
) -> [f32; R] {
    let dim = query.len();
    let q = query.as_ptr();
    // SAFETY: the caller vouches for the instruction set. Every load of `V::LANES` values starts at `d` with
    // `d + LANES <= dim`, and the query and each row have `dim` values (`Matrix::row` returns exactly that many).
    unsafe {
        let mut even = [V::zero(); R];
        let mut odd = [V::zero(); R];
        let mut d = 0;
        while d + 2 * V::LANES <= dim {
            let first = V::load(q.add(d));
            let second = V::load(q.add(d + V::LANES));
            for r in 0..R {
                prefetch::<V>(next[r].as_ptr().add(d));
                even[r] = T::add(even[r], first, V::load(rows[r].as_ptr().add(d)));
                odd[r] = T::add(odd[r], second, V::load(rows[r].as_ptr().add(d + V::LANES)));
            }
            d += 2 * V::LANES;
        }
        if d + V::LANES <= dim {
            let first = V::load(q.add(d));
            for r in 0..R {
                even[r] = T::add(even[r], first, V::load(rows[r].as_ptr().add(d)));
            }
            d += V::LANES;
        }
        if d < dim {
            let last = V::load_part(&query[d..]);
            for r in 0..R {
                odd[r] = T::add(odd[r], last, V::load_part(&rows[r][d..]));
            }
        }
        let mut values = [0.0; R];
        for r in 0..R {
            values[r] = even[r].add(odd[r]).sum();
        }
        values
    }
}

/// `out[i][lane] = Σ_d term(panel[d][lane], row(slots[i])[d])`, `R` rows and `G` registers of lanes at a time.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn panel<V: Vector, T: Term, const R: usize, const G: usize>(
    panel: &Panel,
    rows: Matrix<'_>,
    slots: &[u32],
    out: &mut [Lanes],
) {
    assert_eq!(panel.dim(), rows.dim(), "a panel has as many values as a row");
    assert_eq!(slots.len(), out.len(), "one result a slot");
    const { assert!(PANEL.is_multiple_of(V::LANES * G)) };
    let dim = rows.dim();
    let lanes = panel.values();
    for (group, results) in slots.chunks(R).zip(out.chunks_mut(R)) {
        // A short group repeats its last row; what comes out for the repeats is dropped.
        let picked: [&[f32]; R] = std::array::from_fn(|r| rows.row(group[r.min(group.len() - 1)]));
        for start in (0..PANEL).step_by(V::LANES * G) {
            let mut sums;
            // SAFETY: the caller vouches for the instruction set. `lanes` has `dim * PANEL` values, and the loads
            // of step `d` end at `d * PANEL + start + G * LANES <= (d + 1) * PANEL`. Each row has `dim` values.
            unsafe {
                sums = [[V::zero(); G]; R];
                for d in 0..dim {
                    let mut across = [V::zero(); G];
                    for (g, register) in across.iter_mut().enumerate() {
                        *register = V::load(lanes.as_ptr().add(d * PANEL + start + g * V::LANES));
                    }
                    for r in 0..R {
                        let value = V::splat(*picked[r].get_unchecked(d));
                        for g in 0..G {
                            sums[r][g] = T::add(sums[r][g], across[g], value);
                        }
                    }
                }
            }
            for (result, sum) in results.iter_mut().zip(&sums) {
                for (g, &register) in sum.iter().enumerate() {
                    // SAFETY: `start + (g + 1) * LANES <= PANEL`, the length of a result.
                    unsafe { register.store(result.as_mut_ptr().add(start + g * V::LANES)) };
                }
            }
        }
    }
}

/// Ask for the lines of two registers of values.
#[inline(always)]
fn prefetch<V: Vector>(values: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in (0..2 * V::LANES).step_by(16) {
            // SAFETY: prefetching never faults, whatever the address; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(line).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // Stable Rust has no prefetch for this architecture yet.
        let _ = values;
    }
}

/// Ask for every line of some bytes.
pub(super) fn prefetch_bytes(bytes: &[u8]) {
    prefetch_lines(bytes, 64);
}

/// Ask for every line of a row.
#[inline]
pub(super) fn prefetch_row(row: &[f32]) {
    prefetch_lines(row, 16);
}

/// Into the second-level cache, which can wait for more lines at once than the first.
#[inline(always)]
fn prefetch_lines<T>(values: &[T], line: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in values.chunks(line) {
            // SAFETY: prefetching never faults, whatever the address; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // Stable Rust has no prefetch for this architecture yet.
        let _ = (values, line);
    }
}

/// Define the `KERNELS` table of an instruction set: functions compiled for `$feature`, behind ones that anybody can
/// hold. `$rows` and `$groups` are the panel kernel's tile, `$dot_exact` and `$l2_exact` sums in float64; `$fast_tables`,
/// `$fast_scan`, `$fast_screen` and `$fast_keep` work on 4-bit codes, the others on bytes.
macro_rules! kernels_of {
    ($isa:expr, $vector:ty, $feature:literal, $rows:literal, $groups:literal, $dot_exact:path, $l2_exact:path,
     $fast_tables:path, $fast_scan:path, $fast_screen:path, $fast_keep:path, $code_sums:path, $lower_sums:path,
     $row_sums:path, $sift:path, $within:path, $code_screen:path, $keep_nearest:path) => {
        mod compiled {
            use super::*;

            #[target_feature(enable = $feature)]
            pub(super) fn dot_rows(query: &[f32], rows: Matrix<'_>, slots: &[u32], out: &mut [f32]) {
                // SAFETY: this function is compiled for, and only called on, a CPU with the instruction set.
                unsafe { generic::rows::<$vector, generic::Dot>(query, rows, slots, out) }
            }

            #[target_feature(enable = $feature)]
            pub(super) fn l2_rows(query: &[f32], rows: Matrix<'_>, slots: &[u32], out: &mut [f32]) {
                // SAFETY: as for `dot_rows`.
                unsafe { generic::rows::<$vector, generic::L2>(query, rows, slots, out) }
            }

            #[target_feature(enable = $feature)]
            pub(super) fn dot_panel(panel: &Panel, rows: Matrix<'_>, slots: &[u32], out: &mut [Lanes]) {
                // SAFETY: as for `dot_rows`.
                unsafe { generic::panel::<$vector, generic::Dot, $rows, $groups>(panel, rows, slots, out) }
            }

            #[target_feature(enable = $feature)]
            pub(super) fn l2_panel(panel: &Panel, rows: Matrix<'_>, slots: &[u32], out: &mut [Lanes]) {
                // SAFETY: as for `dot_rows`.
                unsafe { generic::panel::<$vector, generic::L2, $rows, $groups>(panel, rows, slots, out) }
            }

            #[target_feature(enable = $feature)]
            pub(super) fn dot_exact(a: &[f32], b: &[f32]) -> f64 {
                $dot_exact(a, b)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn l2_exact(a: &[f32], b: &[f32]) -> f64 {
                $l2_exact(a, b)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn screen(values: &Lanes, scale: &Lanes, norm: f32, limit: &Lanes) -> u32 {
                crate::kernels::screen(values, scale, norm, limit)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn keep_smaller(keys: &[Lanes], bias: &Lanes, panel: u32, best: &mut [Best]) {
                crate::kernels::keep_smaller(keys, bias, panel, best)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn tables(query: &[f32], crosswise: &[f32], starts: &[usize], out: &mut [f32]) {
                crate::kernels::tables(query, crosswise, starts, out)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn fast_tables(values: &[f32], words: usize, steps: &mut [u8]) -> (f32, f32) {
                $fast_tables(values, words, steps)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn fast_scan(codes: &[u8], tables: &[&[u8]], sums: &mut [FastSums]) {
                $fast_scan(codes, tables, sums)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn fast_screen(
                sums: &[FastSums],
                terms: &[[f32; BLOCK]],
                step: f32,
                limit: f32,
                passed: &mut [u16],
            ) {
                $fast_screen(sums, terms, step, limit, passed)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn fast_keep(
                sums: &[FastSums],
                picked: &[u16],
                keys: &crate::kernels::FastKeys<'_>,
                items: &mut Vec<u64>,
            ) {
                $fast_keep(sums, picked, keys, items)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn code_sums(
                blocks: &Blocks<'_>,
                picked: &[u32],
                next: &[u32],
                queries: &[&CodedQuery],
                sums: &mut [BlockSums],
            ) {
                $code_sums(blocks, picked, next, queries, sums)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn lower_sums(
                blocks: &Blocks<'_>,
                picked: &[u32],
                query: &CodedQuery,
                sums: &mut [i32],
            ) {
                $lower_sums(blocks, picked, query, sums)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn row_sums(
                rows: &[u8],
                stride: usize,
                picked: &[u32],
                query: &CodedQuery,
                sums: &mut [i32],
            ) {
                $row_sums(rows, stride, picked, query, sums)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn sift(
                blocks: &Blocks<'_>,
                picks: &[crate::kernels::Pick],
                range: std::ops::Range<usize>,
                query: &CodedQuery,
                limit: f32,
                sifted: &mut crate::kernels::Sifted,
            ) {
                $sift(blocks, picks, range, query, limit, sifted)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn within(bases: &[f32], limit: f32, found: &mut Vec<u32>) {
                $within(bases, limit, found)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn code_screen(
                blocks: &Blocks<'_>,
                picked: &[u32],
                queries: &[&CodedQuery],
                limits: &[f32],
                sums: &[BlockSums],
                passed: &mut [u64],
            ) {
                $code_screen(blocks, picked, queries, limits, sums, passed)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn members(words: &[u64], rows: usize, slots: &[u32]) -> u16 {
                crate::kernels::members(words, rows, slots)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn nearest_keys(keys: &[f32], first: usize, order: &mut Vec<u64>) {
                crate::kernels::nearest::nearest_keys(keys, first, order, |keys, limit, found| {
                    $within(keys, limit, found)
                })
            }

            #[target_feature(enable = $feature)]
            pub(super) fn keep_nearest(
                blocks: &Blocks<'_>,
                picked: &[u32],
                queries: &[&CodedQuery],
                sums: &[BlockSums],
                nearest: &mut [NearestRow],
            ) {
                $keep_nearest(blocks, picked, queries, sums, nearest)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn encode(row: &[f32], mean: &[f32], codes: &mut [i8]) -> Encoded {
                crate::kernels::blocks::encode(row, mean, codes)
            }

            #[target_feature(enable = $feature)]
            pub(super) fn nearest_word(
                columns: &[[f32; BLOCK]],
                words: &crate::kernels::Words,
            ) -> crate::kernels::NearestWord {
                crate::kernels::words::nearest_word::<true>(columns, words)
            }
        }

        pub(super) static KERNELS: Kernels = Kernels {
            isa: $isa,
            // SAFETY (each of them): `Kernels::of` hands this table out only after it saw the CPU's features.
            dot_rows: |query, rows, slots, out| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::dot_rows(query, rows, slots, out) }
            },
            l2_rows: |query, rows, slots, out| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::l2_rows(query, rows, slots, out) }
            },
            dot_panel: |panel, rows, slots, out| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::dot_panel(panel, rows, slots, out) }
            },
            l2_panel: |panel, rows, slots, out| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::l2_panel(panel, rows, slots, out) }
            },
            dot_exact: |a, b| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::dot_exact(a, b) }
            },
            l2_exact: |a, b| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::l2_exact(a, b) }
            },
            screen: |values, scale, norm, limit| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::screen(values, scale, norm, limit) }
            },
            keep_smaller: |keys, bias, panel, best| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::keep_smaller(keys, bias, panel, best) }
            },
            tables: |query, crosswise, starts, out| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::tables(query, crosswise, starts, out) }
            },
            fast_tables: |values, words, steps| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::fast_tables(values, words, steps) }
            },
            fast_layout: FastLayout::Lanes,
            fast_scan: |codes, tables, sums| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::fast_scan(codes, tables, sums) }
            },
            fast_screen: |sums, terms, step, limit, passed| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::fast_screen(sums, terms, step, limit, passed) }
            },
            fast_keep: |sums, picked, keys, items| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::fast_keep(sums, picked, keys, items) }
            },
            code_sums: |blocks, picked, next, queries, sums| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::code_sums(blocks, picked, next, queries, sums) }
            },
            lower_sums: |blocks, picked, query, sums| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::lower_sums(blocks, picked, query, sums) }
            },
            row_sums: |rows, stride, picked, query, sums| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::row_sums(rows, stride, picked, query, sums) }
            },
            whole: None,
            sift: |blocks, picks, range, query, limit, sifted| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::sift(blocks, picks, range, query, limit, sifted) }
            },
            within: |bases, limit, found| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::within(bases, limit, found) }
            },
            code_screen: |blocks, picked, queries, limits, sums, passed| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::code_screen(blocks, picked, queries, limits, sums, passed) }
            },
            members: |words, rows, slots| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::members(words, rows, slots) }
            },
            nearest_keys: |keys, first, order| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::nearest_keys(keys, first, order) }
            },
            prefetch: generic::prefetch_bytes,
            prefetch_row: generic::prefetch_row,
            keep_nearest: |blocks, picked, queries, sums, nearest| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::keep_nearest(blocks, picked, queries, sums, nearest) }
            },
            encode: |row, mean, codes| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::encode(row, mean, codes) }
            },
            nearest_word: |columns, words| {
                // SAFETY: the CPU has the features, see above.
                unsafe { compiled::nearest_word(columns, words) }
            },
        };
    };
}
pub(super) use kernels_of;
