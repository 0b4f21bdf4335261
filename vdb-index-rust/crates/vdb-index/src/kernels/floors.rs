//! What the product of codes has to come to so that a row may be near: a floor for each row and query, looked at in one instruction.
//!
//! A row of scale `s` and half squared norm `h` passes a query of unit `u` and threshold `c` when `s u p - h >= c` for the product `p`
//! of their codes, so when
//!
//! ```text
//! p >= c/u (1/s) + 1/u (h/s)
//! ```
//!
//! Both terms are the product of a number of the query and one of the row. Rounded to whole numbers of 16 bits, so that the sum is at most
//! as large, one instruction (VNNI, `vpdpwssd`) takes both from `p`, and the sign tells. Who passes is looked at again as before; a
//! floor is within a hundredth of what it stands for, so that few do in vain.

use std::arch::x86_64::{
    __m512i, _CMP_LE_OQ, _CMP_LT_OQ, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_cmp_ps_mask, _mm512_cmpge_epi32_mask, _mm512_cvttps_epi32, _mm512_div_ps, _mm512_dpwssd_epi32,
    _mm512_fmadd_ps, _mm512_mask_blend_ps, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_max_epu32,
    _mm512_min_ps, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512, _mm512_reduce_max_epu32,
    _mm512_reduce_min_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_epi32, _mm512_sub_ps,
};

use super::blocks::{BLOCK, ZERO};
use super::meeting::{Asked, PLACES};
use super::whole::{QUERIES, RowsOfBlock};

/// The largest number of a row. Products of codes are some hundred thousand, so that those of queries are some hundreds too.
const MOST: f32 = 511.0;
/// The largest number of a query.
const LARGEST: f32 = 32_767.0;
/// Numbers of rows lie within these, or there are no floors.
const SENSIBLE: std::ops::Range<f32> = 1e-30..1e30;
/// More than what float32 rounds off on the way.
const SLACK: f32 = 1.0 / (1u32 << 18) as f32;

/// The numbers of the rows of `B` blocks.
#[derive(Clone, Copy)]
pub(super) struct Floors<const B: usize> {
    /// That of `1/s` in the lower half of each lane, that of `h/s` in the upper one.
    rows: [__m512i; B],
    /// What they are to be multiplied by.
    units: [f32; 2],
    /// By how much a number of `1/s` is too small at most.
    short: f32,
    /// Whether something is known about each row.
    known: bool,
}

/// What up to [`PLACES`] queries bring.
pub(super) struct Wanted {
    /// What the zeros of codes make of their products.
    pub(super) starts: [i32; PLACES],
    /// Their numbers, as those of rows, with signs turned.
    pairs: [i32; PLACES],
    /// Bit `q` = nothing is known about query `q`.
    open: u64,
}

