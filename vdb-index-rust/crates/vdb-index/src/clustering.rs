//! Rows into lists: k-means over int8 codes where rows are long enough, in float32 where they are short.
//!
//! Codes change the nearest centroid of a row only where two are equally near but for some thousandths, and a product of
//! bytes costs a quarter of one of floats. Centroids stay means of the float32 rows.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::basis::{self, Basis};
use crate::centroids::Centroids;
use crate::error::{Error, Result};
use crate::kernels::{CodedQuery, Kernels};
use crate::kmeans::{Nearest, Training, assign, lloyd, train};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::watch::Watch;

/// Below so many values float32 is as quick.
const MIN_DIM: usize = 32;
/// Rows that a thread takes at a time.
const CHUNK: usize = 960;

/// `count` centroids trained over the rows of `sample`, and the nearest one of every row.
///
/// # Errors
/// [`Error::Cancelled`].
///
/// # Parallelism
/// As [`train`].
pub(crate) fn cluster(
    kernels: &'static Kernels,
    rows: Matrix<'_>,
    sample: &[u32],
    count: usize,
    training: Training,
    watch: &Watch<'_>,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let (learn, put) = ("train lists", "assign rows");
    let slots: Vec<u32> = (0..rows.rows() as u32).collect();
    let threads = training.threads;
    if rows.dim() < MIN_DIM || !basis::fits(rows.dim()) {
        let centroids =
            train(kernels, rows, sample, count, training, |done, total| watch.tick(learn, done, total))?;
        let nearest = Nearest::new(Matrix::new(&centroids, count, rows.dim())?, training.closeness);
        let assigned =
            assign(kernels, &nearest, rows, &slots, threads, |done| watch.tick(put, done, slots.len()))?;
        return Ok((centroids, assigned.into_iter().map(|(list, _)| list).collect()));
    }
    // Unit vectors are nearest in l2 where their product is largest.
    let basis = Basis::new(kernels, Metric::L2, basis::mean(rows));
    let coder = Coder { kernels, rows, basis };
    let coded = coder.code(sample, threads, |done| watch.tick("codes", done, sample.len()))?;
    let total = training.iterations * sample.len();
    let centroids = lloyd(rows, sample, count, training, |iteration, centroids| {
        let coded_centroids = coder.code_centroids(centroids, count)?;
        let progress = |done| watch.tick(learn, iteration * sample.len() + done, total);
        let mut assigned = vec![(0, 0.0); sample.len()];
        in_chunks(threads, &mut assigned, progress, |start, assigned| {
            coder.nearest(&coded_centroids, &coded[start..start + assigned.len()], assigned);
        })?;
        Ok(assigned)
    })?;
    let coded_centroids = coder.code_centroids(&centroids, count)?;
    let mut assigned = vec![(0, 0.0); slots.len()];
    let progress = |done| watch.tick(put, done, slots.len());
    in_chunks(threads, &mut assigned, progress, |start, assigned| {
        let coded: Vec<Row> =
            slots[start..start + assigned.len()].iter().map(|&slot| coder.row(slot)).collect();
        coder.nearest(&coded_centroids, &coded, assigned);
    })?;
    Ok((centroids, assigned.into_iter().map(|(list, _)| list).collect()))
}

/// A row as a query that meets centroids.
#[derive(Clone, Default)]
struct Row {
    query: CodedQuery,
    /// Half of its squared distance from the mean.
    half: f32,
}

struct Coder<'a> {
    kernels: &'static Kernels,
    rows: Matrix<'a>,
    basis: Basis,
}

impl Coder<'_> {
    fn row(&self, slot: u32) -> Row {
        let mut codes = vec![0; self.rows.dim()];
        let bound = self.basis.row(self.kernels, self.rows.row(slot), &mut codes);
        Row { query: CodedQuery { scale: bound.scale / 2.0, ..CodedQuery::new(&codes) }, half: bound.half }
    }

    fn code(
        &self,
        slots: &[u32],
        threads: usize,
        progress: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<Vec<Row>> {
        let mut coded = vec![Row::default(); slots.len()];
        in_chunks(threads, &mut coded, progress, |start, coded| {
            for (row, &slot) in coded.iter_mut().zip(&slots[start..]) {
                *row = self.row(slot);
            }
        })?;
        Ok(coded)
    }

    fn code_centroids(&self, centroids: &[f32], count: usize) -> Result<Centroids> {
        Centroids::new(self.kernels, self.basis.clone(), Matrix::new(centroids, count, self.rows.dim())?)
    }

    /// The nearest centroid of each row, and half of the squared distance to it.
    fn nearest(&self, centroids: &Centroids, rows: &[Row], found: &mut [(u32, f32)]) {
        let queries: Vec<&CodedQuery> = rows.iter().map(|row| &row.query).collect();
        centroids.assign(self.kernels, &queries, found);
        found.iter_mut().zip(rows).for_each(|((_, key), row)| *key += row.half);
    }
}

/// Work through `items` with progress; what `progress` refuses ends it.
fn in_chunks<T: Send>(
    threads: usize,
    items: &mut [T],
    progress: impl Fn(usize) -> Result<()> + Sync,
    work: impl Fn(usize, &mut [T]) + Sync,
) -> Result<()> {
    let stopped = AtomicBool::new(false);
    pool::chunks_mut(threads, items, CHUNK, |start, items| {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        work(start, items);
        if progress(start).is_err() {
            stopped.store(true, Ordering::Relaxed);
        }
    });
    if stopped.into_inner() { Err(Error::Cancelled) } else { Ok(()) }
}
