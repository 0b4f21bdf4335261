//! Inverted file over product-quantized residuals, with a re-rank over the full rows.
//!
//! The row `x` of list `c` is kept as the code of `x - c`, whose reconstruction is `r`. Tables are made once a query,
//! not once a list, because the query meets the list and the code apart:
//!
//! ```text
//! q·x     ≈  q·c + q·r
//! |q-x|²  ≈  |q-c|² + (|r|² + 2 (c-m)·r) - 2 (q-m)·r       the bracket is kept, a float a row
//! ```
//!
//! `m`, the mean of the centroids, cancels; without it the two products would be large wherever rows lie far from zero.
//!
//! With L lists, P of them probed, M pieces of B bits, R rows re-ranked: build O(n L d + n 2^B d), query
//! O(L d + 2^B d + n M P / L + R d), space n M B / 8 bytes of codes, 4 n for slots, for l2 another 4 n, and
//! (L + 2 · 2^B) d floats.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::bounds::Bound;
use crate::coarse::Coarse;
use crate::codes::{Codes, Tables};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, PANEL};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::pq::{Bits, Quantizer, code_at, pack};
use crate::results::{Neighbours, write_best};
use crate::rng::Rng;
use crate::scan::{Norms, Scan, admit};
use crate::store::{self, Header};
use crate::topk::Candidates;
use crate::watch::{Observer, Watch};
use crate::{ivf_flat, npy};

const KIND: &str = "ivf_pq";
const CODES: &str = "codes.npy";
const CODEBOOKS: &str = "codebooks.npy";
const TERMS: &str = "terms.npy";

/// What the user may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct IvfPqOptions {
    /// Number of lists; at most the number of rows are made. `None`: twice the square root of the rows.
    pub n_lists: Option<usize>,
    /// Pieces that a row is cut into, at most its dimensions. `None`: see [`default_subvectors`].
    pub n_subvectors: Option<usize>,
    /// 4 or 8 bits a piece. `None`: 4.
    pub n_bits: Option<usize>,
    /// Seed of sampling and of the first centroids.
    pub seed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    n_lists: usize,
    n_subvectors: usize,
    n_bits: usize,
    codewords: usize,
    seed: u64,
}

/// Pieces when the user names no number, so that a value takes one bit: with 4 bits a piece of four values (two below
/// 64 dimensions, where codes are short anyway), with 8 bits a piece of eight (four).
pub fn default_subvectors(dim: usize, bits: usize) -> usize {
    let width = match (bits, dim >= 64) {
        (4, true) => 4,
        (4, false) => 2,
        (_, true) => 8,
        (_, false) => 4,
    };
    dim.div_ceil(width)
}

/// Rows re-ranked when the query names no number: with the default codes the true neighbours are nearly always among
/// the best 200 estimates of ten.
pub(crate) fn default_rerank(k: usize) -> usize {
    k.saturating_mul(10).saturating_add(100)
}

/// The index; see the module.
#[derive(Debug)]
pub struct IvfPq {
    kernels: &'static Kernels,
    metric: Metric,
    rows: usize,
    dim: usize,
    seed: u64,
    bits: Bits,
    coarse: Coarse,
    lists: Lists,
    quantizer: Quantizer,
    codes: Codes,
    /// The mean of the centroids, for l2.
    centre: Vec<f32>,
    /// `|r|² + 2 (c-m)·r` of each row in the order of the lists, for l2; else nothing.
    terms: Vec<f32>,
    norms: Norms,
}

