//! k-means: seeded, the same for any number of threads, with assignments in the shape of a matrix product.
//!
//! Lloyd's iterations over a sample of rows. Under the cosine metric centroids are unit vectors and rows go to the
//! one with the largest inner product (Dhillon, Modha: "Concept decompositions for large sparse text data using
//! clustering", 2001); else to the closest one in l2.

use crate::error::{Error, Result};
use crate::kernels::{Best, Kernels, Lanes, PANEL, Panel};
use crate::matrix::Matrix;
use crate::pool;
use crate::rng::Rng;

/// Rows that meet one panel of centroids after the other: their values stay in the second-level cache.
const TILE: usize = 96;

/// What makes a centroid near a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closeness {
    /// A large inner product, between vectors of length 1.
    Product,
    /// A small distance.
    Distance,
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    /// Iterations at most; fewer where nothing moves any more.
    pub(crate) iterations: usize,
    /// What makes a centroid near; [`Closeness::Product`] keeps centroids at length 1.
    pub(crate) closeness: Closeness,
    /// Seed of the first centroids.
    pub(crate) seed: u64,
    /// Threads; no influence on the result.
    pub(crate) threads: usize,
}

/// Centroids laid out for finding the nearest one of many rows.
#[derive(Debug)]
pub(crate) struct Nearest {
    panels: Vec<(Panel, Lanes)>,
    closeness: Closeness,
}

impl Nearest {
    /// `centroids` holds rows of `dim` values; at least one.
    pub(crate) fn new(centroids: Matrix<'_>, closeness: Closeness) -> Self {
        let slots: Vec<u32> = (0..centroids.rows() as u32).collect();
        let panels = slots
            .chunks(PANEL)
            .map(|slots| {
                // The sign of an inner product goes into the panel.
                let sign = if closeness == Closeness::Distance { 1.0 } else { -1.0 };
                let signed: Vec<Vec<f32>> = slots
                    .iter()
                    .map(|&slot| centroids.row(slot).iter().map(|x| sign * x).collect())
                    .collect();
                let mut bias = [f32::INFINITY; PANEL];
                bias[..signed.len()].fill(0.0);
                (Panel::pack(signed.iter().map(Vec::as_slice), centroids.dim()), bias)
            })
            .collect();
        Self { panels, closeness }
    }

    /// For each slot the number of the nearest centroid, the smaller one of equals, and its score.
    pub(crate) fn find(
        &self,
        kernels: &Kernels,
        rows: Matrix<'_>,
        slots: &[u32],
        scratch: &mut Scratch,
        mut found: impl FnMut(usize, u32, f32),
    ) {
        let kernel = if self.closeness == Closeness::Distance { kernels.l2_panel } else { kernels.dot_panel };
        for (tile, slots) in slots.chunks(TILE).enumerate() {
            scratch.keys.resize(slots.len(), [0.0; PANEL]);
            scratch.best.clear();
            scratch.best.resize(slots.len(), Best::NONE);
            for (number, (panel, bias)) in self.panels.iter().enumerate() {
                kernel(panel, rows, slots, &mut scratch.keys);
                (kernels.keep_smaller)(&scratch.keys, bias, number as u32, &mut scratch.best);
            }
            for (index, best) in scratch.best.iter().enumerate() {
                let (score, nearest) = best.smallest();
                found(tile * TILE + index, nearest, score);
            }
        }
    }
}

/// Memory that [`Nearest::find`] uses again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    keys: Vec<Lanes>,
    best: Vec<Best>,
}

