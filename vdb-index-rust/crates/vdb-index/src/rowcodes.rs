//! Codes of rows one after the other, for re-ranking a few of many; see the `basis` module for what codes promise.

use crate::basis::Basis;
use crate::bounds::Bound;
use crate::error::Result;
use crate::huge::Array;
use crate::kernels::{CodedQuery, Kernels, RowBound, STEP, ZERO};
use crate::matrix::Matrix;
use crate::pool;
use crate::topk::Candidates;
use crate::watch::Watch;

/// Rows that a thread encodes at a time.
const TASK: usize = 1024;
/// Rows whose sums are made in one go.
const TOGETHER: usize = 256;

/// ```text
/// row   code, plus 128, of each dimension | zeros up to a multiple of 4 | scale, residual, norm, half: float32 each
/// ```
///
/// so that whoever asks for a row gets all of it.
///
/// # Invariants
/// `rows` holds `stride` bytes a row.
#[derive(Debug)]
pub(crate) struct RowCodes {
    stride: usize,
    rows: Array<u8>,
}

/// Bytes of what is known about a row beside its codes.
const BOUND: usize = 16;

impl RowCodes {
    /// Encode the rows of `order`.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Parallelism
    /// Up to `threads` threads take rows; codes do not depend on how many.
    pub(crate) fn encode(
        kernels: &Kernels,
        basis: &Basis,
        rows: Matrix<'_>,
        order: &[u32],
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let bytes = rows.dim().next_multiple_of(STEP);
        let stride = bytes + BOUND;
        let mut coded = Array::zeroed(order.len() * stride);
        let mut parts: Vec<_> = order.chunks(TASK).zip(coded.chunks_mut(TASK * stride)).enumerate().collect();
        pool::chunks_mut(threads, &mut parts, 1, |_, parts| {
            for (task, (slots, coded)) in parts {
                // Once it was cancelled every tick says so, the one below too.
                if watch.tick("codes", *task * TASK, order.len()).is_err() {
                    continue;
                }
                let mut signed = vec![0i8; bytes];
                for (&slot, row) in slots.iter().zip(coded.chunks_mut(stride)) {
                    let bound = basis.row(kernels, rows.row(slot), &mut signed[..rows.dim()]);
                    let (codes, beside) = row.split_at_mut(bytes);
                    codes.iter_mut().zip(&signed).for_each(|(code, &signed)| *code = signed as u8 ^ ZERO);
                    let numbers = [bound.scale, bound.residual, bound.norm, bound.half];
                    beside.as_chunks_mut::<4>().0.iter_mut().zip(numbers).for_each(|(place, number)| {
                        *place = number.to_ne_bytes();
                    });
                }
            }
        });
        watch.tick("codes", order.len(), order.len())?;
        Ok(Self { stride, rows: coded })
    }

    #[inline]
    fn bound(&self, position: u32) -> RowBound {
        let row = &self.rows[position as usize * self.stride..][..self.stride];
        let (numbers, _) = row[self.stride - BOUND..].as_chunks::<4>();
        let [scale, residual, norm, half] = std::array::from_fn(|at| f32::from_ne_bytes(numbers[at]));
        RowBound { scale, residual, norm, half }
    }

    /// Bytes of the codes, and of what is kept beside them.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Which of the rows at `positions` may be among the best `k` of them, as slots.
    pub(crate) fn sieve(
        &self,
        kernels: &Kernels,
        (query, shared): &(CodedQuery, f64),
        k: usize,
        positions: &[u32],
        slots: &[u32],
    ) -> Candidates {
        let mut found = Candidates::new(k, Bound::each(*shared));
        let mut sums = [0; TOGETHER];
        for positions in positions.chunks(TOGETHER) {
            let sums = &mut sums[..positions.len()];
            (kernels.row_sums)(&self.rows, self.stride, positions, query, sums);
            for (&position, &sum) in positions.iter().zip(sums.iter()) {
                let (key, error) = self.bound(position).estimate(query, sum);
                found.offer(key, error, position);
            }
        }
        found.into_slots(slots)
    }
}
