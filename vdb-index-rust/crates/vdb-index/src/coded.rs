//! Rows as int8 codes with a proven bound on what they hide: a sieve that reads a quarter of the bytes of float32.
//!
//! With a mean `m` taken off, a row `y = x - m` becomes `s c + r`: a unit, integers from -127 to 127, and what is left. A
//! query `v` (`q`, or `q - m` under l2) becomes `t b + e` likewise. Then
//!
//! ```text
//! v·y  =  t s (b·c)  +  e·(s c)  +  v·r
//! |v·y - t s (b·c)|  <=  |e| |s c|  +  |v| |r|             Cauchy-Schwarz, twice
//! ```
//!
//! `b·c` is an exact integer; `|s c|` and `|r|` are kept for each row. Keys are `-v·y` for inner products, which differ from
//! `-q·x` by `q·m`, the same for all rows; and `|y|²/2 - v·y` under l2, which is `(|q - x|² - |v|²) / 2`.
//!
//! Rounding. Norms are made in float64, off by less than `10^-9` of themselves for up to 65,536 dimensions, which a factor
//! pays for; what is stored as float32 is rounded up. Float32 sums of keys and errors round fewer than 16 times, each
//! time by at most `u = 2^-24` of a value of at most `|y|²/2 + |t b| |s c|` plus the error itself: `64 u` of these
//! are added. So much also covers what float64, which decides in the end, makes of `|q| |y|` (`2^-36` of it); what it
//! makes of `|q| |m|` and of `|v|²` is the same for all rows and is added to the bound as such, as is underflow, also where
//! the thread flushes denormals. Vectors that do not fit (not finite, beyond `10^32`, all but 0) have an error that is
//! infinite or as large as they are. What is infinite or NaN excludes nothing.

use std::ops::Range;

use crate::bitmap::Bitmap;
use crate::bounds::{Bound, up};
use crate::error::Result;
use crate::kernels::{BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, Kernels, MAX_DIM, STEP, ZERO};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::topk::Candidates;
use crate::watch::Watch;

/// Fewer rows are scanned in less time than it takes to encode them.
const MIN_ROWS: usize = 4097;
/// For shorter rows the numbers beside the codes make up more than the codes save.
const MIN_DIM: usize = 80;
/// Rows that the mean is made of.
const SAMPLE: usize = 4096;
/// Blocks that a thread encodes at a time.
const TASK: usize = 64;
/// Rows after which a query is asked whether its codes are worth while, a multiple of 64.
const TRIAL: usize = 16_384;
/// What pays for rounding in float64.
const EXACT: f64 = 1.0 + 1e-9;
/// What pays for rounding in float32.
const ROUNDING: f64 = 64.0 / (1u64 << 24) as f64;
/// What pays for values that are flushed to zero: `2^-110`.
const FLUSHED: f64 = 1.0 / (1u128 << 110) as f64;

/// The codes of all rows, in blocks of 16.
#[derive(Debug)]
pub(crate) struct Coded {
    metric: Metric,
    mean: Vec<f32>,
    mean_norm: f64,
    codes: Vec<u8>,
    scale: Vec<f32>,
    residual: Vec<f32>,
    norm: Vec<f32>,
    half: Vec<f32>,
}

/// One thread's part of the arrays.
struct Part<'a> {
    first: usize,
    codes: &'a mut [u8],
    rest: [&'a mut [f32]; 4],
}

impl Coded {
    /// Whether codes make a search of such rows faster for less than 0.3 of their memory.
    pub(crate) fn pays(rows: usize, dim: usize) -> bool {
        rows >= MIN_ROWS && dim >= MIN_DIM && Self::fits(dim)
    }

    /// Whether sums of codes stay within their integers.
    pub(crate) fn fits(dim: usize) -> bool {
        dim <= MAX_DIM
    }