impl<const B: usize> Floors<B> {
    /// Numbers are rounded down, and remember by how much at most: where the number of a query is below zero, it makes up for that.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of(rows: &[RowsOfBlock; B]) -> Self {
        let zero = _mm512_setzero_ps();
        let mut parts = [[zero; 2]; B];
        // Bits of numbers that are not negative are in their order, with what is no number above them all.
        let mut most = [_mm512_setzero_si512(); 2];
        for (rows, parts) in rows.iter().zip(&mut parts) {
            let inverse = _mm512_div_ps(_mm512_set1_ps(1.0), rows.scale);
            *parts = [inverse, _mm512_mul_ps(_mm512_sub_ps(zero, rows.half), inverse)];
            for (part, most) in parts.iter().zip(&mut most) {
                *most = _mm512_max_epu32(*most, _mm512_castps_si512(*part));
            }
        }
        let most = most.map(|most| f32::from_bits(_mm512_reduce_max_epu32(most)));
        let factor = |most: f32| if SENSIBLE.contains(&most) { MOST / most } else { 0.0 };
        let factors = most.map(factor);
        let numbers = |part, factor: f32| {
            _mm512_cvttps_epi32(_mm512_mul_ps(part, _mm512_set1_ps(factor * (1.0 - SLACK))))
        };
        let mut least = _mm512_set1_ps(MOST);
        let mut pairs = [_mm512_setzero_si512(); B];
        for (parts, pairs) in parts.iter().zip(&mut pairs) {
            let [first, second] = [numbers(parts[0], factors[0]), numbers(parts[1], factors[1])];
            *pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
            least = _mm512_min_ps(least, _mm512_mul_ps(parts[0], _mm512_set1_ps(factors[0])));
        }
        // Numbers are at least one below what they stand for, or a little more.
        let least = _mm512_reduce_min_ps(least) * (1.0 - SLACK) - 1.0;
        Self {
            rows: pairs,
            units: std::array::from_fn(|i| if factors[i] > 0.0 { most[i] / MOST } else { 0.0 }),
            short: if least >= 1.0 { 1.0 + 1.0 / least } else { f32::INFINITY },
            known: factors[0] > 0.0,
        }
    }

    /// What queries from number `first` on want of the rows, whose residuals and lengths are `most` at most; see
    /// [`Asking`](super::whole::Asking).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn wanted(&self, asked: &Asked, first: usize, limits: &[f32], most: [f32; 2]) -> Wanted {
        let mut wanted = Wanted { starts: [0; PLACES], pairs: [0; PLACES], open: 0 };
        let (zero, largest) = (_mm512_setzero_ps(), _mm512_set1_ps(LARGEST));
        let (below, above) = (1.0 - SLACK, 1.0 + 4.0 * SLACK);
        for (at, limits) in limits.chunks(BLOCK).take(PLACES / BLOCK).enumerate() {
            let there = u16::MAX >> (BLOCK - limits.len());
            let range = first + at * BLOCK..first + at * BLOCK + limits.len();
            // SAFETY: what is outside of the mask, past the end of each, is not read.
            let load = |values: &[f32]| unsafe { _mm512_maskz_loadu_ps(there, values.as_ptr()) };
            let [unit, by_residual, by_norm] =
                [&asked.unit, &asked.by_residual, &asked.by_norm].map(|column| load(&column[range.clone()]));
            let error = _mm512_mul_ps(by_norm, _mm512_set1_ps(most[1]));
            let error = _mm512_fmadd_ps(by_residual, _mm512_set1_ps(most[0]), error);
            let threshold = _mm512_sub_ps(zero, _mm512_add_ps(load(limits), error));
            let inverse = _mm512_div_ps(_mm512_set1_ps(1.0), unit);
            let scaled = _mm512_mul_ps(_mm512_mul_ps(threshold, inverse), _mm512_set1_ps(self.units[0]));
            // Nearer to zero where it is positive; where it is negative, farther, by what rows fall short of too.
            let positive = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(zero, scaled);
            let down = _mm512_min_ps(_mm512_mul_ps(scaled, _mm512_set1_ps(below)), largest);
            let away = _mm512_mul_ps(scaled, _mm512_set1_ps(above * self.short));
            let away = _mm512_sub_ps(away, _mm512_set1_ps(1.0));
            let number = _mm512_mask_blend_ps(positive, away, down);
            let by_half = _mm512_mul_ps(inverse, _mm512_set1_ps(self.units[1] * below));
            let known = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_sub_ps(zero, largest), number)
                & _mm512_cmp_ps_mask::<_CMP_LT_OQ>(inverse, _mm512_set1_ps(f32::INFINITY));
            let known = if self.known { known & there } else { 0 };
            wanted.open |= u64::from(!known & there) << (at * BLOCK);
            let turned = |number| _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_cvttps_epi32(number));
            let (number, by_half) = (turned(number), turned(_mm512_min_ps(by_half, largest)));
            let lower = _mm512_and_si512(number, _mm512_set1_epi32(0xFFFF));
            let pairs = _mm512_or_si512(lower, _mm512_slli_epi32::<16>(by_half));
            // SAFETY: as for `load`.
            let total = unsafe { _mm512_maskz_loadu_epi32(there, asked.total[range].as_ptr()) };
            let starts = _mm512_mullo_epi32(total, _mm512_set1_epi32(-i32::from(ZERO)));
            let (of_starts, of_pairs) = (&mut wanted.starts[at * BLOCK..], &mut wanted.pairs[at * BLOCK..]);
            assert!(of_starts.len() >= BLOCK && of_pairs.len() >= BLOCK, "16 places");
            // SAFETY: there are 16 places.
            unsafe {
                _mm512_storeu_si512(of_starts.as_mut_ptr().cast(), starts);
                _mm512_storeu_si512(of_pairs.as_mut_ptr().cast(), pairs);
            }
        }
        wanted
    }

    /// Bit `q` = the product of a row comes to its floor, of six queries from the place `first` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn near(&self, total: &[[__m512i; B]; QUERIES], wanted: &Wanted, first: usize) -> u64 {
        let mut near = wanted.open >> first;
        for (q, (total, &pair)) in total.iter().zip(&wanted.pairs[first..][..QUERIES]).enumerate() {
            let pair = _mm512_set1_epi32(pair);
            let mut below = _mm512_set1_epi32(-1);
            for (&total, &row) in total.iter().zip(&self.rows) {
                below = _mm512_and_si512(below, _mm512_dpwssd_epi32(total, row, pair));
            }
            let any = _mm512_cmpge_epi32_mask(below, _mm512_setzero_si512()) != 0;
            near |= u64::from(any) << q;
        }
        near
    }
}

