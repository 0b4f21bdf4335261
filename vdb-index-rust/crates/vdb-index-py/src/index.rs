//! One Python class for the three indexes, and the functions that make them.

use std::sync::{Mutex, PoisonError};

use numpy::{PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use vdb_index::{Bitmap, Brute, Metric};

use crate::arrays::{borrow, matrix, matrix_array, values, words_array};
use crate::error::guarded;
use crate::observer::Callbacks;

type Found<'py> = (Bound<'py, PyArray2<u32>>, Bound<'py, PyArray2<f32>>);

enum Algorithm {
    Brute(Brute),
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
    #[pyo3(signature = (queries, k, allowed, threads))]
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        k: usize,
        allowed: Option<&Bound<'py, PyAny>>,
        threads: usize,
    ) -> PyResult<Found<'py>> {
        let vectors = borrow("vectors", &self.vectors(py)?)?;
        let rows = matrix("vectors", &vectors)?;
        let queries = borrow("queries", matrix_array("queries", queries)?)?;
        let queries = matrix("queries", &queries)?;
        let words = match allowed {
            Some(words) => Some(borrow("allowed", words_array("allowed", words)?)?),
            None => None,
        };
        let words = match &words {
            Some(words) => Some(values("allowed", words)?),
            None => None,
        };
        let found = guarded(py, || {
            let allowed = words.map(|words| Bitmap::new(words, self.rows)).transpose()?;
            match &self.algorithm {
                Algorithm::Brute(index) => index.search(rows, queries, k, allowed, threads),
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
                bytes.set_item("norms", index.norm_bytes())?;
                details.set_item("instruction_set", index.kernels().isa.as_str())?;
            }
        }
        stats.set_item("rows", self.rows)?;
        stats.set_item("bytes", bytes)?;
        stats.set_item("details", details)?;
        Ok(stats)
    }

    /// Let go of the vectors; a later search is an error.
    fn close(&self) {
        let vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(vectors);
    }
}

/// Build the exact index.
#[pyfunction]
pub(crate) fn build_brute(
    py: Python<'_>,
    vectors: &Bound<'_, PyAny>,
    metric: &str,
    threads: usize,
    progress: Py<PyAny>,
    cancelled: Py<PyAny>,
) -> PyResult<Index> {
    let array = matrix_array("vectors", vectors)?;
    let borrowed = borrow("vectors", array)?;
    let rows = matrix("vectors", &borrowed)?;
    let callbacks = Callbacks::new(progress, cancelled);
    let built = guarded(py, || Brute::build(rows, metric.parse::<Metric>()?, threads, &callbacks));
    Ok(Index::new(Algorithm::Brute(callbacks.settle(built)?), rows.rows(), array))
}

/// Open the exact index, which needs nothing but its vectors.
#[pyfunction]
pub(crate) fn load_brute(py: Python<'_>, vectors: &Bound<'_, PyAny>, metric: &str) -> PyResult<Index> {
    let array = matrix_array("vectors", vectors)?;
    let borrowed = borrow("vectors", array)?;
    let rows = matrix("vectors", &borrowed)?;
    let index = guarded(py, || Ok(Brute::open(rows, metric.parse::<Metric>()?)))?;
    Ok(Index::new(Algorithm::Brute(index), rows.rows(), array))
}

/// What a defect looks like: reading past the end.
pub(crate) fn out_of_bounds(nothing: &[u8]) -> vdb_index::Result<()> {
    let first = nothing[0];
    debug_assert_eq!(first, 0);
    Ok(())
}
