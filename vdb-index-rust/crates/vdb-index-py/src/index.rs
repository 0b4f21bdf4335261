//! One Python class for the three indexes, and the functions that make them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::{PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use vdb_index::kernels::Kernels;
use vdb_index::{
    Bitmap, Brute, IvfFlat, IvfFlatOptions, IvfPq, IvfPqOptions, Matrix, Metric, Observer, Result, Unobserved,
};

use crate::arrays::{borrow, matrix, matrix_array, values, words};
use crate::error::guarded;
use crate::observer::Callbacks;

type Found<'py> = (Bound<'py, PyArray2<u32>>, Bound<'py, PyArray2<f32>>);

enum Algorithm {
    Brute(Brute),
    IvfFlat(IvfFlat),
    IvfPq(IvfPq),
}

/// A built index together with the array that it was built over.
#[pyclass(frozen, module = "vdb_index_rust._native")]
pub(crate) struct Index {
    algorithm: Algorithm,
    rows: usize,
    /// Gone after `close`.
    vectors: Mutex<Option<Py<PyArray2<f32>>>>,
}

impl Index {
    fn new(algorithm: Algorithm, rows: usize, vectors: &Bound<'_, PyArray2<f32>>) -> Self {
        Self { algorithm, rows, vectors: Mutex::new(Some(vectors.clone().unbind())) }
    }

    fn vectors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        let vectors =
            vectors.as_ref().ok_or_else(|| PyValueError::new_err("the index was closed; open it again"))?;
        Ok(vectors.bind(py).clone())
    }
}

#[pymethods]
impl Index {
    /// Slots `uint32 [q, k]` and distances `float32 [q, k]`; `None` picks the algorithm's default.
    #[pyo3(signature = (queries, k, allowed, threads, n_probes=None, rerank=None))]
    #[allow(clippy::too_many_arguments, reason = "one call into Rust a search, whatever the algorithm")]
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        k: usize,
        allowed: Option<&Bound<'py, PyAny>>,
        threads: usize,
        n_probes: Option<usize>,
        rerank: Option<usize>,
    ) -> PyResult<Found<'py>> {
        let vectors = borrow("vectors", &self.vectors(py)?)?;
        let rows = matrix("vectors", &vectors)?;
        let queries = borrow("queries", matrix_array("queries", queries)?)?;
        let queries = matrix("queries", &queries)?;
        let words = words(allowed)?;
        let words = words.as_ref().map(|words| values("allowed", words)).transpose()?;
        let found = guarded(py, || {
            let allowed = words.map(|words| Bitmap::new(words, self.rows)).transpose()?;
            match &self.algorithm {
                Algorithm::Brute(index) => index.search(rows, queries, k, allowed, threads),
                Algorithm::IvfFlat(index) => index.search(rows, queries, k, allowed, n_probes, threads),
                Algorithm::IvfPq(index) => index.search(rows, queries, k, allowed, n_probes, rerank, threads),
            }
        })?;
        let shape = [queries.rows(), k];
        Ok((
            numpy::PyArray1::from_vec(py, found.slots).reshape(shape)?,
            numpy::PyArray1::from_vec(py, found.distances).reshape(shape)?,
        ))
    }

    /// `{"rows": int, "bytes": {part: int}, "details": {name: value}}`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let bytes = PyDict::new(py);
        let details = PyDict::new(py);
        match &self.algorithm {
            Algorithm::Brute(index) => {
                index.bytes().into_iter().try_for_each(|(part, count)| bytes.set_item(part, count))?;
            }
            Algorithm::IvfFlat(index) => {
                index.bytes().into_iter().try_for_each(|(part, count)| bytes.set_item(part, count))?;
                details.set_item("n_lists", index.n_lists())?;
                details.set_item("default_n_probes", index.default_n_probes())?;
            }
            Algorithm::IvfPq(index) => {
                index.bytes().into_iter().try_for_each(|(part, count)| bytes.set_item(part, count))?;
                details.set_item("n_lists", index.n_lists())?;
                details.set_item("n_subvectors", index.n_subvectors())?;
                details.set_item("n_bits", index.n_bits())?;
                details.set_item("default_n_probes", index.default_n_probes())?;
            }
        }
        details.set_item("instruction_set", Kernels::best().isa.as_str())?;
        stats.set_item("rows", self.rows)?;
        stats.set_item("bytes", bytes)?;
        stats.set_item("details", details)?;
        Ok(stats)
    }

    /// Write the files of the index into an existing directory; `brute` has none.
    fn save(&self, py: Python<'_>, directory: PathBuf) -> PyResult<()> {
        guarded(py, || match &self.algorithm {
            Algorithm::Brute(_) => Ok(()),
            Algorithm::IvfFlat(index) => index.save(&directory),
            Algorithm::IvfPq(index) => index.save(&directory),
        })
    }

    /// Let go of the vectors; a later search is an error.
    fn close(&self) {
        let vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(vectors);
    }
}

