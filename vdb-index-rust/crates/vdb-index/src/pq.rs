//! Product quantization: a vector is cut into pieces, and each piece replaced by the number of its nearest codeword
//! (Jégou, Douze, Schmid: "Product quantization for nearest neighbor search", PAMI 2011, section III).
//!
//! ```text
//! order      [dim]               the dimensions of the first piece, of the second one, and so on
//! codebooks  [codewords, dim]    row j holds the j-th codeword of every piece, side by side, in that order
//! pieces     dim 10 in 4 pieces: 3 3 2 2       the first dim % pieces are one longer
//! codes      [rows, bytes]       8 bits: a byte a piece. 4 bits: two pieces a byte, the first one in the low half
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::crosswise::Crosswise;
use crate::dealing;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Words};
use crate::kmeans::{Closeness, Training, lloyd};
use crate::matrix::Matrix;
use crate::pool;
use crate::watch::Watch;

const ITERATIONS: usize = 12;
/// Bits a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    /// 16 codewords; scanned within registers.
    Four,
    /// 256 codewords.
    Eight,
}

impl Bits {
    /// From the number that users write.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is 4 or 8.
    pub(crate) fn new(bits: usize) -> Result<Self> {
        match bits {
            4 => Ok(Bits::Four),
            8 => Ok(Bits::Eight),
            other => Err(Error::Parameter {
                name: "n_bits",
                expected: "4 or 8".to_owned(),
                received: other.to_string(),
            }),
        }
    }

    /// The number that users write.
    pub(crate) fn number(self) -> usize {
        match self {
            Bits::Four => 4,
            Bits::Eight => 8,
        }
    }

    /// Codewords a piece, at most.
    pub(crate) fn codewords(self) -> usize {
        1 << self.number()
    }

    /// Bytes a row of that many pieces.
    pub(crate) fn row_bytes(self, pieces: usize) -> usize {
        match self {
            Bits::Four => pieces.div_ceil(2),
            Bits::Eight => pieces,
        }
    }

    /// Rows that codebooks learn from: 256 a codeword of 16, 64 of 256.
    pub(crate) fn sample(self) -> usize {
        match self {
            Bits::Four => 4096,
            Bits::Eight => 16384,
        }
    }
}

/// # Invariants
/// `starts` ascends strictly from 0 to `dim`; `order` names each dimension once; `codebooks` holds `codewords` rows of `dim` values.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    dim: usize,
    codewords: usize,
    starts: Vec<usize>,
    order: Vec<u32>,
    codebooks: Vec<f32>,
    /// `[dim][codewords]`, for tables.
    crosswise: Vec<f32>,
}

