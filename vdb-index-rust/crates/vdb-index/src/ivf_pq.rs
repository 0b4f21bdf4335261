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

use crate::basis;
use crate::bitmap::Bitmap;
use crate::coarse::{Coarse, ListQuery, Ranking};
use crate::codes::{Codes, Sums, Tables};
use crate::error::{Error, Result};
use crate::kernels::{BLOCK, CodedQuery, Kernels, TABLES_TOGETHER};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::pq::{Bits, Quantizer, code_at, pack};
use crate::probing::{Probing, filtered_probes};
use crate::results::{Neighbours, write_best};
use crate::rng::Rng;
use crate::rowcodes::RowCodes;
use crate::scan::{Norms, Scan, admit};
use crate::shortlist::Shortlist;
use crate::store::{self, Header};
use crate::watch::{Observer, Unobserved, Watch};
use crate::{ivf_flat, npy};

const KIND: &str = "ivf_pq";
const CODES: &str = "codes.npy";
const CODEBOOKS: &str = "codebooks.npy";
const TERMS: &str = "terms.npy";
/// Queries that a thread takes at a time.
const TOGETHER: usize = 1024;
/// From so many queries on, lists are read once for all queries that probe them.
const MANY: usize = 16;

/// What the user may choose.
#[derive(Clone, Copy, Debug)]
pub struct IvfPqOptions {
    /// Number of lists; at most the number of rows are made. `None`: twice the square root of the rows.
    pub n_lists: Option<usize>,
    /// Pieces that a row is cut into, at most its dimensions. `None`: see [`default_subvectors`].
    pub n_subvectors: Option<usize>,
    /// 4 or 8 bits a piece. `None`: 4.
    pub n_bits: Option<usize>,
    /// Whether rows are kept as int8 codes as well, by which candidates are re-ranked.
    pub codes: bool,
    /// Seed of sampling and of the first centroids.
    pub seed: u64,
}

impl Default for IvfPqOptions {
    fn default() -> Self {
        Self { n_lists: None, n_subvectors: None, n_bits: None, codes: true, seed: 0 }
    }
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

/// Memory that one query after the other uses.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    live: Vec<u16>,
    sums: Sums,
    positions: Vec<u32>,
}

