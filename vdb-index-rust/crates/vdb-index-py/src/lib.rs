//! The Python face of `vdb-index`: take arrays apart, let go of the interpreter, call, convert the error.
//!
//! Nothing here knows a distance, and nothing is unsafe. A panic below becomes `vdb_core.errors.PluginError`.
#![deny(unsafe_code)]

mod arrays;
mod error;
mod index;
mod observer;
mod single;

use pyo3::prelude::*;

/// Native part of `vdb_index_rust`; `_native.pyi` describes it.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::index::{
        Index, build_brute, build_ivf_flat, build_ivf_pq, load_brute, load_ivf_flat, load_ivf_pq,
    };

    #[pymodule_export]
    use crate::single::{hits, nearest, query_row, read_row};

    /// The instruction set of the kernels that this CPU gets.
    #[pyfunction]
    fn instruction_set() -> &'static str {
        vdb_index::kernels::Kernels::best().isa.as_str()
    }

    /// Lists that an index over so many rows gets when nobody names a number.
    #[pyfunction]
    fn default_n_lists(rows: usize) -> usize {
        vdb_index::default_lists(rows)
    }

    /// Pieces that rows of so many dimensions get when nobody names a number.
    #[pyfunction]
    fn default_n_subvectors(dimension: usize, n_bits: usize) -> usize {
        vdb_index::default_subvectors(dimension, n_bits)
    }

    /// Panic on purpose, behind the same barrier as everything else: the tests' proof that it holds.
    #[pyfunction]
    fn panic_on_purpose(py: Python<'_>) -> PyResult<()> {
        crate::error::guarded(py, || crate::index::out_of_bounds(&[]))
    }
}
