//! Codes of rows in the layout in which they are scanned.
//!
//! Eight bits: a byte a piece, row after row. Four bits: blocks of 16 rows of one list, see [`crate::kernels::FastLayout`].

use std::ops::Range;

use crate::huge::Array;
use crate::kernels::{
    BLOCK, FAST_GROUP, FAST_WORDS, FastKeys, FastLayout, FastSums, Kernels, TABLES_TOGETHER,
};
use crate::lists::Lists;
use crate::pq::{Bits, code_at, pack};
use crate::shortlist::Shortlist;

/// Blocks after which a shortlist may lower its limit.
const PART: usize = 64;

#[derive(Debug)]
pub(crate) enum Codes {
    Rows { pieces: usize, codes: Vec<u8> },
    Blocks { pieces: usize, layout: FastLayout, codes: Array<u8> },
}

/// What a query knows of the codewords, in the form in which the codes are scanned.
#[derive(Clone, Debug)]
pub(crate) enum Tables {
    /// As computed.
    Rows { words: usize, values: Vec<f32> },
    /// Rounded to whole steps: `value ≈ least + step * sum`.
    Blocks { steps: Vec<u8>, step: f32, least: f32 },
}

/// Sums of the rows of a list for up to four queries, and what they were made of; used again and again.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    fast: Vec<FastSums>,
    passed: Vec<u16>,
}

impl Codes {
    /// From rows of packed codes in the order of the lists.
    pub(crate) fn new(layout: FastLayout, bits: Bits, pieces: usize, lists: &Lists, rows: Vec<u8>) -> Self {
        if bits == Bits::Eight {
            return Codes::Rows { pieces, codes: rows };
        }
        let (row_bytes, bytes) = (bits.row_bytes(pieces), block_bytes(pieces));
        let mut codes = Array::zeroed(lists.block_count() * bytes);
        for list in 0..lists.count() as u32 {
            let of_list = &mut codes[lists.blocks(list).start as usize * bytes..];
            let packed = &rows[lists.range(list).start * row_bytes..lists.range(list).end * row_bytes];
            for (index, row) in packed.chunks(row_bytes).enumerate() {
                let block = &mut of_list[index / BLOCK * bytes..][..bytes];
                for piece in 0..pieces {
                    let (byte, shift) = layout.place(index % BLOCK, piece);
                    block[byte] |= code_at(bits, row, piece) << shift;
                }
            }
        }
        Codes::Blocks { pieces, layout, codes }
    }

