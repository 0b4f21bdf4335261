//! Inverted file over the full rows: only the lists nearest to the query are scanned, exactly.
//!
//! With L lists, P of them probed: build O(n L d), of which training takes O(min(n, 64 L) L d) an iteration; query
//! O(L d + n d P / L); space L d floats, and 4 bytes a row for slots, 4 for norms where the metric is an inner product.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::basis;
use crate::bitmap::Bitmap;
use crate::coarse::{Coarse, ListQuery, Ranking};
use crate::coded::Coded;
use crate::error::Result;
use crate::filters::Filters;
use crate::kernels::{BLOCK, Kernels, PANEL};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::probing::Probing;
use crate::results::Neighbours;
use crate::scan::{Norms, Scan, admit};
use crate::sieve::{Coding, Sieve};
use crate::store::Header;
use crate::topk::Candidates;
use crate::watch::{Observer, Unobserved, Watch};

const KIND: &str = "ivf_flat";
/// From so many queries on, lists are read once for all queries that probe them.
const TOGETHER: usize = 16;
/// From so many queries that probe a list on, a panel of mostly empty lanes beats one query after the other.
const PANEL_FROM: usize = 4;
/// How fast probes rise with the rarity of what a filter leaves. Measured on embeddings of texts, where it costs no recall
/// whether the rows that are allowed lie anywhere or together.
const RISE: f64 = 1.65;
/// Blocks for which there is room before a search knows how many it looks at.
const PICKS: usize = 1024;
/// Places (queries times k) worked on at a time, so that candidates never take more memory than results.
const PLACES: usize = 1 << 20;

/// What the user may choose.
#[derive(Clone, Copy, Debug)]
pub struct IvfFlatOptions {
    /// Number of lists; at most the number of rows are made. `None`: twice the square root of the rows.
    pub n_lists: Option<usize>,
    /// Whether rows are kept as int8 codes as well.
    pub codes: bool,
    /// Seed of sampling and of the first centroids.
    pub seed: u64,
}

