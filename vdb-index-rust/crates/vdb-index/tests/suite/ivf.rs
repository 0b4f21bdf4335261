//! `IvfFlat` and `IvfPq`: equality with the exact search where that is promised, floors of recall where it is not,
//! `min(k, allowed)` hits always, and files that come back.

use proptest::prelude::*;
use vdb_index::{
    Bitmap, Brute, Error, IvfFlat, IvfFlatOptions, IvfPq, IvfPqOptions, Matrix, Metric, NO_SLOT, Neighbours,
    Observer, Unobserved,
};

use crate::common::{self, Fixture, allowed_words, assert_same, recall, twin};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

fn flat(fixture: &Fixture, metric: Metric, n_lists: Option<usize>) -> IvfFlat {
    let options = IvfFlatOptions { n_lists, seed: 1, ..IvfFlatOptions::default() };
    IvfFlat::build(fixture.rows(), metric, options, 2, &Unobserved).unwrap()
}

fn pq(fixture: &Fixture, metric: Metric, n_bits: usize) -> IvfPq {
    let options = IvfPqOptions { n_bits: Some(n_bits), seed: 1, ..IvfPqOptions::default() };
    IvfPq::build(fixture.rows(), metric, options, 2, &Unobserved).unwrap()
}

fn hits(found: &Neighbours) -> Vec<usize> {
    found.slots.chunks(found.k).map(|slots| slots.iter().filter(|&&slot| slot != NO_SLOT).count()).collect()
}