    /// Back to rows of packed codes in the order of the lists.
    pub(crate) fn to_rows(&self, lists: &Lists) -> Vec<u8> {
        let (pieces, layout, codes) = match self {
            Codes::Rows { codes, .. } => return codes.clone(),
            Codes::Blocks { pieces, layout, codes } => (*pieces, *layout, codes),
        };
        let (row_bytes, bytes) = (Bits::Four.row_bytes(pieces), block_bytes(pieces));
        let mut rows = vec![0; lists.all_slots().len() * row_bytes];
        let mut unpacked = vec![0; pieces];
        for list in 0..lists.count() as u32 {
            let of_list = &codes[lists.blocks(list).start as usize * bytes..];
            for (index, position) in lists.range(list).enumerate() {
                let block = &of_list[index / BLOCK * bytes..][..bytes];
                for (piece, code) in unpacked.iter_mut().enumerate() {
                    let (byte, shift) = layout.place(index % BLOCK, piece);
                    *code = block[byte] >> shift & 15;
                }
                pack(Bits::Four, &unpacked, &mut rows[position * row_bytes..][..row_bytes]);
            }
        }
        rows
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Codes::Rows { codes, .. } => codes.len(),
            Codes::Blocks { codes, .. } => codes.len(),
        }
    }

    /// Prepare the tables of a query, `values[piece * words + word]`.
    pub(crate) fn tables(&self, kernels: &Kernels, values: &[f32], words: usize) -> Tables {
        let Codes::Blocks { pieces, .. } = self else {
            return Tables::Rows { words, values: values.to_vec() };
        };
        let mut steps = vec![0; pieces.next_multiple_of(FAST_GROUP) * FAST_WORDS];
        let (step, least) = (kernels.fast_tables)(values, words, &mut steps);
        Tables::Blocks { steps, step, least }
    }

    /// Ask for the first codes of a list; the hardware goes on from there.
    #[inline]
    pub(crate) fn prefetch(&self, kernels: &Kernels, lists: &Lists, list: u32) {
        let Codes::Blocks { pieces, codes, .. } = self else { return };
        let (blocks, bytes) = (lists.blocks(list), block_bytes(*pieces));
        let of_list = &codes[blocks.start as usize * bytes..blocks.end as usize * bytes];
        (kernels.prefetch)(&of_list[..of_list.len().min(1024)]);
    }

    /// Offer the rows of a list that are `live` (bit `i` of block `b`: row `16 b + i`) to the shortlists `who`, up to four, with
    /// tables for each. A row's key is that of the list, which each knows by another one, and its looked-up sum and term.
    #[allow(clippy::too_many_arguments, reason = "which rows for which queries, and what becomes of them")]
    pub(crate) fn scan(
        &self,
        kernels: &Kernels,
        (lists, list): (&Lists, u32),
        tables: &[&Tables],
        live: &[u16],
        terms: &[[f32; BLOCK]],
        scratch: &mut Sums,
        (who, keys): (&[u32], &[f32]),
        found: &mut [Shortlist],
    ) {
        let Sums { fast, passed } = scratch;
        let first = lists.range(list).start;
        match self {
            Codes::Blocks { pieces, codes, .. } => {
                let (blocks, bytes) = (lists.blocks(list), block_bytes(*pieces));
                let codes = &codes[blocks.start as usize * bytes..blocks.end as usize * bytes];
                fast.resize(live.len() * tables.len(), [0; BLOCK]);
                passed.resize(live.len(), 0);
                let mut of_queries: [&[u8]; TABLES_TOGETHER] = [&[]; TABLES_TOGETHER];
                for (place, tables) in of_queries.iter_mut().zip(tables) {
                    if let Tables::Blocks { steps, .. } = tables {
                        *place = steps;
                    }
                }
                let mut end = 0;
                while let Some(run) = next_run(live, end) {
                    let (start, length) = (run.start, run.len());
                    end = run.end;
                    let sums = &mut fast[..length * tables.len()];
                    (kernels.fast_scan)(
                        &codes[start * bytes..][..length * bytes],
                        &of_queries[..tables.len()],
                        sums,
                    );
                    for (q, tables) in tables.iter().enumerate() {
                        let &&Tables::Blocks { step, least, .. } = &tables else { continue };
                        let shortlist = &mut found[who[q] as usize];
                        for from in (0..length).step_by(PART) {
                            let part = from..length.min(from + PART);
                            let sums = &sums[q * length..][part.clone()];
                            let part = start + part.start..start + part.end;
                            let terms = terms.get(part.clone()).unwrap_or_default();
                            let passed = &mut passed[part.clone()];
                            shortlist.extend(|limit, items| {
                                // Rounding must not cost a row whose key is the limit.
                                let below = limit - keys[q];
                                let room = (below.abs() + least.abs()) * 1e-5;
                                (kernels.fast_screen)(sums, terms, *step, below - least + room, passed);
                                let first = (first + part.start * BLOCK) as u32;
                                let keys = FastKeys {
                                    live: &live[part],
                                    terms,
                                    step: *step,
                                    least: *least,
                                    list: keys[q],
                                    limit,
                                    first,
                                };
                                (kernels.fast_keep)(sums, passed, &keys, items);
                            });
                        }
                    }
                }
            }
            Codes::Rows { pieces, codes } => {
                let positions = lists.range(list);
                let codes = &codes[positions.start * pieces..positions.end * pieces];
                for (q, tables) in tables.iter().enumerate() {
                    let Tables::Rows { words, values } = tables else { continue };
                    let shortlist = &mut found[who[q] as usize];
                    for (at, row) in codes.chunks(*pieces).enumerate() {
                        if live[at / BLOCK] >> (at % BLOCK) & 1 == 1 {
                            let term = terms.get(at / BLOCK).map_or(0.0, |terms| terms[at % BLOCK]);
                            shortlist
                                .offer(keys[q] + (look_up(row, values, *words) + term), (first + at) as u32);
                        }
                    }
                }
            }
        }
    }
}

