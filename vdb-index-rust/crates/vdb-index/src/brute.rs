//! Exact search over every row.
//!
//! Build O(n d) for the codes (nothing for few rows), query O(n d) over bytes, space n (d + 16.25) bytes for codes and what
//! bounds their error; 4 n bytes for norms where rows are scanned in float32: short ones, and a few thousand by a batch.

use crate::basis::{self, Basis};
use crate::bitmap::Bitmap;
use crate::coded::Coded;
use crate::error::Result;
use crate::kernels::{Kernels, PANEL};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::results::Neighbours;
use crate::scan::{Norms, Scan, admit, collect_slots};
use crate::sieve::search_range;
use crate::topk::Candidates;
use crate::watch::{Observer, Watch};

/// For shorter rows codes and the numbers beside them take more than 0.3 of the rows' memory.
const MIN_DIM: usize = 96;
/// Over fewer rows codes save a query next to nothing.
const MIN_ROWS: usize = 512;
/// Fewer rows than this get their norms with the first search that needs them, and meet panels of queries in float32: limits fall too late
/// there for codes to exclude much.
const MANY_ROWS: usize = 4097;
/// Rows that all queries see before the next ones are read; a multiple of 64. 128 rows of 384 values fill 200 KB.
const TILE: usize = 128;
/// From so many queries on, a panel of mostly empty lanes beats one query after the other.
const PANEL_FROM: usize = 5;
/// Values below which a search is over before a second thread has started.
const SMALL: usize = 1 << 18;
/// Places (queries times k) worked on at a time, so that candidates never take more memory than results.
const PLACES: usize = 1 << 20;

/// The exact index: same ids as float64 arithmetic on the float32 rows, ties to the smaller slot.
///
/// The first pass reads int8 codes with a bound on their error, or the float32 rows where these are few or short, where a batch
/// meets a few thousand, and where codes tell too little about a query. Both offer to candidates that are decided in float64.
#[derive(Debug)]
pub struct Brute {
    kernels: &'static Kernels,
    metric: Metric,
    rows: usize,
    dim: usize,
    norms: Norms,
    codes: Option<Coded>,
    /// Codes are for few queries, and panels go to the rows.
    for_few: bool,
}