    /// Encode all rows.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// Up to `threads` threads take blocks of rows; codes do not depend on how many.
    pub(crate) fn encode(
        kernels: &Kernels,
        metric: Metric,
        rows: Matrix<'_>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let steps = rows.dim().div_ceil(STEP);
        let padded = rows.rows().next_multiple_of(BLOCK);
        let mean = mean(rows);
        let mean_norm = (kernels.dot_exact)(&mean, &mean).sqrt() * EXACT;
        let mut codes = vec![0; padded * STEP * steps];
        let [mut scale, mut residual, mut norm] = std::array::from_fn(|_| vec![0.0f32; padded]);
        let mut half = vec![0.0; if metric == Metric::L2 { padded } else { 0 }];
        let mut halves = half.chunks_mut(TASK * BLOCK);
        let mut parts: Vec<Part<'_>> = codes
            .chunks_mut(TASK * BLOCK * STEP * steps)
            .zip(scale.chunks_mut(TASK * BLOCK))
            .zip(residual.chunks_mut(TASK * BLOCK))
            .zip(norm.chunks_mut(TASK * BLOCK))
            .enumerate()
            .map(|(task, (((codes, scale), residual), norm))| Part {
                first: task * TASK * BLOCK,
                codes,
                rest: [scale, residual, norm, halves.next().unwrap_or_default()],
            })
            .collect();
        pool::chunks_mut(threads, &mut parts, 1, |_, parts| {
            for part in parts {
                // Once it was cancelled every tick says so, the one below too.
                if watch.tick("codes", part.first, rows.rows()).is_ok() {
                    encode_part(kernels, rows, &mean, part);
                }
            }
        });
        watch.tick("codes", rows.rows(), rows.rows())?;
        Ok(Self { metric, mean, mean_norm, codes, scale, residual, norm, half })
    }

    /// Bytes of the codes, and of what is kept beside them.
    pub(crate) fn bytes(&self) -> [(&'static str, usize); 2] {
        let beside = [&self.mean, &self.scale, &self.residual, &self.norm, &self.half]
            .map(|part| part.len())
            .iter()
            .sum::<usize>();
        [("codes", self.codes.len()), ("bounds", beside * size_of::<f32>())]
    }

    fn blocks(&self) -> Option<Blocks<'_>> {
        Blocks::new(
            &self.codes,
            self.mean.len().div_ceil(STEP),
            [&self.scale, &self.residual, &self.norm, &self.half],
        )
    }

    /// A query as codes, and the error that all its keys share; `None` where it has no meaningful codes.
    fn query(&self, kernels: &Kernels, query: &[f32]) -> Option<(CodedQuery, f64)> {
        let l2 = self.metric == Metric::L2;
        let zeros = vec![0.0; query.len()];
        let mut codes = vec![0; query.len()];
        let made = (kernels.encode)(query, if l2 { &self.mean } else { &zeros }, &mut codes);
        let (left, whole) = (made.residual * EXACT, made.whole * EXACT);
        let shared = if l2 { whole * whole } else { whole * self.mean_norm };
        let merged = if self.metric == Metric::Cosine { 2f64.powi(-50) } else { 0.0 };
        let shared = shared * 2f64.powi(-34) + merged + FLUSHED * (1.0 + whole + self.mean_norm);
        let coded = CodedQuery {
            scale: made.scale,
            by_residual: up(whole * (1.0 + ROUNDING) + FLUSHED),
            by_norm: up((left + ROUNDING * made.norm) * (1.0 + ROUNDING) + FLUSHED),
            by_half: if l2 { up(ROUNDING) } else { 0.0 },
            ..CodedQuery::new(&codes)
        };
        let known = left.is_finite() && coded.by_residual.is_finite() && up(shared).is_finite();
        known.then_some((coded, shared))
    }

