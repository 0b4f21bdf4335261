//! Codes of many rows in blocks of 16, for scans that see them all; see the `basis` module for what codes promise, and
//! [`Blocks`] for how they lie.

use crate::basis::{Basis, EXACT};
use crate::bounds::up;
use crate::error::Result;
use crate::huge::Array;
use crate::kernels::{BLOCK, BlockBounds, Blocks, GROUP, Kernels, LINE, Planes, STEP, ZERO, put_bound};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::results::NO_SLOT;
use crate::watch::Watch;

/// Blocks that a thread encodes at a time.
const TASK: usize = 64;

/// The codes of all rows, in blocks of 16.
#[derive(Debug)]
pub(crate) struct Coded {
    basis: Basis,
    upper: Array<u8>,
    lower: Array<u8>,
    bounds: Array<BlockBounds>,
    lengths: Vec<f32>,
}

/// One thread's part of the arrays.
struct Part<'a> {
    first: usize,
    planes: [&'a mut [u8]; 2],
    bounds: &'a mut [BlockBounds],
    lengths: &'a mut [f32],
}

impl Coded {
    /// Encode rows: all of them in order of their slots, or those that `order` names, 16 a block, with
    /// [`NO_SLOT`](crate::NO_SLOT) where a block is not full.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// Up to `threads` threads take blocks of rows; codes do not depend on how many.
    pub(crate) fn encode(
        kernels: &Kernels,
        basis: Basis,
        rows: Matrix<'_>,
        order: Option<&[u32]>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let bytes = rows.dim().div_ceil(GROUP) * STEP;
        let count = order.map_or(rows.rows(), <[u32]>::len);
        let padded = count.next_multiple_of(BLOCK);
        let mut upper = Array::zeroed(padded * bytes);
        let mut lower = Array::zeroed(padded * bytes);
        let mut bounds = Array::<BlockBounds>::zeroed(padded / BLOCK);
        let mut lengths = vec![0.0; padded / BLOCK];
        let mut parts: Vec<Part<'_>> = {
            const ROWS: usize = TASK * BLOCK;
            let mut uppers = upper.chunks_mut(ROWS * bytes);
            let mut lowers = lower.chunks_mut(ROWS * bytes);
            let (mut of_blocks, mut longest) = (bounds.chunks_mut(TASK), lengths.chunks_mut(TASK));
            let part = |task| Part {
                first: task * ROWS,
                planes: [uppers.next().unwrap_or_default(), lowers.next().unwrap_or_default()],
                bounds: of_blocks.next().unwrap_or_default(),
                lengths: longest.next().unwrap_or_default(),
            };
            (0..padded.div_ceil(ROWS)).map(part).collect()
        };
        pool::chunks_mut(threads, &mut parts, 1, |_, parts| {
            for part in parts {
                // Once it was cancelled every tick says so, the one below too.
                if watch.tick("codes", part.first, count).is_ok() {
                    encode_part(kernels, &basis, rows, order, part);
                }
            }
        });
        watch.tick("codes", count, count)?;
        Ok(Self { basis, upper, lower, bounds, lengths })
    }

    /// What was taken off the rows.
    pub(crate) fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Bytes of the codes, and of what is kept beside them.
    pub(crate) fn bytes(&self) -> [(&'static str, usize); 2] {
        let bounds = size_of_val::<[BlockBounds]>(&self.bounds) + size_of_val(self.lengths.as_slice());
        let beside = size_of_val(self.basis.mean()) + bounds;
        [("codes", self.upper.len() + self.lower.len()), ("bounds", beside)]
    }

    /// The codes as kernels see them.
    pub(crate) fn blocks(&self) -> Option<Blocks<'_>> {
        let Self { upper, lower, bounds, lengths, .. } = self;
        let planes = Planes { upper, lower, bounds, lengths };
        Blocks::new(planes, self.basis.mean().len().div_ceil(GROUP))
    }
}

