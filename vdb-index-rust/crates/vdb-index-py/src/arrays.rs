//! From NumPy arrays to checked views, with errors that name what came.

use numpy::{Element, PyArray, PyArrayMethods, PyReadonlyArray, PyUntypedArray, PyUntypedArrayMethods};
use numpy::{Ix1, Ix2, ndarray::Dimension};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use vdb_index::Matrix;

/// The array behind a Python object, if it has the type and dimensions that are needed.
pub(crate) fn array<'a, 'py, T: Element, D: Dimension>(
    what: &str,
    expected: &str,
    object: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray<T, D>>> {
    object.cast::<PyArray<T, D>>().map_err(|_| {
        let received = match object.cast::<PyUntypedArray>() {
            Ok(array) => format!("a {} array of shape {:?}", array.dtype(), array.shape()),
            Err(_) => format!("a {}", object.get_type()),
        };
        PyTypeError::new_err(format!("{what}: expected {expected}, received {received}"))
    })
}

/// float32 `[n, dim]`.
pub(crate) fn matrix_array<'a, 'py>(
    what: &str,
    object: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray<f32, Ix2>>> {
    array::<f32, Ix2>(what, "a float32 array of two dimensions", object)
}

/// The words of a bitmap, uint64, where there is one.
pub(crate) fn words<'py>(
    allowed: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<PyReadonlyArray<'py, u64, Ix1>>> {
    let borrowed =
        |words| borrow("allowed", array::<u64, Ix1>("allowed", "a uint64 array of one dimension", words)?);
    allowed.map(borrowed).transpose()
}

/// Read access while the result lives; nothing is copied.
pub(crate) fn borrow<'py, T: Element, D: Dimension>(
    what: &str,
    array: &Bound<'py, PyArray<T, D>>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    array.try_readonly().map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

/// The values in a row; an array that has gaps or is turned is refused, because copying it would hide the cost.
pub(crate) fn values<'a, T: Element, D: Dimension>(
    what: &str,
    array: &'a PyReadonlyArray<'_, T, D>,
) -> PyResult<&'a [T]> {
    if !array.is_c_contiguous() {
        let advice = "expected a C-contiguous array, received one with strides; use numpy.ascontiguousarray";
        return Err(PyValueError::new_err(format!("{what}: {advice}")));
    }
    array.as_slice().map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

/// The checked view of a float32 array.
pub(crate) fn matrix<'a>(what: &str, array: &'a PyReadonlyArray<'_, f32, Ix2>) -> PyResult<Matrix<'a>> {
    let (rows, dim) = (array.shape()[0], array.shape()[1]);
    Matrix::new(values(what, array)?, rows, dim)
        .map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}
