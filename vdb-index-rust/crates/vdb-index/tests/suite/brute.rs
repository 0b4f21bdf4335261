//! `Brute` against float64 loops: random, tied, huge, tiny and damaged values; filters; any number of threads.

use proptest::prelude::*;
use vdb_index::kernels::{Isa, Kernels};
use vdb_index::{Bitmap, Brute, Matrix, Metric, NO_SLOT, Unobserved};

use crate::common::{self, Fixture, allowed_words, assert_same, twin};

fn check(fixture: &Fixture, k: usize, metric: Metric, allowed: Option<&[bool]>, threads: usize) {
    let rows = fixture.rows();
    let queries = fixture.queries();
    let words = allowed.map(allowed_words);
    let bitmap = words.as_deref().map(|words| Bitmap::new(words, rows.rows()).unwrap());
    for kernels in Isa::ALL.into_iter().filter_map(Kernels::of) {
        let expected = twin(fixture, k, metric, allowed);
        for index in [
            Brute::build(rows, metric, true, threads, &Unobserved),
            Brute::build_coded(rows, metric, threads, &Unobserved),
        ] {
            let index = index.unwrap().with_kernels(kernels);
            let found = index.search(rows, queries, k, bitmap, threads).unwrap();
            assert_same(&found, &expected, &format!("{metric} k={k} {kernels:?} {:?}", index.bytes()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn equals_float64(
        fixture in common::fixtures(),
        k in prop_oneof![Just(1usize), 1..12usize, Just(500)],
        metric in prop_oneof![Just(Metric::Dot), Just(Metric::Cosine), Just(Metric::L2)],
        seed in any::<u64>(),
        filtered in any::<bool>(),
        threads in 1..4usize,
    ) {
        let allowed = filtered.then(|| fixture.filter(seed));
        check(&fixture, k, metric, allowed.as_deref(), threads);
    }
}

#[test]
fn batches_of_every_width_equal_single_queries() {
    let fixture = Fixture::random(11, 700, 24, 70);
    let rows = fixture.rows();
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let index = Brute::build(rows, metric, true, 1, &Unobserved).unwrap();
        let all = index.search(rows, fixture.queries(), 7, None, 1).unwrap();
        for count in [1, 4, 5, 31, 32, 33, 64, 70] {
            for threads in [1, 2, 5] {
                let some = Matrix::new(&fixture.queries[..count * 24], count, 24).unwrap();
                let found = index.search(rows, some, 7, None, threads).unwrap();
                assert_eq!(found.slots[..], all.slots[..count * 7]);
                assert_eq!(found.distances[..], all.distances[..count * 7]);
            }
        }
    }
}

#[test]
fn one_query_that_looks_twice_finds_what_float64_finds() {
    // More rows than are kept at a time and than a query is on trial for; some are far longer than the others.
    let mut fixture = Fixture::random(23, 20_000, 16, 2);
    for row in fixture.rows.chunks_mut(16).step_by(97) {
        row.iter_mut().for_each(|value| *value *= 30.0);
    }
    let queries = fixture.queries.clone();
    for query in queries.chunks(16) {
        fixture.queries = query.to_vec();
        for metric in [Metric::Dot, Metric::Cosine, Metric::L2] {
            for k in [1, 10] {
                check(&fixture, k, metric, None, 1);
                check(&fixture, k, metric, Some(&fixture.filter(k as u64 + 2)), 1);
            }
        }
    }
}

#[test]
fn rows_that_codes_say_little_about_do_not_hide_the_nearest() {
    // One of each 64 rows has a value that dwarfs the others where queries have none: it may be nearer than all, as far as
    // upper halves tell, and is not.
    let mut fixture = Fixture::random(29, 6_000, 16, 2);
    fixture.rows.chunks_mut(16).step_by(64).for_each(|row| row[0] = 1000.0);
    let queries = fixture.queries.clone();
    for query in queries.chunks(16) {
        fixture.queries = query.to_vec();
        fixture.queries[0] = 0.0;
        check(&fixture, 10, Metric::Dot, None, 1);
    }
}

#[test]
fn rows_that_codes_say_nothing_about_come_back_once() {
    // In every 64 rows there is one whose square is no number that float32 holds: none of them has meaningful codes.
    let mut fixture = Fixture::random(31, 6_000, 16, 1);
    fixture.rows.chunks_mut(16).step_by(64).for_each(|row| row[0] = 1e30);
    for metric in [Metric::Dot, Metric::L2] {
        check(&fixture, 10, metric, None, 1);
    }
}

#[test]
fn overflow_is_decided_in_float64() {
    // In float32 every key is infinite; in float64 row 2 is closest.
    let rows = [1e30, 0.0, 3e30, 0.0, 3e37, 0.0, 1e37, 0.0f32];
    let queries = [1e30, 0.0f32];
    let fixture = Fixture { rows: rows.to_vec(), queries: queries.to_vec(), dim: 2 };
    for metric in [Metric::Dot, Metric::L2] {
        check(&fixture, 2, metric, None, 1);
    }
    let found = Brute::open(fixture.rows(), Metric::Dot)
        .search(fixture.rows(), fixture.queries(), 2, None, 1)
        .unwrap();
    assert_eq!(found.slots, [2, 3]);
}

#[test]
fn a_sum_that_overflows_on_the_way_may_still_be_the_smallest() {
    // Values 0 and 32 meet in one lane of every vector unit and overflow there; the whole sum is finite, and smaller
    // than that of the rows before, which have set the limit by then.
    let (dim, count) = (64, 400);
    let mut rows = vec![0.0; count * dim];
    for row in rows.chunks_mut(dim) {
        row[5] = -3.3e19;
    }
    let last = &mut rows[(count - 1) * dim..];
    last[5] = 0.0;
    (last[0], last[32]) = (-3e19, -3e19);
    last[1..4].fill(1e19);
    let fixture = Fixture { rows, queries: vec![1e19; dim], dim };
    check(&fixture, 1, Metric::Dot, None, 1);
    let batch = Fixture { queries: vec![1e19; 8 * dim], ..fixture };
    check(&batch, 1, Metric::Dot, None, 1);
    let found =
        Brute::open(batch.rows(), Metric::Dot).search(batch.rows(), batch.queries(), 1, None, 1).unwrap();
    assert_eq!(found.slots, [count as u32 - 1; 8]);
}

#[test]
fn nearly_equal_rows_are_told_apart() {
    // They differ by less than a float32 sum over 384 values can show.
    let dim = 384;
    let mut rows = vec![0.05f32; 200 * dim];
    for slot in 0..200 {
        let ulp = if slot % 7 == 3 { 0.05f32.next_up() } else { 0.05 };
        rows[slot * dim + slot % dim] = ulp;
    }
    let fixture = Fixture { rows, queries: vec![0.05; dim], dim };
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        check(&fixture, 30, metric, None, 1);
    }
}

#[test]
fn many_equal_rows_come_back_in_slot_order() {
    let fixture = Fixture { rows: vec![1.0; 5000 * 3], queries: vec![1.0, 2.0, 3.0], dim: 3 };
    let index = Brute::open(fixture.rows(), Metric::L2);
    let found = index.search(fixture.rows(), fixture.queries(), 10, None, 2).unwrap();
    assert_eq!(found.slots, (0..10).collect::<Vec<u32>>());
}

#[test]
fn wide_and_narrow_rows() {
    for (dim, n) in [(1, 300), (8192, 40)] {
        let fixture = Fixture::random(5, n, dim, 6);
        for metric in [Metric::Dot, Metric::L2] {
            check(&fixture, 5, metric, None, 1);
        }
    }
}

#[test]
fn nothing_to_find() {
    let none = Matrix::new(&[], 0, 4).unwrap();
    let query = [1.0f32; 4];
    let queries = Matrix::new(&query, 1, 4).unwrap();
    let index = Brute::build(none, Metric::L2, true, 1, &Unobserved).unwrap();
    let found = index.search(none, queries, 2, None, 1).unwrap();
    assert_eq!(found.slots, [NO_SLOT; 2]);
    assert_eq!(found.distances, [f32::INFINITY; 2]);
    assert!(index.search(none, queries, 0, None, 1).unwrap().slots.is_empty());
    assert!(index.search(none, Matrix::new(&[], 0, 4).unwrap(), 3, None, 1).unwrap().slots.is_empty());
    assert!(index.search(none, Matrix::new(&query[..3], 1, 3).unwrap(), 3, None, 1).is_err());
    let others = Matrix::new(&query, 1, 4).unwrap();
    assert!(index.search(others, queries, 3, None, 1).is_err());
    assert!(index.search(none, queries, usize::MAX, None, 1).is_err());
}

/// Data made to break a bound: each of them under every metric, alone and in a batch, whole and filtered.
#[test]
fn adversarial_rows_equal_float64() {
    for dim in [1, 7, 384, 4096] {
        let count = if dim == 4096 { 70 } else { 333 };
        let base = Fixture::random(17 + dim as u64, count, dim, 7);
        let change = |change: &dyn Fn(usize, usize, f32) -> f32| {
            let apply = |values: &[f32]| {
                values.iter().enumerate().map(|(i, &value)| change(i / dim, i % dim, value)).collect()
            };
            Fixture { rows: apply(&base.rows), queries: apply(&base.queries), dim }
        };
        let cases: [(&str, Fixture); 10] = [
            ("huge", change(&|_, _, value| value * 3e18)),
            ("one huge row", change(&|row, _, value| if row == 5 { value * 1e30 } else { value })),
            ("tiny", change(&|_, _, value| value * 1e-22)),
            ("denormal", change(&|_, _, value| value * 1e-41)),
            ("mixed norms", change(&|row, _, value| value * 10f32.powi(row as i32 % 30 - 15))),
            ("duplicates", change(&|row, at, _| base.rows[row % 9 * dim + at])),
            ("constant", change(&|_, _, _| 0.1)),
            ("outlier", change(&|_, at, value| if at == 0 { value * 1e7 } else { value })),
            ("far away", change(&|_, _, value| 1000.0 + value)),
            (
                "near ties",
                change(&|row, at, _| {
                    let value = base.rows[at];
                    if (row + at) % 11 == 0 { value.next_up() } else { value }
                }),
            ),
        ];
        for (name, fixture) in cases {
            let allowed = fixture.filter(3);
            for metric in [Metric::Dot, Metric::Cosine, Metric::L2] {
                println!("{name}, dimension {dim}");
                check(&fixture, 10, metric, None, 1);
                check(&fixture, 10, metric, Some(&allowed), 2);
                let one = Fixture { queries: fixture.queries[..dim].to_vec(), ..fixture.clone() };
                check(&one, 10, metric, None, 2);
            }
        }
    }
}

#[test]
fn queries_that_codes_tell_nothing_about_are_scanned_in_float32() {
    // All rows are equal but for one; one query of two tells them apart.
    let (dim, count) = (104, 40_000);
    let mut rows = vec![0.25; dim * count];
    rows[30_000 * dim] = 0.26;
    let mut queries = vec![0.0; 6 * dim];
    queries[..dim].fill(1.0);
    let fixture = Fixture { rows, queries, dim };
    for metric in [Metric::Dot, Metric::L2] {
        let index = Brute::build(fixture.rows(), metric, true, 2, &Unobserved).unwrap();
        assert!(index.bytes().iter().any(|&(part, bytes)| part == "codes" && bytes == dim * count));
        for threads in [1, 2] {
            let found = index.search(fixture.rows(), fixture.queries(), 3, None, threads).unwrap();
            assert_same(&found, &twin(&fixture, 3, metric, None), metric.as_str());
        }
    }
}

#[test]
fn what_is_kept_beside_the_rows_is_less_than_a_third() {
    for (dim, metric) in [(96, Metric::L2), (104, Metric::Dot), (384, Metric::Cosine), (64, Metric::Dot)] {
        let fixture = Fixture::random(3, 5000, dim, 1);
        let index = Brute::build(fixture.rows(), metric, true, 1, &Unobserved).unwrap();
        let bytes: usize = index.bytes().iter().map(|part| part.1).sum();
        assert!(bytes * 10 < 5000 * dim * 4 * 3, "{bytes}");
        for (rows, codes) in [(4096, false), (511, true), (512, true)] {
            let few = Matrix::new(&fixture.rows[..rows * dim], rows, dim).unwrap();
            let index = Brute::build(few, metric, codes, 1, &Unobserved).unwrap();
            let made = index.bytes().iter().any(|part| part.1 > 0);
            assert_eq!(made, codes && rows >= 512 && dim >= 96, "fresh rows are indexed again and again");
        }
    }
}

/// Codes serve up to four queries over a few thousand rows; more of them meet the rows in float32, which needs norms.
#[test]
fn one_query_and_a_batch_over_a_few_thousand_rows() {
    for (count, dim) in [(512, 96), (600, 130), (4096, 96)] {
        let fixture = Fixture::random(5, count, dim, 6);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            check(&fixture, 10, metric, None, 2);
            check(&fixture, 10, metric, Some(&fixture.filter(3)), 1);
        }
        let rows = fixture.rows();
        let index = Brute::build(rows, Metric::Dot, true, 1, &Unobserved).unwrap();
        let all = twin(&fixture, 7, Metric::Dot, None);
        let norms = || index.bytes().into_iter().find(|part| part.0 == "norms").unwrap().1;
        for (some, read) in [(1, 0), (4, 0), (5, 4 * count)] {
            let queries = Matrix::new(&fixture.queries[..some * dim], some, dim).unwrap();
            let found = index.search(rows, queries, 7, None, 1).unwrap();
            assert_eq!(found.slots[..], all.slots[..some * 7]);
            assert_eq!(norms(), read, "{some} queries");
        }
    }
}
