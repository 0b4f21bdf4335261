//! A checked view of float32 rows; inner loops take it and check nothing again.

use crate::error::{Error, Result};

/// What fits a row; more than any index can use.
const MAX_DIM: usize = 1 << 24;

/// Rows of float32 in memory that somebody else owns.
///
/// # Invariants
/// `data.len() >= (rows - 1) * stride + offset + dim` when there are rows, `1 <= dim <= stride`, `dim <= 2^24` (rows
/// that are not there may have any length, and an index keeps vectors of that length), and `rows < u32::MAX`, so that a
/// slot fits 32 bits and `0xFFFF_FFFF` is free to mean "no slot".
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    dim: usize,
    stride: usize,
    offset: usize,
}

impl<'a> Matrix<'a> {
    /// View `data` as `rows` rows of `dim` values, one after the other.
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes do not agree, `dim` is 0 or above 16,777,216, or there are too many rows for
    /// 32-bit slots.
    pub fn new(data: &'a [f32], rows: usize, dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(shape("vectors", "at least one dimension", "dimension 0"));
        }
        if dim > MAX_DIM {
            return Err(shape("vectors", "at most 16,777,216 dimensions", &format!("dimension {dim}")));
        }
        if rows >= u32::MAX as usize {
            return Err(shape("vectors", "fewer than 4,294,967,295 rows", &format!("{rows} rows")));
        }
        if rows.checked_mul(dim) != Some(data.len()) {
            return Err(shape(
                "vectors",
                &format!("{rows} x {dim} values"),
                &format!("{} values", data.len()),
            ));
        }
        Ok(Self { data, rows, dim, stride: dim, offset: 0 })
    }

    /// The same rows, cut down to the columns `start..start + dim`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the columns are not inside of the view or there are none.
    pub fn columns(self, start: usize, dim: usize) -> Result<Self> {
        if dim == 0 || start.checked_add(dim).is_none_or(|end| end > self.dim) {
            return Err(shape(
                "columns",
                &format!("1 to {} columns", self.dim),
                &format!("{dim} from column {start}"),
            ));
        }
        Ok(Self { dim, offset: self.offset + start, ..self })
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values a row.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One row; exactly [`dim`](Self::dim) values. A slot past the end panics rather than read foreign memory.
    #[inline]
    pub fn row(&self, slot: u32) -> &'a [f32] {
        let start = slot as usize * self.stride + self.offset;
        &self.data[start..start + self.dim]
    }
}

fn shape(what: &'static str, expected: &str, received: &str) -> Error {
    Error::Shape { what, expected: expected.to_owned(), received: received.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_sizes_that_do_not_agree() {
        assert!(Matrix::new(&[0.0; 6], 2, 3).is_ok());
        assert!(Matrix::new(&[0.0; 5], 2, 3).is_err());
        assert!(Matrix::new(&[], 0, 3).is_ok());
        assert!(Matrix::new(&[], 0, 0).is_err());
        assert!(Matrix::new(&[], usize::MAX, 2).is_err());
        assert!(Matrix::new(&[], 0, 1 << 24).is_ok());
        assert!(Matrix::new(&[], 0, (1 << 24) + 1).is_err());
    }

    #[test]
    fn cuts_columns() {
        let data: Vec<f32> = (0..12u8).map(f32::from).collect();
        let matrix = Matrix::new(&data, 3, 4).unwrap();
        let cut = matrix.columns(1, 2).unwrap();
        assert_eq!(cut.row(2), &[9.0, 10.0]);
        assert_eq!(cut.columns(1, 1).unwrap().row(0), &[2.0]);
        assert!(matrix.columns(3, 2).is_err());
        assert!(matrix.columns(0, 0).is_err());
        assert!(matrix.columns(usize::MAX, 2).is_err());
    }
}