fn encode_part(
    kernels: &Kernels,
    basis: &Basis,
    rows: Matrix<'_>,
    order: Option<&[u32]>,
    part: &mut Part<'_>,
) {
    let bytes = rows.dim().div_ceil(GROUP) * STEP;
    let [upper, lower] = &mut part.planes;
    // Dimensions that fill the last group up have code 0, which says nothing: the query's is 0 too.
    let mut codes = vec![0i8; 2 * bytes];
    let l2 = basis.metric() == Metric::L2;
    for at in 0..part.bounds.len() * BLOCK {
        let slot = match order {
            None => (part.first + at) as u32,
            Some(order) => order.get(part.first + at).copied().unwrap_or(NO_SLOT),
        };
        let (bounds, lane) = (&mut part.bounds[at / BLOCK], at % BLOCK);
        if slot as usize >= rows.rows() {
            // Farther than any row.
            bounds.half[lane] = if l2 { f32::INFINITY } else { 0.0 };
            continue;
        }
        let bound = basis.row(kernels, rows.row(slot), &mut codes[..rows.dim()]);
        let block = &mut upper[at / BLOCK * BLOCK * bytes..][..BLOCK * bytes];
        let (lines, _) = block.as_chunks_mut::<LINE>();
        let low = lower[at * bytes..][..bytes].as_chunks_mut::<STEP>().0;
        // The halves of four bytes at once.
        const HALVES: u32 = 0x0F0F_0F0F;
        for ((line, low), codes) in lines.iter_mut().zip(low).zip(codes.as_chunks::<GROUP>().0) {
            let [first, second] =
                [0, STEP].map(|at| u32::from_le_bytes(std::array::from_fn(|i| codes[at + i] as u8 ^ ZERO)));
            let high = first >> 4 & HALVES | second & HALVES << 4;
            line.as_chunks_mut::<STEP>().0[lane] = high.to_le_bytes();
            *low = (first & HALVES | (second & HALVES) << 4).to_le_bytes();
        }
        // Twice what the codes are beyond the middle of those that share their upper half.
        let beyond = codes.iter().map(|&code| {
            let beyond = 2 * i32::from(code as u8 & 15) - 15;
            beyond * beyond
        });
        let beyond: i32 = beyond.sum();
        let left = f64::from(bound.scale) * f64::from(beyond).sqrt() / 2.0;
        let rough = up((f64::from(bound.residual) + left) * EXACT);
        put_bound(bounds, &mut part.lengths[at / BLOCK], lane, bound, rough);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basis::mean;
    use crate::bounds::Bound;
    use crate::kernels::Isa;
    use crate::kernels::{BLOCKS, Meeting, Packed, RowBound};
    use crate::watch::Unobserved;
    use proptest::prelude::*;

    /// Vectors of one kind: ordinary, far from zero, wild, denormal, constant, or with one value that dwarfs the others.
    fn vectors() -> impl Strategy<Value = (usize, Vec<f32>)> {
        let value = |kind: u8| match kind {
            0 | 5 => (-1.0f32..1.0).boxed(),
            1 => (1e4f32..1.001e4).boxed(),
            2 => prop_oneof![-1.0f32..1.0, -1e18f32..1e18, -1e-18f32..1e-18, -1e36f32..1e36].boxed(),
            3 => (-1e-38f32..1e-38).boxed(),
            _ => Just(0.3f32).boxed(),
        };
        let dims = prop_oneof![Just(1usize), Just(7), 2..100usize, Just(384), Just(1030)];
        (0u8..6, dims, 2..40usize).prop_flat_map(move |(kind, dim, rows)| {
            prop::collection::vec(value(kind), dim * rows).prop_map(move |mut values| {
                if kind == 5 {
                    values.iter_mut().step_by(dim).for_each(|value| *value *= 1e6);
                }
                (dim, values)
            })
        })
    }

    proptest! {
        /// Every true key is within the error of the one that codes give, for each instruction set.
        #[test]
        fn the_truth_is_inside(
            (dim, values) in vectors(),
            metric in prop_oneof![Just(Metric::Dot), Just(Metric::Cosine), Just(Metric::L2)],
        ) {
            let (query, rows) = values.split_at(dim);
            let matrix = Matrix::new(rows, rows.len() / dim, dim).unwrap();
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
                let coded = Coded::encode(kernels, Basis::new(kernels, metric, mean(matrix)), matrix, None, 2, &Watch::new(&Unobserved)).unwrap();
                let blocks = coded.blocks().unwrap();
                let Some((coded_query, shared)) = coded.basis().query(kernels, query) else { continue };
                for slot in 0..matrix.rows() {
                    let mut sums = [[[0; BLOCK]; BLOCKS]];
                    let (block, row) = (slot / BLOCK, slot % BLOCK);
                    (kernels.code_sums)(&blocks, &[block as u32], &[], &[&coded_query], &mut sums);
                    let (upper, mut more) = (sums[0][0][row], [0]);
                    (kernels.lower_sums)(&blocks, &[slot as u32], &coded_query, &mut more);
                    let (key, error) = blocks.estimate(&coded_query, slot as u32, upper + more[0]);
                    // Upper halves alone: a row of whole codes that are short of more.
                    let bounds = &coded.bounds[block];
                    let rough = RowBound { scale: bounds.scale[row], residual: bounds.rough[row], norm: coded.lengths[block], half: bounds.half[row] };
                    let (rough_key, rough_error) = rough.estimate(&coded_query, upper);
                    // What a multiple of 1 would be for all rows is left out term by term, so that nothing cancels.
                    let pairs = query.iter().zip(matrix.row(slot as u32)).zip(coded.basis().mean());
                    let truth: f64 = pairs
                        .map(|((&q, &x), &m)| {
                            let (q, y) = (f64::from(q), f64::from(x) - f64::from(m));
                            if metric == Metric::L2 { y * y / 2.0 - (q - f64::from(m)) * y } else { -q * y }
                        })
                        .sum();
                    if key.is_finite() && error.is_finite() {
                        let off = (f64::from(key) - truth).abs();
                        prop_assert!(off <= f64::from(error) + shared, "{} {off} > {error} + {shared}", kernels.isa);
                    }
                    let bound = Bound::each(shared);
                    prop_assert!(f64::from(bound.upper(key, error)) >= truth);
                    let limit = bound.limit(up(truth));
                    prop_assert!(!Bound::excludes(bound.base(key, error), limit));
                    prop_assert!(!Bound::excludes(bound.base(rough_key, rough_error), limit));
                    let mut passed = [0];
                    (kernels.code_screen)(&blocks, &[block as u32], &[&coded_query], &[limit], &sums, &mut passed);
                    prop_assert!(passed[0] >> row & 1 == 1, "{}: upper halves exclude too much", kernels.isa);
                    if let Some(many) = kernels.whole {
                        let (mut bytes, mut packed, mut passed) = (Vec::new(), Packed::default(), [0]);
                        (many.assemble)(&blocks, &[block as u32], &[], &mut bytes);
                        packed.pack(&[&coded_query]);
                        let (picked, limits) = ([block as u32], [limit]);
                        let met = Meeting { bytes: &bytes, packed: &packed, blocks: &blocks, picked: &picked, limits: &limits };
                        (many.screen)(&met, &mut |_, rows, _| passed = [rows]);
                        prop_assert!(passed[0] >> row & 1 == 1, "whole codes exclude too much");
                    }
                }
            }
        }
    }

    #[test]
    fn the_error_is_small_where_values_are_alike() {
        let values: Vec<f32> = (0..40 * 384).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect();
        let rows = Matrix::new(&values, 40, 384).unwrap();
        let kernels = Kernels::best();
        let coded = Coded::encode(
            kernels,
            Basis::new(kernels, Metric::Dot, mean(rows)),
            rows,
            None,
            1,
            &Watch::new(&Unobserved),
        )
        .unwrap();
        let (query, _) = coded.basis().query(kernels, rows.row(3)).unwrap();
        let (_, error) = coded.blocks().unwrap().estimate(&query, 3, 0);
        let square = (kernels.dot_exact)(rows.row(3), rows.row(3)) as f32;
        assert!(error < 0.01 * square, "{error} of {square}");
    }

    #[test]
    fn codes_do_not_depend_on_threads_or_instruction_sets() {
        let values: Vec<f32> = (0..3000 * 33).map(|i| ((i * 7919) % 1013) as f32 - 500.0).collect();
        let rows = Matrix::new(&values, 3000, 33).unwrap();
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        let one = Coded::encode(
            scalar,
            Basis::new(scalar, Metric::L2, mean(rows)),
            rows,
            None,
            1,
            &Watch::new(&Unobserved),
        )
        .unwrap();
        for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
            let other = Coded::encode(
                kernels,
                Basis::new(kernels, Metric::L2, mean(rows)),
                rows,
                None,
                3,
                &Watch::new(&Unobserved),
            )
            .unwrap();
            assert_eq!((&*one.upper, &*one.lower), (&*other.upper, &*other.lower));
            assert_eq!((&*one.bounds, &one.lengths), (&*other.bounds, &other.lengths));
        }
    }
}