/// Build under the eyes of Python's callbacks and keep the array with the result.
fn build(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    callbacks: Callbacks,
    work: impl FnOnce(Matrix<'_>, &dyn Observer) -> Result<Algorithm> + Send,
) -> PyResult<Index> {
    let array = matrix_array("vectors", vectors)?;
    let borrowed = borrow("vectors", array)?;
    let rows = matrix("vectors", &borrowed)?;
    let built = guarded(py, || work(rows, &callbacks));
    Ok(Index::new(callbacks.settle(built)?, rows.rows(), array))
}

/// Open files over an array and keep it with the result.
fn load(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    work: impl FnOnce(Matrix<'_>) -> Result<Algorithm> + Send,
) -> PyResult<Index> {
    let array = matrix_array("vectors", vectors)?;
    let borrowed = borrow("vectors", array)?;
    let rows = matrix("vectors", &borrowed)?;
    Ok(Index::new(guarded(py, || work(rows))?, rows.rows(), array))
}

/// Build the exact index.
#[pyfunction]
#[pyo3(signature = (vectors, metric, threads, progress, cancelled, *, codes))]
pub(crate) fn build_brute(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    threads: usize,
    progress: Py<PyAny>,
    cancelled: Py<PyAny>,
    codes: bool,
) -> PyResult<Index> {
    build(py, vectors, Callbacks::new(progress, cancelled), |rows, observer| {
        Brute::build(rows, metric.parse()?, codes, threads, observer).map(Algorithm::Brute)
    })
}

/// Open the exact index, which needs nothing but its vectors: codes are made again, so that no damaged file can make an
/// exact index inexact.
#[pyfunction]
#[pyo3(signature = (vectors, metric, *, codes))]
pub(crate) fn load_brute(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    codes: bool,
) -> PyResult<Index> {
    load(py, vectors, |rows| {
        let metric = metric.parse::<Metric>()?;
        let made = if codes {
            Brute::build(rows, metric, codes, 1, &Unobserved)?
        } else {
            Brute::open(rows, metric)
        };
        Ok(Algorithm::Brute(made))
    })
}

/// Build the inverted file over full rows.
#[pyfunction]
#[pyo3(signature = (vectors, metric, threads, progress, cancelled, *, n_lists, codes, seed))]
#[allow(clippy::too_many_arguments, reason = "the arguments of the index contract")]
pub(crate) fn build_ivf_flat(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    threads: usize,
    progress: Py<PyAny>,
    cancelled: Py<PyAny>,
    n_lists: Option<usize>,
    codes: bool,
    seed: u64,
) -> PyResult<Index> {
    let options = IvfFlatOptions { n_lists, codes, seed };
    build(py, vectors, Callbacks::new(progress, cancelled), |rows, observer| {
        IvfFlat::build(rows, metric.parse()?, options, threads, observer).map(Algorithm::IvfFlat)
    })
}

/// Open the inverted file over full rows; codes are made again.
#[pyfunction]
#[pyo3(signature = (directory, vectors, metric, *, codes))]
pub(crate) fn load_ivf_flat(
    py: Python<'_>,
    directory: PathBuf,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    codes: bool,
) -> PyResult<Index> {
    load(py, vectors, |rows| IvfFlat::load(&directory, rows, metric.parse()?, codes).map(Algorithm::IvfFlat))
}

/// Build the inverted file over product-quantized residuals.
#[pyfunction]
#[pyo3(signature = (vectors, metric, threads, progress, cancelled, *, n_lists, n_subvectors, n_bits, codes, seed))]
#[allow(clippy::too_many_arguments, reason = "the arguments of the index contract")]
pub(crate) fn build_ivf_pq(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    threads: usize,
    progress: Py<PyAny>,
    cancelled: Py<PyAny>,
    n_lists: Option<usize>,
    n_subvectors: Option<usize>,
    n_bits: Option<usize>,
    codes: bool,
    seed: u64,
) -> PyResult<Index> {
    let options = IvfPqOptions { n_lists, n_subvectors, n_bits, codes, seed };
    build(py, vectors, Callbacks::new(progress, cancelled), |rows, observer| {
        IvfPq::build(rows, metric.parse()?, options, threads, observer).map(Algorithm::IvfPq)
    })
}

/// Open the inverted file over product-quantized residuals; int8 codes are made again.
#[pyfunction]
#[pyo3(signature = (directory, vectors, metric, *, codes))]
pub(crate) fn load_ivf_pq(
    py: Python<'_>,
    directory: PathBuf,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    codes: bool,
) -> PyResult<Index> {
    load(py, vectors, |rows| IvfPq::load(&directory, rows, metric.parse()?, codes).map(Algorithm::IvfPq))
}

/// What a defect looks like: reading past the end.
pub(crate) fn out_of_bounds(nothing: &[u8]) -> Result<()> {
    let first = nothing[0];
    debug_assert_eq!(first, 0);
    Ok(())
}
