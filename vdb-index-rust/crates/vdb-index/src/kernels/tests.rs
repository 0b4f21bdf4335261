//! Every instruction set against the scalar loops and against float64.
//!
//! `VDB_REQUIRE_ISA` (a comma-separated list such as `avx2,avx512`) names the sets that must be present: a test
//! machine that lacks one fails instead of passing on nothing.

use super::{
    BLOCK, BLOCKS, Best, BlockBounds, BlockSums, Blocks, CodedQuery, FAST_GROUP, FAST_WORDS, FastKeys, Isa,
    Kernels, Lanes, Meeting, NearestRow, PANEL, Packed, Panel, Passing, Pick, Planes, RowBound, Sifted,
    put_bound,
};
use crate::matrix::Matrix;
use crate::rng::Rng;
use crate::shortlist::item;
use proptest::prelude::*;

fn present() -> Vec<&'static Kernels> {
    let found: Vec<_> = Isa::ALL.iter().filter_map(|&isa| Kernels::of(isa)).collect();
    let required = std::env::var("VDB_REQUIRE_ISA").unwrap_or_default();
    for name in required.split(',').filter(|name| !name.is_empty()) {
        assert!(
            found.iter().any(|kernels| kernels.isa.as_str() == name),
            "VDB_REQUIRE_ISA asks for {name}, which this CPU or build does not have"
        );
    }
    found
}

/// Every `nth` of them under Miri, which takes a thousand times as long; all of them elsewhere.
fn thinned<T>(all: impl IntoIterator<Item = T>, nth: usize) -> impl Iterator<Item = T> {
    all.into_iter().step_by(if cfg!(miri) { nth } else { 1 })
}

fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| (rng.below(2_000_001) as f32 - 1_000_000.0) / 1_000_000.0).collect()
}

fn close(value: f32, oracle: f32, magnitude: f32) -> bool {
    (value.is_nan() && oracle.is_nan()) || value == oracle || (value - oracle).abs() <= 1e-5 * magnitude
}

fn compare(kernels: &Kernels, rows: Matrix<'_>, queries: &[Vec<f32>]) {
    let oracle = Kernels::of(Isa::Scalar).unwrap();
    let n = rows.rows();
    // Not in order, and one row twice: kernels gather.
    let slots: Vec<u32> = (0..n).rev().chain([0]).map(|slot| slot as u32).collect();
    let magnitude = rows.dim() as f32 * 4.0;
    let panel = Panel::pack(queries.iter().map(Vec::as_slice), rows.dim());
    for (kernel, of_panel, expected) in [
        (kernels.dot_rows, kernels.dot_panel, oracle.dot_rows),
        (kernels.l2_rows, kernels.l2_panel, oracle.l2_rows),
    ] {
        let mut lanes = vec![[f32::NAN; PANEL]; slots.len()];
        of_panel(&panel, rows, &slots, &mut lanes);
        for (lane, query) in queries.iter().enumerate() {
            let mut values = vec![0.0; slots.len()];
            let mut oracle_values = vec![0.0; slots.len()];
            kernel(query, rows, &slots, &mut values);
            expected(query, rows, &slots, &mut oracle_values);
            for i in 0..slots.len() {
                let context = (kernels.isa, rows.dim(), slots[i], values[i], oracle_values[i]);
                assert!(close(values[i], oracle_values[i], magnitude), "rows {context:?}");
                assert!(
                    close(lanes[i][lane], oracle_values[i], magnitude),
                    "panel {context:?} {}",
                    lanes[i][lane]
                );
            }
        }
    }
}

#[test]
fn agree_with_the_scalar_loops_for_every_length_and_alignment() {
    let mut rng = Rng::new(1, 0);
    for kernels in present() {
        for dim in thinned((1..=2 * 2 * 16 + 1).chain([384, 1000]), 32) {
            for shift in 0..3 {
                let n = 15;
                let data = random(&mut rng, shift + n * dim);
                let query_data: Vec<Vec<f32>> = (0..3).map(|_| random(&mut rng, dim)).collect();
                compare(kernels, Matrix::new(&data[shift..], n, dim).unwrap(), &query_data);
            }
        }
    }
}

#[test]
fn agree_on_nan_and_infinity() {
    for kernels in present() {
        for dim in thinned([1, 3, 8, 15, 16, 17, 33, 65], 5) {
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, 1e-40] {
                for place in [0, dim / 2, dim - 1] {
                    let mut data = vec![0.5; 6 * dim];
                    data[2 * dim + place] = special;
                    let mut query = vec![1.0; dim];
                    compare(kernels, Matrix::new(&data, 6, dim).unwrap(), &[query.clone()]);
                    query[place] = special;
                    compare(kernels, Matrix::new(&data, 6, dim).unwrap(), &[query]);
                }
            }
        }
    }
}

#[test]
fn work_on_columns_of_wider_rows() {
    let mut rng = Rng::new(2, 0);
    let data = random(&mut rng, 9 * 40);
    let wide = Matrix::new(&data, 9, 40).unwrap();
    for kernels in present() {
        for (start, dim) in [(0, 7), (3, 8), (5, 16), (1, 39)] {
            compare(
                kernels,
                wide.columns(start, dim).unwrap(),
                &[random(&mut rng, dim), random(&mut rng, dim)],
            );
        }
    }
}

