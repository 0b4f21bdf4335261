//! A saved index, what may become of it when its files are damaged, and what must hold nevertheless.
//!
//! The fuzz target of `vdb-index-rust/fuzz` takes this file too.

use std::path::Path;

use tempfile::TempDir;
use vdb_index::{
    Bitmap, Error, IvfFlat, IvfFlatOptions, IvfPq, IvfPqOptions, Matrix, Metric, NO_SLOT, Neighbours, Result,
    Unobserved,
};

use crate::common::{Fixture, allowed_words, assert_same, distance, twin};

/// Places of every search.
const K: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flat,
    /// Bits a piece.
    Pq(usize),
}

pub const KINDS: [Kind; 3] = [Kind::Flat, Kind::Pq(4), Kind::Pq(8)];
pub const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

enum Index {
    Flat(IvfFlat),
    Pq(IvfPq),
}

/// A filter, and the exact answers under it.
struct Asked {
    allowed: Option<(Vec<bool>, Vec<u64>)>,
    exact: Neighbours,
}

pub struct Specimen {
    pub kind: Kind,
    pub metric: Metric,
    /// Names and contents as they were saved, in the order of the names.
    pub files: Vec<(String, Vec<u8>)>,
    fixture: Fixture,
    asked: Vec<Asked>,
    directory: TempDir,
}

impl Specimen {
    pub fn new(kind: Kind, metric: Metric, rows: usize, dim: usize) -> Self {
        // Enough queries for every way in which a batch is searched.
        let queries = if cfg!(miri) { 17 } else { 50 };
        let fixture = Fixture::clustered(8, rows, dim, queries, 9);
        let directory = tempfile::tempdir().unwrap();
        let matrix = fixture.rows();
        match kind {
            Kind::Flat => {
                let options = IvfFlatOptions { n_lists: Some(9), ..IvfFlatOptions::default() };
                let index = IvfFlat::build(matrix, metric, options, 1, &Unobserved).unwrap();
                index.save(directory.path()).unwrap();
            }
            Kind::Pq(bits) => {
                let options =
                    IvfPqOptions { n_lists: Some(9), n_bits: Some(bits), ..IvfPqOptions::default() };
                let index = IvfPq::build(matrix, metric, options, 1, &Unobserved).unwrap();
                index.save(directory.path()).unwrap();
            }
        }
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        let filters = [None, Some(fixture.filter(2)), Some(vec![false; rows])];
        let asked = filters.map(|flags| {
            let exact = twin(&fixture, K, metric, flags.as_deref());
            let allowed = flags.map(|flags| {
                let words = allowed_words(&flags);
                (flags, words)
            });
            Asked { allowed, exact }
        });
        Self { kind, metric, files, fixture, asked: asked.into(), directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Bytes that an honest reader may have to hold at a time, and some more.
    pub fn size(&self) -> usize {
        size_of_val(self.fixture.rows.as_slice()) + self.files.iter().map(|file| file.1.len()).sum::<usize>()
    }

    /// Open the index after these files were replaced (`None`: removed), ask it everything, and put the files back. What
    /// `load` said comes back; an answer that breaks a promise panics.
    pub fn survive(&self, changes: &[(&str, Option<&[u8]>)]) -> Result<()> {
        for &(name, bytes) in changes {
            match bytes {
                Some(bytes) => std::fs::write(self.path().join(name), bytes).unwrap(),
                None => std::fs::remove_file(self.path().join(name)).unwrap(),
            }
        }
        let opened = self.open();
        for (name, bytes) in self.files.iter().filter(|file| changes.iter().any(|each| each.0 == file.0)) {
            std::fs::write(self.path().join(name), bytes).unwrap();
        }
        let index = opened.inspect_err(|error| {
            assert!(matches!(error, Error::Damaged { .. } | Error::Io { .. }), "{error:?}");
        })?;
        self.ask(&index);
        Ok(())
    }

    fn open(&self) -> Result<Index> {
        let rows = self.fixture.rows();
        Ok(match self.kind {
            Kind::Flat => Index::Flat(IvfFlat::load(self.path(), rows, self.metric, true)?),
            Kind::Pq(_) => Index::Pq(IvfPq::load(self.path(), rows, self.metric, true)?),
        })
    }

    /// Searches of one query and of many, whole and filtered, of few lists and of all, with and without a re-rank.
    fn ask(&self, index: &Index) {
        let (rows, all) = (self.fixture.rows(), self.fixture.queries());
        let one = Matrix::new(all.row(0), 1, all.dim()).unwrap();
        for asked in &self.asked {
            let allowed = asked.allowed.as_ref().map(|(_, words)| Bitmap::new(words, rows.rows()).unwrap());
            for queries in [one, all] {
                for probes in [None, Some(1), Some(usize::MAX)] {
                    match index {
                        Index::Flat(index) => {
                            let found = index.search(rows, queries, K, allowed, probes, 1).unwrap();
                            self.check(asked, queries, &found, true);
                            if probes == Some(usize::MAX) {
                                // Damaged centroids put lists into another order: all of them are still all rows.
                                assert_same(&found, &first(&asked.exact, queries.rows()), "all lists");
                            }
                        }
                        Index::Pq(index) => {
                            for rerank in [None, Some(0), Some(20)] {
                                let found =
                                    index.search(rows, queries, K, allowed, probes, rerank, 1).unwrap();
                                self.check(asked, queries, &found, rerank != Some(0));
                            }
                        }
                    }
                }
            }
        }
    }

    /// `min(k, allowed)` different rows that are allowed, their distances true where they are no estimates.
    fn check(&self, asked: &Asked, queries: Matrix<'_>, found: &Neighbours, exact: bool) {
        let rows = self.fixture.rows();
        let flags = asked.allowed.as_ref().map(|(flags, _)| flags);
        let there = flags.map_or(rows.rows(), |flags| flags.iter().filter(|&&flag| flag).count());
        assert_eq!(found.slots.len(), queries.rows() * K);
        for (number, (slots, distances)) in found.slots.chunks(K).zip(found.distances.chunks(K)).enumerate() {
            let (slots, padding) = slots.split_at(there.min(K));
            assert!(padding.iter().all(|&slot| slot == NO_SLOT), "{slots:?} {padding:?}");
            assert!(distances[slots.len()..].iter().all(|&distance| distance == f32::INFINITY));
            for &slot in slots {
                assert!((slot as usize) < rows.rows(), "{slots:?}");
                assert!(flags.is_none_or(|flags| flags[slot as usize]), "{slot} is not allowed");
            }
            let mut different = slots.to_vec();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), slots.len(), "a row twice: {slots:?}");
            if exact {
                assert!(distances.is_sorted(), "{distances:?}");
                for (&slot, &told) in slots.iter().zip(distances) {
                    let truth = distance(queries.row(number as u32), rows.row(slot), self.metric) as f32;
                    assert_eq!(told, truth, "{slot}");
                }
            }
        }
    }
}

/// An index of each kind, small enough to be opened thousands of times a second; their centroids have codes.
pub fn small() -> Vec<Specimen> {
    METRICS.into_iter().flat_map(|metric| KINDS.map(|kind| Specimen::new(kind, metric, 40, 33))).collect()
}

/// The answers to the first queries.
fn first(found: &Neighbours, queries: usize) -> Neighbours {
    let places = queries * found.k;
    Neighbours {
        slots: found.slots[..places].to_vec(),
        distances: found.distances[..places].to_vec(),
        k: found.k,
    }
}