impl Brute {
    /// Get ready to search `rows`, by int8 codes where they are wanted and pay.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// Codes or norms are made by `threads` threads.
    pub fn build(
        rows: Matrix<'_>,
        metric: Metric,
        codes: bool,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self> {
        if codes && rows.rows() >= MIN_ROWS && rows.dim() >= MIN_DIM && basis::fits(rows.dim()) {
            let coded = Self::build_coded(rows, metric, threads, observer)?;
            return Ok(Self { for_few: rows.rows() < MANY_ROWS, ..coded });
        }
        let watch = Watch::new(observer);
        watch.tick("norms", 0, rows.rows())?;
        let index = Self::open(rows, metric);
        if rows.rows() >= MANY_ROWS {
            index.norms.prepare(index.kernels, metric, rows, threads, &watch)?;
        }
        Ok(index)
    }

    /// Encode the rows however few and short they are (tests, benchmarks); the longest are left as they are.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// As [`build`](Self::build).
    pub fn build_coded(
        rows: Matrix<'_>,
        metric: Metric,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut index = Self::open(rows, metric);
        if basis::fits(rows.dim()) {
            let watch = Watch::new(observer);
            let basis = Basis::new(index.kernels, metric, basis::mean(rows));
            index.codes = Some(Coded::encode(index.kernels, basis, rows, None, threads, &watch)?);
        }
        Ok(index)
    }

    /// Get ready without reading any row, to scan in float32.
    pub fn open(rows: Matrix<'_>, metric: Metric) -> Self {
        Self {
            kernels: Kernels::best(),
            metric,
            rows: rows.rows(),
            dim: rows.dim(),
            norms: Norms::default(),
            codes: None,
            for_few: false,
        }
    }

    /// Use another instruction set (tests, benchmarks).
    pub fn with_kernels(self, kernels: &'static Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// The table of functions in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Bytes held at the moment, by part.
    pub fn bytes(&self) -> Vec<(&'static str, usize)> {
        let codes = self.codes.as_ref().map(Coded::bytes);
        codes.into_iter().flatten().chain([("norms", self.norms.bytes())]).collect()
    }

    /// The `k` nearest of the allowed rows, exactly.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the arrays do not belong to this index.
    ///
    /// # Parallelism
    /// Up to `threads` threads split the queries, or the rows where queries are few. The result does not depend on it.
    pub fn search(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        threads: usize,
    ) -> Result<Neighbours> {
        let mut result = admit(rows, (self.rows, self.dim), queries, k)?;
        let k = k.min(self.rows);
        if k == 0 {
            return Ok(result);
        }
        let threads = pool::sensible(threads);
        let decide = Scan::deciding(self.kernels, self.metric, rows);
        let block = (PLACES / k).clamp(PANEL, 1 << 16);
        let numbers: Vec<u32> = (0..queries.rows() as u32).collect();
        let mut places = result.rows_mut();
        for (numbers, places) in numbers.chunks(block).zip(places.chunks_mut(block)) {
            let mut candidates = self.by_codes(queries, numbers, k, allowed, threads);
            let left: Vec<u32> = numbers
                .iter()
                .zip(&candidates)
                .filter(|(_, candidates)| candidates.is_none())
                .map(|(&number, _)| number)
                .collect();
            let mut rest = self.by_rows(rows, queries, &left, k, allowed, threads).into_iter();
            let candidates =
                candidates.iter_mut().filter_map(|candidates| candidates.take().or_else(|| rest.next()));
            let mut work: Vec<_> =
                numbers.iter().zip(candidates).zip(places).map(|(a, b)| Some((a, b))).collect();
            pool::chunks_mut(threads, &mut work, 16, |_, part| {
                for ((number, candidates), (slots, distances)) in part.iter_mut().filter_map(Option::take) {
                    decide.decide(queries.row(*number), candidates, slots, distances);
                }
            });
        }
        Ok(result)
    }

    /// What the codes leave of the rows; `None` for queries that they tell too little about.
    fn by_codes(
        &self,
        queries: Matrix<'_>,
        numbers: &[u32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        threads: usize,
    ) -> Vec<Option<Candidates>> {
        let panels = self.for_few && numbers.len() >= PANEL_FROM;
        let Some(codes) = self.codes.as_ref().filter(|_| !panels) else {
            return numbers.iter().map(|_| None).collect();
        };
        let threads = if self.rows * self.dim < 4 * SMALL && numbers.len() == 1 { 1 } else { threads.max(1) };
        let groups = if numbers.len() >= 4 * threads { threads } else { 1 };
        let ranges = self.ranges(threads.div_ceil(groups));
        let group_len = numbers.len().div_ceil(groups);
        let mut parts = pool::map(threads, groups * ranges.len(), |task| {
            let (group, range) = (task / ranges.len(), task % ranges.len());
            let numbers = numbers.iter().skip(group * group_len).take(group_len);
            let queries = numbers.map(|&number| queries.row(number));
            search_range(self.kernels, codes, queries, k, allowed, ranges[range].clone())
        })
        .into_iter();
        let merge = |into: Option<Candidates>, from: Option<Candidates>| {
            let (mut into, from) = (into?, from?);
            into.merge(from);
            Some(into)
        };
        (0..groups)
            .flat_map(|_| {
                let of_group = parts.by_ref().take(ranges.len());
                let join = |into: Vec<_>, from: Vec<_>| {
                    into.into_iter().zip(from).map(|(into, from)| merge(into, from)).collect()
                };
                of_group.reduce(join).unwrap_or_default()
            })
            .collect()
    }

    /// What float32 leaves of the rows.
    fn by_rows(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        numbers: &[u32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        threads: usize,
    ) -> Vec<Candidates> {
        if numbers.is_empty() {
            return Vec::new();
        }
        let scan = Scan::new(self.kernels, self.metric, rows, &self.norms);
        if numbers.len() < PANEL_FROM {
            self.few(&scan, queries, numbers, k, allowed, threads)
        } else {
            self.many(&scan, queries, numbers, k, allowed, threads)
        }
    }

    /// One query after the other over each tile; threads split the rows.
    fn few(
        &self,
        scan: &Scan<'_>,
        queries: Matrix<'_>,
        numbers: &[u32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        threads: usize,
    ) -> Vec<Candidates> {
        let threads = if self.rows * self.dim < SMALL { 1 } else { threads.max(1) };
        let ranges = self.ranges(threads);
        let parts = pool::map(threads, ranges.len(), |part| {
            let mut searches: Vec<_> =
                numbers.iter().map(|&number| scan.search(queries.row(number), k)).collect();
            tiles(ranges[part].clone(), allowed, |slots| {
                for search in &mut searches {
                    scan.offer(search, slots);
                }
            });
            searches.into_iter().map(|search| search.candidates).collect()
        });
        merge(parts)
    }

    /// Panels of 32 queries over each tile; threads split the panels, and the rows where panels are too few.
    fn many(
        &self,
        scan: &Scan<'_>,
        queries: Matrix<'_>,
        numbers: &[u32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        threads: usize,
    ) -> Vec<Candidates> {
        let panels = numbers.len().div_ceil(PANEL);
        let threads = threads.max(1);
        let groups = panels.min(threads);
        let ranges = self.ranges(threads.div_ceil(groups));
        let group_len = panels.div_ceil(groups) * PANEL;
        let parts = pool::map(threads, groups * ranges.len(), |task| {
            let (group, range) = (task / ranges.len(), task % ranges.len());
            let start = (group * group_len).min(numbers.len());
            let numbers = &numbers[start..(start + group_len).min(numbers.len())];
            let mut searches: Vec<_> = numbers
                .chunks(PANEL)
                .map(|chunk| scan.panel_search(chunk.iter().map(|&number| queries.row(number)), k))
                .collect();
            let mut keys = Vec::new();
            tiles(ranges[range].clone(), allowed, |slots| {
                for search in &mut searches {
                    scan.offer_panel(search, slots, &mut keys);
                }
            });
            searches.into_iter().flat_map(|search| search.candidates).collect::<Vec<_>>()
        });
        let mut parts = parts.into_iter();
        (0..groups).flat_map(|_| merge(parts.by_ref().take(ranges.len()).collect())).collect()
    }

    /// Cut the rows into `parts` ranges that start at multiples of the tile.
    fn ranges(&self, parts: usize) -> Vec<std::ops::Range<usize>> {
        let len = self.rows.div_ceil(TILE).div_ceil(parts.max(1)).max(1) * TILE;
        (0..self.rows).step_by(len).map(|start| start..(start + len).min(self.rows)).collect()
    }
}

fn tiles(range: std::ops::Range<usize>, allowed: Option<Bitmap<'_>>, mut see: impl FnMut(&[u32])) {
    let mut slots = Vec::with_capacity(2 * TILE);
    for start in range.clone().step_by(TILE) {
        collect_slots(allowed, start, (start + TILE).min(range.end), &mut slots);
        // A sparse filter fills a tile from many words.
        if slots.len() >= TILE {
            see(&slots);
            slots.clear();
        }
    }
    if !slots.is_empty() {
        see(&slots);
    }
}

/// Join the candidates that several ranges of rows gave for the same queries.
fn merge(parts: Vec<Vec<Candidates>>) -> Vec<Candidates> {
    let mut parts = parts.into_iter();
    let mut merged = parts.next().unwrap_or_default();
    for part in parts {
        for (into, from) in merged.iter_mut().zip(part) {
            into.merge(from);
        }
    }
    merged
}
