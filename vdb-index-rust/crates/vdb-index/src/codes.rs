//! Codes of rows in the layout in which they are scanned.
//!
//! Eight bits: a byte a piece, row after row. Four bits: blocks of 32 rows of one list, piece after piece, so that one
//! 16-byte load brings a piece of all of them and a table of 16 entries is looked up within a register (André,
//! Kermarrec, Le Scouarnec: "Cache locality is not enough", VLDB 2015):
//!
//! ```text
//! block   piece 0: 16 bytes | piece 1: 16 bytes | ...     pieces filled up with zeros to a multiple of 4
//! byte i  of a piece: row i in the low half, row i + 16 in the high half
//! ```

use crate::kernels::{FAST_ROWS, Kernels, Lanes, PANEL};
use crate::lists::Lists;
use crate::pq::{Bits, code_at, pack};

/// Pieces are filled up to a multiple of this.
const TOGETHER: usize = 4;

#[derive(Clone, Debug)]
pub(crate) enum Codes {
    Rows { pieces: usize, codes: Vec<u8> },
    Blocks { pieces: usize, codes: Vec<u8>, first_block: Vec<usize> },
}

/// What a query knows of the codewords, in the form in which the codes are scanned.
#[derive(Clone, Debug)]
pub(crate) enum Tables {
    /// As computed.
    Rows { words: usize, values: Vec<f32> },
    /// Rounded to whole steps: `value ≈ least + step * sum`.
    Blocks { steps: Vec<u8>, step: f32, least: f32 },
}

impl Codes {
    /// From rows of packed codes in the order of the lists.
    pub(crate) fn new(bits: Bits, pieces: usize, lists: &Lists, rows: Vec<u8>) -> Self {
        if bits == Bits::Eight {
            return Codes::Rows { pieces, codes: rows };
        }
        let row_bytes = bits.row_bytes(pieces);
        let block_bytes = block_bytes(pieces);
        let mut first_block = vec![0];
        for list in 0..lists.count() as u32 {
            first_block.push(first_block[list as usize] + lists.range(list).len().div_ceil(FAST_ROWS));
        }
        let mut codes = vec![0; first_block[lists.count()] * block_bytes];
        for list in 0..lists.count() as u32 {
            let start = first_block[list as usize] * block_bytes;
            for (index, row) in rows[lists.range(list).start * row_bytes..lists.range(list).end * row_bytes]
                .chunks(row_bytes)
                .enumerate()
            {
                let block = start + index / FAST_ROWS * block_bytes;
                let (byte, shift) = place(index % FAST_ROWS);
                for piece in 0..pieces {
                    codes[block + piece * 16 + byte] |= code_at(bits, row, piece) << shift;
                }
            }
        }
        Codes::Blocks { pieces, codes, first_block }
    }