    /// For each query the rows of `range` that may be among its best `k`; `None` where codes tell too little. The range
    /// starts at a multiple of 64.
    pub(crate) fn search<'q>(
        &self,
        kernels: &Kernels,
        queries: impl Iterator<Item = &'q [f32]>,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        range: Range<usize>,
    ) -> Vec<Option<Candidates>> {
        let mut results = Vec::new();
        let mut sieve = Sieve::default();
        for query in queries {
            if let Some((query, shared)) = self.query(kernels, query) {
                sieve.push(results.len(), query, Candidates::new(k, Bound::each(shared)));
            }
            results.push(None);
        }
        let Some(blocks) = self.blocks() else { return results };
        let mut seen = 0;
        let mut next_trial = TRIAL;
        let (mut picked, mut live) = ([0u32; BLOCKS], 0u64);
        let mut filled = 0;
        for first in range.clone().step_by(64) {
            if sieve.queries.is_empty() {
                break;
            }
            let left = range.end - first;
            let mut word = if left < 64 { (1u64 << left) - 1 } else { u64::MAX };
            if let Some(allowed) = allowed {
                word &= allowed.word(first / 64);
            }
            if word == 0 {
                continue;
            }
            seen += word.count_ones() as usize;
            for quarter in 0..64 / BLOCK {
                let rows = word >> (quarter * BLOCK) & 0xFFFF;
                if rows != 0 {
                    picked[filled] = ((first / BLOCK) + quarter) as u32;
                    live |= rows << (filled * BLOCK);
                    filled += 1;
                    if filled == BLOCKS {
                        sieve.see(kernels, &blocks, &picked, live);
                        (filled, live) = (0, 0);
                    }
                }
            }
            if seen >= next_trial {
                next_trial = seen + TRIAL;
                sieve.give_up(k, seen);
            }
        }
        sieve.see(kernels, &blocks, &picked[..filled], live);
        for (place, candidates) in sieve.places.into_iter().zip(sieve.candidates) {
            results[place] = Some(candidates);
        }
        results
    }
}

/// Queries on their way through the blocks, side by side.
#[derive(Default)]
struct Sieve {
    places: Vec<usize>,
    queries: Vec<CodedQuery>,
    candidates: Vec<Candidates>,
    limits: Vec<f32>,
}

impl Sieve {
    fn push(&mut self, place: usize, query: CodedQuery, candidates: Candidates) {
        self.places.push(place);
        self.queries.push(query);
        self.limits.push(candidates.limit());
        self.candidates.push(candidates);
    }

    /// Offer the rows of up to four blocks whose bits are set in `live`. The codes of the blocks stay in the first-level
    /// cache while the queries come by, a tile of them at a time.
    fn see(&mut self, kernels: &Kernels, blocks: &Blocks<'_>, picked: &[u32], live: u64) {
        const TOGETHER: usize = 6;
        let mut sums: [BlockSums; TOGETHER] = [[[0; BLOCK]; BLOCKS]; TOGETHER];
        let mut passed = [0u64; TOGETHER];
        for (group, queries) in self.queries.chunks(TOGETHER).enumerate() {
            let start = group * TOGETHER;
            let limits = &mut self.limits[start..start + queries.len()];
            let (sums, passed) = (&mut sums[..queries.len()], &mut passed[..queries.len()]);
            (kernels.code_sums)(blocks, picked, queries, sums);
            (kernels.code_screen)(blocks, picked, queries, limits, sums, passed);
            for (q, query) in queries.iter().enumerate() {
                let mut rows = passed[q] & live;
                while rows != 0 {
                    let bit = rows.trailing_zeros() as usize;
                    rows &= rows - 1;
                    let (block, row) = (bit / BLOCK, bit % BLOCK);
                    let slot = picked[block] * BLOCK as u32 + row as u32;
                    let (key, error) = blocks.estimate(query, slot, sums[q][block][row]);
                    let candidates = &mut self.candidates[start + q];
                    candidates.offer(key, error, slot);
                    limits[q] = candidates.limit();
                }
            }
        }
    }

