//! What can go wrong, by who must act.

use std::path::PathBuf;

/// Result of anything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure that this crate reports. Messages say what was expected, what was received and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An array does not have the shape that the operation needs.
    #[error("{what}: expected {expected}, received {received}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// The shape or length that would be right.
        expected: String,
        /// The shape or length that came.
        received: String,
    },
    /// A parameter is outside of what the data allows.
    #[error("{name}: expected {expected}, received {received}")]
    Parameter {
        /// The parameter's name, as the user writes it.
        name: &'static str,
        /// The values that would be right.
        expected: String,
        /// The value that came.
        received: String,
    },
    /// The files of a saved index are missing, truncated, or contradict each other. Build the index again.
    #[error("{}: {reason}; build the index again from its vectors", path.display())]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file at fault.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The observer asked the build to stop.
    #[error("the build was cancelled")]
    Cancelled,
}