impl IvfPq {
    /// Train lists and codebooks, encode every row.
    ///
    /// # Errors
    /// [`Error::Parameter`] for `n_bits` other than 4 and 8 and for more pieces than dimensions;
    /// [`Error::Cancelled`].
    ///
    /// # Allocates
    /// Residuals of at most 16,384 rows while codebooks are trained.
    ///
    /// # Parallelism
    /// `threads` threads; the index does not depend on how many.
    pub fn build(
        rows: Matrix<'_>,
        metric: Metric,
        options: IvfPqOptions,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let kernels = Kernels::best();
        let bits = Bits::new(options.n_bits.unwrap_or(4))?;
        let dim = rows.dim();
        let pieces = options.n_subvectors.unwrap_or_else(|| default_subvectors(dim, bits.number()));
        if pieces == 0 || pieces > dim {
            return Err(Error::Parameter {
                name: "n_subvectors",
                expected: format!("1 to {dim}, the number of dimensions"),
                received: pieces.to_string(),
            });
        }
        let watch = Watch::new(observer);
        watch.tick("train lists", 0, rows.rows())?;
        let (coarse, lists) =
            Coarse::build(kernels, rows, metric, options.n_lists, options.seed, threads, &watch)?;
        let quantizer = {
            let mut list_of_row = vec![0; rows.rows()];
            for list in 0..lists.count() as u32 {
                lists.slots(list).iter().for_each(|&slot| list_of_row[slot as usize] = list);
            }
            let sample = Rng::new(options.seed, 2).spread_sample(rows.rows(), bits.sample());
            let mut residuals = Vec::with_capacity(sample.len() * dim);
            for &slot in &sample {
                let centroid = coarse.centroid(list_of_row[slot as usize]);
                residuals.extend(rows.row(slot).iter().zip(centroid).map(|(x, c)| x - c));
            }
            let residuals = Matrix::new(&residuals, sample.len(), dim)?;
            Quantizer::train(kernels, residuals, pieces, bits, options.seed, threads, &watch)?
        };
        let centre = coarse.centre();
        let (codes, terms) =
            encode(kernels, rows, metric, bits, &coarse, &centre, &lists, &quantizer, threads, &watch)?;
        let norms = Norms::default();
        norms.prepare(kernels, metric, rows, threads, &watch)?;
        let codes = Codes::new(bits, pieces, &lists, codes);
        let (rows, seed) = (rows.rows(), options.seed);
        Ok(Self {
            kernels,
            metric,
            rows,
            dim,
            seed,
            bits,
            coarse,
            lists,
            quantizer,
            codes,
            centre,
            terms,
            norms,
        })
    }

    /// Number of lists.
    pub fn n_lists(&self) -> usize {
        self.coarse.count()
    }

    /// Pieces that a row is cut into.
    pub fn n_subvectors(&self) -> usize {
        self.quantizer.pieces()
    }

    /// Bits a piece.
    pub fn n_bits(&self) -> usize {
        self.bits.number()
    }

    /// Lists that a search scans when it names no number.
    pub fn default_n_probes(&self) -> usize {
        ivf_flat::default_probes(self.coarse.count())
    }

