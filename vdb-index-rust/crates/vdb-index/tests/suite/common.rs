//! Slow twins and data for them.

use proptest::prelude::*;
use vdb_index::{Matrix, Metric, NO_SLOT, Neighbours};

/// Rows and queries.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub rows: Vec<f32>,
    pub queries: Vec<f32>,
    pub dim: usize,
}

impl Fixture {
    pub fn rows(&self) -> Matrix<'_> {
        Matrix::new(&self.rows, self.rows.len() / self.dim, self.dim).unwrap()
    }

    pub fn queries(&self) -> Matrix<'_> {
        Matrix::new(&self.queries, self.queries.len() / self.dim, self.dim).unwrap()
    }

    pub fn random(seed: u64, rows: usize, dim: usize, queries: usize) -> Self {
        let mut state = seed;
        let mut values = |count| (0..count).map(|_| unit(&mut state)).collect();
        Self { rows: values(rows * dim), queries: values(queries * dim), dim }
    }

    /// Rows around `clusters` centres, queries too: what real embeddings look like to an inverted file.
    pub fn clustered(seed: u64, rows: usize, dim: usize, queries: usize, clusters: usize) -> Self {
        let mut state = seed;
        let centres: Vec<f32> = (0..clusters * dim).map(|_| unit(&mut state)).collect();
        let mut around = |count: usize| {
            let mut values = Vec::with_capacity(count * dim);
            for i in 0..count {
                let centre = (i * 7919) % clusters;
                values.extend((0..dim).map(|d| centres[centre * dim + d] + 0.4 * unit(&mut state)));
            }
            values
        };
        Self { rows: around(rows), queries: around(queries), dim }
    }

    /// Scale every vector to length 1.
    pub fn normalized(mut self) -> Self {
        for vector in self.rows.chunks_mut(self.dim).chain(self.queries.chunks_mut(self.dim)) {
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        self
    }

    pub fn filter(&self, seed: u64) -> Vec<bool> {
        let mut state = seed;
        let percent = [0, 1, 10, 50, 99][(seed % 5) as usize];
        (0..self.rows.len() / self.dim).map(|_| next(&mut state) % 100 < percent).collect()
    }
}

/// A number below 2^31.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 33
}

fn unit(state: &mut u64) -> f32 {
    next(state) as f32 / (1u64 << 30) as f32 - 1.0
}

/// Rows of small integers (many exact ties), of fractions, of wild magnitudes, and of values that are no numbers.
pub fn fixtures() -> impl Strategy<Value = Fixture> {
    let value = prop_oneof![
        3 => Just(0u8),
        2 => Just(1u8),
        1 => Just(2u8),
        1 => Just(3u8),
    ];
    (
        value,
        prop_oneof![1..4usize, 1..40usize],
        prop_oneof![0..150usize, 150..400usize],
        prop_oneof![1..4usize, 5..40usize],
    )
        .prop_flat_map(|(kind, dim, rows, queries)| {
            let values = move |count: usize| -> BoxedStrategy<Vec<f32>> {
                match kind {
                    0 => prop::collection::vec((-2i8..3).prop_map(f32::from), count).boxed(),
                    1 => prop::collection::vec(-1.0f32..1.0, count).boxed(),
                    2 => prop::collection::vec(
                        prop_oneof![
                            -1e-30f32..1e-30,
                            -1.0f32..1.0,
                            -1e20f32..1e20,
                            -1e30f32..1e30,
                            Just(1e-42)
                        ],
                        count,
                    )
                    .boxed(),
                    _ => prop::collection::vec(
                        prop_oneof![20 => -1.0f32..1.0, 1 => Just(f32::INFINITY), 1 => Just(f32::NAN)],
                        count,
                    )
                    .boxed(),
                }
            };
            (values(rows * dim), values(queries * dim)).prop_map(move |(rows, queries)| Fixture {
                rows,
                queries,
                dim,
            })
        })
}

/// Bitmap words of flags.
pub fn allowed_words(flags: &[bool]) -> Vec<u64> {
    let mut words = vec![0u64; flags.len().div_ceil(64)];
    for (slot, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        words[slot / 64] |= 1 << (slot % 64);
    }
    words
}

/// Every distance in float64, sorted.
pub fn twin(fixture: &Fixture, k: usize, metric: Metric, allowed: Option<&[bool]>) -> Neighbours {
    let dim = fixture.dim;
    let mut result = Neighbours { slots: Vec::new(), distances: Vec::new(), k };
    for query in fixture.queries.chunks(dim) {
        let mut all: Vec<(f64, u32)> = fixture
            .rows
            .chunks(dim)
            .enumerate()
            .filter(|(slot, _)| allowed.is_none_or(|flags| flags[*slot]))
            .map(|(slot, row)| (distance(query, row, metric), slot as u32))
            .collect();
        all.sort_by(|a, b| {
            a.0.partial_cmp(&b.0).unwrap_or_else(|| a.0.is_nan().cmp(&b.0.is_nan())).then(a.1.cmp(&b.1))
        });
        all.truncate(k);
        let missing = k - all.len();
        result.slots.extend(all.iter().map(|hit| hit.1).chain(std::iter::repeat_n(NO_SLOT, missing)));
        result.distances.extend(all.iter().map(|hit| hit.0 as f32));
        result.distances.extend(std::iter::repeat_n(f32::INFINITY, missing));
    }
    result
}

/// One distance in float64; the order of summation is that of the crate, because the last bit decides ties.
pub fn distance(query: &[f32], row: &[f32], metric: Metric) -> f64 {
    let pairs = query.iter().zip(row).map(|(&q, &x)| (f64::from(q), f64::from(x)));
    let terms: Vec<f64> =
        pairs.map(|(q, x)| if metric == Metric::L2 { (q - x) * (q - x) } else { q * x }).collect();
    let sum = pairwise(&terms);
    match metric {
        Metric::Cosine => 1.0 - sum,
        Metric::Dot => -sum,
        Metric::L2 => sum,
    }
}

/// The sum as NumPy makes it: halves of long vectors, eight sums side by side within 128 values, the rest one after the other.
fn pairwise(terms: &[f64]) -> f64 {
    if terms.len() > 128 {
        let (first, second) = terms.split_at(terms.len() / 2 / 8 * 8);
        return pairwise(first) + pairwise(second);
    }
    let (eights, rest) = terms.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(sum, term)| *sum += term);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, term| sum + term)
}

/// Share of the true neighbours that were found.
pub fn recall(found: &Neighbours, truth: &Neighbours) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for (found, truth) in found.slots.chunks(found.k).zip(truth.slots.chunks(truth.k)) {
        for slot in truth.iter().filter(|&&slot| slot != NO_SLOT) {
            all += 1;
            hits += usize::from(found.contains(slot));
        }
    }
    f64::from(hits as u32) / f64::from((all as u32).max(1))
}

/// The same slots, and the same distances to the bit (NaN equals NaN).
pub fn assert_same(found: &Neighbours, expected: &Neighbours, context: &str) {
    let bits = |distances: &[f32]| -> Vec<u32> {
        // -0.0 and 0.0 are one distance, and so are all NaN.
        distances.iter().map(|d| if d.is_nan() { u32::MAX } else { (d + 0.0).to_bits() }).collect()
    };
    assert_eq!(found.slots, expected.slots, "{context}");
    assert_eq!(bits(&found.distances), bits(&expected.distances), "{context}");
}
