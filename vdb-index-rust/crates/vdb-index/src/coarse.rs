//! The coarse quantizer: centroids, and the order in which a query visits their lists.

use std::path::Path;

use crate::error::Result;
use crate::kernels::Kernels;
use crate::kmeans::{Closeness, Nearest, Training, assign, train};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::rng::Rng;
use crate::watch::Watch;
use crate::{npy, store};

const CENTROIDS: &str = "centroids.npy";
/// Rows a centroid that k-means learns from.
const SAMPLE: usize = 64;
const ITERATIONS: usize = 10;

/// `count` lists for `rows` rows when the user names no number: twice the square root, so that ranking centroids and
/// scanning lists cost about the same, and at least 16 rows a list.
pub fn default_lists(rows: usize) -> usize {
    ((2.0 * (rows as f64).sqrt()).round() as usize).min(rows / 16).max(1)
}

/// # Invariants
/// `centroids` holds `count` rows of `dim` values; `numbers` counts them.
#[derive(Clone, Debug)]
pub(crate) struct Coarse {
    metric: Metric,
    dim: usize,
    count: usize,
    centroids: Vec<f32>,
    numbers: Vec<u32>,
}

impl Coarse {
    /// Train centroids and put every row into the list of its nearest one.
    pub(crate) fn build(
        kernels: &Kernels,
        rows: Matrix<'_>,
        metric: Metric,
        n_lists: Option<usize>,
        seed: u64,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(Self, Lists)> {
        let count = n_lists.unwrap_or_else(|| default_lists(rows.rows())).min(rows.rows());
        if count == 0 {
            return Ok((Self::new(metric, rows.dim(), 0, Vec::new()), Lists::new([].into_iter(), 0)));
        }
        let closeness = if metric == Metric::Cosine { Closeness::Product } else { Closeness::Distance };
        let sample = Rng::new(seed, 0).spread_sample(rows.rows(), count.saturating_mul(SAMPLE));
        let training = Training { iterations: ITERATIONS, closeness, seed, threads };
        let centroids = train(kernels, rows, &sample, count, training, |done, total| {
            watch.tick("train lists", done, total)
        })?;
        let nearest = Nearest::new(Matrix::new(&centroids, count, rows.dim())?, closeness);
        let slots: Vec<u32> = (0..rows.rows() as u32).collect();
        let assigned = assign(kernels, &nearest, rows, &slots, threads, |done| {
            watch.tick("assign rows", done, rows.rows())
        })?;
        let lists = Lists::new(assigned.iter().map(|&(list, _)| list), count);
        Ok((Self::new(metric, rows.dim(), count, centroids), lists))
    }

    fn new(metric: Metric, dim: usize, count: usize, centroids: Vec<f32>) -> Self {
        Self { metric, dim, count, centroids, numbers: (0..count as u32).collect() }
    }

    /// How many centroids.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// One centroid.
    #[inline]
    pub(crate) fn centroid(&self, list: u32) -> &[f32] {
        &self.centroids[list as usize * self.dim..][..self.dim]
    }

    /// The mean of the centroids.
    pub(crate) fn centre(&self) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.dim];
        for centroid in self.centroids.chunks(self.dim) {
            sums.iter_mut().zip(centroid).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        sums.into_iter().map(|sum| (sum / self.count.max(1) as f64) as f32).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * (self.centroids.len() + self.numbers.len())
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        npy::write(&store::file(directory, CENTROIDS), &[self.count, self.dim], &self.centroids)
    }

    pub(crate) fn load(directory: &Path, metric: Metric, count: usize, dim: usize) -> Result<Self> {
        let centroids = store::array(directory, CENTROIDS, [count, dim])?;
        Ok(Self::new(metric, dim, count, centroids))
    }

    /// Keys of all centroids (`-q·c`, under l2 `|q-c|²`), and the order of the lists; the nearest `first` are sorted now,
    /// the rest when somebody gets that far.
    pub(crate) fn rank(&self, kernels: &Kernels, query: &[f32], first: usize) -> Result<Ranking> {
        let mut keys = vec![0.0; self.count];
        let centroids = Matrix::new(&self.centroids, self.count, self.dim)?;
        if self.metric.is_inner_product() {
            (kernels.dot_rows)(query, centroids, &self.numbers, &mut keys);
            keys.iter_mut().for_each(|key| *key = -*key);
        } else {
            (kernels.l2_rows)(query, centroids, &self.numbers, &mut keys);
        }
        let order = keys.iter().zip(&self.numbers).map(|(&key, &list)| (key, list)).collect();
        Ok(Ranking::new(order, keys, first))
    }
}

/// The lists in the order in which a query visits them.
#[derive(Debug)]
pub(crate) struct Ranking {
    order: Vec<(f32, u32)>,
    keys: Vec<f32>,
    sorted: usize,
    next: usize,
}

fn nearer(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

impl Ranking {
    fn new(order: Vec<(f32, u32)>, keys: Vec<f32>, first: usize) -> Self {
        let mut ranking = Self { order, keys, sorted: 0, next: 0 };
        ranking.sort(first);
        ranking
    }

    fn sort(&mut self, more: usize) {
        let rest = &mut self.order[self.sorted..];
        let more = more.max(1).min(rest.len());
        if more < rest.len() {
            rest.select_nth_unstable_by(more, nearer);
        }
        rest[..more].sort_unstable_by(nearer);
        self.sorted += more;
    }

    /// The key of a centroid.
    #[inline]
    pub(crate) fn key_of(&self, list: u32) -> f32 {
        self.keys[list as usize]
    }
}

impl Iterator for Ranking {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.next == self.order.len() {
            return None;
        }
        if self.next == self.sorted {
            self.sort(self.sorted);
        }
        self.next += 1;
        Some(self.order[self.next - 1].1)
    }
}
