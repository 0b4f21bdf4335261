//! Every instruction set against the scalar loops and against float64.
//!
//! `VDB_REQUIRE_ISA` (a comma-separated list such as `avx2,avx512`) names the sets that must be present: a test
//! machine that lacks one fails instead of passing on nothing.

use super::{
    BLOCK, BLOCKS, Best, BlockSums, Blocks, CodedQuery, FAST_ROWS, Isa, Kernels, Lanes, PANEL, Panel,
};
use crate::matrix::Matrix;
use crate::rng::Rng;
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
        for dim in (1..=2 * 2 * 16 + 1).chain([384, 1000]) {
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
        for dim in [1, 3, 8, 15, 16, 17, 33, 65] {
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
        for pieces in [4, 8, 12, 96, 256] {
            let codes: Vec<u8> = (0..pieces * 16).map(|_| rng.below(256) as u8).collect();
            // The largest tables whose sums still fit.
            let most = (65_535 / pieces).min(255);
            let tables: Vec<u8> =
                (0..pieces * 16).map(|i| if i % 5 == 0 { most } else { rng.below(most) } as u8).collect();
            let mut sums = [1; FAST_ROWS];
            (kernels.fast_scan)(&codes, &tables, &mut sums);
            for (row, &sum) in sums.iter().enumerate() {
                let expected: usize = (0..pieces)
                    .map(|piece| {
                        let code = codes[piece * 16 + row % 16] >> (row / 16 * 4) & 15;
                        usize::from(tables[piece * 16 + usize::from(code)])
                    })
                    .sum();
                assert_eq!(usize::from(sum), expected, "{:?} row {row} of {pieces} pieces", kernels.isa);
            }
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

proptest! {
    /// Sums of bytes are integers: every instruction set gives the same, extreme codes included.
    #[test]
    fn sums_of_bytes_are_equal(
        steps in prop_oneof![0..40usize, Just(96), Just(384)],
        picked in prop::collection::vec(0..5u32, 0..=BLOCKS),
        count in 0..14usize,
        extreme: bool,
        seed: u64,
    ) {
        let mut rng = Rng::new(seed, 0);
        let mut code = || if extreme { [-127i32, 127][rng.below(2)] } else { rng.below(255) as i32 - 127 };
        let codes: Vec<u8> = (0..5 * BLOCK * 4 * steps).map(|_| (code() + 128) as u8).collect();
        let queries: Vec<CodedQuery> = (0..count)
            .map(|_| CodedQuery::new(&(0..4 * steps).map(|_| code() as i8).collect::<Vec<_>>()))
            .collect();
        let numbers = [1.0; 5 * BLOCK];
        let blocks = Blocks::new(&codes, steps, [&numbers, &numbers, &numbers, &[]]).unwrap();
        let mut expected = vec![[[7; BLOCK]; BLOCKS]; count];
        let scalar = Kernels::of(Isa::Scalar).unwrap();
        (scalar.code_sums)(&blocks, &picked, &queries, &mut expected);
        for kernels in present() {
            let mut sums = vec![[[7; BLOCK]; BLOCKS]; count];
            (kernels.code_sums)(&blocks, &picked, &queries, &mut sums);
            prop_assert_eq!(&sums, &expected, "{}", kernels.isa);
        }
        if let (Some(query), Some(&block)) = (queries.first(), picked.first()) {
            let row = 3;
            let truth: i32 = (0..4 * steps)
                .map(|d| {
                    let byte = codes[((block as usize * steps + d / 4) * BLOCK + row) * 4 + d % 4];
                    (i32::from(byte) - 128) * i32::from(query.codes[d / 4][d % 4])
                })
                .sum();
            prop_assert_eq!(expected[0][0][row], truth);
        }
    }

    /// A row passes when its smallest possible key is not above the limit, or is no number.
    #[test]
    fn screens_of_bytes_agree(seed: u64, with_half: bool, picked in prop::collection::vec(0..5u32, 0..=BLOCKS)) {
        let mut rng = Rng::new(seed, 0);
        let special = [f32::INFINITY, f32::NAN, 0.0, 1e38];
        let mut numbers = || -> Vec<f32> {
            let mut number = || if rng.below(12) == 0 { special[rng.below(4)] } else { rng.below(1000) as f32 };
            (0..5 * BLOCK).map(|_| number()).collect()
        };
        let [scale, residual, norm, half] = std::array::from_fn(|_| numbers());
        let half = if with_half { &half[..] } else { &[] };
        let blocks = Blocks::new(&[], 0, [&scale, &residual, &norm, half]).unwrap();
        let query = CodedQuery {
            scale: 0.5, by_residual: 2.0, by_norm: 1.5, by_half: if with_half { 0.25 } else { 0.0 },
            ..CodedQuery::new(&[])
        };
        let sums: [BlockSums; 1] = [std::array::from_fn(|j| std::array::from_fn(|row| (j * 100 + row * 7) as i32 - 200))];
        for limit in [-100_000.0, -500.25, f32::INFINITY] {
            for kernels in present() {
                let mut passed = [u64::MAX];
                (kernels.code_screen)(&blocks, &picked, std::slice::from_ref(&query), &[limit], &sums, &mut passed);
                for (j, &block) in picked.iter().enumerate() {
                    for (row, &sum) in sums[0][j].iter().enumerate() {
                        let slot = block * BLOCK as u32 + row as u32;
                        let (key, error) = blocks.estimate(&query, slot, sum);
                        let base = key - error;
                        // Two roundings apart they may disagree.
                        if (base - limit).abs() <= 1e-5 * base.abs().max(limit.abs()) && base.is_finite() {
                            continue;
                        }
                        let out = base > limit && base < f32::INFINITY;
                        let bit = passed[0] >> (j * BLOCK + row) & 1 == 0;
                        prop_assert_eq!(bit, out, "{} {} {} {}", kernels.isa, slot, key, error);
                    }
                }
                prop_assert_eq!(passed[0] >> (picked.len() * BLOCK).min(63) >> 1, 0);
            }
        }
    }
}