    /// The table of functions in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Bytes by part.
    pub fn bytes(&self) -> [(&'static str, usize); 6] {
        [
            ("centroids", self.coarse.bytes()),
            ("lists", self.lists.bytes()),
            ("codes", self.codes.bytes()),
            ("codebooks", self.quantizer.bytes()),
            ("terms", size_of_val(self.terms.as_slice())),
            ("norms", self.norms.bytes()),
        ]
    }

    /// The `k` nearest of the allowed rows in the `n_probes` nearest lists that have any, by estimate; the best
    /// `rerank` of them (at least `k`) are decided by their full rows. `rerank` 0 returns estimated distances. A
    /// filter scans more lists, as in [`IvfFlat::search`](crate::IvfFlat::search).
    ///
    /// # Errors
    /// [`Error::Shape`] when the arrays do not belong to this index.
    ///
    /// # Parallelism
    /// Up to `threads` threads split the queries.
    #[allow(clippy::too_many_arguments, reason = "a search says where, what, how many, among which and how")]
    pub fn search(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: Option<usize>,
        rerank: Option<usize>,
        threads: usize,
    ) -> Result<Neighbours> {
        let mut result = admit(rows, (self.rows, self.dim), queries, k)?;
        let k = k.min(self.rows);
        if k == 0 {
            return Ok(result);
        }
        let n_probes = n_probes.unwrap_or_else(|| self.default_n_probes()).max(1);
        let n_probes = ivf_flat::filtered_probes(n_probes, allowed, self.rows);
        let rerank = rerank.unwrap_or_else(|| default_rerank(k));
        let scan = Scan::new(self.kernels, self.metric, rows, &self.norms);
        let mut work: Vec<_> = result.rows_mut().into_iter().map(|places| (places, Ok(()))).collect();
        pool::chunks_mut(threads, &mut work, 8, |start, part| {
            let mut values = Vec::new();
            for (index, ((slots, distances), outcome)) in part.iter_mut().enumerate() {
                let query = queries.row((start + index) as u32);
                let wanted = rerank.max(k).min(self.rows);
                let found = self.estimate(query, wanted, k, allowed, n_probes, &mut values);
                *outcome = found.map(|found| {
                    if rerank == 0 {
                        let mut found: Vec<_> =
                            found.finish_with_keys().map(|(key, slot)| (self.distance(key), slot)).collect();
                        write_best(&mut found, slots, distances);
                    } else {
                        let mut search = scan.search(query, k);
                        let shortlist: Vec<u32> = found.finish().collect();
                        scan.offer(&mut search, &shortlist);
                        scan.decide(query, search.candidates, slots, distances);
                    }
                });
            }
        });
        work.into_iter().try_for_each(|(_, outcome)| outcome)?;
        Ok(result)
    }

    fn distance(&self, key: f32) -> f64 {
        if self.metric == Metric::Cosine { 1.0 + f64::from(key) } else { f64::from(key) }
    }

    /// The `wanted` smallest estimated keys (`-q·x` or `|q-x|²`).
    fn estimate(
        &self,
        query: &[f32],
        wanted: usize,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: usize,
        values: &mut Vec<f32>,
    ) -> Result<Candidates> {
        let tables = self.tables(query, values);
        let mut found = Candidates::new(wanted, Bound::NONE);
        let (mut probed, mut seen) = (0, 0);
        let mut order = self.coarse.rank(self.kernels, query, n_probes)?;
        while let Some(list) = order.next() {
            let rows = self.scan_list(list, order.key_of(list), &tables, allowed, &mut found);
            if rows == 0 {
                continue;
            }
            probed += 1;
            seen += rows;
            if probed >= n_probes && seen >= k {
                break;
            }
        }
        Ok(found)
    }

    /// Tables whose sums are added to the key.
    fn tables(&self, query: &[f32], values: &mut Vec<f32>) -> Tables {
        let factor = if self.metric == Metric::L2 {
            let centred: Vec<f32> = query.iter().zip(&self.centre).map(|(q, m)| q - m).collect();
            self.quantizer.tables(self.kernels, &centred, values);
            -2.0
        } else {
            self.quantizer.tables(self.kernels, query, values);
            -1.0
        };
        values.iter_mut().for_each(|value| *value *= factor);
        self.codes.tables(values, self.quantizer.codewords())
    }

    /// Offer the allowed rows of a list; how many they are.
    fn scan_list(
        &self,
        list: u32,
        base: f32,
        tables: &Tables,
        allowed: Option<Bitmap<'_>>,
        found: &mut Candidates,
    ) -> usize {
        let positions = self.lists.range(list);
        let slots = self.lists.slots(list);
        let mut keys = [0.0; PANEL];
        let mut seen = 0;
        for (block, slots) in slots.chunks(PANEL).enumerate() {
            let start = block * PANEL;
            let mut passed = match allowed {
                None => u32::MAX >> (PANEL - slots.len()),
                Some(allowed) => slots
                    .iter()
                    .enumerate()
                    .fold(0, |mask, (lane, &slot)| mask | u32::from(allowed.contains(slot)) << lane),
            };
            if passed == 0 {
                continue;
            }
            seen += passed.count_ones() as usize;
            self.codes.sums(self.kernels, tables, &self.lists, list, start, &mut keys);
            if self.terms.is_empty() {
                keys.iter_mut().for_each(|key| *key += base);
            } else {
                let terms = &self.terms[positions.start + start..][..slots.len()];
                keys.iter_mut().zip(terms).for_each(|(key, term)| *key += base + term);
            }
            passed &= (self.kernels.screen)(&keys, &[0.0; PANEL], 0.0, &[found.limit(); PANEL]);
            while passed != 0 {
                let lane = passed.trailing_zeros() as usize;
                passed &= passed - 1;
                found.offer(keys[lane], 0.0, slots[lane]);
            }
        }
        seen
    }

    /// Write `index.json`, `centroids.npy`, `offsets.npy`, `slots.npy`, `codebooks.npy`, `codes.npy` and, for l2,
    /// `terms.npy`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, directory: &Path) -> Result<()> {
        let parameters = Parameters {
            n_lists: self.coarse.count(),
            n_subvectors: self.quantizer.pieces(),
            n_bits: self.bits.number(),
            codewords: self.quantizer.codewords(),
            seed: self.seed,
        };
        let shape = [self.rows, self.bits.row_bytes(parameters.n_subvectors)];
        let codebooks = [parameters.codewords, self.dim];
        Header::new(KIND, self.metric, self.rows, self.dim, parameters).save(directory)?;
        self.coarse.save(directory)?;
        self.lists.save(directory)?;
        npy::write(&store::file(directory, CODEBOOKS), &codebooks, self.quantizer.codebooks())?;
        npy::write(&store::file(directory, CODES), &shape, &self.codes.to_rows(&self.lists))?;
        if self.metric == Metric::L2 {
            npy::write(&store::file(directory, TERMS), &[self.rows], &self.terms)?;
        }
        Ok(())
    }