impl Default for IvfFlatOptions {
    fn default() -> Self {
        Self { n_lists: None, codes: true, seed: 0 }
    }
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
    filters: Filters,
    codes: Option<Coded>,
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
        Self::over(kernels, rows, metric, options.seed, options.codes, (coarse, lists), threads, &watch)
    }

    /// Lists over rows; codes, or norms where these have none, are made of the rows.
    #[allow(clippy::too_many_arguments, reason = "the parts of an index that is not put together yet")]
    fn over(
        kernels: &'static Kernels,
        rows: Matrix<'_>,
        metric: Metric,
        seed: u64,
        wanted: bool,
        (coarse, lists): (Coarse, Lists),
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let norms = Norms::default();
        // Lists of few rows each would fill blocks with nothing.
        let full = lists.block_count() * BLOCK <= rows.rows() / 2 * 3;
        let codes = if wanted && full && basis::pays(rows.rows(), rows.dim()) {
            let order = lists.padded();
            Some(Coded::encode(kernels, coarse.basis(kernels), rows, Some(&order), threads, watch)?)
        } else {
            norms.prepare(kernels, metric, rows, threads, watch)?;
            None
        };
        let (rows, dim, filters) = (rows.rows(), rows.dim(), Filters::default());
        Ok(Self { kernels, metric, rows, dim, seed, coarse, lists, filters, codes, norms })
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
    pub fn bytes(&self) -> Vec<(&'static str, usize)> {
        let codes = self.codes.as_ref().map(Coded::bytes);
        let parts = [("centroids", self.coarse.bytes()), ("lists", self.lists.bytes())];
        let others = [("norms", self.norms.bytes()), ("filters", self.filters.bytes())];
        parts.into_iter().chain(codes.into_iter().flatten()).chain(others).collect()
    }

    /// The `k` nearest of the allowed rows in the `n_probes` nearest lists that have any; a filter that leaves the share
    /// `s` of the rows makes that more (see the `probing` module), and further lists are scanned until `k` allowed rows were seen. All lists give exactly what [`Brute`](crate::Brute) gives.
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
        let n_probes = n_probes.unwrap_or_else(|| self.default_n_probes());
        let probing = Probing::new(
            self.kernels,
            (&self.lists, &self.filters),
            k,
            n_probes,
            RISE,
            allowed,
            queries.rows(),
        );
        let mut work = result.rows_mut();
        let block = queries.rows().div_ceil(threads.max(1)).min((PLACES / k).max(TOGETHER));
        pool::chunks_mut(threads, &mut work, block, |start, part| {
            let numbers: Vec<u32> = (start..start + part.len()).map(|number| number as u32).collect();
            let decide = Scan::deciding(self.kernels, self.metric, rows);
            let found = self.find(rows, queries, &numbers, &probing);
            for (((slots, distances), candidates), &number) in part.iter_mut().zip(found).zip(&numbers) {
                decide.decide(queries.row(number), candidates, slots, distances);
            }
        });
        Ok(result)
    }

    /// The rows that may be the nearest in the lists that each query probes.
    fn find(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        numbers: &[u32],
        probing: &Probing<'_>,
    ) -> Vec<Candidates> {
        let asked = numbers.iter().map(|&number| queries.row(number));
        let asked = self.coarse.rank(self.kernels, asked, probing.n_probes, probing.empty());
        let mut found: Vec<Option<Candidates>> = numbers.iter().map(|_| None).collect();
        let (mut places, mut rankings, mut coding) = (Vec::new(), Vec::new(), Coding::default());
        let (mut plain, mut plain_rankings) = (Vec::new(), Vec::new());
        let sieve = self
            .codes
            .as_ref()
            .and_then(|codes| Sieve::new(self.kernels, codes, Some(self.lists.all_slots())));
        for (place, ListQuery { coded, ranking }) in asked.into_iter().enumerate() {
            if let (Some((query, shared)), Some(_)) = (coded, &sieve) {
                places.push(place);
                rankings.push(ranking);
                coding.push(query, shared, probing.k);
            } else {
                plain.push(place);
                plain_rankings.push(ranking);
            }
        }
        if let Some(sieve) = sieve {
            if rankings.len() < TOGETHER {
                self.sieve_few(&sieve, rankings, &mut coding, probing);
            } else {
                self.sieve_many(&sieve, rankings, &mut coding, probing);
            }
            for (place, candidates) in places.into_iter().zip(coding.finish(&sieve)) {
                found[place] = Some(candidates);
            }
        }
        if !plain.is_empty() {
            let scan = Scan::new(self.kernels, self.metric, rows, &self.norms);
            let asked: Vec<&[f32]> = plain.iter().map(|&place| queries.row(numbers[place])).collect();
            for (place, candidates) in
                plain.into_iter().zip(self.scan_lists(&scan, &asked, plain_rankings, probing))
            {
                found[place] = Some(candidates);
            }
        }
        found.into_iter().flatten().collect()
    }

    /// One query after the other over the blocks of its lists.
    fn sieve_few(
        &self,
        sieve: &Sieve<'_>,
        rankings: Vec<Ranking<'_>>,
        coding: &mut Coding,
        probing: &Probing<'_>,
    ) {
        let mut picks = Vec::with_capacity(PICKS);
        for (number, ranking) in (0..).zip(rankings) {
            picks.clear();
            let mut budget = probing.budget();
            for (_, list) in ranking {
                if !budget.take(self.lists.pick(self.kernels, list, &probing.filter, &mut picks)) {
                    break;
                }
            }
            sieve.see_all(&picks, coding, &[number]);
        }
    }

    /// List after list over all queries that probe it. The list nearest to each query goes first, because it brings the
    /// limits down for the others.
    fn sieve_many(
        &self,
        sieve: &Sieve<'_>,
        rankings: Vec<Ranking<'_>>,
        coding: &mut Coding,
        probing: &Probing<'_>,
    ) {
        let mut picks = Vec::new();
        let picked: Vec<_> = (0..self.lists.count() as u32)
            .map(|list| {
                let first = picks.len();
                let rows = self.lists.pick(self.kernels, list, &probing.filter, &mut picks);
                (first..picks.len(), rows)
            })
            .collect();
        for probes in probing.probes(rankings, |list| picked[list as usize].1, picked.len()) {
            for ((blocks, _), list) in picked.iter().zip(0..) {
                let (who, _) = probes.of(list);
                if !who.is_empty() {
                    sieve.see_all(&picks[blocks.clone()], coding, who);
                }
            }
        }
    }

    /// Lists in float32: for short rows, which have no codes, and for queries that have none.
    fn scan_lists(
        &self,
        scan: &Scan<'_>,
        asked: &[&[f32]],
        rankings: Vec<Ranking<'_>>,
        probing: &Probing<'_>,
    ) -> Vec<Candidates> {
        let mut searches: Vec<_> = asked.iter().map(|query| scan.search(query, probing.k)).collect();
        if asked.len() < TOGETHER {
            let mut kept = Vec::new();
            for (search, ranking) in searches.iter_mut().zip(rankings) {
                let mut budget = probing.budget();
                for (_, list) in ranking {
                    let mut slots = self.lists.slots(list);
                    if let Some(allowed) = probing.allowed {
                        kept.clear();
                        kept.extend(slots.iter().copied().filter(|&slot| allowed.contains(slot)));
                        slots = &kept;
                    }
                    scan.offer(search, slots);
                    if !budget.take(slots.len()) {
                        break;
                    }
                }
            }
        } else {
            // Many queries share what the filter leaves of each list.
            let filtered = probing.allowed.map(|allowed| self.lists.filtered(allowed));
            let lists = filtered.as_ref().unwrap_or(&self.lists);
            let mut keys = Vec::new();
            for probes in probing.probes(rankings, |list| lists.range(list).len(), lists.count()) {
                for list in 0..lists.count() as u32 {
                    let slots = lists.slots(list);
                    for picked in probes.of(list).0.chunks(PANEL) {
                        if picked.len() < PANEL_FROM {
                            picked.iter().for_each(|&index| scan.offer(&mut searches[index as usize], slots));
                            continue;
                        }
                        scan.offer_picked(&mut searches, picked, slots, &mut keys);
                    }
                }
            }
        }
        searches.into_iter().map(|search| search.candidates).collect()
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

    /// Open what [`save`](Self::save) wrote; codes, which are wanted or not, are made again.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when the files are not what was written over such rows.
    pub fn load(directory: &Path, rows: Matrix<'_>, metric: Metric, codes: bool) -> Result<Self> {
        let header = Header::<Parameters>::load(directory, KIND, metric, rows)?;
        let Parameters { n_lists, seed } = header.parameters;
        let kernels = Kernels::best();
        let coarse = Coarse::load(kernels, directory, metric, n_lists, rows)?;
        let lists = Lists::load(directory, n_lists, rows.rows())?;
        let watch = Watch::new(&Unobserved);
        Self::over(kernels, rows, metric, seed, codes, (coarse, lists), pool::cores(), &watch)
    }
}
