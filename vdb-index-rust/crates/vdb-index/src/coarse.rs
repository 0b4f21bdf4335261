//! The coarse quantizer: centroids, and the order in which a query visits their lists.
//!
//! Centroids are ranked by int8 codes: the error of a key, some thousandths of it, changes the order of lists that are all
//! but equally near, and four times as many centroids fit a cache.

use std::path::Path;

use crate::basis::{self, Basis};
use crate::centroids::{Centroids, TOGETHER};
use crate::clustering::cluster;
use crate::error::{Error, Result};
use crate::kernels::{CodedQuery, Kernels};
use crate::kmeans::{Closeness, Training};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::rng::Rng;
use crate::shortlist::{key_of, slot_of};
use crate::watch::Watch;
use crate::{npy, store};

const CENTROIDS: &str = "centroids.npy";
/// Rows a centroid that k-means learns from.
const SAMPLE: usize = 64;
const ITERATIONS: usize = 10;
/// Below so many values a query loses more order by codes than it gains time.
const MIN_DIM: usize = 32;
/// By how much more lists are sorted than before, where those do not suffice: a filter by region needs some times as many.
const MORE: usize = 4;

/// `count` lists for `rows` rows when the user names no number: twice the square root, so that ranking centroids and
/// scanning lists cost about the same, and at least 16 rows a list.
pub fn default_lists(rows: usize) -> usize {
    ((2.0 * (rows as f64).sqrt()).round() as usize).min(rows / 16).max(1)
}

/// # Invariants
/// `centroids` holds `count` rows of `dim` values; `numbers` counts them.
#[derive(Debug)]
pub(crate) struct Coarse {
    metric: Metric,
    dim: usize,
    count: usize,
    centroids: Vec<f32>,
    numbers: Vec<u32>,
    /// The mean of the centroids.
    centre: Vec<f32>,
    codes: Option<Centroids>,
}

/// A query as the lists know it.
#[derive(Debug)]
pub(crate) struct ListQuery<'a> {
    /// Its codes, and the error that all its keys share; see [`Basis::query`].
    pub(crate) coded: Option<(CodedQuery, f64)>,
    /// The nearest lists first.
    pub(crate) ranking: Ranking<'a>,
}