fn metrics() -> impl Strategy<Value = Metric> {
    prop_oneof![Just(Metric::Dot), Just(Metric::Cosine), Just(Metric::L2)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn all_lists_equal_brute_force(
        fixture in common::fixtures(),
        k in 1..12usize,
        metric in metrics(),
        n_lists in prop_oneof![Just(None), (1..200usize).prop_map(Some)],
        filtered in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let allowed = filtered.then(|| fixture.filter(seed));
        let words = allowed.as_deref().map(allowed_words);
        let bitmap = words.as_deref().map(|words| Bitmap::new(words, fixture.rows().rows()).unwrap());
        let index = flat(&fixture, metric, n_lists);
        let found = index.search(fixture.rows(), fixture.queries(), k, bitmap, Some(usize::MAX), 2).unwrap();
        assert_same(&found, &twin(&fixture, k, metric, allowed.as_deref()), "all lists");
    }

    #[test]
    fn always_finds_as_many_as_there_are(
        fixture in common::fixtures(),
        k in 1..40usize,
        metric in metrics(),
        n_probes in 1..4usize,
        n_bits in prop_oneof![Just(4usize), Just(8)],
        rerank in prop_oneof![Just(None), Just(Some(0usize)), Just(Some(3))],
        seed in any::<u64>(),
    ) {
        let allowed = fixture.filter(seed);
        let words = allowed_words(&allowed);
        let rows = fixture.rows();
        let bitmap = Bitmap::new(&words, rows.rows()).unwrap();
        let expected = bitmap.count().min(k);
        let of_flat = flat(&fixture, metric, Some(9))
            .search(rows, fixture.queries(), k, Some(bitmap), Some(n_probes), 1)
            .unwrap();
        let of_pq = pq(&fixture, metric, n_bits)
            .search(rows, fixture.queries(), k, Some(bitmap), Some(n_probes), rerank, 1)
            .unwrap();
        for found in [of_flat, of_pq] {
            prop_assert!(hits(&found).iter().all(|&count| count == expected), "{:?} of {expected}", hits(&found));
            let mut slots: Vec<u32> = found.slots[..k].iter().copied().filter(|&slot| slot != NO_SLOT).collect();
            prop_assert!(slots.iter().all(|&slot| allowed[slot as usize]));
            slots.sort_unstable();
            slots.dedup();
            prop_assert_eq!(slots.len(), expected);
        }
    }
}

/// An index remembers filters; it answers as it did before it knew them.
#[test]
fn a_filter_that_comes_again_is_answered_alike() {
    let fixture = Fixture::clustered(3, 5000, 40, 8, 300);
    let (rows, queries) = (fixture.rows(), fixture.queries());
    for metric in METRICS {
        let (flat, pq) = (flat(&fixture, metric, Some(90)), pq(&fixture, metric, 4));
        for share in [2, 20, 97] {
            let allowed: Vec<bool> = (0..5000u64).map(|slot| slot * 7919 % 101 < share).collect();
            let words = allowed_words(&allowed);
            let bitmap = Some(Bitmap::new(&words, 5000).unwrap());
            let in_flat = || flat.search(rows, queries, 7, bitmap, Some(4), 1).unwrap();
            let in_pq = || pq.search(rows, queries, 7, bitmap, Some(4), Some(20), 1).unwrap();
            let first = (in_flat(), in_pq());
            for _ in 0..3 {
                assert_same(&in_flat(), &first.0, "ivf_flat");
                assert_same(&in_pq(), &first.1, "ivf_pq");
            }
        }
    }
}

#[test]
fn batches_equal_single_queries() {
    let fixture = Fixture::clustered(12, 3000, 20, 100, 20);
    let words = allowed_words(&fixture.filter(3));
    let rows = fixture.rows();
    for metric in METRICS {
        let lists = flat(&fixture, metric, Some(12));
        let codes = pq(&fixture, metric, 4);
        for allowed in [None, Some(Bitmap::new(&words, rows.rows()).unwrap())] {
            for k in [1, 7, 400] {
                for threads in [1, 3] {
                    let ask = |queries| {
                        let of_lists = lists.search(rows, queries, k, allowed, Some(3), threads).unwrap();
                        let of_codes =
                            codes.search(rows, queries, k, allowed, Some(3), None, threads).unwrap();
                        (of_lists, of_codes)
                    };
                    let (of_lists, of_codes) = ask(fixture.queries());
                    for (number, query) in fixture.queries.chunks(20).enumerate() {
                        let (list, code) = ask(Matrix::new(query, 1, 20).unwrap());
                        assert_eq!(list.slots, of_lists.slots[number * k..][..k], "{metric} {k} {threads}");
                        assert_eq!(code.slots, of_codes.slots[number * k..][..k], "{metric} {k} {threads}");
                    }
                }
            }
        }
    }
}

#[test]
fn defaults_find_the_neighbours() {
    for (metric, floor) in [(Metric::Cosine, 0.97), (Metric::L2, 0.97), (Metric::Dot, 0.9)] {
        let fixture = Fixture::clustered(3, 6000, 48, 60, 150);
        let fixture = if metric == Metric::Cosine { fixture.normalized() } else { fixture };
        let truth = twin(&fixture, 10, metric, None);
        let index = flat(&fixture, metric, None);
        let found = index.search(fixture.rows(), fixture.queries(), 10, None, None, 2).unwrap();
        assert!(recall(&found, &truth) >= floor, "ivf_flat {metric} {}", recall(&found, &truth));
        for n_bits in [4, 8] {
            let index = pq(&fixture, metric, n_bits);
            let found = index.search(fixture.rows(), fixture.queries(), 10, None, None, None, 2).unwrap();
            assert!(recall(&found, &truth) >= floor, "ivf_pq {metric} {n_bits} {}", recall(&found, &truth));
        }
    }
}

#[test]
fn a_filter_does_not_cost_recall() {
    let fixture = Fixture::clustered(3, 8000, 32, 60, 400).normalized();
    let lists = flat(&fixture, Metric::Cosine, None);
    let codes = pq(&fixture, Metric::Cosine, 4);
    for percent in [2, 10, 50] {
        let allowed: Vec<bool> = (0..8000usize).map(|slot| slot * 7919 % 100 < percent).collect();
        let words = allowed_words(&allowed);
        let bitmap = Some(Bitmap::new(&words, 8000).unwrap());
        let truth = twin(&fixture, 10, Metric::Cosine, Some(&allowed));
        let (rows, queries) = (fixture.rows(), fixture.queries());
        let of_lists = recall(&lists.search(rows, queries, 10, bitmap, None, 1).unwrap(), &truth);
        let of_codes = recall(&codes.search(rows, queries, 10, bitmap, None, None, 1).unwrap(), &truth);
        assert!(of_lists >= 0.95 && of_codes >= 0.95, "{percent} %: {of_lists} {of_codes}");
    }
}

#[test]
fn rows_far_from_zero_are_found_as_well() {
    let mut fixture = Fixture::clustered(3, 6000, 48, 60, 150);
    fixture.rows.iter_mut().chain(&mut fixture.queries).for_each(|value| *value += 3000.0);
    let truth = twin(&fixture, 10, Metric::L2, None);
    let (rows, queries) = (fixture.rows(), fixture.queries());
    let found = flat(&fixture, Metric::L2, None).search(rows, queries, 10, None, None, 2).unwrap();
    assert!(recall(&found, &truth) >= 0.97, "ivf_flat {}", recall(&found, &truth));
    for n_bits in [4, 8] {
        let found = pq(&fixture, Metric::L2, n_bits).search(rows, queries, 10, None, None, None, 2).unwrap();
        assert!(recall(&found, &truth) >= 0.97, "ivf_pq {n_bits} {}", recall(&found, &truth));
    }
}

fn estimates_are_near(index: &IvfPq, fixture: &Fixture, metric: Metric) {
    let found = index.search(fixture.rows(), fixture.queries(), 5, None, None, Some(0), 1).unwrap();
    let (mut off, mut size) = (0.0, 0.0);
    for (query, (slots, distances)) in
        fixture.queries.chunks(fixture.dim).zip(found.slots.chunks(5).zip(found.distances.chunks(5)))
    {
        assert!(distances.windows(2).all(|pair| pair[0] <= pair[1]));
        for (&slot, &estimate) in slots.iter().zip(distances) {
            let truth = common::distance(query, fixture.rows().row(slot), metric);
            off += (truth - f64::from(estimate)).abs();
            size += truth.abs();
        }
    }
    assert!(off < 0.35 * size, "{metric}: off by {off} of {size}");
}

#[test]
fn estimates_are_near_the_distances() {
    let fixture = Fixture::clustered(4, 3000, 32, 20, 60);
    for (metric, fixture) in [
        (Metric::L2, fixture.clone()),
        (Metric::Dot, fixture.clone()),
        (Metric::Cosine, fixture.normalized()),
    ] {
        for n_bits in [4, 8] {
            let index = pq(&fixture, metric, n_bits);
            estimates_are_near(&index, &fixture, metric);
        }
    }
}

#[test]
fn re_ranked_distances_are_exact() {
    let fixture = Fixture::clustered(4, 2000, 33, 10, 40);
    for metric in METRICS {
        let index = pq(&fixture, metric, 4);
        let found = index.search(fixture.rows(), fixture.queries(), 5, None, None, Some(50), 1).unwrap();
        for (query, (slots, distances)) in
            fixture.queries.chunks(33).zip(found.slots.chunks(5).zip(found.distances.chunks(5)))
        {
            for (&slot, &distance) in slots.iter().zip(distances) {
                assert_eq!(distance, common::distance(query, fixture.rows().row(slot), metric) as f32);
            }
        }
        // Everything scanned and everything re-ranked is the exact answer.
        let found =
            index.search(fixture.rows(), fixture.queries(), 5, None, Some(9999), Some(9999), 2).unwrap();
        assert_same(&found, &twin(&fixture, 5, metric, None), "everything re-ranked");
    }
}

#[test]
fn neither_threads_nor_a_second_build_change_the_files() {
    let fixture = Fixture::clustered(6, 2500, 20, 1, 30);
    let files = |threads: usize, seed: u64| {
        let directory = tempfile::tempdir().unwrap();
        let options = IvfPqOptions { seed, ..IvfPqOptions::default() };
        let index = IvfPq::build(fixture.rows(), Metric::L2, options, threads, &Unobserved).unwrap();
        index.save(directory.path()).unwrap();
        ["index.json", "centroids.npy", "offsets.npy", "slots.npy", "codebooks.npy", "codes.npy", "terms.npy"]
            .map(|name| std::fs::read(directory.path().join(name)).unwrap())
    };
    assert!(files(1, 5) == files(3, 5));
    assert!(files(1, 5) != files(1, 6));
}

#[test]
fn what_was_saved_answers_the_same() {
    for (rows, dim) in [(0, 3), (1, 1), (5, 7), (900, 19)] {
        let fixture = Fixture::random(8, rows, dim, 9);
        for metric in METRICS {
            let directory = tempfile::tempdir().unwrap();
            let index = flat(&fixture, metric, None);
            index.save(directory.path()).unwrap();
            let loaded = IvfFlat::load(directory.path(), fixture.rows(), metric, true).unwrap();
            let ask = |index: &IvfFlat| {
                index.search(fixture.rows(), fixture.queries(), 4, None, Some(2), 1).unwrap()
            };
            assert_same(&ask(&loaded), &ask(&index), "ivf_flat");
            for n_bits in [4, 8] {
                let directory = tempfile::tempdir().unwrap();
                let index = pq(&fixture, metric, n_bits);
                index.save(directory.path()).unwrap();
                let loaded = IvfPq::load(directory.path(), fixture.rows(), metric, true).unwrap();
                assert_eq!(
                    loaded.bytes(),
                    index.bytes(),
                    "what a build makes is there before the first query"
                );
                for rerank in [None, Some(0)] {
                    let ask = |index: &IvfPq| {
                        index.search(fixture.rows(), fixture.queries(), 4, None, Some(2), rerank, 1).unwrap()
                    };
                    assert_same(&ask(&loaded), &ask(&index), "ivf_pq");
                }
            }
        }
    }
}

/// Without it, as in files of before, nothing is stretched: opened all the same, and more have to be re-ranked.
#[test]
fn a_stretch_makes_estimates_tell_more() {
    // As in embeddings some directions tell more than others, none of them an axis, and neighbours lie in many lists.
    let mut fixture = Fixture::random(5, 3000, 256, 200);
    let directions = Fixture::random(6, 32, 256, 0).rows;
    for vector in fixture.rows.chunks_mut(256).chain(fixture.queries.chunks_mut(256)) {
        let along: Vec<f32> = vector.iter().zip(1u16..33).map(|(a, j)| a / f32::from(j).sqrt()).collect();
        for (along, direction) in along.iter().zip(directions.chunks(256)) {
            vector.iter_mut().zip(direction).for_each(|(value, step)| *value += along * step);
        }
    }
    let fixture = fixture.normalized();
    let truth = twin(&fixture, 10, Metric::Cosine, None);
    let directory = tempfile::tempdir().unwrap();
    let options = IvfPqOptions { n_subvectors: Some(64), ..IvfPqOptions::default() };
    let index = IvfPq::build(fixture.rows(), Metric::Cosine, options, 2, &Unobserved).unwrap();
    index.save(directory.path()).unwrap();
    let found = |rerank| {
        let index = IvfPq::load(directory.path(), fixture.rows(), Metric::Cosine, true).unwrap();
        let found =
            index.search(fixture.rows(), fixture.queries(), 10, None, Some(40), Some(rerank), 1).unwrap();
        recall(&found, &truth)
    };
    let (few, all) = (found(20), found(6000));
    let header = directory.path().join("index.json");
    let text = std::fs::read_to_string(&header).unwrap();
    let (from, to) = (text.find(",\n    \"stretch\"").unwrap(), text.find("\n  }").unwrap());
    std::fs::write(&header, format!("{}{}", &text[..from], &text[to..])).unwrap();
    let before = found(20);
    assert!(few > before + 0.02, "{few} with, {before} without");
    assert_eq!(all, found(6000));
}

/// Where the first dimensions tell most, as principal components do, pieces are made up of others than lie side by side.
#[test]
fn dimensions_are_dealt_where_the_first_tell_most() {
    let mut fixture = Fixture::random(7, 3000, 48, 20);
    for vector in fixture.rows.chunks_mut(48).chain(fixture.queries.chunks_mut(48)) {
        vector.iter_mut().zip(1u16..).for_each(|(value, d)| *value /= f32::from(d));
    }
    for metric in METRICS {
        let fixture = if metric == Metric::Cosine { fixture.clone().normalized() } else { fixture.clone() };
        let directory = tempfile::tempdir().unwrap();
        let index = pq(&fixture, metric, 4);
        index.save(directory.path()).unwrap();
        let loaded = IvfPq::load(directory.path(), fixture.rows(), metric, true).unwrap();
        for rerank in [Some(0), Some(20)] {
            let ask = |index: &IvfPq| {
                index.search(fixture.rows(), fixture.queries(), 5, None, None, rerank, 1).unwrap()
            };
            assert_same(&ask(&loaded), &ask(&index), "dealt");
        }
        let found =
            index.search(fixture.rows(), fixture.queries(), 5, None, Some(9999), Some(9999), 1).unwrap();
        assert_same(&found, &twin(&fixture, 5, metric, None), "everything re-ranked");
        estimates_are_near(&index, &fixture, metric);
        let order = directory.path().join("dimensions.npy");
        let whole = std::fs::read(&order).unwrap();
        let mut twice = whole.clone();
        let end = twice.len();
        twice.copy_within(end - 8..end - 4, end - 4);
        for bad in [&twice[..], &whole[..end - 4], &[]] {
            std::fs::write(&order, bad).unwrap();
            let error = IvfPq::load(directory.path(), fixture.rows(), metric, true).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        std::fs::remove_file(&order).unwrap();
        assert!(IvfPq::load(directory.path(), fixture.rows(), metric, true).is_err());
    }
}

#[test]
fn other_rows_or_another_metric_are_refused() {
    let fixture = Fixture::random(8, 90, 6, 1);
    let directory = tempfile::tempdir().unwrap();
    flat(&fixture, Metric::L2, None).save(directory.path()).unwrap();
    let refused = |rows: Matrix<'_>, metric| {
        assert!(matches!(IvfFlat::load(directory.path(), rows, metric, true), Err(Error::Damaged { .. })));
    };
    refused(fixture.rows(), Metric::Dot);
    refused(Matrix::new(&fixture.rows[..89 * 6], 89, 6).unwrap(), Metric::L2);
    assert!(matches!(
        IvfPq::load(directory.path(), fixture.rows(), Metric::L2, true),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn parameters_out_of_range_name_the_range() {
    let fixture = Fixture::random(8, 90, 6, 1);
    let build = |options| IvfPq::build(fixture.rows(), Metric::L2, options, 1, &Unobserved);
    let error = build(IvfPqOptions { n_bits: Some(5), ..IvfPqOptions::default() }).unwrap_err();
    assert_eq!(error.to_string(), "n_bits: expected 4 or 8, received 5");
    let error = build(IvfPqOptions { n_subvectors: Some(7), ..IvfPqOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("1 to 6"), "{error}");
    let options = IvfPqOptions { n_lists: Some(0), ..IvfPqOptions::default() };
    assert_eq!(build(options).unwrap_err().to_string(), "n_lists: expected at least 1, received 0");
    let options = IvfFlatOptions { n_lists: Some(0), ..IvfFlatOptions::default() };
    let error = IvfFlat::build(fixture.rows(), Metric::L2, options, 1, &Unobserved).unwrap_err();
    assert!(matches!(error, Error::Parameter { name: "n_lists", .. }));
    for n_subvectors in 1..=6 {
        let options = IvfPqOptions { n_subvectors: Some(n_subvectors), ..IvfPqOptions::default() };
        assert_eq!(build(options).unwrap().n_subvectors(), n_subvectors);
    }
}

#[test]
fn any_number_of_threads_places_and_probes_is_an_answer_or_an_error() {
    // Enough queries for every way to split them; more threads than a product of counts can hold.
    let fixture = Fixture::random(8, 300, 40, 60);
    let (rows, queries) = (fixture.rows(), fixture.queries());
    let exact = Brute::build_coded(rows, Metric::L2, 1 << 62, &Unobserved).unwrap();
    let (lists, codes) = (flat(&fixture, Metric::L2, None), pq(&fixture, Metric::L2, 4));
    for k in [1, 400] {
        for threads in [0, 1, 1 << 62, usize::MAX] {
            for probes in [None, Some(0), Some(usize::MAX)] {
                let all = exact.search(rows, queries, k, None, threads).unwrap();
                assert_same(&all, &exact.search(rows, queries, k, None, 1).unwrap(), "brute");
                let of_lists = lists.search(rows, queries, k, None, probes, threads).unwrap();
                assert_same(&of_lists, &lists.search(rows, queries, k, None, probes, 1).unwrap(), "ivf_flat");
                for rerank in [None, Some(0), Some(usize::MAX)] {
                    let found = codes.search(rows, queries, k, None, probes, rerank, threads).unwrap();
                    assert!(hits(&found).iter().all(|&count| count == k.min(300)));
                }
            }
        }
    }
    // 2^40 places and more: no machine has that memory.
    for k in [1 << 40, 1 << 60, usize::MAX] {
        let refused = |found: vdb_index::Result<Neighbours>| matches!(found, Err(Error::Shape { .. }));
        assert!(refused(exact.search(rows, queries, k, None, 1)));
        assert!(refused(lists.search(rows, queries, k, None, None, 1)));
        assert!(refused(codes.search(rows, queries, k, None, None, None, 1)));
    }
}

struct StopAtOnce;

impl Observer for StopAtOnce {
    fn progress(&self, _: &'static str, _: usize, _: usize) {}

    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn a_build_stops_when_asked() {
    let fixture = Fixture::random(8, 500, 6, 1);
    let flat = IvfFlat::build(fixture.rows(), Metric::L2, IvfFlatOptions::default(), 2, &StopAtOnce);
    assert!(matches!(flat, Err(Error::Cancelled)));
    let pq = IvfPq::build(fixture.rows(), Metric::L2, IvfPqOptions::default(), 2, &StopAtOnce);
    assert!(matches!(pq, Err(Error::Cancelled)));
}
