//! Python's `progress` and `cancelled` as an observer of a build.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use vdb_index::Observer;

/// Calls back into Python, from whichever thread of the build asks. An exception in a callback stops the build.
pub(crate) struct Callbacks {
    progress: Py<PyAny>,
    cancelled: Py<PyAny>,
    failure: Mutex<Option<PyErr>>,
}

impl Callbacks {
    pub(crate) fn new(progress: Py<PyAny>, cancelled: Py<PyAny>) -> Self {
        Self { progress, cancelled, failure: Mutex::new(None) }
    }

    /// The exception of a callback goes before that of the build, which it stopped.
    pub(crate) fn settle<T>(self, result: PyResult<T>) -> PyResult<T> {
        match self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => result,
        }
    }

    fn keep(&self, failure: PyErr) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    fn failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Observer for Callbacks {
    fn progress(&self, phase: &'static str, done: usize, total: usize) {
        let called = Python::attach(|py| self.progress.call1(py, (phase, done, total)).map(drop));
        if let Err(failure) = called {
            self.keep(failure);
        }
    }

    fn cancelled(&self) -> bool {
        if self.failed() {
            return true;
        }
        Python::attach(|py| self.cancelled.call0(py).and_then(|answer| answer.is_truthy(py))).unwrap_or_else(
            |failure| {
                self.keep(failure);
                true
            },
        )
    }
}
