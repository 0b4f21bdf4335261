//! The set of slots that a search may return: 64 slots a word, least significant bit first.

use crate::error::{Error, Result};

/// A checked view of bitmap words over `rows` slots.
///
/// # Invariants
/// There are exactly `ceil(rows / 64)` words. Bits beyond `rows` may be set by a careless caller: they are masked
/// off where words are read.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    words: &'a [u64],
    rows: usize,
}

impl<'a> Bitmap<'a> {
    /// View `words` as the bitmap of `rows` slots.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of words is not `ceil(rows / 64)`.
    pub fn new(words: &'a [u64], rows: usize) -> Result<Self> {
        let expected = rows.div_ceil(64);
        if words.len() != expected {
            return Err(Error::Shape {
                what: "allowed",
                expected: format!("{expected} words of 64 bits for {rows} rows"),
                received: format!("{} words", words.len()),
            });
        }
        Ok(Self { words, rows })
    }

    /// The word of the slots `64 * index ..`, with bits beyond the rows cleared.
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        let left = self.rows - index * 64;
        if left >= 64 { self.words[index] } else { self.words[index] & ((1 << left) - 1) }
    }

    /// Whether a slot is in the set; slots past the end are not.
    #[inline]
    pub fn contains(&self, slot: u32) -> bool {
        let slot = slot as usize;
        slot < self.rows && self.words[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// The words, and how many slots they are about; bits beyond may be set.
    #[inline]
    pub(crate) fn words(&self) -> (&'a [u64], usize) {
        (self.words, self.rows)
    }

    /// The same set by words in another place, as many.
    #[inline]
    pub(crate) fn over<'b>(&self, words: &'b [u64]) -> Bitmap<'b> {
        assert_eq!(words.len(), self.words.len(), "as many words");
        Bitmap { words, rows: self.rows }
    }

    /// The slots in the set, ascending.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        (0..self.words.len()).flat_map(|index| {
            let mut word = self.word(index);
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                (word != 0).then(|| {
                    word &= word - 1;
                    (index * 64) as u32 + bit
                })
            })
        })
    }

    /// Number of slots in the set.
    pub fn count(&self) -> usize {
        (0..self.words.len()).map(|index| self.word(index).count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_bits_beyond_the_rows() {
        let words = [u64::MAX, u64::MAX];
        let bitmap = Bitmap::new(&words, 70).unwrap();
        assert_eq!(bitmap.count(), 70);
        assert_eq!(bitmap.word(1), 0b11_1111);
        assert!(bitmap.contains(69));
        assert!(!bitmap.contains(70));
        assert!(!bitmap.contains(u32::MAX));
        assert!(Bitmap::new(&words, 64).is_err());
        assert!(Bitmap::new(&[], 0).is_ok());
    }
}