impl Quantizer {
    /// Learn codebooks from `residuals`, of which they keep the share that comes with them. Dimensions make up pieces as they lie, or
    /// in an [order](dealing) that keeps more.
    pub(crate) fn learn(
        kernels: &Kernels,
        residuals: Matrix<'_>,
        pieces: usize,
        bits: Bits,
        seed: u64,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(Self, f64)> {
        let train = |order| -> Result<(Self, f64)> {
            let quantizer = Self::train(kernels, residuals, order, pieces, bits, seed, threads, watch)?;
            let share = quantizer.share(kernels, residuals)?;
            Ok((quantizer, share))
        };
        let plain = train((0..residuals.dim() as u32).collect())?;
        let (spreads, starts) = (dealing::spreads(residuals), starts(residuals.dim(), pieces));
        if !dealing::uneven(&spreads, &starts) {
            return Ok(plain);
        }
        let dealt = train(dealing::deal(&spreads, &starts))?;
        Ok(if dealt.1 > plain.1 { dealt } else { plain })
    }

    #[allow(clippy::too_many_arguments, reason = "what is learnt, from what, and by whom")]
    fn train(
        kernels: &Kernels,
        residuals: Matrix<'_>,
        order: Vec<u32>,
        pieces: usize,
        bits: Bits,
        seed: u64,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let dim = residuals.dim();
        let codewords = bits.codewords().min(residuals.rows());
        let starts = starts(dim, pieces);
        let sample: Vec<u32> = (0..residuals.rows() as u32).collect();
        let crosswise = Crosswise::new(residuals, &order);
        let arranged = arranged(residuals, &order);
        let residuals = Matrix::new(&arranged, residuals.rows(), dim)?;
        let finished = AtomicUsize::new(0);
        let trained = pool::map(threads, pieces, |piece| {
            let (start, width) = (starts[piece], starts[piece + 1] - starts[piece]);
            let training = Training {
                iterations: ITERATIONS,
                closeness: Closeness::Distance,
                seed: seed.wrapping_add(piece as u64 + 1),
                threads: 1,
            };
            let columns = residuals.columns(start, width)?;
            let centroids = lloyd(columns, &sample, codewords, training, |_, centroids| {
                watch.tick("train codebooks", finished.load(Ordering::Relaxed), pieces)?;
                let words = Words::new(Matrix::new(centroids, codewords, width)?);
                let mut assigned = Vec::with_capacity(sample.len());
                crosswise.nearest(kernels, start..start + width, &words, |_, word, key| {
                    assigned.push((word, key));
                });
                Ok(assigned)
            });
            finished.fetch_add(1, Ordering::Relaxed);
            centroids
        });
        let mut codebooks = vec![0.0; codewords * dim];
        for (piece, centroids) in trained.into_iter().enumerate() {
            let width = starts[piece + 1] - starts[piece];
            for (word, values) in centroids?.chunks(width).enumerate() {
                codebooks[word * dim + starts[piece]..][..width].copy_from_slice(values);
            }
        }
        Ok(Self::new(order, pieces, codewords, codebooks))
    }

    /// From codebooks that were learnt before.
    pub(crate) fn new(order: Vec<u32>, pieces: usize, codewords: usize, codebooks: Vec<f32>) -> Self {
        let dim = order.len();
        let mut crosswise = vec![0.0; codebooks.len()];
        for (word, values) in codebooks.chunks(dim).enumerate() {
            for (d, &value) in values.iter().enumerate() {
                crosswise[d * codewords + word] = value;
            }
        }
        Self { dim, codewords, starts: starts(dim, pieces), order, codebooks, crosswise }
    }

    pub(crate) fn pieces(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn codewords(&self) -> usize {
        self.codewords
    }

    pub(crate) fn codebooks(&self) -> &[f32] {
        &self.codebooks
    }

    /// The dimensions in the order of the pieces.
    pub(crate) fn order(&self) -> &[u32] {
        &self.order
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * (self.codebooks.len() + self.crosswise.len() + self.order.len())
    }

    /// The nearest codeword of each piece: `codes[row * pieces + piece]`.
    pub(crate) fn encode(&self, kernels: &Kernels, encoder: &[Words], residuals: Matrix<'_>) -> Vec<u8> {
        let pieces = self.pieces();
        let mut codes = vec![0; residuals.rows() * pieces];
        let crosswise = Crosswise::new(residuals, &self.order);
        for (piece, (words, columns)) in encoder.iter().zip(self.starts.windows(2)).enumerate() {
            crosswise.nearest(kernels, columns[0]..columns[1], words, |row, word, _| {
                codes[row * pieces + piece] = word as u8;
            });
        }
        codes
    }

    /// The share of residuals `r` that their reconstructions `r'` keep, `sum r·r' / sum |r|²`; no number where they are all zero.
    pub(crate) fn share(&self, kernels: &Kernels, residuals: Matrix<'_>) -> Result<f64> {
        let codes = self.encode(kernels, &self.encoder()?, residuals);
        let mut decoded = vec![0.0; self.dim];
        let (mut own, mut kept) = (0.0, 0.0);
        for (row, codes) in (0..residuals.rows() as u32).zip(codes.chunks(self.pieces())) {
            self.decode(codes, &mut decoded);
            let residual = residuals.row(row);
            own += (kernels.dot_exact)(residual, residual);
            kept += (kernels.dot_exact)(residual, &decoded);
        }
        Ok(kept / own)
    }

    /// What [`encode`](Self::encode) needs.
    pub(crate) fn encoder(&self) -> Result<Vec<Words>> {
        let codebooks = Matrix::new(&self.codebooks, self.codewords, self.dim)?;
        self.starts
            .windows(2)
            .map(|piece| Ok(Words::new(codebooks.columns(piece[0], piece[1] - piece[0])?)))
            .collect()
    }

    /// Put the codewords of a row where its dimensions lie.
    pub(crate) fn decode(&self, codes: &[u8], into: &mut [f32]) {
        for (piece, &word) in self.starts.windows(2).zip(codes) {
            let word = &self.codebooks[usize::from(word) * self.dim..][..self.dim];
            for (&d, &value) in self.order[piece[0]..piece[1]].iter().zip(&word[piece[0]..piece[1]]) {
                into[d as usize] = value;
            }
        }
    }

    /// `tables[piece * codewords + word]` = inner product of the query's piece and the codeword; the query's values come in the order of
    /// the pieces.
    pub(crate) fn tables(&self, kernels: &Kernels, query: &[f32], tables: &mut Vec<f32>) {
        tables.clear();
        tables.resize(self.pieces() * self.codewords, 0.0);
        (kernels.tables)(query, &self.crosswise, &self.starts, tables);
    }
}

/// Rows with their values in another order.
fn arranged(rows: Matrix<'_>, order: &[u32]) -> Vec<f32> {
    let mut arranged = Vec::with_capacity(rows.rows() * rows.dim());
    for row in (0..rows.rows() as u32).map(|slot| rows.row(slot)) {
        arranged.extend(order.iter().map(|&d| row[d as usize]));
    }
    arranged
}

/// Where pieces begin, and where the last one ends.
fn starts(dim: usize, pieces: usize) -> Vec<usize> {
    let (width, longer) = (dim / pieces, dim % pieces);
    (0..=pieces).map(|piece| piece * width + piece.min(longer)).collect()
}

/// Put codes of a byte each into the bytes of a row.
pub(crate) fn pack(bits: Bits, codes: &[u8], row: &mut [u8]) {
    match bits {
        Bits::Eight => row.copy_from_slice(codes),
        Bits::Four => {
            for (byte, pair) in row.iter_mut().zip(codes.chunks(2)) {
                *byte = pair[0] | pair.get(1).map_or(0, |high| high << 4);
            }
        }
    }
}

/// The code of one piece of a row.
#[inline]
pub(crate) fn code_at(bits: Bits, row: &[u8], piece: usize) -> u8 {
    match bits {
        Bits::Eight => row[piece],
        Bits::Four => row[piece / 2] >> (4 * (piece % 2)) & 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::watch::Unobserved;

    #[test]
    fn pieces_share_the_dimensions() {
        assert_eq!(starts(10, 4), [0, 3, 6, 8, 10]);
        assert_eq!(starts(8, 4), [0, 2, 4, 6, 8]);
        assert_eq!(starts(3, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn codes_come_back() {
        for pieces in 1..9 {
            let codes: Vec<u8> = (0..pieces).map(|piece| (piece * 7 % 16) as u8).collect();
            for bits in [Bits::Four, Bits::Eight] {
                let mut row = vec![0; bits.row_bytes(pieces)];
                pack(bits, &codes, &mut row);
                assert_eq!((0..pieces).map(|p| code_at(bits, &row, p)).collect::<Vec<_>>(), codes);
            }
        }
    }

    #[test]
    fn more_codewords_lie_closer_and_tables_agree_with_decoding() {
        let (rows, dim, pieces) = (600, 11, 4);
        let mut rng = Rng::new(5, 0);
        let mut data: Vec<f32> = (0..rows * dim).map(|_| rng.below(1000) as f32 / 500.0 - 1.0).collect();
        // The first dimensions tell most.
        data.chunks_mut(dim).for_each(|row| row[..4].iter_mut().for_each(|value| *value *= 3.0));
        let matrix = Matrix::new(&data, rows, dim).unwrap();
        let mut errors = Vec::new();
        for bits in [Bits::Four, Bits::Eight] {
            let kernels = Kernels::best();
            let watch = Watch::new(&Unobserved);
            let (quantizer, share) = Quantizer::learn(kernels, matrix, pieces, bits, 1, 2, &watch).unwrap();
            let codes = quantizer.encode(kernels, &quantizer.encoder().unwrap(), matrix);
            let mut tables = Vec::new();
            let query = matrix.row(17);
            let asked: Vec<f32> = quantizer.order().iter().map(|&d| query[d as usize]).collect();
            quantizer.tables(kernels, &asked, &mut tables);
            let mut error = 0.0;
            for (row, codes) in data.chunks(dim).zip(codes.chunks(pieces)) {
                let mut decoded = vec![0.0; dim];
                quantizer.decode(codes, &mut decoded);
                error += row.iter().zip(&decoded).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
                let product: f32 = query.iter().zip(&decoded).map(|(a, b)| a * b).sum();
                let looked_up: f32 = codes
                    .iter()
                    .enumerate()
                    .map(|(piece, &word)| tables[piece * quantizer.codewords() + usize::from(word)])
                    .sum();
                assert!((product - looked_up).abs() < 1e-4);
            }
            let left = f64::from(error) / (kernels.dot_exact)(&data, &data);
            // Means of what they stand for: what is kept and what is left make up the whole.
            assert!((share + left - 1.0).abs() < 0.02, "{share} {left}");
            assert!(quantizer.order() != (0..dim as u32).collect::<Vec<_>>(), "dealt");
            let order = (0..dim as u32).collect();
            let plain = Quantizer::train(kernels, matrix, order, pieces, bits, 1, 2, &watch).unwrap();
            assert!(share > plain.share(kernels, matrix).unwrap());
            errors.push(error);
        }
        assert!(errors[1] < 0.3 * errors[0], "{errors:?}");
    }
}