/// What all queries of a search share.
struct Ranked<'a> {
    rows: Matrix<'a>,
    k: usize,
    rerank: usize,
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
    row_codes: Option<RowCodes>,
    /// `|r|² + 2 (c-m)·r` of each row of each block, for l2; else nothing.
    terms: Vec<[f32; BLOCK]>,
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
        let (codes, terms) =
            encode(kernels, rows, metric, bits, &coarse, &lists, &quantizer, threads, &watch)?;
        let norms = Norms::default();
        let row_codes = rerank_codes(kernels, &coarse, &lists, rows, options.codes, threads, &watch)?;
        if row_codes.is_none() {
            norms.prepare(kernels, metric, rows, threads, &watch)?;
        }
        let codes = Codes::new(kernels.fast_layout, bits, pieces, &lists, codes);
        let terms = in_blocks(&lists, &terms);
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
            row_codes,
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
    pub fn bytes(&self) -> Vec<(&'static str, usize)> {
        let parts = [
            ("centroids", self.coarse.bytes()),
            ("lists", self.lists.bytes()),
            ("codes", self.codes.bytes()),
            ("codebooks", self.quantizer.bytes()),
            ("terms", size_of_val(self.terms.as_slice())),
            ("norms", self.norms.bytes()),
        ];
        let row_codes = self.row_codes.as_ref().map(|codes| ("rerank codes", codes.bytes()));
        parts.into_iter().chain(row_codes).collect()
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
        let probing = Probing { k, n_probes: filtered_probes(n_probes, allowed, self.rows), allowed };
        let rerank = rerank.unwrap_or_else(|| default_rerank(k));
        let ranked = Ranked { rows, k, rerank };
        let mut places = result.rows_mut();
        let block = queries.rows().div_ceil(threads.max(1)).min(TOGETHER);
        pool::chunks_mut(threads, &mut places, block, |start, part| {
            let asked = (start..start + part.len()).map(|number| queries.row(number as u32));
            let asked = self.coarse.rank(self.kernels, asked, probing.n_probes);
            let mut scratch = Scratch::default();
            let many = part.len() >= MANY;
            let (coded, rankings): (Vec<_>, Vec<_>) =
                asked.into_iter().map(|ListQuery { coded, ranking }| (coded, ranking)).unzip();
            let number = |index: usize| queries.row((start + index) as u32);
            let wanted = rerank.max(k).min(self.rows);
            let found = if many {
                self.estimate_many(part.len(), number, wanted, rankings, &probing, &mut scratch)
            } else {
                let one =
                    |(index, ranking)| self.estimate(number(index), wanted, ranking, &probing, &mut scratch);
                rankings.into_iter().enumerate().map(one).collect()
            };
            for (index, ((places, coded), found)) in part.iter_mut().zip(coded).zip(found).enumerate() {
                self.finish(&ranked, number(index), coded, found, &mut scratch, places);
            }
        });
        Ok(result)
    }

    /// From estimates to the answer.
    fn finish(
        &self,
        ranked: &Ranked<'_>,
        query: &[f32],
        coded: Option<(CodedQuery, f64)>,
        found: Shortlist,
        scratch: &mut Scratch,
        (slots, distances): &mut (&mut [u32], &mut [f32]),
    ) {
        let all_slots = self.lists.all_slots();
        if ranked.rerank == 0 {
            let offset = self.coarse.offset(self.kernels, query);
            let distance = |key: f32| {
                let key = f64::from(key) + f64::from(offset);
                self.metric.distance(if self.metric.is_inner_product() { -key } else { key })
            };
            let mut found: Vec<_> =
                found.finish().map(|(key, position)| (distance(key), all_slots[position as usize])).collect();
            write_best(&mut found, slots, distances);
            return;
        }
        scratch.positions.clear();
        scratch.positions.extend(found.finish().map(|(_, position)| position));
        let (scan, candidates) = if let (Some(codes), Some(coded)) = (&self.row_codes, &coded) {
            let candidates = codes.sieve(self.kernels, coded, ranked.k, &scratch.positions, all_slots);
            (Scan::deciding(self.kernels, self.metric, ranked.rows), candidates)
        } else {
            let scan = Scan::new(self.kernels, self.metric, ranked.rows, &self.norms);
            let mut search = scan.search(query, ranked.k);
            scratch.positions.iter_mut().for_each(|position| *position = all_slots[*position as usize]);
            scan.offer(&mut search, &scratch.positions);
            (scan, search.candidates)
        };
        scan.decide(query, candidates, slots, distances);
    }

    /// The `wanted` smallest estimated keys, without what all keys of the query share.
    fn estimate(
        &self,
        query: &[f32],
        wanted: usize,
        mut ranking: Ranking<'_>,
        probing: &Probing<'_>,
        scratch: &mut Scratch,
    ) -> Shortlist {
        let tables = self.tables(query, &mut scratch.values);
        let mut found = Shortlist::new(wanted);
        let mut budget = probing.budget();
        while let Some((key, list)) = ranking.next() {
            if let Some(next) = ranking.coming() {
                self.codes.prefetch(self.kernels, &self.lists, next);
            }
            let rows = self.lists.live(self.kernels, list, probing.allowed, &mut scratch.live);
            if rows > 0 {
                let Scratch { live, sums, .. } = &mut *scratch;
                self.scan_list(
                    list,
                    (&[0], &[key]),
                    &[&tables],
                    live,
                    sums,
                    std::slice::from_mut(&mut found),
                );
            }
            if !budget.take(rows) {
                break;
            }
        }
        found
    }

    /// The same of many queries, list after list. The list nearest to each query goes first, because it brings the limits down
    /// for the others.
    fn estimate_many<'q>(
        &self,
        count: usize,
        query: impl Fn(usize) -> &'q [f32],
        wanted: usize,
        rankings: Vec<Ranking<'_>>,
        probing: &Probing<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Shortlist> {
        let tables: Vec<Tables> =
            (0..count).map(|index| self.tables(query(index), &mut scratch.values)).collect();
        let mut found: Vec<Shortlist> = (0..count).map(|_| Shortlist::new(wanted)).collect();
        let (mut live, mut first) = (Vec::new(), vec![0]);
        let rows: Vec<usize> = (0..self.lists.count() as u32)
            .map(|list| {
                let rows = self.lists.live(self.kernels, list, probing.allowed, &mut scratch.live);
                live.extend_from_slice(&scratch.live);
                first.push(live.len());
                rows
            })
            .collect();
        for probes in probing.probes(rankings, |list| rows[list as usize], rows.len()) {
            for list in 0..rows.len() as u32 {
                let (who, keys) = probes.of(list);
                let live = &live[first[list as usize]..first[list as usize + 1]];
                for (who, keys) in who.chunks(TABLES_TOGETHER).zip(keys.chunks(TABLES_TOGETHER)) {
                    let tables: [&Tables; TABLES_TOGETHER] =
                        std::array::from_fn(|q| &tables[who[q.min(who.len() - 1)] as usize]);
                    self.scan_list(
                        list,
                        (who, keys),
                        &tables[..who.len()],
                        live,
                        &mut scratch.sums,
                        &mut found,
                    );
                }
            }
        }
        found
    }

    /// Tables whose sums are added to the key.
    fn tables(&self, query: &[f32], values: &mut Vec<f32>) -> Tables {
        let factor: Vec<f32> = if self.metric == Metric::L2 {
            query.iter().zip(self.coarse.centre()).map(|(q, m)| -2.0 * (q - m)).collect()
        } else {
            query.iter().map(|q| -q).collect()
        };
        self.quantizer.tables(self.kernels, &factor, values);
        self.codes.tables(self.kernels, values, self.quantizer.codewords())
    }

    /// Offer the live rows of a list to up to four of the shortlists; each query knows the list by a key.
    fn scan_list(
        &self,
        list: u32,
        (who, keys): (&[u32], &[f32]),
        tables: &[&Tables],
        live: &[u16],
        sums: &mut Sums,
        found: &mut [Shortlist],
    ) {
        let first = self.lists.range(list).start;
        let blocks = self.lists.blocks(list);
        let terms = self.terms.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        let mut limits = [0.0; TABLES_TOGETHER];
        for ((limit, &number), key) in limits.iter_mut().zip(who).zip(keys) {
            *limit = found[number as usize].limit() - key;
        }
        self.codes.scan(
            self.kernels,
            (&self.lists, list),
            tables,
            live,
            terms,
            sums,
            |q| limits[q],
            |q, row, sum| {
                let term = terms.get(row / BLOCK).map_or(0.0, |terms| terms[row % BLOCK]);
                found[who[q] as usize].offer(keys[q] + (sum + term), (first + row) as u32);
            },
        );
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
            npy::write(&store::file(directory, TERMS), &[self.rows], &self.terms_in_order())?;
        }
        Ok(())
    }

    fn terms_in_order(&self) -> Vec<f32> {
        let mut terms = Vec::with_capacity(self.rows);
        for list in 0..self.lists.count() as u32 {
            let of_list = self.terms[self.lists.blocks(list).start as usize..].as_flattened();
            terms.extend_from_slice(&of_list[..self.lists.range(list).len()]);
        }
        terms
    }

    /// Open what [`save`](Self::save) wrote; int8 codes, which are wanted or not, are made again.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the files are not what was written over such rows.
    pub fn load(directory: &Path, rows: Matrix<'_>, metric: Metric, codes: bool) -> Result<Self> {
        let parameters = Header::<Parameters>::load(directory, KIND, metric, rows)?.parameters;
        let damaged = |reason: &str| store::damaged(directory, CODES, reason);
        let bits = Bits::new(parameters.n_bits).map_err(|_| damaged("n_bits is neither 4 nor 8"))?;
        let (pieces, codewords, dim) = (parameters.n_subvectors, parameters.codewords, rows.dim());
        if pieces == 0 || pieces > dim || codewords > bits.codewords() {
            return Err(damaged("n_subvectors or codewords are out of range"));
        }
        let kernels = Kernels::best();
        let coarse = Coarse::load(kernels, directory, metric, parameters.n_lists, dim)?;
        let lists = Lists::load(directory, parameters.n_lists, rows.rows())?;
        let codebooks = store::array(directory, CODEBOOKS, [codewords, dim])?;
        let row_bytes = bits.row_bytes(pieces);
        let packed: Vec<u8> = store::array(directory, CODES, [rows.rows(), row_bytes])?;
        let known = |row: &[u8]| (0..pieces).all(|piece| usize::from(code_at(bits, row, piece)) < codewords);
        if codewords < bits.codewords() && !packed.chunks(row_bytes).all(known) {
            return Err(damaged("a code names a codeword that is not there"));
        }
        let terms: Vec<f32> = match metric {
            Metric::L2 => store::array(directory, TERMS, [rows.rows()])?,
            Metric::Dot | Metric::Cosine => Vec::new(),
        };
        Ok(Self {
            kernels,
            metric,
            rows: rows.rows(),
            dim,
            seed: parameters.seed,
            bits,
            codes: Codes::new(kernels.fast_layout, bits, pieces, &lists, packed),
            row_codes: rerank_codes(
                kernels,
                &coarse,
                &lists,
                rows,
                codes,
                pool::cores(),
                &Watch::new(&Unobserved),
            )?,
            terms: in_blocks(&lists, &terms),
            quantizer: Quantizer::new(dim, pieces, codewords, codebooks),
            coarse,
            lists,
            norms: Norms::default(),
        })
    }
}