impl Coarse {
    /// Train centroids and put every row into the list of its nearest one.
    ///
    /// # Errors
    /// [`Error::Parameter`] when no list is asked for; [`Error::Cancelled`].
    pub(crate) fn build(
        kernels: &'static Kernels,
        rows: Matrix<'_>,
        metric: Metric,
        n_lists: Option<usize>,
        seed: u64,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(Self, Lists)> {
        if n_lists == Some(0) {
            return Err(Error::Parameter {
                name: "n_lists",
                expected: "at least 1".to_owned(),
                received: "0".to_owned(),
            });
        }
        let count = n_lists.unwrap_or_else(|| default_lists(rows.rows())).min(rows.rows());
        if count == 0 {
            let coarse = Self::new(kernels, metric, rows.dim(), 0, Vec::new())?;
            return Ok((coarse, Lists::new([].into_iter(), 0)));
        }
        let closeness = if metric == Metric::Cosine { Closeness::Product } else { Closeness::Distance };
        let sample = Rng::new(seed, 0).spread_sample(rows.rows(), count.saturating_mul(SAMPLE));
        let training = Training { iterations: ITERATIONS, closeness, seed, threads };
        let (centroids, lists) = cluster(kernels, rows, &sample, count, training, watch)?;
        Ok((Self::new(kernels, metric, rows.dim(), count, centroids)?, Lists::new(lists.into_iter(), count)))
    }

    fn new(
        kernels: &'static Kernels,
        metric: Metric,
        dim: usize,
        count: usize,
        centroids: Vec<f32>,
    ) -> Result<Self> {
        let mut sums = vec![0.0f64; dim];
        for centroid in centroids.chunks(dim) {
            sums.iter_mut().zip(centroid).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let centre: Vec<f32> = sums.into_iter().map(|sum| (sum / count.max(1) as f64) as f32).collect();
        let codes = if basis::fits(dim) && dim >= MIN_DIM {
            let basis = Basis::new(kernels, metric, centre.clone());
            Some(Centroids::new(kernels, basis, Matrix::new(&centroids, count, dim)?)?)
        } else {
            None
        };
        Ok(Self { metric, dim, count, centroids, numbers: (0..count as u32).collect(), centre, codes })
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
    pub(crate) fn centre(&self) -> &[f32] {
        &self.centre
    }

    /// Bytes of the centroids, and of their codes.
    pub(crate) fn bytes(&self) -> usize {
        let codes = self.codes.as_ref().map_or(0, Centroids::bytes);
        4 * (self.centroids.len() + self.numbers.len() + self.centre.len()) + codes
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        npy::write(&store::file(directory, CENTROIDS), &[self.count, self.dim], &self.centroids)
    }

    pub(crate) fn load(
        kernels: &'static Kernels,
        directory: &Path,
        metric: Metric,
        count: usize,
        rows: Matrix<'_>,
    ) -> Result<Self> {
        if count > rows.rows().max(1) {
            return Err(store::damaged(
                directory,
                CENTROIDS,
                format!("{count} lists of {} rows", rows.rows()),
            ));
        }
        let dim = rows.dim();
        Self::new(kernels, metric, dim, count, store::array(directory, CENTROIDS, [count, dim])?)
    }

    /// What is taken off vectors before they become codes: the same for centroids and for rows in lists.
    pub(crate) fn basis(&self, kernels: &Kernels) -> Basis {
        let made = || Basis::new(kernels, self.metric, self.centre.clone());
        self.codes.as_ref().map_or_else(made, |codes| codes.basis().clone())
    }

    /// The lists nearest to each query; `first` of them are sorted now, more when somebody gets that far. Lists that are
    /// known to be `empty`, where that is given for each, come after all others.
    ///
    /// Keys are those of the metric (`-q·c`, or `|q-c|²`) but for what all keys of a query share, see
    /// [`offset`](Self::offset); those of empty lists are infinite.
    pub(crate) fn rank<'a>(
        &'a self,
        kernels: &'static Kernels,
        queries: impl Iterator<Item = &'a [f32]>,
        first: usize,
        empty: Option<&'a [bool]>,
    ) -> Vec<ListQuery<'a>> {
        let mut asked: Vec<ListQuery<'a>> = queries
            .map(|query| {
                let coded = self.codes.as_ref().and_then(|codes| codes.basis().query(kernels, query));
                let order = Vec::with_capacity(2 * first.min(self.count));
                ListQuery { coded, ranking: Ranking { coarse: self, kernels, query, empty, order, next: 0 } }
            })
            .collect();
        let mut keys = Vec::new();
        for group in asked.chunks_mut(TOGETHER) {
            self.sort(kernels, group, first.max(1), &mut keys);
        }
        asked
    }

    /// What is to be added to a key of a query to make it that of the metric.
    pub(crate) fn offset(&self, kernels: &Kernels, query: &[f32]) -> f32 {
        if self.metric.is_inner_product() {
            -(kernels.dot_exact)(query, &self.centre) as f32
        } else {
            (kernels.l2_exact)(query, &self.centre) as f32
        }
    }

    /// Fill in the `first` nearest lists of up to six queries.
    fn sort(&self, kernels: &Kernels, asked: &mut [ListQuery<'_>], first: usize, keys: &mut Vec<f32>) {
        let (mut coded, mut orders) = (Vec::with_capacity(TOGETHER), Vec::with_capacity(TOGETHER));
        for ListQuery { coded: codes, ranking } in asked {
            if let Some((query, _)) = codes {
                coded.push(&*query);
                orders.push((&mut ranking.order, ranking.empty));
            } else {
                let mut keys = vec![0.0; self.count];
                self.plain_keys(kernels, ranking.query, &mut keys);
                put_last(&mut keys, ranking.empty);
                (kernels.nearest_keys)(&keys, first, &mut ranking.order);
            }
        }
        if let Some(codes) = self.codes.as_ref().filter(|_| !coded.is_empty()) {
            let factor = if self.metric.is_inner_product() { 1.0 } else { 2.0 };
            codes.keys(kernels, &coded, factor, keys);
            for (keys, (order, empty)) in keys.chunks_mut(codes.stride()).zip(orders) {
                let keys = &mut keys[..self.count];
                put_last(keys, empty);
                (kernels.nearest_keys)(keys, first, order);
            }
        }
    }

    fn plain_keys(&self, kernels: &Kernels, query: &[f32], keys: &mut [f32]) {
        // The centroids are as many and as long as they say.
        let Ok(centroids) = Matrix::new(&self.centroids, self.count, self.dim) else { return };
        let shared = self.offset(kernels, query);
        if self.metric.is_inner_product() {
            (kernels.dot_rows)(query, centroids, &self.numbers, keys);
            keys.iter_mut().for_each(|key| *key = -*key - shared);
        } else {
            (kernels.l2_rows)(query, centroids, &self.numbers, keys);
            keys.iter_mut().for_each(|key| *key -= shared);
        }
    }
}

fn put_last(keys: &mut [f32], empty: Option<&[bool]>) {
    let Some(empty) = empty else { return };
    for (key, &empty) in keys.iter_mut().zip(empty) {
        *key = if empty { f32::INFINITY } else { *key };
    }
}

/// The lists in the order in which a query visits them, each with its key.
#[derive(Debug)]
pub(crate) struct Ranking<'a> {
    coarse: &'a Coarse,
    kernels: &'static Kernels,
    query: &'a [f32],
    empty: Option<&'a [bool]>,
    /// The nearest lists as far as they were sorted.
    order: Vec<u64>,
    next: usize,
}

impl Ranking<'_> {
    /// The list after this one, as far as is known yet.
    #[inline]
    pub(crate) fn coming(&self) -> Option<u32> {
        self.order.get(self.next).map(|&item| slot_of(item))
    }

