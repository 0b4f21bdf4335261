//! The files of an index; int8 codes are not among them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::coarse::Coarse;
use crate::codes::Codes;
use crate::dealing;
use crate::error::Result;
use crate::filters::Filters;
use crate::ivf_pq::{IvfPq, in_blocks, rerank_codes, stretch};
use crate::kernels::Kernels;
use crate::lists::Lists;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pq::{Bits, Quantizer, code_at};
use crate::scan::Norms;
use crate::store::{self, Header};
use crate::watch::{Unobserved, Watch};
use crate::{npy, pool};

const KIND: &str = "ivf_pq";
const CODES: &str = "codes.npy";
const ORDER: &str = "dimensions.npy";
const CODEBOOKS: &str = "codebooks.npy";
const TERMS: &str = "terms.npy";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    n_lists: usize,
    n_subvectors: usize,
    n_bits: usize,
    codewords: usize,
    seed: u64,
    /// Indexes of before know of none, and their terms go without.
    #[serde(default = "unstretched")]
    stretch: f32,
    /// Whether dimensions make up pieces in another order than they lie.
    #[serde(default)]
    dealt: bool,
}

fn unstretched() -> f32 {
    1.0
}

impl IvfPq {
    /// Write `index.json`, `centroids.npy`, `offsets.npy`, `slots.npy`, `codebooks.npy`, `codes.npy`, for l2
    /// `terms.npy`, and `dimensions.npy` where these are not in their own order.
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
            stretch: self.stretch,
            dealt: !self.quantizer.order().is_sorted(),
        };
        let shape = [self.rows, self.bits.row_bytes(parameters.n_subvectors)];
        let codebooks = [parameters.codewords, self.dim];
        let dealt = parameters.dealt;
        Header::new(KIND, self.metric, self.rows, self.dim, parameters).save(directory)?;
        self.coarse.save(directory)?;
        self.lists.save(directory)?;
        npy::write(&store::file(directory, CODEBOOKS), &codebooks, self.quantizer.codebooks())?;
        npy::write(&store::file(directory, CODES), &shape, &self.codes.to_rows(&self.lists))?;
        if dealt {
            npy::write(&store::file(directory, ORDER), &[self.dim], self.quantizer.order())?;
        }
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
        if !(1.0..=stretch::MOST).contains(&parameters.stretch) {
            return Err(damaged("stretch is out of range"));
        }
        let kernels = Kernels::best();
        let coarse = Coarse::load(kernels, directory, metric, parameters.n_lists, rows)?;
        let lists = Lists::load(directory, parameters.n_lists, rows.rows())?;
        let order: Vec<u32> =
            if parameters.dealt { store::array(directory, ORDER, [dim])? } else { (0..dim as u32).collect() };
        if !dealing::is_order(&order) {
            return Err(store::damaged(directory, ORDER, "not each dimension is named once"));
        }
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
        let (threads, watch) = (pool::cores(), Watch::new(&Unobserved));
        let row_codes = rerank_codes(kernels, &coarse, &lists, rows, codes, threads, &watch)?;
        let norms = Norms::default();
        if row_codes.is_none() {
            norms.prepare(kernels, metric, rows, threads, &watch)?;
        }
        Ok(Self {
            kernels,
            metric,
            rows: rows.rows(),
            dim,
            seed: parameters.seed,
            bits,
            codes: Codes::new(kernels.fast_layout, bits, pieces, &lists, packed),
            row_codes,
            terms: in_blocks(&lists, &terms),
            quantizer: Quantizer::new(order, pieces, codewords, codebooks),
            stretch: parameters.stretch,
            coarse,
            lists,
            filters: Filters::default(),
            norms,
        })
    }
}