/// Terms in the order of the lists, each list filled up to blocks.
fn in_blocks(lists: &Lists, terms: &[f32]) -> Vec<[f32; BLOCK]> {
    if terms.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![[0.0; BLOCK]; lists.block_count()];
    for list in 0..lists.count() as u32 {
        let of_list = blocks[lists.blocks(list).start as usize..].as_flattened_mut();
        of_list.iter_mut().zip(&terms[lists.range(list)]).for_each(|(place, &term)| *place = term);
    }
    blocks
}

/// Int8 codes of all rows in the order of the lists, where they are wanted and pay.
fn rerank_codes(
    kernels: &Kernels,
    coarse: &Coarse,
    lists: &Lists,
    rows: Matrix<'_>,
    wanted: bool,
    threads: usize,
    watch: &Watch<'_>,
) -> Result<Option<RowCodes>> {
    if !wanted || !basis::pays(rows.rows(), rows.dim()) {
        return Ok(None);
    }
    RowCodes::encode(kernels, &coarse.basis(kernels), rows, lists.all_slots(), threads, watch).map(Some)
}

/// Codes, packed, and terms of all rows in the order of the lists.
#[allow(clippy::too_many_arguments, reason = "the parts of an index that is not put together yet")]
fn encode(
    kernels: &Kernels,
    rows: Matrix<'_>,
    metric: Metric,
    bits: Bits,
    coarse: &Coarse,
    lists: &Lists,
    quantizer: &Quantizer,
    threads: usize,
    watch: &Watch<'_>,
) -> Result<(Vec<u8>, Vec<f32>)> {
    const CHUNK: usize = 512;
    let centre = coarse.centre();
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