/// The next blocks from `from` on that have rows, with gaps between them that cost less than to begin anew.
fn next_run(live: &[u16], from: usize) -> Option<Range<usize>> {
    const GAP: usize = 4;
    let start = from + live[from..].iter().position(|&rows| rows != 0)?;
    let mut end = start + 1;
    for (at, &rows) in live.iter().enumerate().skip(end) {
        if rows != 0 {
            end = at + 1;
        } else if at - end >= GAP {
            break;
        }
    }
    Some(start..end)
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

fn block_bytes(pieces: usize) -> usize {
    pieces.next_multiple_of(FAST_GROUP) * BLOCK / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::Filter;
    use crate::kernels::Isa;
    use crate::rng::Rng;

    #[test]
    fn blocks_give_back_their_rows_and_sum_like_rows() {
        let mut rng = Rng::new(8, 0);
        let sizes = [(1, 1), (31, 3), (33, 4), (900, 9), (100, 300)];
        // The large ones take Miri an hour.
        for (rows, pieces) in sizes.into_iter().take(if cfg!(miri) { 3 } else { sizes.len() }) {
            let lists = Lists::new((0..rows).map(|row| row % 3), 3);
            let row_bytes = Bits::Four.row_bytes(pieces);
            let mut packed = vec![0; rows as usize * row_bytes];
            let mut plain = Vec::new();
            for row in packed.chunks_mut(row_bytes) {
                let codes: Vec<u8> = (0..pieces).map(|_| rng.below(16) as u8).collect();
                pack(Bits::Four, &codes, row);
                plain.extend(codes);
            }
            let mut values =
                || -> Vec<f32> { (0..pieces * 16).map(|_| rng.below(1000) as f32 / 1000.0 - 0.3).collect() };
            let values: [Vec<f32>; 4] = std::array::from_fn(|_| values());
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
                let codes = Codes::new(kernels.fast_layout, Bits::Four, pieces, &lists, packed.clone());
                assert_eq!(codes.to_rows(&lists), packed);
                for queries in 1..=4 {
                    let tables: Vec<Tables> =
                        values[..queries].iter().map(|values| codes.tables(kernels, values, 16)).collect();
                    let tables: Vec<&Tables> = tables.iter().collect();
                    for list in 0..3 {
                        let mut made = Vec::new();
                        let mut live = lists.live(kernels, list, &Filter::None, &mut made).0.to_vec();
                        // Gaps of one and of many.
                        live.iter_mut().skip(1).step_by(3).for_each(|rows| *rows = 0);
                        live.iter_mut().skip(4).take(7).for_each(|rows| *rows = 0);
                        let (who, keys) = ([0, 1, 2, 3], [0.5, 1.0, -2.0, 0.0]);
                        let mut found = vec![Shortlist::new(rows as usize); queries];
                        codes.scan(
                            kernels,
                            (&lists, list),
                            &tables,
                            &live,
                            &[],
                            &mut Sums::default(),
                            (&who[..queries], &keys[..queries]),
                            &mut found,
                        );
                        for (q, found) in found.into_iter().enumerate() {
                            let found = found.finish();
                            assert_eq!(
                                found.len() as u32,
                                live.iter().map(|rows| rows.count_ones()).sum::<u32>()
                            );
                            for (key, position) in found {
                                let (position, first) = (position as usize, lists.range(list).start);
                                let row = position - first;
                                assert!(live[row / 16] >> (row % 16) & 1 == 1);
                                let sum = look_up(&plain[position * pieces..][..pieces], &values[q], 16);
                                let Tables::Blocks { step, .. } = tables[q] else { panic!("four bits") };
                                let tolerance = step * pieces as f32 * 0.51 + 1e-3;
                                let off = key - keys[q] - sum;
                                assert!(off.abs() <= tolerance, "{key} {sum} {kernels:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