#[cfg(test)]
mod tests {
    use std::arch::x86_64::{_mm512_loadu_ps, _mm512_loadu_si512, _mm512_setzero_ps, _mm512_sub_ps};

    use super::{Floors, QUERIES};
    use crate::basis::{Basis, mean};
    use crate::coded::Coded;
    use crate::kernels::Asked;
    use crate::kernels::whole::RowsOfBlock;
    use crate::kernels::{BLOCK, BLOCKS, CodedQuery, Isa, Kernels, Meeting, Packed, WholeKernels};
    use crate::matrix::Matrix;
    use crate::metric::Metric;
    use crate::rng::Rng;
    use crate::watch::{Unobserved, Watch};

    /// What this CPU has for many queries: nothing under Miri.
    fn wide() -> impl Iterator<Item = &'static WholeKernels> {
        Isa::ALL.into_iter().filter_map(|isa| Kernels::of(isa)?.whole)
    }

    /// Rows of lengths that differ by `spread` and queries of one length, about which all is known: those pass, and only those,
    /// whose smallest possible key is not above the limit, wherever the limit lies. With a `slant` queries lie on one side, and the
    /// rows on the other, but for some that are not picked.
    fn check(metric: Metric, dim: usize, spread: f32, size: f32, slant: f32) {
        let mut rng = Rng::new(dim as u64, 7);
        let mut vector = |longest: f32, slant: f32| -> Vec<f32> {
            let length = size * longest.powf(rng.below(1000) as f32 / 999.0);
            (0..dim).map(|_| length * (slant + rng.below(2001) as f32 / 1000.0 - 1.0)).collect()
        };
        let mut rows: Vec<f32> = (0..BLOCKS * BLOCK).flat_map(|_| vector(spread, -slant)).collect();
        if slant == 0.0 {
            // The last block is not full: its missing rows are far from everything.
            rows.truncate((BLOCKS * BLOCK - 5) * dim);
        } else {
            rows.extend((0..BLOCKS * BLOCK).flat_map(|_| vector(spread, slant)));
        }
        let queries: Vec<Vec<f32>> = (0..61).map(|_| vector(1.0, slant)).collect();
        let rows = Matrix::new(&rows, rows.len() / dim, dim).unwrap();
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        let basis = Basis::new(scalar, metric, mean(rows));
        let coded = Coded::encode(scalar, basis, rows, None, 1, &Watch::new(&Unobserved)).unwrap();
        let blocks = coded.blocks().unwrap();
        let queries: Vec<CodedQuery> =
            queries.iter().map(|query| coded.basis().query(scalar, query).unwrap().0).collect();
        let asking: Vec<&CodedQuery> = queries.iter().collect();
        let mut checked = [0; 2];
        for count in 1..=BLOCKS as u32 {
            let picked: Vec<u32> = (0..count).collect();
            let places: Vec<u32> = (0..rows.rows().min(count as usize * BLOCK) as u32).collect();
            // Key of each row for each query, and its error.
            let keys: Vec<Vec<(f32, f32)>> = asking
                .iter()
                .map(|query| {
                    let mut upper = [[[0; BLOCK]; BLOCKS]];
                    (scalar.code_sums)(&blocks, &picked, &[], &[query], &mut upper);
                    let mut sums = vec![0; places.len()];
                    (scalar.lower_sums)(&blocks, &places, query, &mut sums);
                    let estimate = |(&place, sum): (&u32, &i32)| {
                        let (block, row) = (place as usize / BLOCK, place as usize % BLOCK);
                        blocks.estimate(query, place, sum + upper[0][block][row])
                    };
                    places.iter().zip(&sums).map(estimate).collect()
                })
                .collect();
            for rank in [0, 1, 5, places.len() / 2, places.len() - 1] {
                for shift in [-1.5, -0.01, 0.0, 0.01, 1.5] {
                    let limit = |keys: &Vec<(f32, f32)>| {
                        let mut keys: Vec<f32> = keys.iter().map(|&(key, _)| key).collect();
                        keys.sort_by(f32::total_cmp);
                        keys[rank] + shift * keys[rank].abs()
                    };
                    let limits: Vec<f32> = keys.iter().map(limit).collect();
                    for whole in wide() {
                        let (mut bytes, mut packed) = (Vec::new(), Packed::default());
                        (whole.assemble)(&blocks, &picked, &[], &mut bytes);
                        packed.pack(&asking);
                        let met = Meeting {
                            bytes: &bytes,
                            packed: &packed,
                            blocks: &blocks,
                            picked: &picked,
                            limits: &limits,
                        };
                        let mut told = vec![0u64; asking.len()];
                        (whole.screen)(&met, &mut |number, passed, _| told[number] = passed);
                        for ((told, keys), limit) in told.iter().zip(&keys).zip(&limits) {
                            // One error does for all: that of the largest residual, and of the longest row.
                            let most = keys.iter().map(|&(_, error)| error).fold(0.0, f32::max);
                            for (place, (key, error)) in keys.iter().enumerate() {
                                let passed = told >> place & 1 == 1;
                                let rounding = 1e-5 * (key.abs() + limit.abs());
                                checked[usize::from(passed)] += 1;
                                assert!(
                                    passed || key - error > limit - rounding,
                                    "{metric} {dim}: {key} - {error} is near {limit}"
                                );
                                assert!(
                                    !passed || key - 2.0 * most <= limit + rounding,
                                    "{metric} {dim}: {key} - {most} is not near {limit}"
                                );
                            }
                        }
                    }
                }
            }
        }
        assert!(checked.iter().all(|&count| count > 1000), "some pass and some do not: {checked:?}");
    }

    /// Whether a block of such scales and half squared norms has a row near a query of such a unit and threshold, by its products.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn is_near(
        scale: &[f32; BLOCK],
        half: &[f32; BLOCK],
        unit: f32,
        threshold: f32,
        total: &[i32; BLOCK],
    ) -> bool {
        // SAFETY: 16 numbers of 4 bytes each.
        let [scale, half] = [scale, half].map(|numbers| unsafe { _mm512_loadu_ps(numbers.as_ptr()) });
        let half = _mm512_sub_ps(_mm512_setzero_ps(), half);
        // SAFETY: as above.
        let total = unsafe { _mm512_loadu_si512(total.as_ptr().cast()) };
        let floors = Floors::of(&[RowsOfBlock { scale, half }]);
        let asked = Asked { total: vec![0], unit: vec![unit], by_residual: vec![0.0], by_norm: vec![0.0] };
        let wanted = floors.wanted(&asked, 0, &[-threshold], [0.0; 2]);
        floors.near(&[[total]; QUERIES], &wanted, 0) & 1 == 1
    }

    #[test]
    fn a_floor_is_not_above_what_a_row_needs() {
        if Kernels::of(Isa::Avx512Vnni).is_none() {
            return;
        }
        let mut rng = Rng::new(8, 8);
        let (mut far, mut all) = (0, 0);
        for _ in 0..20_000 {
            let spread = [1.0f32, 2.0, 30.0, 1e4][rng.below(4)];
            let mut number = |spread: f32| spread.powf(rng.below(10_000) as f32 / 9999.0);
            let size = number(1e12) * 1e-6;
            let scale: [f32; BLOCK] = std::array::from_fn(|_| number(spread) * size);
            let unit = number(1e6) * 1e-3;
            let product = number(1e4) * 100.0 * unit * size;
            let half: [f32; BLOCK] = std::array::from_fn(|_| number(spread) * product);
            let half = if rng.below(2) == 0 { [0.0; BLOCK] } else { half };
            let row = rng.below(BLOCK);
            let threshold = [product, -product][rng.below(2)];
            let parts =
                [threshold, half[row]].map(|part| f64::from(part) / f64::from(unit) / f64::from(scale[row]));
            let needed = parts[0] + parts[1];
            if needed.abs() > 1e8 {
                continue;
            }
            let total = |of_row: f64| -> [i32; BLOCK] {
                std::array::from_fn(|at| if at == row { of_row as i32 } else { -(1 << 30) })
            };
            // SAFETY: the CPU has VNNI.
            let near = |of_row: f64| unsafe { is_near(&scale, &half, unit, threshold, &total(of_row)) };
            assert!(near(needed.ceil()), "{scale:?} {half:?} {unit} {threshold}: row {row} needs {needed}");
            if spread <= 2.0 && parts[0].abs() < 1e6 {
                all += 1;
                far += usize::from(near((needed - 0.03 * (parts[0].abs() + parts[1])).floor() - 1500.0));
            }
            // Nothing is known where a row says nothing, and then any product may do.
            for unknown in [f32::NAN, 0.0] {
                let mut scale = scale;
                scale[rng.below(BLOCK)] = unknown;
                // SAFETY: as above.
                assert!(unsafe { is_near(&scale, &half, unit, threshold, &[-(1 << 30); BLOCK]) });
            }
        }
        assert!(all > 20 && far == 0, "{far} of {all} are near in vain");
    }

    #[test]
    fn floors_keep_what_may_be_near() {
        if wide().next().is_none() {
            return;
        }
        for dim in [1, 9, 128, 384, 1537] {
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                for (spread, slant) in
                    [(1.0, 0.0), (2.0, 0.0), (300.0, 0.0), (2.0, 1.0), (50.0, 1.0), (300.0, 1.0)]
                {
                    check(metric, dim, spread, 1.0, slant);
                }
                check(metric, dim, 2.0, 1e-12, 0.0);
                check(metric, dim, 2.0, 1e12, 0.0);
            }
        }
    }
}
