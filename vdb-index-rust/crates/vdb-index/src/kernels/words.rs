//! The nearest codeword of 16 rows at once, each row in a lane of its own, so that nothing is compared across lanes.

use super::blocks::BLOCK;
use crate::matrix::Matrix;

/// The nearest of `words` to each of 16 rows, of which `columns[d]` holds the same dimension: where `|w|²/2 - x·w` is smallest, and of
/// equals the first.
pub type NearestWordKernel = fn(columns: &[[f32; BLOCK]], words: &Words) -> NearestWord;

/// Codewords of a piece, as [`NearestWordKernel`] takes them.
///
/// # Invariants
/// `negative` holds `width` values for each of `halves`.
#[derive(Clone, Debug)]
pub struct Words {
    width: usize,
    negative: Vec<f32>,
    halves: Vec<f32>,
}

impl Words {
    /// Each row is one of them.
    pub fn new(words: Matrix<'_>) -> Self {
        let rows = || (0..words.rows() as u32).map(|word| words.row(word));
        Self {
            width: words.dim(),
            negative: rows().flatten().map(|&value| -value).collect(),
            halves: rows().map(half_square).collect(),
        }
    }
}

/// Half of the squared length, rounded once.
fn half_square(vector: &[f32]) -> f32 {
    (vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / 2.0) as f32
}

/// The nearest codeword of each of 16 rows, and its key. Where nothing compares (NaN, overflow) the first is as good as any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestWord {
    /// The smallest keys.
    pub keys: [f32; BLOCK],
    /// The numbers of their codewords.
    pub words: [u32; BLOCK],
}

/// `FUSED` where the CPU multiplies and adds in one instruction.
#[allow(clippy::needless_range_loop, reason = "with indices alone the compiler keeps the lanes in registers")]
#[inline(always)]
pub(super) fn nearest_word<const FUSED: bool>(columns: &[[f32; BLOCK]], words: &Words) -> NearestWord {
    assert_eq!(columns.len(), words.width, "rows are as long as codewords");
    let mut nearest = NearestWord { keys: [f32::INFINITY; BLOCK], words: [0; BLOCK] };
    for (number, (word, &half)) in (0..).zip(words.negative.chunks_exact(words.width).zip(&words.halves)) {
        let mut keys = [half; BLOCK];
        for (column, &value) in columns.iter().zip(word) {
            for lane in 0..BLOCK {
                keys[lane] = if FUSED {
                    column[lane].mul_add(value, keys[lane])
                } else {
                    keys[lane] + column[lane] * value
                };
            }
        }
        for lane in 0..BLOCK {
            let smaller = keys[lane] < nearest.keys[lane];
            nearest.keys[lane] = if smaller { keys[lane] } else { nearest.keys[lane] };
            nearest.words[lane] = if smaller { number } else { nearest.words[lane] };
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Isa, Kernels};
    use crate::rng::Rng;

    fn all() -> impl Iterator<Item = &'static Kernels> {
        Isa::ALL.into_iter().filter_map(Kernels::of)
    }

    /// Small whole numbers, so that every sum is exact and many keys are equal.
    fn numbers(rng: &mut Rng, count: usize, below: usize) -> Vec<f32> {
        (0..count).map(|_| rng.below(below) as f32 - (below / 2) as f32).collect()
    }

    #[test]
    fn the_first_of_the_nearest_on_every_cpu() {
        let mut rng = Rng::new(4, 4);
        for width in [1, 2, 3, 4, 7, 16, 33].into_iter().take(if cfg!(miri) { 3 } else { 7 }) {
            for count in [1, 2, 15, 16, 17, 256].into_iter().take(if cfg!(miri) { 4 } else { 6 }) {
                let values = numbers(&mut rng, width * count, 5);
                let words = Words::new(Matrix::new(&values, count, width).unwrap());
                let columns: Vec<[f32; BLOCK]> =
                    (0..width).map(|_| numbers(&mut rng, BLOCK, 7).try_into().unwrap()).collect();
                let mut expected = NearestWord { keys: [f32::INFINITY; BLOCK], words: [0; BLOCK] };
                for row in 0..BLOCK {
                    for (number, word) in values.chunks(width).enumerate() {
                        let key: f32 =
                            word.iter().zip(&columns).map(|(w, column)| w * w / 2.0 - w * column[row]).sum();
                        if key < expected.keys[row] {
                            (expected.keys[row], expected.words[row]) = (key, number as u32);
                        }
                    }
                }
                for kernels in all() {
                    assert_eq!((kernels.nearest_word)(&columns, &words), expected, "{}", kernels.isa);
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_as_near_to_the_first_as_to_any() {
        let words = Words::new(Matrix::new(&[1.0, f32::INFINITY, f32::NAN, 3e38], 4, 1).unwrap());
        for (value, nearest) in [(f32::NAN, 0), (f32::INFINITY, 0), (2.0, 0), (-3e38, 0)] {
            for kernels in all() {
                assert_eq!((kernels.nearest_word)(&[[value; BLOCK]], &words).words, [nearest; BLOCK]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "as long as codewords")]
    fn rows_of_another_length_are_refused() {
        (Kernels::best().nearest_word)(&[], &Words::new(Matrix::new(&[1.0], 1, 1).unwrap()));
    }
}