    /// Back to rows of packed codes in the order of the lists.
    pub(crate) fn to_rows(&self, lists: &Lists) -> Vec<u8> {
        let (pieces, codes, first_block) = match self {
            Codes::Rows { codes, .. } => return codes.clone(),
            Codes::Blocks { pieces, codes, first_block } => (*pieces, codes, first_block),
        };
        let row_bytes = Bits::Four.row_bytes(pieces);
        let mut rows = vec![0; lists.all_slots().len() * row_bytes];
        let mut unpacked = vec![0; pieces];
        for list in 0..lists.count() as u32 {
            for (index, position) in lists.range(list).enumerate() {
                let block = (first_block[list as usize] + index / FAST_ROWS) * block_bytes(pieces);
                let (byte, shift) = place(index % FAST_ROWS);
                for (piece, code) in unpacked.iter_mut().enumerate() {
                    *code = codes[block + piece * 16 + byte] >> shift & 15;
                }
                pack(Bits::Four, &unpacked, &mut rows[position * row_bytes..][..row_bytes]);
            }
        }
        rows
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Codes::Rows { codes, .. } => codes.len(),
            Codes::Blocks { codes, first_block, .. } => codes.len() + size_of_val(first_block.as_slice()),
        }
    }

    /// Prepare the tables of a query, `values[piece * words + word]`.
    pub(crate) fn tables(&self, values: &[f32], words: usize) -> Tables {
        let Codes::Blocks { pieces, .. } = self else {
            return Tables::Rows { words, values: values.to_vec() };
        };
        let lowest = |piece: &[f32]| piece.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = |piece: &[f32]| piece.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let widest = values.chunks(words).map(|piece| highest(piece) - lowest(piece)).fold(0.0, f32::max);
        // So many steps that the sum of all pieces still fits 16 bits.
        let levels = (usize::from(u16::MAX) / pieces.next_multiple_of(TOGETHER)).min(255);
        let step = if widest > 0.0 && widest.is_finite() { widest / levels as f32 } else { 1.0 };
        let mut steps = vec![0; pieces.next_multiple_of(TOGETHER) * 16];
        let mut least = 0.0;
        for (piece, steps) in values.chunks(words).zip(steps.chunks_mut(16)) {
            let low = lowest(piece);
            least += low;
            for (step_count, &value) in steps.iter_mut().zip(piece) {
                *step_count = ((value - low) / step).round().min(levels as f32) as u8;
            }
        }
        Tables::Blocks { steps, step, least }
    }

    /// The looked-up sums of up to 32 rows of a list, from row `start` (a multiple of 32) on.
    #[inline]
    pub(crate) fn sums(
        &self,
        kernels: &Kernels,
        tables: &Tables,
        lists: &Lists,
        list: u32,
        start: usize,
        sums: &mut Lanes,
    ) {
        match (self, tables) {
            (Codes::Blocks { pieces, codes, first_block }, Tables::Blocks { steps, step, least }) => {
                let bytes = block_bytes(*pieces);
                let block = first_block[list as usize] + start / FAST_ROWS;
                let mut counts = [0; FAST_ROWS];
                (kernels.fast_scan)(&codes[block * bytes..][..bytes], steps, &mut counts);
                for (sum, &count) in sums.iter_mut().zip(&counts) {
                    *sum = least + step * f32::from(count);
                }
            }
            (Codes::Rows { pieces, codes }, Tables::Rows { words, values }) => {
                let positions = lists.range(list);
                let first = positions.start + start;
                let last = (first + PANEL).min(positions.end);
                for (sum, row) in sums.iter_mut().zip(codes[first * pieces..last * pieces].chunks(*pieces)) {
                    *sum = look_up(row, values, *words);
                }
            }
            // Tables are made by the codes that they are used with.
            _ => sums.fill(f32::INFINITY),
        }
    }
}

/// Four sums, so that one addition does not wait for the one before.
#[inline]
fn look_up(row: &[u8], tables: &[f32], words: usize) -> f32 {
    let mut sums = [0.0f32; 4];
    let (quads, rest) = row.as_chunks::<4>();
    let mut tables = tables.chunks_exact(words);
    for quad in quads {
        for (sum, &code) in sums.iter_mut().zip(quad) {
            if let Some(table) = tables.next() {
                *sum += table[usize::from(code)];
            }
        }
    }
    for (&code, table) in rest.iter().zip(tables) {
        sums[0] += table[usize::from(code)];
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Byte within a piece, and shift within the byte, of a row of a block.
#[inline]
fn place(row: usize) -> (usize, usize) {
    (row % 16, row / 16 * 4)
}

fn block_bytes(pieces: usize) -> usize {
    pieces.next_multiple_of(TOGETHER) * 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;
    use crate::rng::Rng;

    #[test]
    fn blocks_give_back_their_rows_and_sum_like_rows() {
        let mut rng = Rng::new(8, 0);
        for (rows, pieces) in [(1, 1), (31, 3), (33, 4), (200, 9), (100, 300)] {
            let lists = Lists::new((0..rows).map(|row| row % 3), 3);
            let row_bytes = Bits::Four.row_bytes(pieces);
            let mut packed = vec![0; rows as usize * row_bytes];
            let mut plain = Vec::new();
            for row in packed.chunks_mut(row_bytes) {
                let codes: Vec<u8> = (0..pieces).map(|_| rng.below(16) as u8).collect();
                pack(Bits::Four, &codes, row);
                plain.extend(codes);
            }
            let codes = Codes::new(Bits::Four, pieces, &lists, packed.clone());
            assert_eq!(codes.to_rows(&lists), packed);
            let values: Vec<f32> = (0..pieces * 16).map(|_| rng.below(1000) as f32 / 1000.0 - 0.3).collect();
            let tables = codes.tables(&values, 16);
            let Tables::Blocks { step, .. } = tables else { panic!("four bits come in blocks") };
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
                for list in 0..3 {
                    for start in (0..lists.range(list).len()).step_by(32) {
                        let mut sums = [0.0; PANEL];
                        codes.sums(kernels, &tables, &lists, list, start, &mut sums);
                        for (position, sum) in lists.range(list).skip(start).zip(sums) {
                            let expected = look_up(&plain[position * pieces..][..pieces], &values, 16);
                            let tolerance = step * pieces as f32 * 0.51 + 1e-3;
                            assert!((sum - expected).abs() <= tolerance, "{sum} {expected} {kernels:?}");
                        }
                    }
                }
            }
        }
    }
}
