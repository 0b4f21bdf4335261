//! Inverted file over the full rows: only the lists nearest to the query are scanned, exactly.
//!
//! With L lists, P of them probed: build O(n L d), of which training takes O(min(n, 64 L) L d) an iteration; query
//! O(L d + n d P / L); space L d floats, and 4 bytes a row for slots, 4 for norms where the metric is an inner product.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::coarse::Coarse;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::results::Neighbours;
use crate::scan::{Norms, Scan, admit};
use crate::store::Header;
use crate::watch::{Observer, Watch};

const KIND: &str = "ivf_flat";

/// What the user may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct IvfFlatOptions {
    /// Number of lists; at most the number of rows are made. `None`: twice the square root of the rows.
    pub n_lists: Option<usize>,
    /// Seed of sampling and of the first centroids.
    pub seed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    n_lists: usize,
    seed: u64,
}

/// Lists scanned when the query names no number: `18 L^0.22`. Embeddings of real texts need 40 to 50 of 200 to 900
/// lists for recall@10 of 0.95, nearly whatever their number is; the rule leaves a margin.
pub(crate) fn default_probes(n_lists: usize) -> usize {
    ((18.0 * (n_lists as f64).powf(0.22)).ceil() as usize).clamp(1, n_lists.max(1))
}

/// The index; see the module.
#[derive(Debug)]
pub struct IvfFlat {
    kernels: &'static Kernels,
    metric: Metric,
    rows: usize,
    dim: usize,
    seed: u64,
    coarse: Coarse,
    lists: Lists,
    norms: Norms,
}

impl IvfFlat {
    /// Train, assign every row, and get ready to search.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// `threads` threads; the index does not depend on how many.
    pub fn build(
        rows: Matrix<'_>,
        metric: Metric,
        options: IvfFlatOptions,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let kernels = Kernels::best();
        let watch = Watch::new(observer);
        watch.tick("train lists", 0, rows.rows())?;
        let (coarse, lists) =
            Coarse::build(kernels, rows, metric, options.n_lists, options.seed, threads, &watch)?;
        let norms = Norms::default();
        norms.prepare(kernels, metric, rows, threads, &watch)?;
        Ok(Self {
            kernels,
            metric,
            rows: rows.rows(),
            dim: rows.dim(),
            seed: options.seed,
            coarse,
            lists,
            norms,
        })
    }

    /// Number of lists.
    pub fn n_lists(&self) -> usize {
        self.coarse.count()
    }

    /// Lists that a search scans when it names no number.
    pub fn default_n_probes(&self) -> usize {
        default_probes(self.coarse.count())
    }

    /// The table of functions in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Bytes by part.
    pub fn bytes(&self) -> [(&'static str, usize); 3] {
        [("centroids", self.coarse.bytes()), ("lists", self.lists.bytes()), ("norms", self.norms.bytes())]
    }

    /// The `k` nearest of the allowed rows in the `n_probes` nearest lists that have any; further lists are scanned
    /// until `k` allowed rows were seen. All lists give exactly what [`Brute`](crate::Brute) gives.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the arrays do not belong to this index.
    ///
    /// # Parallelism
    /// Up to `threads` threads split the queries.
    pub fn search(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: Option<usize>,
        threads: usize,
    ) -> Result<Neighbours> {
        let mut result = admit(rows, (self.rows, self.dim), queries, k)?;
        let k = k.min(self.rows);
        if k == 0 {
            return Ok(result);
        }
        let n_probes = n_probes.unwrap_or_else(|| self.default_n_probes()).max(1);
        let scan = Scan::new(self.kernels, self.metric, rows, &self.norms);
        let mut work: Vec<_> = result.rows_mut().into_iter().map(|places| (places, Ok(()))).collect();
        pool::chunks_mut(threads, &mut work, 4, |start, part| {
            let mut kept = Vec::new();
            for (index, ((slots, distances), outcome)) in part.iter_mut().enumerate() {
                let query = queries.row((start + index) as u32);
                *outcome = self.search_one(&scan, query, k, allowed, n_probes, &mut kept).map(|candidates| {
                    scan.decide(query, candidates, slots, distances);
                });
            }
        });
        work.into_iter().try_for_each(|(_, outcome)| outcome)?;
        Ok(result)
    }

    fn search_one(
        &self,
        scan: &Scan<'_>,
        query: &[f32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: usize,
        kept: &mut Vec<u32>,
    ) -> Result<crate::topk::Candidates> {
        let mut search = scan.search(query, k);
        let (mut probed, mut seen) = (0, 0);
        for list in self.coarse.rank(self.kernels, query, n_probes)? {
            let mut slots = self.lists.slots(list);
            if let Some(allowed) = allowed {
                kept.clear();
                kept.extend(slots.iter().copied().filter(|&slot| allowed.contains(slot)));
                slots = kept;
            }
            if slots.is_empty() {
                continue;
            }
            scan.offer(&mut search, slots);
            probed += 1;
            seen += slots.len();
            if probed >= n_probes && seen >= k {
                break;
            }
        }
        Ok(search.candidates)
    }

    /// Write `index.json`, `centroids.npy`, `offsets.npy` and `slots.npy`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn save(&self, directory: &Path) -> Result<()> {
        let parameters = Parameters { n_lists: self.coarse.count(), seed: self.seed };
        Header::new(KIND, self.metric, self.rows, self.dim, parameters).save(directory)?;
        self.coarse.save(directory)?;
        self.lists.save(directory)
    }

    /// Open what [`save`](Self::save) wrote. Norms are made with the first search.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when the files are not what was written over such rows.
    pub fn load(directory: &Path, rows: Matrix<'_>, metric: Metric) -> Result<Self> {
        let header = Header::<Parameters>::load(directory, KIND, metric, rows)?;
        let Parameters { n_lists, seed } = header.parameters;
        Ok(Self {
            kernels: Kernels::best(),
            metric,
            rows: rows.rows(),
            dim: rows.dim(),
            seed,
            coarse: Coarse::load(directory, metric, n_lists, rows.dim())?,
            lists: Lists::load(directory, n_lists, rows.rows())?,
            norms: Norms::default(),
        })
    }
}
