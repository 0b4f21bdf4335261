//! `index.json`: what the arrays beside it belong to.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::metric::Metric;

/// Version of the layout of files; a reader refuses others by name.
const VERSION: u32 = 1;
const NAME: &str = "index.json";
/// Ours have 200 bytes; anything much longer is not read.
const LONGEST: u64 = 1 << 16;

/// The content of `index.json`; `P` is what the algorithm chose.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header<P> {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
    metric: Metric,
    rows: usize,
    dim: usize,
    /// Parameters, given or chosen.
    pub(crate) parameters: P,
}

impl<P: Serialize + DeserializeOwned> Header<P> {
    pub(crate) fn new(kind: &str, metric: Metric, rows: usize, dim: usize, parameters: P) -> Self {
        Self { kind: kind.to_owned(), version: VERSION, metric, rows, dim, parameters }
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join(NAME);
        let io = |source: std::io::Error| Error::Io { path: path.clone(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| io(error.into()))?;
        std::fs::write(&path, text + "\n").map_err(io)
    }

    /// Read it, and check that it is about this algorithm over these rows.
    pub(crate) fn load(directory: &Path, kind: &str, metric: Metric, rows: Matrix<'_>) -> Result<Self> {
        let path = directory.join(NAME);
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => damaged(directory, NAME, "the file is missing"),
            std::io::ErrorKind::InvalidData => damaged(directory, NAME, "not UTF-8"),
            _ => Error::Io { path: path.clone(), source },
        };
        let metadata = std::fs::metadata(&path).map_err(io)?;
        if !metadata.is_file() || metadata.len() > LONGEST {
            return Err(damaged(directory, NAME, format!("not a regular file of at most {LONGEST} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(io)?;
        // The version comes first: another one may have other fields.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version =
            serde_json::from_str(&text).map_err(|error| damaged(directory, NAME, error.to_string()))?;
        if version.version != VERSION {
            let reason = format!("expected version {VERSION}, found {}", version.version);
            return Err(damaged(directory, NAME, reason));
        }
        let header: Self =
            serde_json::from_str(&text).map_err(|error| damaged(directory, NAME, error.to_string()))?;
        let found = (header.kind.as_str(), header.metric, header.rows, header.dim);
        let expected = (kind, metric, rows.rows(), rows.dim());
        if found != expected {
            let words = |(kind, metric, rows, dim): (&str, Metric, usize, usize)| {
                format!("{kind} under {metric} over {rows} x {dim}")
            };
            let reason = format!("expected {}, found {}", words(expected), words(found));
            return Err(damaged(directory, NAME, reason));
        }
        Ok(header)
    }
}

/// The error for a file of an index.
pub(crate) fn damaged(directory: &Path, name: &str, reason: impl Into<String>) -> Error {
    Error::Damaged { path: file(directory, name), reason: reason.into() }
}

/// The path of a file of an index.
pub(crate) fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}

/// Read an array whose shape is known beforehand.
pub(crate) fn array<T: crate::npy::Element, const D: usize>(
    directory: &Path,
    name: &str,
    shape: [usize; D],
) -> Result<Vec<T>> {
    Ok(crate::npy::read::<T, D>(&file(directory, name), Some(shape))?.1)
}
