//! What the engine does for one query beside the search: `vdb_core.indexes.Accelerator`.

use numpy::ndarray::{Ix1, Ix2};
use numpy::{PyArray, PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList};
use vdb_index::{Bitmap, Metric, hits as json, single};

use crate::arrays::{array, borrow, matrix, matrix_array, values, words};
use crate::error::{guarded, guarded_here};

/// From so many numbers on, the rows to compare are worth letting go of the interpreter.
const MANY: usize = 1 << 17;

/// float32 `[1, dim]` in the form in which rows are stored, of a list or float32 `[dim]`; `None` where these deserve a
/// closer look.
#[pyfunction]
pub(crate) fn query_row<'py>(
    py: Python<'py>,
    row: &Bound<'py, PyAny>,
    dimension: usize,
    metric: &str,
) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
    let row = if let Ok(list) = row.cast_exact::<PyList>() {
        of_list(list, dimension)
    } else if let Ok(row) = row.cast::<PyArray<f32, Ix1>>() {
        of_array(row, dimension)
    } else {
        None
    };
    stored(py, row, metric)
}

/// The same of a JSON array.
#[pyfunction]
pub(crate) fn read_row<'py>(
    py: Python<'py>,
    text: &[u8],
    dimension: usize,
    metric: &str,
) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
    let row = guarded_here(py, || Ok(single::parse(text, dimension)))?;
    stored(py, row, metric)
}

fn stored<'py>(
    py: Python<'py>,
    row: Option<Vec<f32>>,
    metric: &str,
) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
    let Some(mut row) = row else { return Ok(None) };
    let plain = guarded_here(py, || Ok(single::store(&mut row, metric.parse()?)))?;
    let shape = [1, row.len()];
    Ok(if plain { Some(PyArray1::from_vec(py, row).reshape(shape)?) } else { None })
}

/// Slots and float64 distances of the nearest of the rows named, in order.
#[pyfunction]
pub(crate) fn nearest(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    vectors: &Bound<'_, PyAny>,
    slots: &Bound<'_, PyAny>,
    allowed: Option<&Bound<'_, PyAny>>,
    metric: &str,
    want: usize,
) -> PyResult<(Vec<u32>, Vec<f64>)> {
    let query = borrow("query", matrix_array("query", query)?)?;
    let query = values("query", &query)?;
    let vectors = borrow("vectors", matrix_array("vectors", vectors)?)?;
    let rows = matrix("vectors", &vectors)?;
    let slots = borrow("slots", array::<u32, Ix2>("slots", "a uint32 array of two dimensions", slots)?)?;
    let words = words(allowed)?;
    let words = words.as_ref().map(|words| values("allowed", words)).transpose()?;
    if !slots.is_aligned() {
        return Err(PyValueError::new_err("slots: expected an aligned array; use numpy.ascontiguousarray"));
    }
    if slots.len() > rows.rows().saturating_add(MANY) {
        let (most, found) = (rows.rows(), slots.len());
        return Err(PyValueError::new_err(format!(
            "slots: expected about as many as the {most} rows at most, received {found}"
        )));
    }
    let slots = slots.as_array();
    let work = || {
        let metric: Metric = metric.parse()?;
        let allowed = words.map(|words| Bitmap::new(words, rows.rows())).transpose()?;
        single::nearest(query, rows, slots.iter().copied(), allowed, metric, want)
    };
    if slots.len().saturating_mul(rows.dim()) < MANY { guarded_here(py, work) } else { guarded(py, work) }
}

/// The hits of an answer as a JSON array; `None` where a record is not written as vdb writes it.
#[pyfunction]
pub(crate) fn hits<'py>(
    py: Python<'py>,
    records: Vec<Bound<'py, PyBytes>>,
    scores: &[u8],
    distances: &[u8],
    text: bool,
    metadata: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let records = records.iter().map(|record| record.as_bytes());
    let written = guarded_here(py, || Ok(json::write(records, scores, distances, text, metadata)))?;
    Ok(written.map(|written| PyBytes::new(py, &written)))
}

fn of_list(list: &Bound<'_, PyList>, dimension: usize) -> Option<Vec<f32>> {
    if list.len() != dimension {
        return None;
    }
    // Neither booleans, which are integers of a kind, nor what only says that it is a number.
    let number = |value: Bound<'_, PyAny>| {
        (value.is_exact_instance_of::<PyFloat>() || value.is_exact_instance_of::<PyInt>())
            .then(|| value.extract::<f64>().ok())
            .flatten()
    };
    list.iter().map(|value| number(value).map(|value| value as f32)).collect()
}

fn of_array(row: &Bound<'_, PyArray<f32, Ix1>>, dimension: usize) -> Option<Vec<f32>> {
    // An array of fields of a record may have strides that are no multiple of four bytes, which a view would round.
    if row.len() != dimension || !row.is_aligned() {
        return None;
    }
    Some(row.try_readonly().ok()?.as_array().to_vec())
}
