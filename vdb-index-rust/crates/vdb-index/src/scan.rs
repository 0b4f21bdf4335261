//! The exact search over given slots: float32 keys, a sieve by proven bounds, float64 for what is left.

use std::sync::OnceLock;

use crate::bitmap::Bitmap;
use crate::bounds::{Bound, up};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Lanes, PANEL, Panel};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::results::{Neighbours, write_best};
use crate::topk::Candidates;
use crate::watch::Watch;

/// Rows a call of a kernel: their keys stay in the first-level cache.
const ROWS: usize = 64;
/// Rows that a panel meets at a time, where there may be any number of them.
const TILE: usize = 256;

/// Norms of rows, rounded up, made when first needed: a small index is made for every segment of fresh rows, and
/// reading them all would take longer than everything else about it.
#[derive(Debug, Default)]
pub(crate) struct Norms(OnceLock<Vec<f32>>);

impl Norms {
    /// Make the norms now, with progress, where the metric needs them.
    pub(crate) fn prepare(
        &self,
        kernels: &Kernels,
        metric: Metric,
        rows: Matrix<'_>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<()> {
        const CHUNK: usize = 4096;
        if !metric.is_inner_product() {
            return Ok(());
        }
        let parts = pool::map(threads, rows.rows().div_ceil(CHUNK), |part| {
            watch.tick("norms", part * CHUNK, rows.rows())?;
            let end = ((part + 1) * CHUNK).min(rows.rows());
            Ok((part * CHUNK..end).map(|slot| norm(kernels, rows, slot as u32)).collect::<Vec<f32>>())
        });
        let norms = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
        // Made already by a search: the values are the same.
        let _ = self.0.set(norms);
        Ok(())
    }

    fn get(&self, kernels: &Kernels, metric: Metric, rows: Matrix<'_>) -> Option<&[f32]> {
        metric.is_inner_product().then(|| {
            let make = || (0..rows.rows()).map(|slot| norm(kernels, rows, slot as u32)).collect();
            self.0.get_or_init(make).as_slice()
        })
    }

    /// Bytes held at the moment.
    pub(crate) fn bytes(&self) -> usize {
        self.0.get().map_or(0, |norms| size_of_val(norms.as_slice()))
    }
}

fn norm(kernels: &Kernels, rows: Matrix<'_>, slot: u32) -> f32 {
    let row = rows.row(slot);
    up((kernels.dot_exact)(row, row).sqrt())
}

/// What all queries of a search share.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    kernels: &'static Kernels,
    metric: Metric,
    rows: Matrix<'a>,
    norms: Option<&'a [f32]>,
}

/// A query with the sign that makes smaller keys closer, and its candidates.
pub(crate) struct Search {
    signed: Vec<f32>,
    pub(crate) candidates: Candidates,
}

/// Up to 32 searches side by side.
pub(crate) struct PanelSearch {
    panel: Panel,
    scale: Lanes,
    limit: Lanes,
    pub(crate) candidates: Vec<Candidates>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(kernels: &'static Kernels, metric: Metric, rows: Matrix<'a>, norms: &'a Norms) -> Self {
        Self { kernels, metric, rows, norms: norms.get(kernels, metric, rows) }
    }

    /// For [`decide`](Self::decide) alone, which needs no norms.
    pub(crate) fn deciding(kernels: &'static Kernels, metric: Metric, rows: Matrix<'a>) -> Self {
        Self { kernels, metric, rows, norms: None }
    }

    #[inline]
    fn norm(&self, slot: u32) -> f32 {
        self.norms.map_or(0.0, |norms| norms[slot as usize])
    }

    /// Candidates of a query, none yet.
    fn candidates(&self, query: &[f32], k: usize) -> Candidates {
        let query_norm = (self.kernels.dot_exact)(query, query).sqrt();
        Candidates::new(k, Bound::new(self.metric, self.rows.dim(), query_norm))
    }

    fn signed(&self, query: &[f32]) -> Vec<f32> {
        if self.metric.is_inner_product() {
            query.iter().map(|value| -value).collect()
        } else {
            query.to_vec()
        }
    }

    pub(crate) fn search(&self, query: &[f32], k: usize) -> Search {
        Search { signed: self.signed(query), candidates: self.candidates(query, k) }
    }

