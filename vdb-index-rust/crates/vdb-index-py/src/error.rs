//! The one conversion of errors, and the barrier that no panic crosses.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use vdb_index::Error;

/// Let go of the interpreter, run, and turn whatever went wrong into a Python exception.
pub(crate) fn guarded<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> vdb_index::Result<T> + Send,
) -> PyResult<T> {
    // Unwinding through an index leaves nothing half-written: searches take it by shared reference.
    settled(py, py.detach(|| catch_unwind(AssertUnwindSafe(work))))
}

/// The same for work of some microseconds, which keeps the interpreter: getting it back may take longer than that.
pub(crate) fn guarded_here<T>(py: Python<'_>, work: impl FnOnce() -> vdb_index::Result<T>) -> PyResult<T> {
    settled(py, catch_unwind(AssertUnwindSafe(work)))
}

fn settled<T>(py: Python<'_>, outcome: std::thread::Result<vdb_index::Result<T>>) -> PyResult<T> {
    match outcome {
        Ok(result) => result.map_err(|error| to_python(py, error)),
        Err(panic) => {
            let text =
                format!("the Rust index panicked, which is a defect of vdb-index-rust: {}", message(&*panic));
            Err(of_class(py, "PluginError", text))
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Shape { .. } => PyValueError::new_err(text),
        Error::Parameter { name, .. } => {
            let made = errors(py).and_then(|module| {
                module.getattr("ValidationFailed")?.call_method1("at", (format!("/params/{name}"), text))
            });
            made.map_or_else(|failure| failure, PyErr::from_value)
        }
        Error::Damaged { .. } => of_class(py, "IndexDamaged", text),
        Error::Io { .. } => of_class(py, "StorageFailed", text),
        Error::Cancelled => of_class(py, "BuildCancelled", text),
    }
}

fn errors(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("vdb_core.errors")
}

/// An exception of `vdb_core.errors`; where that cannot be imported, the reason why.
fn of_class(py: Python<'_>, class: &str, text: String) -> PyErr {
    let made = errors(py).and_then(|module| module.getattr(class)?.call1((text,)));
    made.map_or_else(|failure| failure, PyErr::from_value)
}
