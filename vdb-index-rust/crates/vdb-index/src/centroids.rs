//! Coded centroids: the nearest of one query, in order, and the nearest one of many rows.
//!
//! Only the upper halves of their codes are looked at: what they leave out, a tenth of a centroid's length spread over all
//! directions, moves a key by some thousandths.

use crate::basis::Basis;
use crate::coded::Coded;
use crate::error::Result;
use crate::kernels::{BLOCK, BLOCKS, BlockSums, Blocks, CodedQuery, Kernels, NearestRow};
use crate::matrix::Matrix;
use crate::watch::{Unobserved, Watch};

/// Queries that meet centroids side by side.
pub(crate) const TOGETHER: usize = 6;
/// Rows whose codes stay in the cache while centroids come by.
const CHUNK: usize = 16 * TOGETHER;

/// # Invariants
/// `coded` holds `count` centroids in their order.
#[derive(Debug)]
pub(crate) struct Centroids {
    count: usize,
    coded: Coded,
}

impl Centroids {
    pub(crate) fn new(kernels: &Kernels, basis: Basis, centroids: Matrix<'_>) -> Result<Self> {
        let coded = Coded::encode(kernels, basis, centroids, None, 1, &Watch::new(&Unobserved))?;
        Ok(Self { count: centroids.rows(), coded })
    }

    pub(crate) fn basis(&self) -> &Basis {
        self.coded.basis()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.coded.bytes().iter().map(|(_, bytes)| bytes).sum()
    }

    /// `factor` times the keys of all centroids for up to six queries, one query after the other.
    pub(crate) fn keys(&self, kernels: &Kernels, queries: &[&CodedQuery], factor: f32, keys: &mut Vec<f32>) {
        let stride = self.count.next_multiple_of(BLOCK);
        keys.clear();
        keys.resize(stride * queries.len(), 0.0);
        let Some(blocks) = self.coded.blocks() else { return };
        let mut sums: [BlockSums; TOGETHER] = [[[0; BLOCK]; BLOCKS]; TOGETHER];
        let sums = &mut sums[..queries.len()];
        let mut coming = fours(self.count).skip(1);
        for picked in fours(self.count) {
            let (first, picked) = (picked[0], &picked[..]);
            let next = coming.next();
            (kernels.code_sums)(&blocks, picked, next.as_deref().unwrap_or_default(), queries, sums);
            for ((query, sums), keys) in queries.iter().zip(sums.iter()).zip(keys.chunks_mut(stride)) {
                let keys = keys[first as usize * BLOCK..].as_chunks_mut::<BLOCK>().0;
                for ((&block, sums), keys) in picked.iter().zip(sums).zip(keys) {
                    blocks.keys(query, block, sums, factor, keys);
                }
            }
        }
    }

    /// Where the keys of one query end and those of the next begin.
    pub(crate) fn stride(&self) -> usize {
        self.count.next_multiple_of(BLOCK)
    }

    /// The nearest centroid of each row, and its key.
    pub(crate) fn assign(&self, kernels: &Kernels, rows: &[&CodedQuery], found: &mut [(u32, f32)]) {
        let Some(blocks) = self.coded.blocks() else { return };
        for (rows, found) in rows.chunks(CHUNK).zip(found.chunks_mut(CHUNK)) {
            self.assign_chunk(kernels, &blocks, rows, found);
        }
    }

    fn assign_chunk(
        &self,
        kernels: &Kernels,
        blocks: &Blocks<'_>,
        rows: &[&CodedQuery],
        found: &mut [(u32, f32)],
    ) {
        let mut sums: [BlockSums; TOGETHER] = [[[0; BLOCK]; BLOCKS]; TOGETHER];
        let mut nearest = [NearestRow::NONE; CHUNK];
        for picked in fours(self.count) {
            for (rows, nearest) in rows.chunks(TOGETHER).zip(nearest.chunks_mut(TOGETHER)) {
                let (sums, nearest) = (&mut sums[..rows.len()], &mut nearest[..rows.len()]);
                (kernels.code_sums)(blocks, &picked, &[], rows, sums);
                (kernels.keep_nearest)(blocks, &picked, rows, sums, nearest);
            }
        }
        for (nearest, found) in nearest.iter().zip(found) {
            let (key, number) = nearest.smallest();
            *found = (number, key);
        }
    }
}

/// The blocks of so many rows, four at a time.
fn fours(rows: usize) -> impl Iterator<Item = Four> {
    let total = rows.div_ceil(BLOCK) as u32;
    (0..total).step_by(BLOCKS).map(move |first| Four {
        blocks: std::array::from_fn(|at| first + at as u32),
        count: (total - first).min(BLOCKS as u32) as usize,
    })
}

/// Up to four blocks in a row.
struct Four {
    blocks: [u32; BLOCKS],
    count: usize,
}

impl std::ops::Deref for Four {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.blocks[..self.count]
    }
}
