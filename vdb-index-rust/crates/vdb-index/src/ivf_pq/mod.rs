//! Inverted file over product-quantized residuals, with a re-rank over the full rows.
//!
//! The row `x` of list `c` is kept as the code of `x - c`, whose reconstruction is `r`. Tables are made once a query,
//! not once a list, because the query meets the list and the code apart:
//!
//! ```text
//! q·x     ≈  q·c + s q·r
//! |q-x|²  ≈  |q-c|² + (|x-c|² + 2 s (c-m)·r) - 2 s (q-m)·r       the bracket is kept, a float a row
//! ```
//!
//! `m`, the mean of the centroids, cancels; without it the two products would be large wherever rows lie far from zero. `s`
//! makes up for what reconstructions are too short, see [`stretch`]: without it rows of lists that lie farther off come out too
//! far beside those of near ones, and up to twice as many estimates have to be re-ranked.
//!
//! With L lists, P of them probed, M pieces of B bits, R rows re-ranked: build O(n L d + n 2^B d), query
//! O(L d + 2^B d + n M P / L + R d), space n M B / 8 bytes of codes, 4 n for slots, for l2 another 4 n, and
//! (L + 2 · 2^B) d floats.

mod files;
mod search;
mod stretch;

use crate::basis;
use crate::coarse::Coarse;
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::ivf_flat;
use crate::kernels::{BLOCK, Kernels};
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::pq::{Bits, Quantizer, pack};
use crate::rng::Rng;
use crate::rowcodes::RowCodes;
use crate::scan::Norms;
use crate::watch::{Observer, Watch};

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

/// Pieces when the user names no number: of 4 bits, one for each four values, so that a value takes one bit, but no fewer than
/// 96 as long as each has two values, because with few pieces the estimates say too little and re-ranking is what
/// takes the time (128 dimensions: 64 pieces find 98 % of the nearest where 32 do not). Of 8 bits, half as many.
pub fn default_subvectors(dim: usize, bits: usize) -> usize {
    const FEW: usize = 96;
    let pieces = dim.div_ceil(4).max(dim.div_ceil(2).min(FEW));
    if bits == 4 { pieces } else { pieces.div_ceil(2) }
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
    filters: Filters,
    quantizer: Quantizer,
    stretch: f32,
    codes: Codes,
    row_codes: Option<RowCodes>,
    /// `|x-c|² + 2 s (c-m)·r` of each row of each block, for l2; else nothing.
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
        let (quantizer, share) = {
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
            Quantizer::learn(kernels, residuals, pieces, bits, options.seed, threads, &watch)?
        };
        let (codes, parts) =
            encode(kernels, rows, metric, bits, &coarse, &lists, &quantizer, threads, &watch)?;
        let coded = stretch::Coded {
            kernels,
            rows,
            metric,
            bits,
            coarse: &coarse,
            lists: &lists,
            quantizer: &quantizer,
            codes: &codes,
        };
        let stretch = stretch::best(&coded, share, options.seed, threads, &watch)?;
        let terms: Vec<f32> = parts.iter().map(|&[square, across]| square + 2.0 * stretch * across).collect();
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
            filters: Filters::default(),
            quantizer,
            stretch,
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
            ("filters", self.filters.bytes()),
        ];
        let row_codes = self.row_codes.as_ref().map(|codes| ("rerank codes", codes.bytes()));
        parts.into_iter().chain(row_codes).collect()
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

/// Codes, packed, of all rows in the order of the lists and, for l2, what their terms are made of: `|x-c|²` and `(c-m)·r`.
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
) -> Result<(Vec<u8>, Vec<[f32; 2]>)> {
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
        let codes = quantizer.encode(kernels, &encoder, Matrix::new(&residuals, slots.len(), dim)?);
        let mut packed = vec![0; slots.len() * row_bytes];
        let mut terms = Vec::new();
        let mut decoded = vec![0.0; dim];
        let coded = codes.chunks(pieces).zip(packed.chunks_mut(row_bytes));
        for (((codes, row), residual), &list) in coded.zip(residuals.chunks(dim)).zip(&list_at[start..]) {
            pack(bits, codes, row);
            if metric == Metric::L2 {
                quantizer.decode(codes, &mut decoded);
                let across: f64 = decoded
                    .iter()
                    .zip(coarse.centroid(list).iter().zip(centre))
                    .map(|(&r, (&c, &m))| f64::from(r) * (f64::from(c) - f64::from(m)))
                    .sum();
                let square = (kernels.dot_exact)(residual, residual);
                terms.push([square as f32, across as f32]);
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