    /// Open what [`save`](Self::save) wrote. Norms are made with the first search.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the files are not what was written over such rows.
    pub fn load(directory: &Path, rows: Matrix<'_>, metric: Metric) -> Result<Self> {
        let parameters = Header::<Parameters>::load(directory, KIND, metric, rows)?.parameters;
        let damaged = |reason: &str| store::damaged(directory, CODES, reason);
        let bits = Bits::new(parameters.n_bits).map_err(|_| damaged("n_bits is neither 4 nor 8"))?;
        let (pieces, codewords, dim) = (parameters.n_subvectors, parameters.codewords, rows.dim());
        if pieces == 0 || pieces > dim || codewords > bits.codewords() {
            return Err(damaged("n_subvectors or codewords are out of range"));
        }
        let coarse = Coarse::load(directory, metric, parameters.n_lists, dim)?;
        let lists = Lists::load(directory, parameters.n_lists, rows.rows())?;
        let codebooks = store::array(directory, CODEBOOKS, [codewords, dim])?;
        let row_bytes = bits.row_bytes(pieces);
        let codes: Vec<u8> = store::array(directory, CODES, [rows.rows(), row_bytes])?;
        let known = |row: &[u8]| (0..pieces).all(|piece| usize::from(code_at(bits, row, piece)) < codewords);
        if codewords < bits.codewords() && !codes.chunks(row_bytes).all(known) {
            return Err(damaged("a code names a codeword that is not there"));
        }
        let terms = match metric {
            Metric::L2 => store::array(directory, TERMS, [rows.rows()])?,
            Metric::Dot | Metric::Cosine => Vec::new(),
        };
        Ok(Self {
            kernels: Kernels::best(),
            metric,
            rows: rows.rows(),
            dim,
            seed: parameters.seed,
            bits,
            codes: Codes::new(bits, pieces, &lists, codes),
            quantizer: Quantizer::new(dim, pieces, codewords, codebooks),
            centre: coarse.centre(),
            coarse,
            lists,
            terms,
            norms: Norms::default(),
        })
    }
}

/// Codes, packed, and terms of all rows in the order of the lists.
#[allow(clippy::too_many_arguments, reason = "the parts of an index that is not put together yet")]
fn encode(
    kernels: &Kernels,
    rows: Matrix<'_>,
    metric: Metric,
    bits: Bits,
    coarse: &Coarse,
    centre: &[f32],
    lists: &Lists,
    quantizer: &Quantizer,
    threads: usize,
    watch: &Watch<'_>,
) -> Result<(Vec<u8>, Vec<f32>)> {
    const CHUNK: usize = 512;
    let (dim, pieces) = (rows.dim(), quantizer.pieces());
    let row_bytes = bits.row_bytes(pieces);
    if rows.rows() == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let encoder = quantizer.encoder()?;
    let mut list_at = Vec::with_capacity(rows.rows());
    for list in 0..lists.count() as u32 {
        list_at.extend(std::iter::repeat_n(list, lists.range(list).len()));
    }
    let parts = pool::map(threads, rows.rows().div_ceil(CHUNK), |part| {
        let start = part * CHUNK;
        watch.tick("encode rows", start, rows.rows())?;
        let slots = &lists.all_slots()[start..(start + CHUNK).min(rows.rows())];
        let mut residuals = Vec::with_capacity(slots.len() * dim);
        for (&slot, &list) in slots.iter().zip(&list_at[start..]) {
            residuals.extend(rows.row(slot).iter().zip(coarse.centroid(list)).map(|(x, c)| x - c));
        }
        let codes = quantizer.encode(kernels, &encoder, Matrix::new(&residuals, slots.len(), dim)?)?;
        let mut packed = vec![0; slots.len() * row_bytes];
        let mut terms = Vec::new();
        let mut decoded = vec![0.0; dim];
        for ((codes, row), &list) in
            codes.chunks(pieces).zip(packed.chunks_mut(row_bytes)).zip(&list_at[start..])
        {
            pack(bits, codes, row);
            if metric == Metric::L2 {
                quantizer.decode(codes, &mut decoded);
                let term: f64 = decoded
                    .iter()
                    .zip(coarse.centroid(list).iter().zip(centre))
                    .map(|(&r, (&c, &m))| f64::from(r) * (f64::from(r) + 2.0 * (f64::from(c) - f64::from(m))))
                    .sum();
                terms.push(term as f32);
            }
        }
        Ok((packed, terms))
    });
    let (mut codes, mut terms) = (Vec::with_capacity(rows.rows() * row_bytes), Vec::new());
    for part in parts {
        let (packed, part_terms) = part?;
        codes.extend(packed);
        terms.extend(part_terms);
    }
    Ok((codes, terms))
}
