//! The coarse quantizer: centroids, and the order in which a query visits their lists.

use std::path::Path;

use crate::error::Result;
use crate::kernels::Kernels;
use crate::kmeans::{Nearest, Training, assign, half_square, train};
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
/// `centroids` holds `count` rows of `dim` values, and `half_squares` half the squared length of each for l2, else
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Coarse {
    dim: usize,
    count: usize,
    centroids: Vec<f32>,
    half_squares: Vec<f32>,
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
        let spherical = metric == Metric::Cosine;
        let sample = Rng::new(seed, 0).spread_sample(rows.rows(), count.saturating_mul(SAMPLE));
        let training = Training { iterations: ITERATIONS, spherical, seed, threads };
        let centroids = train(kernels, rows, &sample, count, training, |done, total| {
            watch.tick("train lists", done, total)
        })?;
        let nearest = Nearest::new(Matrix::new(&centroids, count, rows.dim())?, spherical);
        let slots: Vec<u32> = (0..rows.rows() as u32).collect();
        let assigned = assign(kernels, &nearest, rows, &slots, threads, |done| {
            watch.tick("assign rows", done, rows.rows())
        })?;
        let lists = Lists::new(assigned.iter().map(|&(list, _)| list), count);
        Ok((Self::new(metric, rows.dim(), count, centroids), lists))
    }

    fn new(metric: Metric, dim: usize, count: usize, centroids: Vec<f32>) -> Self {
        let half_squares =
            if metric == Metric::L2 { centroids.chunks(dim).map(half_square).collect() } else { Vec::new() };
        Self { dim, count, centroids, half_squares, numbers: (0..count as u32).collect() }
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

    /// Half the squared length of a centroid, under l2.
    #[inline]
    pub(crate) fn half_square(&self, list: u32) -> f32 {
        self.half_squares[list as usize]
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * (self.centroids.len() + self.half_squares.len() + self.numbers.len())
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        npy::write(&store::file(directory, CENTROIDS), &[self.count, self.dim], &self.centroids)
    }

    pub(crate) fn load(directory: &Path, metric: Metric, count: usize, dim: usize) -> Result<Self> {
        let centroids = store::array(directory, CENTROIDS, [count, dim])?;
        Ok(Self::new(metric, dim, count, centroids))
    }

    /// Inner products of a query with all centroids, and the order of the lists; the nearest `first` are sorted now,
    /// the rest when somebody gets that far.
    pub(crate) fn rank(&self, kernels: &Kernels, query: &[f32], first: usize) -> Result<Ranking> {
        let mut products = vec![0.0; self.count];
        if self.count > 0 {
            let centroids = Matrix::new(&self.centroids, self.count, self.dim)?;
            (kernels.dot_rows)(query, centroids, &self.numbers, &mut products);
        }
        let order = products
            .iter()
            .enumerate()
            .map(|(list, product)| (self.half_squares.get(list).unwrap_or(&0.0) - product, list as u32))
            .collect();
        Ok(Ranking::new(order, products, first))
    }
}

/// The lists in the order in which a query visits them.
#[derive(Debug)]
pub(crate) struct Ranking {
    order: Vec<(f32, u32)>,
    products: Vec<f32>,
    sorted: usize,
    next: usize,
}

fn nearer(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

impl Ranking {
    fn new(order: Vec<(f32, u32)>, products: Vec<f32>, first: usize) -> Self {
        let mut ranking = Self { order, products, sorted: 0, next: 0 };
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

    /// The inner product of the query and a centroid.
    #[inline]
    pub(crate) fn product_with(&self, list: u32) -> f32 {
        self.products[list as usize]
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