    /// Let go of queries that keep more than an eighth of what they saw: reading float32 rows is cheaper then.
    fn give_up(&mut self, k: usize, seen: usize) {
        let most = (seen / 8).max(8 * k);
        let mut at = 0;
        while at < self.candidates.len() {
            if self.candidates[at].len() > most {
                self.places.swap_remove(at);
                self.queries.swap_remove(at);
                self.candidates.swap_remove(at);
                self.limits.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }
}

fn encode_part(kernels: &Kernels, rows: Matrix<'_>, mean: &[f32], part: &mut Part<'_>) {
    let steps = rows.dim().div_ceil(STEP);
    let [scale, residual, norm, half] = &mut part.rest;
    let mut codes = vec![0i8; steps * STEP];
    let end = (part.first + scale.len()).min(rows.rows());
    for (at, slot) in (part.first..end).enumerate() {
        let made = (kernels.encode)(rows.row(slot as u32), mean, &mut codes[..rows.dim()]);
        let block = &mut part.codes[at / BLOCK * BLOCK * STEP * steps..][..BLOCK * STEP * steps];
        let (lines, _) = block.as_chunks_mut::<{ BLOCK * STEP }>();
        for (line, codes) in lines.iter_mut().zip(codes.as_chunks::<STEP>().0) {
            line.as_chunks_mut::<STEP>().0[at % BLOCK] = codes.map(|code| code as u8 ^ ZERO);
        }
        let square = (made.whole * made.whole * 0.5) as f32;
        let left = up(made.residual * EXACT + FLUSHED);
        if left.is_finite() && square.is_finite() {
            scale[at] = made.scale;
            residual[at] = left;
            norm[at] = up(made.norm * EXACT);
            if let Some(half) = half.get_mut(at) {
                *half = square;
            }
        } else {
            residual[at] = f32::INFINITY;
        }
    }
}

/// Mean of a sample of the rows: any vector would do, this one makes what is left small.
fn mean(rows: Matrix<'_>) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.dim()];
    let mut count = 0.0;
    for slot in (0..rows.rows()).step_by(rows.rows().div_ceil(SAMPLE).max(1)) {
        let row = rows.row(slot as u32);
        if row.iter().all(|value| value.is_finite()) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            count += 1.0;
        }
    }
    sums.into_iter().map(|sum| if count > 0.0 { (sum / count) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;
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
                let coded = Coded::encode(kernels, metric, matrix, 2, &Watch::new(&Unobserved)).unwrap();
                let blocks = coded.blocks().unwrap();
                let Some((coded_query, shared)) = coded.query(kernels, query) else { continue };
                for slot in 0..matrix.rows() {
                    let mut sums = [[[0; BLOCK]; BLOCKS]];
                    let (block, row) = (slot / BLOCK, slot % BLOCK);
                    (kernels.code_sums)(&blocks, &[block as u32], std::slice::from_ref(&coded_query), &mut sums);
                    let (key, error) = blocks.estimate(&coded_query, slot as u32, sums[0][0][row]);
                    // What a multiple of 1 would be for all rows is left out term by term, so that nothing cancels.
                    let pairs = query.iter().zip(matrix.row(slot as u32)).zip(&coded.mean);
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
                    prop_assert!(!Bound::excludes(bound.base(key, error), bound.limit(up(truth))));
                }
            }
        }
    }

    #[test]
    fn the_error_is_small_where_values_are_alike() {
        let values: Vec<f32> = (0..40 * 384).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect();
        let rows = Matrix::new(&values, 40, 384).unwrap();
        let kernels = Kernels::best();
        let coded = Coded::encode(kernels, Metric::Dot, rows, 1, &Watch::new(&Unobserved)).unwrap();
        let (query, _) = coded.query(kernels, rows.row(3)).unwrap();
        let (_, error) = coded.blocks().unwrap().estimate(&query, 3, 0);
        let square = (kernels.dot_exact)(rows.row(3), rows.row(3)) as f32;
        assert!(error < 0.01 * square, "{error} of {square}");
    }

    #[test]
    fn codes_do_not_depend_on_threads_or_instruction_sets() {
        let values: Vec<f32> = (0..3000 * 33).map(|i| ((i * 7919) % 1013) as f32 - 500.0).collect();
        let rows = Matrix::new(&values, 3000, 33).unwrap();
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        let one = Coded::encode(scalar, Metric::L2, rows, 1, &Watch::new(&Unobserved)).unwrap();
        for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
            let other = Coded::encode(kernels, Metric::L2, rows, 3, &Watch::new(&Unobserved)).unwrap();
            assert_eq!(one.codes, other.codes);
            assert_eq!(one.scale, other.scale);
            assert_eq!(one.residual, other.residual);
        }
    }
}
