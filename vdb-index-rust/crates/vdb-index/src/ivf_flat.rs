//! Inverted file over the full rows: only the lists nearest to the query are scanned, exactly.
//!
//! With L lists, P of them probed: build O(n L d), of which training takes O(min(n, 64 L) L d) an iteration; query
//! O(L d + n d P / L); space L d floats, and 4 bytes a row for slots, 4 for norms where the metric is an inner product.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::coarse::Coarse;
use crate::error::Result;
use crate::kernels::{Kernels, PANEL};
use crate::kmeans::group;
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::results::Neighbours;
use crate::scan::{Norms, Scan, admit};
use crate::store::Header;
use crate::topk::Candidates;
use crate::watch::{Observer, Watch};

const KIND: &str = "ivf_flat";
/// From so many queries a thread on, lists are read once for all queries that probe them.
const TOGETHER: usize = 16;
/// From so many queries that probe a list on, a panel of mostly empty lanes beats one query after the other.
const PANEL_FROM: usize = 4;
/// Places (queries times k) worked on at a time, so that candidates never take more memory than results.
const PLACES: usize = 1 << 20;

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

/// Lists to scan where a filter leaves the share `s` of the rows: `n_probes s^-1/4`. The nearest allowed rows lie farther
/// off, in more lists, than the nearest of all; and a list costs less, because only its allowed rows are compared.
pub(crate) fn filtered_probes(n_probes: usize, allowed: Option<Bitmap<'_>>, rows: usize) -> usize {
    let Some(allowed) = allowed else { return n_probes };
    let share = allowed.count().max(1) as f64 / rows.max(1) as f64;
    (n_probes as f64 * share.powf(-0.25)).ceil() as usize
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

    /// The `k` nearest of the allowed rows in the `n_probes` nearest lists that have any; a filter that leaves the share
    /// `s` of the rows makes that `n_probes s^-1/4`, and further lists are scanned until `k` allowed rows were seen. All lists give exactly what [`Brute`](crate::Brute) gives.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the arrays do not belong to this index.
    ///
    /// # Parallelism
    /// Up to `threads` threads split the queries; many queries read each list once.
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
        let n_probes = filtered_probes(n_probes, allowed, self.rows);
        let scan = Scan::new(self.kernels, self.metric, rows, &self.norms);
        let mut work: Vec<_> = result.rows_mut().into_iter().map(|places| (places, Ok(()))).collect();
        let together = queries.rows() >= TOGETHER * threads.max(1);
        // Many queries share what the filter leaves of each list.
        let filtered = allowed.filter(|_| together).map(|allowed| self.lists.filtered(allowed));
        let lists = filtered.as_ref().unwrap_or(&self.lists);
        let block = if together {
            (PLACES / k).clamp(TOGETHER, queries.rows().div_ceil(threads.max(1)))
        } else {
            queries.rows().div_ceil(threads.max(1))
        };
        pool::chunks_mut(threads, &mut work, block, |start, part| {
            let numbers: Vec<u32> = (start..start + part.len()).map(|number| number as u32).collect();
            let found = if together {
                self.search_many(&scan, queries, &numbers, k, lists, n_probes)
            } else {
                let mut kept = Vec::new();
                let one =
                    |&number| self.search_one(&scan, queries.row(number), k, allowed, n_probes, &mut kept);
                numbers.iter().map(one).collect()
            };
            match found {
                Ok(found) => {
                    for (((slots, distances), _), (candidates, &number)) in
                        part.iter_mut().zip(found.into_iter().zip(&numbers))
                    {
                        scan.decide(queries.row(number), candidates, slots, distances);
                    }
                }
                Err(error) => part[0].1 = Err(error),
            }
        });
        work.into_iter().try_for_each(|(_, outcome)| outcome)?;
        Ok(result)
    }

    /// List after list over all queries that probe it. The list nearest to each query goes first, because it brings the
    /// limits down for the others.
    fn search_many(
        &self,
        scan: &Scan<'_>,
        queries: Matrix<'_>,
        numbers: &[u32],
        k: usize,
        lists: &Lists,
        n_probes: usize,
    ) -> Result<Vec<Candidates>> {
        let mut searches: Vec<_> =
            numbers.iter().map(|&number| scan.search(queries.row(number), k)).collect();
        let (mut nearest, mut others) = (Vec::new(), Vec::new());
        for (index, &number) in numbers.iter().enumerate() {
            let (mut probed, mut seen) = (0, 0);
            for list in self.coarse.rank(self.kernels, queries.row(number), n_probes)? {
                let rows = lists.range(list).len();
                if rows == 0 {
                    continue;
                }
                let probes = if probed == 0 { &mut nearest } else { &mut others };
                probes.push((list, index as u32));
                probed += 1;
                seen += rows;
                if probed >= n_probes && seen >= k {
                    break;
                }
            }
        }
        let mut keys = Vec::new();
        for probes in [nearest, others] {
            let (offsets, order) = group(probes.iter().map(|&(list, _)| list), lists.count());
            let order: Vec<u32> = order.into_iter().map(|place| probes[place as usize].1).collect();
            for list in 0..lists.count() as u32 {
                let slots = lists.slots(list);
                for picked in order[offsets[list as usize]..offsets[list as usize + 1]].chunks(PANEL) {
                    if picked.len() < PANEL_FROM {
                        picked.iter().for_each(|&index| scan.offer(&mut searches[index as usize], slots));
                        continue;
                    }
                    scan.offer_picked(&mut searches, picked, slots, &mut keys);
                }
            }
        }
        Ok(searches.into_iter().map(|search| search.candidates).collect())
    }

    fn search_one(
        &self,
        scan: &Scan<'_>,
        query: &[f32],
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: usize,
        kept: &mut Vec<u32>,
    ) -> Result<Candidates> {
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
