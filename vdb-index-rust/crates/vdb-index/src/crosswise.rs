//! Rows side by side, 16 at a time, so that a register holds the same dimension of many of them.
//!
//! ```text
//! values[block * dim + d][row]    of row 16 block + row, dimension order[d]; rows that are not there are zero
//! ```

use std::ops::Range;

use crate::kernels::{BLOCK, Kernels, Words};
use crate::matrix::Matrix;

/// # Invariants
/// `values` holds `dim` columns for each block of rows, the last one filled up.
#[derive(Debug)]
pub(crate) struct Crosswise {
    rows: usize,
    dim: usize,
    values: Vec<[f32; BLOCK]>,
}

impl Crosswise {
    /// Rows with their values in an `order` that names dimensions of theirs.
    ///
    /// # Allocates
    /// As many values as there are.
    pub(crate) fn new(rows: Matrix<'_>, order: &[u32]) -> Self {
        let mut values = vec![[0.0; BLOCK]; rows.rows().div_ceil(BLOCK) * order.len()];
        for (block, columns) in values.chunks_mut(order.len().max(1)).enumerate() {
            let first = block * BLOCK;
            for (lane, slot) in (first..rows.rows().min(first + BLOCK)).enumerate() {
                let row = rows.row(slot as u32);
                columns.iter_mut().zip(order).for_each(|(column, &d)| column[lane] = row[d as usize]);
            }
        }
        Self { rows: rows.rows(), dim: order.len(), values }
    }

    /// Tell `found` for each row which of `words` is nearest to these columns of it, and its key.
    pub(crate) fn nearest(
        &self,
        kernels: &Kernels,
        columns: Range<usize>,
        words: &Words,
        mut found: impl FnMut(usize, u32, f32),
    ) {
        for (block, values) in self.values.chunks(self.dim.max(1)).enumerate() {
            let nearest = (kernels.nearest_word)(&values[columns.clone()], words);
            let first = block * BLOCK;
            for (lane, row) in (first..self.rows.min(first + BLOCK)).enumerate() {
                found(row, nearest.words[lane], nearest.keys[lane]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_finds_its_own_codeword() {
        for rows in [1u16, 15, 16, 17, 40] {
            // Row i is (i, -i, 100); its columns in another order are met by codewords (100, i).
            let data: Vec<f32> = (0..rows).flat_map(|i| [f32::from(i), -f32::from(i), 100.0]).collect();
            let words: Vec<f32> = (0..rows).rev().flat_map(|i| [100.0, f32::from(i)]).collect();
            let words = Words::new(Matrix::new(&words, rows.into(), 2).unwrap());
            let crosswise = Crosswise::new(Matrix::new(&data, rows.into(), 3).unwrap(), &[1, 2, 0]);
            let mut seen = Vec::new();
            crosswise.nearest(Kernels::best(), 1..3, &words, |row, word, key| seen.push((row, word, key)));
            assert_eq!(seen.len(), usize::from(rows));
            for (at, &(row, word, key)) in seen.iter().enumerate() {
                let own = (10_000 + at * at) as f32;
                assert_eq!((row, word as usize, key), (at, seen.len() - 1 - at, -own / 2.0));
            }
        }
    }
}