    pub(crate) fn panel_search<'q>(&self, queries: impl Iterator<Item = &'q [f32]>, k: usize) -> PanelSearch {
        let searches: Vec<_> = queries.map(|query| self.search(query, k)).collect();
        let panel = Panel::pack(searches.iter().map(|search| search.signed.as_slice()), self.rows.dim());
        let candidates: Vec<_> = searches.into_iter().map(|search| search.candidates).collect();
        let mut scale = [0.0; PANEL];
        for (place, candidates) in scale.iter_mut().zip(&candidates) {
            *place = candidates.scale();
        }
        PanelSearch { panel, scale, limit: [f32::INFINITY; PANEL], candidates }
    }

    /// Offer the rows of `slots` to one query.
    pub(crate) fn offer(&self, search: &mut Search, slots: &[u32]) {
        let kernel =
            if self.metric.is_inner_product() { self.kernels.dot_rows } else { self.kernels.l2_rows };
        let mut keys = [0.0f32; ROWS];
        for slots in slots.chunks(ROWS) {
            let keys = &mut keys[..slots.len()];
            kernel(&search.signed, self.rows, slots, keys);
            for (&slot, &key) in slots.iter().zip(keys.iter()) {
                search.candidates.offer(key, self.norm(slot), slot);
            }
        }
    }

    /// Offer the rows of `slots` to up to 32 searches out of many, `picked` by number; `keys` is scratch.
    pub(crate) fn offer_picked(
        &self,
        searches: &mut [Search],
        picked: &[u32],
        slots: &[u32],
        keys: &mut Vec<Lanes>,
    ) {
        let signed = picked.iter().map(|&number| searches[number as usize].signed.as_slice());
        let panel = Panel::pack(signed, self.rows.dim());
        let (mut scale, mut limit) = ([0.0; PANEL], [f32::INFINITY; PANEL]);
        for (lane, &number) in picked.iter().take(PANEL).enumerate() {
            scale[lane] = searches[number as usize].candidates.scale();
            limit[lane] = searches[number as usize].candidates.limit();
        }
        for slots in slots.chunks(TILE) {
            self.screen(&panel, &scale, &mut limit, slots, keys, |lane, key, norm, slot| {
                let candidates = &mut searches[picked[lane] as usize].candidates;
                candidates.offer(key, norm, slot);
                candidates.limit()
            });
        }
    }

    /// Offer the rows of `slots` to the queries of a panel; `keys` is scratch.
    pub(crate) fn offer_panel(&self, search: &mut PanelSearch, slots: &[u32], keys: &mut Vec<Lanes>) {
        let PanelSearch { panel, scale, limit, candidates } = search;
        self.screen(panel, scale, limit, slots, keys, |lane, key, norm, slot| {
            candidates[lane].offer(key, norm, slot);
            candidates[lane].limit()
        });
    }

    /// Hand each lane the rows that pass its limit; `offer` returns the limit from then on.
    fn screen(
        &self,
        panel: &Panel,
        scale: &Lanes,
        limit: &mut Lanes,
        slots: &[u32],
        keys: &mut Vec<Lanes>,
        mut offer: impl FnMut(usize, f32, f32, u32) -> f32,
    ) {
        let kernel =
            if self.metric.is_inner_product() { self.kernels.dot_panel } else { self.kernels.l2_panel };
        keys.resize(slots.len(), [0.0; PANEL]);
        kernel(panel, self.rows, slots, keys);
        let used = u32::MAX >> (PANEL - panel.lanes().max(1));
        for (&slot, keys) in slots.iter().zip(keys.iter()) {
            let norm = self.norm(slot);
            let mut passed = (self.kernels.screen)(keys, scale, norm, limit) & used;
            while passed != 0 {
                let lane = passed.trailing_zeros() as usize;
                passed &= passed - 1;
                limit[lane] = offer(lane, keys[lane], norm, slot);
            }
        }
    }

    /// Decide among the candidates in float64 and write the best.
    pub(crate) fn decide(
        &self,
        query: &[f32],
        candidates: Candidates,
        slots: &mut [u32],
        distances: &mut [f32],
    ) {
        let mut found = Vec::with_capacity(candidates.len());
        // Rows lie anywhere: some are asked for while others are compared.
        const AHEAD: usize = 12;
        let left: Vec<u32> = candidates.finish().collect();
        let ask = |slot: u32| (self.kernels.prefetch_row)(self.rows.row(slot));
        left.iter().take(AHEAD).for_each(|&slot| ask(slot));
        for (at, &slot) in left.iter().enumerate() {
            left.get(at + AHEAD).into_iter().for_each(|&slot| ask(slot));
            found.push((self.exact(query, slot), slot));
        }
        write_best(&mut found, slots, distances);
    }

    /// The distance of one row in float64.
    #[inline]
    pub(crate) fn exact(&self, query: &[f32], slot: u32) -> f64 {
        let kernel =
            if self.metric.is_inner_product() { self.kernels.dot_exact } else { self.kernels.l2_exact };
        self.metric.distance(kernel(query, self.rows.row(slot)))
    }
}

/// Append the slots of `start..end` that are allowed; `start` is a multiple of 64. Words without any are skipped.
pub(crate) fn collect_slots(allowed: Option<Bitmap<'_>>, start: usize, end: usize, slots: &mut Vec<u32>) {
    let Some(allowed) = allowed else {
        slots.extend(start as u32..end as u32);
        return;
    };
    for word_index in start / 64..end.div_ceil(64) {
        let mut word = allowed.word(word_index);
        while word != 0 {
            slots.push((word_index * 64) as u32 + word.trailing_zeros());
            word &= word - 1;
        }
    }
}

/// Check that a search belongs to the index, and make room for its result.
pub(crate) fn admit(
    rows: Matrix<'_>,
    built_over: (usize, usize),
    queries: Matrix<'_>,
    k: usize,
) -> Result<Neighbours> {
    if (rows.rows(), rows.dim()) != built_over {
        return Err(Error::Shape {
            what: "vectors",
            expected: format!("the {} x {} rows of the index", built_over.0, built_over.1),
            received: format!("{} x {}", rows.rows(), rows.dim()),
        });
    }
    if queries.dim() != rows.dim() {
        return Err(Error::Shape {
            what: "queries",
            expected: format!("{} values a query, as many as a row has", rows.dim()),
            received: format!("{}", queries.dim()),
        });
    }
    Neighbours::empty(queries.rows(), k)
}