    /// Somebody needs more lists than usual: the first ones stay where they are, being the nearest.
    #[cold]
    fn sort_more(&mut self) {
        let first = self.order.len().saturating_mul(MORE).min(self.coarse.count);
        let asked = self.coarse.rank(self.kernels, std::iter::once(self.query), first, self.empty);
        if let Some(more) = asked.into_iter().next() {
            self.order = more.ranking.order;
        }
    }
}

impl Iterator for Ranking<'_> {
    type Item = (f32, u32);

    #[inline]
    fn next(&mut self) -> Option<(f32, u32)> {
        if self.next == self.order.len() {
            if self.next == self.coarse.count {
                return None;
            }
            self.sort_more();
        }
        let item = *self.order.get(self.next)?;
        self.next += 1;
        Some((key_of(item), slot_of(item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_comes_once_the_nearest_first() {
        let mut rng = Rng::new(3, 0);
        let kernels = Kernels::best();
        for (count, dim) in [(1, 3), (7, 40), (300, 40), (300, 5)] {
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let mut values =
                    |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(997) as f32 - 400.0).collect() };
                let (centroids, query) = (values(count * dim), values(dim));
                let coarse = Coarse::new(kernels, metric, dim, count, centroids).unwrap();
                let mut asked = coarse.rank(kernels, std::iter::once(query.as_slice()), 5, None);
                let all: Vec<(f32, u32)> = asked.remove(0).ranking.collect();
                assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
                let offset = coarse.offset(kernels, &query);
                for &(key, list) in &all {
                    let centroid = coarse.centroid(list);
                    let (truth, size) = if metric == Metric::L2 {
                        ((kernels.l2_exact)(&query, centroid), (kernels.l2_exact)(&query, coarse.centre()))
                    } else {
                        let size =
                            (kernels.dot_exact)(&query, &query) * (kernels.dot_exact)(centroid, centroid);
                        (-(kernels.dot_exact)(&query, centroid), size.sqrt())
                    };
                    let off = (f64::from(key) + f64::from(offset) - truth).abs();
                    assert!(
                        off <= 0.03 * (size + truth.abs()),
                        "{metric} {dim}: {key} + {offset} is not {truth}"
                    );
                }
                let mut lists: Vec<u32> = all.into_iter().map(|(_, list)| list).collect();
                lists.sort_unstable();
                assert_eq!(lists, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn empty_lists_come_last_and_the_others_in_their_order() {
        let mut rng = Rng::new(5, 0);
        let kernels = Kernels::best();
        for (count, dim) in [(9, 3), (300, 40)] {
            let mut values =
                |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(997) as f32 - 400.0).collect() };
            let (centroids, query) = (values(count * dim), values(dim));
            let empty: Vec<bool> = values(count).into_iter().map(|value| value < 200.0).collect();
            let coarse = Coarse::new(kernels, Metric::L2, dim, count, centroids).unwrap();
            let all = |empty| -> Vec<(f32, u32)> {
                let mut asked = coarse.rank(kernels, std::iter::once(query.as_slice()), 2, empty);
                asked.remove(0).ranking.collect()
            };
            let (with, without) = (all(Some(&empty)), all(None));
            assert_eq!(with.len(), count);
            let alive: Vec<_> = without.into_iter().filter(|&(_, list)| !empty[list as usize]).collect();
            assert_eq!(with[..alive.len()], alive);
            assert!(with[alive.len()..].iter().all(|&(_, list)| empty[list as usize]));
        }
    }
}
