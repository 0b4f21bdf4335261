//! Nearest-neighbour indexes over float32 rows that the caller owns.
//!
//! An index never copies the rows: it is built over a [`Matrix`] view, and every search is handed the same view
//! again. Rows are known by number (a *slot*); ids, deletions and durability belong to the caller.
//!
//! ```text
//! error, metric, matrix, bitmap, rng      words of the domain; no algorithm
//! results, shortlist, pool, watch         answers, the best of many estimates, threads, progress, cancellation
//! kernels, huge                           the loops that count, one table of functions a CPU; large pages
//! bounds, topk, scan                      float32 scan with a proven error bound, float64 re-rank: exact results
//! basis, coded, rowcodes, sieve           int8 codes with a proven error bound: what they exclude is never read
//! kmeans, centroids, clustering           rows into lists
//! lists, coarse, probing, pq, codes       what the inverted-file indexes are made of
//! npy, store                              .npy arrays and index.json, checked on the way in
//! brute, ivf_flat, ivf_pq                 the indexes
//! single, hits                            what an engine does for one query beside a search
//! ```
//!
//! A module uses only modules above it or in its line. Nothing in this crate knows Python.

mod alone;
mod basis;
pub mod bitmap;
mod bounds;
pub mod brute;
mod centroids;
mod clustering;
mod coarse;
mod coded;
mod codes;
mod crosswise;
pub mod dealing;
mod error;
mod filters;
pub mod hits;
mod huge;
pub mod ivf_flat;
pub mod ivf_pq;
pub mod kernels;
mod kmeans;
mod lists;
pub mod matrix;
pub mod metric;
pub mod npy;
pub mod pool;
mod pq;
mod probing;
mod results;
mod rng;
mod rowcodes;
mod scan;
mod shortlist;
mod sieve;
pub mod single;
mod store;
mod topk;
pub mod watch;

pub use bitmap::Bitmap;
pub use brute::Brute;
pub use coarse::default_lists;
pub use error::{Error, Result};
pub use ivf_flat::{IvfFlat, IvfFlatOptions};
pub use ivf_pq::{IvfPq, IvfPqOptions, default_subvectors};
pub use matrix::Matrix;
pub use metric::Metric;
pub use results::{NO_SLOT, Neighbours};
pub use watch::{Observer, Unobserved};