#[test]
fn full_panels_and_no_slots() {
    let mut rng = Rng::new(3, 0);
    let data = random(&mut rng, 30 * 20);
    let rows = Matrix::new(&data, 30, 20).unwrap();
    let queries: Vec<Vec<f32>> = (0..PANEL).map(|_| random(&mut rng, 20)).collect();
    for kernels in present() {
        compare(kernels, rows, &queries);
        (kernels.dot_rows)(&queries[0], rows, &[], &mut []);
        (kernels.dot_panel)(&Panel::pack([], 20), rows, &[], &mut []);
    }
}

#[test]
fn exact_values_are_the_same_to_the_bit_everywhere() {
    let mut rng = Rng::new(4, 0);
    let oracle = Kernels::of(Isa::Scalar).unwrap();
    for dim in 0..70 {
        let a = random(&mut rng, dim);
        let b = random(&mut rng, dim);
        let dot: f64 = a.iter().zip(&b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        let l2: f64 = a.iter().zip(&b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum();
        assert!(((oracle.dot_exact)(&a, &b) - dot).abs() < 1e-13);
        assert!(((oracle.l2_exact)(&a, &b) - l2).abs() < 1e-13);
        for kernels in present() {
            assert_eq!((kernels.dot_exact)(&a, &b).to_bits(), (oracle.dot_exact)(&a, &b).to_bits());
            assert_eq!((kernels.l2_exact)(&a, &b).to_bits(), (oracle.l2_exact)(&a, &b).to_bits());
        }
    }
}

#[test]
fn exact_values_are_summed_as_numpy_sums() {
    fn halved(terms: &[f64]) -> f64 {
        if terms.len() < 8 {
            return terms.iter().fold(0.0, |sum, &term| sum + term);
        }
        if terms.len() <= 128 {
            let mut sums = [0.0; 8];
            for eight in terms.chunks_exact(8) {
                for (sum, &term) in sums.iter_mut().zip(eight) {
                    *sum += term;
                }
            }
            let [a, b, c, d, e, f, g, h] = sums;
            let whole = ((a + b) + (c + d)) + ((e + f) + (g + h));
            return terms[terms.len() / 8 * 8..].iter().fold(whole, |sum, &term| sum + term);
        }
        let half = terms.len() / 2 - terms.len() / 2 % 8;
        halved(&terms[..half]) + halved(&terms[half..])
    }
    let mut rng = Rng::new(5, 0);
    for dim in thinned((0..300).chain([384, 511, 768, 1000, 1536, 4096, 4097, 65_537]), 33) {
        let (a, b) = (random(&mut rng, dim), random(&mut rng, dim));
        let products: Vec<f64> = a.iter().zip(&b).map(|(&x, &y)| f64::from(x) * f64::from(y)).collect();
        let gaps = a.iter().zip(&b).map(|(&x, &y)| f64::from(x) - f64::from(y));
        let squares: Vec<f64> = gaps.map(|gap| gap * gap).collect();
        for kernels in present() {
            assert_eq!((kernels.dot_exact)(&a, &b).to_bits(), halved(&products).to_bits(), "{dim}");
            assert_eq!((kernels.l2_exact)(&a, &b).to_bits(), halved(&squares).to_bits(), "{dim}");
        }
    }
}

#[test]
fn screens_agree_and_let_pass_what_is_no_number() {
    let values: Lanes = std::array::from_fn(|lane| match lane % 5 {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        _ => lane as f32,
    });
    let scale: Lanes = std::array::from_fn(|lane| if lane == 7 { f32::INFINITY } else { 0.5 });
    let limit: Lanes = [10.0; PANEL];
    for kernels in present() {
        let mask = (kernels.screen)(&values, &scale, 2.0, &limit);
        for lane in 0..PANEL {
            let base = values[lane] - scale[lane] * 2.0;
            let greater = base > 10.0 && base.is_finite();
            let expected = !greater;
            assert_eq!(mask >> lane & 1 == 1, expected, "{:?} lane {lane}", kernels.isa);
        }
        assert_eq!(mask & 1, 1);
        assert_eq!(mask >> 1 & 1, 1, "an infinite sum says nothing");
    }
}

#[test]
#[should_panic(expected = "as many values as a row")]
fn a_query_of_another_length_never_reaches_memory() {
    let data = [0.0; 8];
    (Kernels::best().dot_rows)(&[0.0; 3], Matrix::new(&data, 2, 4).unwrap(), &[0], &mut [0.0]);
}

#[test]
#[should_panic(expected = "range")]
fn a_slot_past_the_end_never_reaches_memory() {
    let data = [0.0; 8];
    (Kernels::best().dot_rows)(&[0.0; 4], Matrix::new(&data, 2, 4).unwrap(), &[2], &mut [0.0]);
}

#[test]
fn running_minima_agree() {
    let mut rng = Rng::new(6, 0);
    let oracle = Kernels::of(Isa::Scalar).unwrap();
    let panels: Vec<Vec<Lanes>> = (0..4)
        .map(|_| (0..7).map(|_| std::array::from_fn(|_| rng.below(6) as f32 - 3.0)).collect())
        .collect();
    let bias: Lanes = std::array::from_fn(|lane| if lane > 29 { f32::INFINITY } else { 1.0 });
    for kernels in present() {
        let mut expected = [Best::NONE; 7];
        let mut best = [Best::NONE; 7];
        for (number, keys) in panels.iter().enumerate() {
            (oracle.keep_smaller)(keys, &bias, number as u32, &mut expected);
            (kernels.keep_smaller)(keys, &bias, number as u32, &mut best);
        }
        for row in 0..7 {
            assert_eq!(best[row].smallest(), expected[row].smallest());
            let all =
                panels.iter().flat_map(|keys| keys[row].iter().zip(&bias).map(|(key, bias)| key + bias));
            let (number, value) =
                all.enumerate().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).unwrap();
            assert_eq!(best[row].smallest(), (value, number as u32));
        }
    }
    assert_eq!(Best::NONE.smallest().1, 0, "a vector that compares with nothing still has a place");
}

#[test]
fn sums_over_codes_agree() {
    let mut rng = Rng::new(7, 0);
    for kernels in present() {
        for pieces in thinned([8, 16, 24, 96, 256], 5) {
            for (blocks, queries) in [(1, 1), (2, 1), (5, 1), (3, 2), (1, 3), (4, 4), (0, 2)] {
                let codes: Vec<u8> = (0..blocks * pieces * 8).map(|_| rng.below(256) as u8).collect();
                // The largest tables whose sums still fit, those of pieces 0, 2, 4 and 6 of a group and of the others a byte.
                let mut most = [0; 8];
                let mut table = |i: usize| {
                    if i.is_multiple_of(8 * FAST_WORDS) {
                        let first = rng.below(256);
                        let second = rng.below(256 - first);
                        let third = rng.below(256 - first - second);
                        let four = [first, third, second, 255 - first - second - third];
                        most = std::array::from_fn(|piece| four[(piece + piece % 2) / 2 % 4]);
                    }
                    let most = most[i / FAST_WORDS % 8];
                    (if i.is_multiple_of(5) { most } else { rng.below(most + 1) }) as u8
                };
                let tables: Vec<Vec<u8>> =
                    (0..queries).map(|_| (0..pieces * 16).map(&mut table).collect()).collect();
                let tables: Vec<&[u8]> = tables.iter().map(Vec::as_slice).collect();
                let mut sums = vec![[1; BLOCK]; blocks * queries];
                (kernels.fast_scan)(&codes, &tables, &mut sums);
                for (at, sums) in sums.iter().enumerate() {
                    let (query, block) = (at / blocks, at % blocks);
                    for (row, &sum) in sums.iter().enumerate() {
                        let expected: usize = (0..pieces)
                            .map(|piece| {
                                let (byte, shift) = kernels.fast_layout.place(row, piece);
                                let code = codes[block * pieces * 8 + byte] >> shift & 15;
                                usize::from(tables[query][piece * 16 + usize::from(code)])
                            })
                            .sum();
                        assert_eq!(
                            usize::from(sum),
                            expected,
                            "{:?} row {row} of {pieces} pieces",
                            kernels.isa
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn screens_of_sums_agree() {
    let mut rng = Rng::new(11, 0);
    for blocks in 0..5 {
        let sums: Vec<[u16; BLOCK]> =
            (0..blocks).map(|_| std::array::from_fn(|_| rng.below(65_536) as u16)).collect();
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let mut term =
            || if rng.below(9) == 0 { special[rng.below(3)] } else { rng.below(90_000) as f32 - 5e4 };
        let terms: Vec<[f32; BLOCK]> = (0..blocks).map(|_| std::array::from_fn(|_| term())).collect();
        for terms in [&terms[..], &[]] {
            for limit in [-1.0, 0.0, 16_384.3, 1e9, f32::INFINITY, f32::NAN, f32::NEG_INFINITY] {
                for kernels in present() {
                    let mut passed = vec![7; blocks];
                    (kernels.fast_screen)(&sums, terms, 0.5, limit, &mut passed);
                    for (at, &sum) in sums.as_flattened().iter().enumerate() {
                        let term = terms.as_flattened().get(at).copied().unwrap_or(0.0);
                        let out = f32::from(sum) * 0.5 + term > limit;
                        let told = passed[at / BLOCK] >> (at % BLOCK) & 1 == 0;
                        assert_eq!(told, out, "{} {sum} {term} {limit}", kernels.isa);
                    }
                }
            }
        }
    }
}

#[test]
fn items_of_sums_are_the_same() {
    let mut rng = Rng::new(14, 0);
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for blocks in 0..5 {
        let sums: Vec<[u16; BLOCK]> =
            (0..blocks).map(|_| std::array::from_fn(|_| rng.below(65_536) as u16)).collect();
        let mut term =
            || if rng.below(9) == 0 { special[rng.below(3)] } else { rng.below(90_000) as f32 - 5e4 };
        let terms: Vec<[f32; BLOCK]> = (0..blocks).map(|_| std::array::from_fn(|_| term())).collect();
        let picked: Vec<u16> =
            (0..blocks).map(|_| if rng.below(3) == 0 { 0 } else { rng.below(65_536) as u16 }).collect();
        let live: Vec<u16> =
            (0..blocks).map(|block| if block % 2 == 0 { u16::MAX } else { 0x0ff7 }).collect();
        for terms in [&terms[..], &[]] {
            for limit in [-3e4, 0.0, 16_384.3, 1e9, f32::INFINITY, f32::NAN, f32::NEG_INFINITY] {
                let keys =
                    FastKeys { live: &live, terms, step: 0.7, least: -1e4, list: 3.3, limit, first: 77 };
                let mut expected = vec![5];
                for (at, &sum) in sums.as_flattened().iter().enumerate() {
                    let term = terms.as_flattened().get(at).copied().unwrap_or(0.0);
                    let key = 3.3 + (-1e4 + 0.7 * f32::from(sum) + term);
                    if (picked[at / BLOCK] & live[at / BLOCK]) >> (at % BLOCK) & 1 == 1
                        && (key <= limit || key.is_nan() || limit.is_nan())
                    {
                        expected.push(item(key, 77 + at as u32));
                    }
                }
                for kernels in present() {
                    let mut items = vec![5];
                    (kernels.fast_keep)(&sums, &picked, &keys, &mut items);
                    assert_eq!(items, expected, "{} {limit}", kernels.isa);
                }
            }
        }
    }
}

#[test]
fn tables_in_steps_agree() {
    let mut rng = Rng::new(12, 0);
    for (pieces, words) in
        thinned([(1, 16), (8, 16), (96, 16), (300, 16), (9, 5), (3, 1), (0, 16), (2100, 16)], 4)
    {
        let mut values = random(&mut rng, pieces * words);
        // Some pieces have much wider tables than others.
        values
            .chunks_mut(words)
            .step_by(3)
            .for_each(|piece| piece.iter_mut().for_each(|value| *value *= 7.0));
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        let mut expected = vec![1; pieces.next_multiple_of(FAST_GROUP) * FAST_WORDS];
        let (step, least) = (scalar.fast_tables)(&values, words, &mut expected);
        for (at, &value) in values.iter().enumerate() {
            let (piece, word) = (at / words, at % words);
            let low = values[piece * words..][..words].iter().copied().fold(f32::INFINITY, f32::min);
            let told = low + step * f32::from(expected[piece * FAST_WORDS + word]);
            assert!((told - value).abs() <= 0.51 * step, "{told} {value}");
        }
        for kernels in present() {
            let mut steps = vec![1; expected.len()];
            let (other_step, other_least) = (kernels.fast_tables)(&values, words, &mut steps);
            assert!(close(step, other_step, 1.0) && close(least, other_least, 10.0));
            assert!(steps.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1));
            let most: Vec<u16> =
                steps.chunks(FAST_WORDS).map(|piece| piece.iter().copied().max().unwrap().into()).collect();
            assert!(most.iter().map(|&most| u32::from(most)).sum::<u32>() <= u32::from(u16::MAX));
            // One value of each of four pieces fit a byte together, and steps are no larger than that takes.
            let fours = most
                .chunks(FAST_GROUP)
                .flat_map(|group| [0, 1].map(|first| group.iter().skip(first).step_by(2).sum::<u16>()));
            let (largest, room) = (
                fours.max().unwrap_or(0),
                (usize::from(u16::MAX) / (2 * pieces.div_ceil(8)).max(1)).min(255),
            );
            assert!(usize::from(largest) <= room, "{} {pieces} pieces", kernels.isa);
            assert!(words < 2 || pieces == 0 || usize::from(largest) + 5 > room, "{} {largest}", kernels.isa);
        }
    }
}

#[test]
fn tables_agree() {
    let mut rng = Rng::new(8, 0);
    let starts = [0, 3, 5, 6];
    for words in [1, 5, 16, 256] {
        let crosswise = random(&mut rng, 6 * words);
        let query = random(&mut rng, 6);
        for kernels in present() {
            let mut tables = vec![0.0; 3 * words];
            (kernels.tables)(&query, &crosswise, &starts, &mut tables);
            for (i, &value) in tables.iter().enumerate() {
                let (piece, word) = (i / words, i % words);
                let expected: f32 =
                    (starts[piece]..starts[piece + 1]).map(|d| query[d] * crosswise[d * words + word]).sum();
                assert!(close(value, expected, 3.0));
            }
        }
    }
}

/// Codes of rows in blocks: bytes row after row, and the halves of them as kernels take them.
struct Halves {
    bytes: Vec<Vec<u8>>,
    upper: Vec<u8>,
    lower: Vec<u8>,
}

impl Halves {
    fn new(rows: usize, groups: usize, mut code: impl FnMut() -> i32) -> Self {
        let bytes: Vec<Vec<u8>> =
            (0..rows).map(|_| (0..8 * groups).map(|_| (code() + 128) as u8).collect()).collect();
        let (mut upper, mut lower) = (vec![0; rows * groups * 4], vec![0; rows * groups * 4]);
        for (place, row) in bytes.iter().enumerate() {
            for (group, eight) in row.chunks(8).enumerate() {
                for i in 0..4 {
                    let at = (place / BLOCK * groups + group) * 64 + place % BLOCK * 4 + i;
                    upper[at] = eight[i] >> 4 | eight[i + 4] & 0xF0;
                    lower[(place * groups + group) * 4 + i] = eight[i] & 15 | eight[i + 4] << 4;
                }
            }
        }
        Self { bytes, upper, lower }
    }

    fn blocks<'a>(&'a self, groups: usize, bounds: &'a [BlockBounds], lengths: &'a [f32]) -> Blocks<'a> {
        let planes = Planes { upper: &self.upper, lower: &self.lower, bounds, lengths };
        Blocks::new(planes, groups).unwrap()
    }

    /// Twice the product of a query with whole codes, and with the middle of those that share their upper halves.
    fn products(&self, place: u32, query: &CodedQuery) -> (i32, i32) {
        let pairs = || self.bytes[place as usize].iter().zip(query.codes.as_flattened());
        let whole = pairs().map(|(&byte, &query)| 2 * (i32::from(byte) - 128) * i32::from(query)).sum();
        let upper = pairs().map(|(&byte, &query)| (32 * i32::from(byte >> 4) - 241) * i32::from(query)).sum();
        (whole, upper)
    }
}

/// Have the kernels for many queries put codes together, sum and screen, where there are any.
fn through_whole(
    kernels: &Kernels,
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    limits: &[f32],
    passing: &mut Passing<'_>,
) {
    let Some(whole) = kernels.whole else { return };
    let (mut bytes, mut packed) = (Vec::new(), Packed::default());
    (whole.assemble)(blocks, picked, &picked[picked.len() / 2..], &mut bytes);
    packed.pack(queries);
    let met = Meeting { bytes: &bytes, packed: &packed, blocks, picked, limits };
    (whole.screen)(&met, passing);
}

proptest! {
    /// Sums of codes are integers: every instruction set gives the same, extreme codes included.
    #[test]
    fn sums_of_codes_are_equal(
        groups in if cfg!(miri) { prop_oneof![0..4usize, Just(5), Just(6)] } else { prop_oneof![0..20usize, Just(48), Just(192)] },
        picked in prop::collection::vec(0..5u32, 0..=BLOCKS),
        count in 0..if cfg!(miri) { 4 } else { 40usize },
        extreme: bool,
        seed: u64,
    ) {
        let mut rng = Rng::new(seed, 0);
        let mut code = || if extreme { [-127i32, 127][rng.below(2)] } else { rng.below(255) as i32 - 127 };
        let halves = Halves::new(5 * BLOCK, groups, &mut code);
        let queries: Vec<CodedQuery> = (0..count)
            .map(|_| CodedQuery::new(&(0..8 * groups).map(|_| code() as i8).collect::<Vec<_>>()))
            .collect();
        let queries: Vec<&CodedQuery> = queries.iter().collect();
        let ones = BlockBounds { scale: [1.0; BLOCK], ..BlockBounds::default() };
        let (bounds, lengths) = ([ones; 5], [0.0; 5]);
        let blocks = halves.blocks(groups, &bounds, &lengths);
        let mut expected = vec![[[7; BLOCK]; BLOCKS]; count];
        for (query, sums) in queries.iter().zip(&mut expected) {
            for (&block, sums) in picked.iter().zip(sums) {
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = halves.products(block * BLOCK as u32 + row as u32, query).1;
                }
            }
        }
        let places: Vec<u32> = (0..5 * BLOCK as u32).rev().collect();
        for kernels in present() {
            let mut sums = vec![[[7; BLOCK]; BLOCKS]; count];
            (kernels.code_sums)(&blocks, &picked, &picked[picked.len() / 2..], &queries, &mut sums);
            prop_assert_eq!(&sums, &expected, "{}", kernels.isa);
            let mut nearest = vec![NearestRow::NONE; count];
            (kernels.keep_nearest)(&blocks, &picked, &queries, &sums, &mut nearest);
            // Blocks come in order where the first of equals is asked for.
            for (sums, nearest) in expected.iter().zip(&nearest).filter(|_| picked.is_sorted()) {
                let keys = picked.iter().zip(sums).flat_map(|(&block, sums)| {
                    sums.iter().zip(block * BLOCK as u32..).map(|(&sum, place)| (-sum as f32 * 0.5, place))
                });
                if let Some(least) = keys.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) {
                    prop_assert_eq!(nearest.smallest(), least, "{}", kernels.isa);
                }
            }
            if let Some(query) = queries.first() {
                let mut more = vec![7; places.len()];
                (kernels.lower_sums)(&blocks, &places, query, &mut more);
                let rows: Vec<u8> = halves.bytes.iter().flat_map(|row| [row.as_slice(), &[9; 5]].concat()).collect();
                let mut whole = vec![7; places.len()];
                (kernels.row_sums)(&rows, 8 * groups + 5, &places, query, &mut whole);
                for ((&place, more), whole) in places.iter().zip(more).zip(whole) {
                    let (expected, upper) = halves.products(place, query);
                    prop_assert_eq!(upper + more, expected, "{}", kernels.isa);
                    prop_assert_eq!(whole, expected, "{}", kernels.isa);
                }
            }
            let limits = vec![f32::INFINITY; count];
            let mut told = Vec::new();
            through_whole(kernels, &blocks, &picked, &queries, &limits, &mut |number, passed, sums| {
                told.push((number, passed, *sums));
            });
            let expected = if kernels.whole.is_none() || picked.is_empty() { 0 } else { count };
            prop_assert_eq!(told.len(), expected, "{}", kernels.isa);
            for (at, (number, passed, sums)) in told.iter().enumerate() {
                prop_assert_eq!((*number, passed.count_ones() as usize), (at, picked.len() * BLOCK));
                for (&block, sums) in picked.iter().zip(sums) {
                    for (row, &sum) in sums.iter().enumerate() {
                        let expected = halves.products(block * BLOCK as u32 + row as u32, queries[at]).0;
                        prop_assert_eq!(sum, expected, "{}", kernels.isa);
                    }
                }
            }
        }
    }

    /// A row passes when its smallest possible key is not above the limit, or is no number.
    #[test]
    fn screens_of_codes_agree(seed: u64, with_half: bool, picked in prop::collection::vec(0..5u32, 0..=BLOCKS)) {
        let mut rng = Rng::new(seed, 0);
        let special = [f32::INFINITY, f32::NAN, 0.0, 1e38];
        let mut numbers = || -> Vec<f32> {
            let mut number = || if rng.below(12) == 0 { special[rng.below(4)] } else { rng.below(1000) as f32 };
            (0..5 * BLOCK).map(|_| number()).collect()
        };
        let [scale, rough, residual, norm, half] = std::array::from_fn(|_| numbers());
        let half = if with_half { half } else { vec![0.0; 5 * BLOCK] };
        // A length whose square is infinite is that of a row about which nothing is known.
        let residual: Vec<f32> =
            residual.iter().zip(&half).map(|(&left, half)| if half.is_infinite() { f32::INFINITY } else { left }).collect();
        let (mut bounds, mut lengths) = ([BlockBounds::default(); 5], [0.0; 5]);
        for place in 0..5 * BLOCK {
            let bound = RowBound { scale: scale[place], residual: residual[place], norm: norm[place], half: half[place] };
            let block = place / BLOCK;
            put_bound(&mut bounds[block], &mut lengths[block], place % BLOCK, bound, rough[place]);
        }
        let mut code = |n: usize| rng.below(n) as i32;
        let halves = Halves::new(5 * BLOCK, 1, || code(255) - 127);
        let blocks = halves.blocks(1, &bounds, &lengths);
        let query = CodedQuery {
            scale: 0.5, by_residual: 2.0, by_norm: 1.5, by_half: if with_half { 0.25 } else { 0.0 },
            ..CodedQuery::new(&[3, -7, 100, 4, 0, -2, 50, -60])
        };
        let mut sums: [BlockSums; 1] = [[[0; BLOCK]; BLOCKS]];
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        (scalar.code_sums)(&blocks, &picked, &[], &[&query], &mut sums);
        let nearest = |kernels: &Kernels| {
            let mut nearest = [NearestRow::NONE];
            (kernels.keep_nearest)(&blocks, &picked, &[&query], &sums, &mut nearest);
            nearest
        };
        for kernels in present() {
            prop_assert_eq!(nearest(kernels), nearest(scalar), "{}: the same to the bit", kernels.isa);
        }
        for limit in [-1e7, -500.25, 1e6, f32::INFINITY] {
            for kernels in present() {
                let mut upper = [u64::MAX];
                (kernels.code_screen)(&blocks, &picked, &[&query], &[limit], &sums, &mut upper);
                let live = seed | 1 << 40;
                let there = live & u64::MAX.checked_shr(64 - 16 * picked.len() as u32).unwrap_or(0);
                let picks = picks_of(&picked, |at| (live >> (16 * at)) as u16);
                let mut sifted = Sifted::default();
                (kernels.sift)(&blocks, &picks, 0..picks.len(), &query, limit, &mut sifted);
                let near = sifted.places.iter().fold(0u64, |near, place| near | 1 << place);
                prop_assert_eq!(near, upper[0] & there, "{}: sieve and screen agree", kernels.isa);
                prop_assert!(sifted.bases.iter().all(|&base| base <= limit), "{}", kernels.isa);
                let mut whole = [0];
                through_whole(kernels, &blocks, &picked, &[&query], &[limit], &mut |_, passed, _| whole = [passed]);
                for (j, &block) in picked.iter().enumerate() {
                    for (row, &sum) in sums[0][j].iter().enumerate() {
                        let place = block as usize * BLOCK + row;
                        let half = half[place];
                        let told = |passed: u64| passed >> (j * BLOCK + row) & 1 == 0;
                        let (product, _) = halves.products(place as u32, &query);
                        // The longest row of a block does for all of them.
                        let mut checks = vec![(upper[0], sum, rough[place], lengths[block as usize])];
                        if kernels.whole.is_some() {
                            // The largest error of all blocks does for each of their rows.
                            let largest = |numbers: &mut dyn Iterator<Item = f32>| {
                                numbers.fold(0.0f32, |most, value| if value > most || value.is_nan() { value } else { most })
                            };
                            let left = largest(&mut picked.iter().flat_map(|&block| bounds[block as usize].residual));
                            let length = largest(&mut picked.iter().map(|&block| lengths[block as usize]));
                            checks.push((whole[0], product, left, length));
                        }
                        for (passed, sum, left, length) in checks {
                            let product = sum as f32 * scale[place] * 0.5;
                            let base = half - product - (2.0 * left + 1.5 * length + query.by_half * half);
                            let out = base > limit && base < f32::INFINITY;
                            let size = half.max(length).max(left).max(product.abs()).max(limit.abs());
                            if (base - limit).abs() <= 1e-4 * size {
                                continue; // roundings apart they may disagree
                            }
                            prop_assert!(out || !told(passed), "{} {place} {base} {limit}", kernels.isa);
                            let known = size.is_finite() && !product.is_nan() && size < 1e37;
                            prop_assert!(!known || told(passed) == out, "{} {place} {base} {limit}", kernels.isa);
                        }
                    }
                }
            }
        }
    }
}

/// Any number of rows, of any length, and every byte: more than codes can be.
#[test]
fn sums_of_rows_that_lie_apart_agree() {
    let mut rng = Rng::new(21, 0);
    let scalar = Kernels::of(Isa::Scalar).unwrap();
    for groups in thinned((0..18).chain([48, 49, 192]), 8) {
        for extreme in [false, true] {
            let mut byte = || if extreme { [0, 255][rng.below(2)] } else { rng.below(256) as u8 };
            let query: Vec<i8> = (0..8 * groups).map(|_| byte() as i8).collect();
            let query =
                CodedQuery::new(&if extreme { vec![[-128, 127][groups % 2]; 8 * groups] } else { query });
            let (upper, lower) =
                (vec![0; BLOCK * groups * 4], (0..BLOCK * groups * 4).map(|_| byte()).collect());
            let halves = Halves { bytes: Vec::new(), upper, lower };
            let (bounds, lengths) = ([BlockBounds::default()], [0.0]);
            let blocks = halves.blocks(groups, &bounds, &lengths);
            let stride = 8 * groups + 3;
            let rows: Vec<u8> = (0..BLOCK * stride).map(|_| byte()).collect();
            for count in 0..BLOCK {
                let places: Vec<u32> = (0..count as u32).map(|at| at * 7 % BLOCK as u32).collect();
                let sums = |kernels: &Kernels| {
                    let (mut lower, mut whole) = (vec![7; count], vec![7; count]);
                    (kernels.lower_sums)(&blocks, &places, &query, &mut lower);
                    (kernels.row_sums)(&rows, stride, &places, &query, &mut whole);
                    (lower, whole)
                };
                let expected = sums(scalar);
                for kernels in present() {
                    assert_eq!(sums(kernels), expected, "{} {groups} {count}", kernels.isa);
                }
            }
        }
    }
}

fn picks_of(blocks: &[u32], live: impl Fn(usize) -> u16) -> Vec<Pick> {
    blocks.iter().enumerate().map(|(at, &block)| Pick { block, start: 0, live: live(at) }).collect()
}

#[test]
fn rows_of_many_blocks_are_sifted_alike() {
    let mut rng = Rng::new(8, 0);
    let sizes = [(1, false), (2, true), (3, false), (16, false), (48, true), (192, true)];
    for (groups, extreme) in thinned(sizes, 3) {
        let mut code = || if extreme { [-127i32, 127][rng.below(2)] } else { rng.below(255) as i32 - 127 };
        let halves = Halves::new(5 * BLOCK, groups, &mut code);
        let codes: Vec<i8> = (0..8 * groups).map(|_| code() as i8).collect();
        let (mut bounds, mut lengths) = ([BlockBounds::default(); 5], [0.0; 5]);
        for place in 0..5 * BLOCK {
            let [scale, residual, norm, half, rough] = std::array::from_fn(|_| rng.below(1000) as f32);
            let (block, bound) = (place / BLOCK, RowBound { scale, residual, norm, half });
            put_bound(&mut bounds[block], &mut lengths[block], place % BLOCK, bound, rough);
        }
        let blocks = halves.blocks(groups, &bounds, &lengths);
        let query = CodedQuery { by_residual: 2.0, by_norm: 1.5, by_half: 0.25, ..CodedQuery::new(&codes) };
        for count in thinned([0, 1, 3, 4, 5, 41], 2) {
            let numbers: Vec<u32> = (0..count).map(|_| rng.below(5) as u32).collect();
            let live: Vec<u16> = (0..count).map(|_| rng.below(1 << 16) as u16).collect();
            let picks = picks_of(&numbers, |at| live[at]);
            let mut expected = Sifted::default();
            let scalar = Kernels::of(Isa::Scalar).unwrap();
            (scalar.sift)(&blocks, &picks, 0..count, &query, f32::INFINITY, &mut expected);
            let rows = |at: u32| (0..16u32).filter(move |row| at >> row & 1 == 1);
            let places =
                live.iter().zip(0..).flat_map(|(&live, at)| rows(live.into()).map(move |row| 16 * at + row));
            assert_eq!(expected.places, places.collect::<Vec<u32>>(), "all that are live");
            for (&sum, &place) in expected.sums.iter().zip(&expected.places) {
                let (block, row) = (numbers[place as usize / BLOCK], place % BLOCK as u32);
                assert_eq!(sum, halves.products(block * BLOCK as u32 + row, &query).1);
            }
            for kernels in present() {
                let mut sifted = Sifted::default();
                for range in [0..count / 3, count / 3..count] {
                    (kernels.sift)(&blocks, &picks, range, &query, f32::INFINITY, &mut sifted);
                }
                assert_eq!(
                    (&sifted.places, &sifted.sums),
                    (&expected.places, &expected.sums),
                    "{}",
                    kernels.isa
                );
                let most = expected.bases.iter().fold(0.0f32, |most, base| base.abs().max(most));
                let pairs = || sifted.bases.iter().zip(&expected.bases);
                assert!(pairs().all(|(base, other)| close(*base, *other, most)), "{}", kernels.isa);
                let limit = sifted.bases.get(sifted.bases.len() / 2).copied().unwrap_or(0.0);
                let mut near = Sifted::default();
                (kernels.sift)(&blocks, &picks, 0..count, &query, limit, &mut near);
                let mut found = vec![9; 3];
                (kernels.within)(&sifted.bases, limit, &mut found);
                let of_found =
                    |values: &[u32]| -> Vec<u32> { found.iter().map(|&at| values[at as usize]).collect() };
                assert_eq!(near.places, of_found(&sifted.places), "{}", kernels.isa);
                assert_eq!(
                    near.bases,
                    sifted.bases.iter().copied().filter(|&base| base <= limit).collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn what_is_no_number_is_not_within_any_limit() {
    for count in 0..40usize {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, 2.0];
        let bases: Vec<f32> = (0..count).map(|at| special[at * 7 % 5]).collect();
        for limit in [f32::INFINITY, 1.0, f32::NEG_INFINITY] {
            let expected: Vec<u32> = (0..count as u32).filter(|&at| bases[at as usize] <= limit).collect();
            for kernels in present() {
                let mut found = vec![3];
                (kernels.within)(&bases, limit, &mut found);
                assert_eq!(found, expected, "{} {limit}", kernels.isa);
            }
        }
    }
}

#[test]
fn the_nearest_keys_come_in_order_whatever_they_are() {
    let mut rng = Rng::new(3, 0);
    for count in thinned([0, 1, 15, 16, 100, 1000, 1024, 4099], 4) {
        for (special, every) in [
            (&[][..], 1),
            (&[f32::NAN][..], 3),
            (&[f32::INFINITY][..], 3),
            (&[-0.0][..], 3),
            (&[f32::INFINITY, f32::NAN][..], 1),
        ] {
            let mut keys: Vec<f32> = (0..count).map(|_| rng.below(300) as f32 - 100.0).collect();
            let places = keys.iter_mut().step_by(every);
            special.iter().cycle().zip(places).for_each(|(&special, key)| *key = special);
            let mut expected: Vec<u64> = keys.iter().zip(0..).map(|(&key, place)| item(key, place)).collect();
            expected.sort_unstable();
            for first in [1, 2, 40, 62, count, count + 1] {
                for kernels in present() {
                    let mut order = vec![7];
                    (kernels.nearest_keys)(&keys, first, &mut order);
                    assert_eq!(order, expected[..first.min(count)], "{count} {first}");
                }
            }
        }
    }
}

#[test]
fn codes_are_rounded_to_even_and_what_is_no_number_is_0() {
    let values = [(126.5, 126), (-0.5, 0), (1.5, 2), (f32::NAN, 0), (-127.0, -127), (63.49, 63), (-2.5, -2)];
    for dim in [7, 16, 40, 133] {
        let (row, expected): (Vec<f32>, Vec<i8>) =
            values.iter().copied().cycle().take(dim).chain([(127.0, 127)]).unzip();
        for kernels in present() {
            let mut codes = vec![9; row.len()];
            let made = (kernels.encode)(&row, &vec![0.0; row.len()], &mut codes);
            assert_eq!((made.scale, &codes), (1.0, &expected), "{}", kernels.isa);
            assert!(!made.residual.is_finite());
        }
    }
}

#[test]
fn members_of_bitmaps_agree() {
    let mut rng = Rng::new(5, 0);
    for rows in [1, 31, 32, 33, 64, 100, 1000] {
        let words: Vec<u64> = (0..usize::div_ceil(rows, 64)).map(|_| rng.below(usize::MAX) as u64).collect();
        for count in 0..=BLOCK {
            let mut slots: Vec<u32> = (0..count).map(|_| rng.below(rows + 3) as u32).collect();
            slots.iter_mut().skip(5).step_by(7).for_each(|slot| *slot = u32::MAX);
            let expected = slots.iter().rev().fold(0, |bits, &slot| {
                let set = (slot as usize) < rows && words[slot as usize / 64] >> (slot % 64) & 1 == 1;
                bits << 1 | u16::from(set)
            });
            for kernels in present() {
                assert_eq!((kernels.members)(&words, rows, &slots), expected, "{} {rows}", kernels.isa);
            }
        }
    }
}