/// The nearest centroid of each of `slots`, with its score.
pub(crate) fn assign(
    kernels: &Kernels,
    nearest: &Nearest,
    rows: Matrix<'_>,
    slots: &[u32],
    threads: usize,
    progress: impl Fn(usize) -> Result<()> + Sync,
) -> Result<Vec<(u32, f32)>> {
    const CHUNK: usize = TILE * 8;
    let mut assigned = vec![(0, 0.0); slots.len()];
    let stopped = std::sync::atomic::AtomicBool::new(false);
    pool::chunks_mut(threads, &mut assigned, CHUNK, |start, assigned| {
        if stopped.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let mut scratch = Scratch::default();
        nearest.find(
            kernels,
            rows,
            &slots[start..start + assigned.len()],
            &mut scratch,
            |i, number, score| {
                assigned[i] = (number, score);
            },
        );
        if progress(start).is_err() {
            stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    if stopped.into_inner() { Err(Error::Cancelled) } else { Ok(assigned) }
}

/// Train `count` centroids over the rows of `sample`; `count` is at most the sample's length.
///
/// Returns `count` rows of `rows.dim()` values.
///
/// # Errors
/// [`Error::Cancelled`].
///
/// # Parallelism
/// Rows are assigned, and centroids averaged, independently of each other; every sum has one order.
pub(crate) fn train(
    kernels: &Kernels,
    rows: Matrix<'_>,
    sample: &[u32],
    count: usize,
    training: Training,
    progress: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<Vec<f32>> {
    let total = training.iterations * sample.len();
    lloyd(rows, sample, count, training, |iteration, centroids| {
        let nearest = Nearest::new(Matrix::new(centroids, count, rows.dim())?, training.closeness);
        assign(kernels, &nearest, rows, sample, training.threads, |done| {
            progress(iteration * sample.len() + done, total)
        })
    })
}

/// Lloyd's iterations, given the nearest centroid of each row of the sample with its score.
pub(crate) fn lloyd(
    rows: Matrix<'_>,
    sample: &[u32],
    count: usize,
    training: Training,
    assign: impl Fn(usize, &[f32]) -> Result<Vec<(u32, f32)>>,
) -> Result<Vec<f32>> {
    let dim = rows.dim();
    let mut centroids = Vec::with_capacity(count * dim);
    for slot in Rng::new(training.seed, 1).choose(sample, count) {
        centroids.extend_from_slice(rows.row(slot));
    }
    if sample.len() <= count {
        return Ok(centroids);
    }
    let mut before = f64::INFINITY;
    for iteration in 0..training.iterations {
        let assigned = assign(iteration, &centroids)?;
        let members = Members::new(&assigned, sample, count);
        pool::chunks_mut(training.threads, &mut centroids, dim * 8, |start, part| {
            for (index, centroid) in part.chunks_mut(dim).enumerate() {
                let unit = training.closeness == Closeness::Product;
                average(rows, members.of(start / dim + index), unit, centroid);
            }
        });
        members.fill_empty(&mut centroids, dim);
        let score: f64 = assigned.iter().map(|&(_, score)| f64::from(score)).sum();
        let settled = before.is_finite() && (before - score).abs() <= 1e-4 * score.abs();
        before = score;
        if settled {
            break;
        }
    }
    Ok(centroids)
}

/// Which rows belong to which centroid, rows ascending.
struct Members {
    offsets: Vec<usize>,
    slots: Vec<u32>,
}

impl Members {
    fn new(assigned: &[(u32, f32)], sample: &[u32], count: usize) -> Self {
        let (offsets, order) = group(assigned.iter().map(|&(number, _)| number), count);
        Self { offsets, slots: order.into_iter().map(|index| sample[index as usize]).collect() }
    }

    fn of(&self, centroid: usize) -> &[u32] {
        &self.slots[self.offsets[centroid]..self.offsets[centroid + 1]]
    }

    /// Move a centroid that no row is nearest to next to the one with the most rows, which thereby is split.
    fn fill_empty(&self, centroids: &mut [f32], dim: usize) {
        let mut sizes: Vec<usize> = self.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for empty in 0..sizes.len() {
            if sizes[empty] > 0 {
                continue;
            }
            let Some((largest, &size)) =
                sizes.iter().enumerate().max_by_key(|&(index, &size)| (size, usize::MAX - index))
            else {
                return;
            };
            if size < 2 {
                return;
            }
            for d in 0..dim {
                let nudge = if d % 2 == 0 { 1.0 / 1024.0 } else { -1.0 / 1024.0 };
                let value = centroids[largest * dim + d];
                centroids[empty * dim + d] = value * (1.0 + nudge);
                centroids[largest * dim + d] = value * (1.0 - nudge);
            }
            sizes[empty] = size / 2;
            sizes[largest] = size - size / 2;
        }
    }
}

/// The mean of some rows in float64; none leave the centroid as it was.
fn average(rows: Matrix<'_>, members: &[u32], unit: bool, centroid: &mut [f32]) {
    if members.is_empty() {
        return;
    }
    let mut sums = vec![0.0f64; centroid.len()];
    for &slot in members {
        for (sum, &value) in sums.iter_mut().zip(rows.row(slot)) {
            *sum += f64::from(value);
        }
    }
    let norm = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    let divisor = if unit { norm } else { members.len() as f64 };
    if divisor > 0.0 {
        for (place, sum) in centroid.iter_mut().zip(sums) {
            *place = (sum / divisor) as f32;
        }
    }
}

/// Counting sort: where each group starts, and the indices of its members in ascending order.
pub(crate) fn group(groups: impl Iterator<Item = u32> + Clone, count: usize) -> (Vec<usize>, Vec<u32>) {
    let mut offsets = vec![0usize; count + 1];
    for number in groups.clone() {
        offsets[number as usize + 1] += 1;
    }
    for index in 0..count {
        offsets[index + 1] += offsets[index];
    }
    let mut next = offsets.clone();
    let mut order = vec![0u32; offsets[count]];
    for (index, number) in groups.enumerate() {
        order[next[number as usize]] = index as u32;
        next[number as usize] += 1;
    }
    (offsets, order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    const ALL: [Closeness; 2] = [Closeness::Product, Closeness::Distance];

    fn data(rows: usize, dim: usize) -> Vec<f32> {
        let mut rng = Rng::new(9, 9);
        (0..rows * dim).map(|_| rng.below(1000) as f32 / 500.0 - 1.0).collect()
    }

    fn trained(
        data: &[f32],
        dim: usize,
        count: usize,
        closeness: Closeness,
        threads: usize,
        isa: Isa,
    ) -> Vec<f32> {
        let rows = Matrix::new(data, data.len() / dim, dim).unwrap();
        let sample: Vec<u32> = (0..rows.rows() as u32).collect();
        let training = Training { iterations: 8, closeness, seed: 3, threads };
        let kernels = Kernels::of(isa).unwrap();
        train(kernels, rows, &sample, count, training, |_, _| Ok(())).unwrap()
    }

    #[test]
    fn threads_change_nothing() {
        let data = data(2500, 7);
        for closeness in ALL {
            let one = trained(&data, 7, 40, closeness, 1, Kernels::best().isa);
            assert_eq!(one, trained(&data, 7, 40, closeness, 3, Kernels::best().isa));
        }
    }

    #[test]
    fn the_nearest_is_the_nearest() {
        let data = data(300, 13);
        let rows = Matrix::new(&data, 300, 13).unwrap();
        let centroids = rows; // any vectors do
        let slots: Vec<u32> = (0..300).rev().collect();
        for isa in Isa::ALL {
            let Some(kernels) = Kernels::of(isa) else { continue };
            let nearest = Nearest::new(centroids, Closeness::Distance);
            nearest.find(kernels, rows, &slots, &mut Scratch::default(), |index, number, _| {
                assert_eq!(number, slots[index], "a row is nearest to itself");
            });
        }
    }

    #[test]
    fn finds_clusters_that_are_there() {
        let mut data = Vec::new();
        for i in 0..400u16 {
            let centre = f32::from(i % 4) * 100.0;
            data.extend([centre + f32::from(i % 7) * 0.1, -centre]);
        }
        let mut centroids = trained(&data, 2, 4, Closeness::Distance, 1, Isa::Scalar);
        let mut firsts: Vec<i32> = centroids.chunks_mut(2).map(|c| c[0].round() as i32).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 100, 200, 300]);
    }

    #[test]
    fn spherical_centroids_have_length_one() {
        for centroid in trained(&data(500, 5), 5, 9, Closeness::Product, 1, Isa::Scalar).chunks(5) {
            let norm = centroid.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((norm - 1.0).abs() < 0.01, "{norm}");
        }
    }

    #[test]
    fn equal_rows_and_rows_that_are_no_numbers_do_no_harm() {
        for value in [2.0, 0.0, f32::NAN, f32::INFINITY, 3e38] {
            for closeness in ALL {
                assert_eq!(trained(&[value; 300], 3, 8, closeness, 1, Isa::Scalar).len(), 24);
            }
        }
    }
}
