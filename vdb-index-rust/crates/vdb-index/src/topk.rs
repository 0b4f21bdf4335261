//! The rows that may still be among the best `k` of one query, given that their keys are known only within bounds.

use crate::bounds::Bound;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    upper: f32,
    base: f32,
    slot: u32,
}

/// Collects rows; forgets those that `k` others are provably closer than.
///
/// # Invariants
/// Every row that was offered and is not held has a true key greater than the true keys of at least `k` held rows:
/// equal keys are never dropped, so that ties can be decided by slot later.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    k: usize,
    bound: Bound,
    limit: f32,
    items: Vec<Candidate>,
    room: usize,
}

impl Candidates {
    /// None yet. `k` is at least 1.
    pub(crate) fn new(k: usize, bound: Bound) -> Self {
        let room = (2 * k).max(48);
        Self { k, bound, limit: f32::INFINITY, items: Vec::with_capacity(room.min(1024)), room }
    }

    /// A row whose [`Bound::base`] is greater than this cannot be among the best `k`.
    #[inline]
    pub(crate) fn limit(&self) -> f32 {
        self.limit
    }

    /// Factor of a row's norm in its base.
    #[inline]
    pub(crate) fn scale(&self) -> f32 {
        self.bound.scale
    }

    /// Whether a row may be among the best.
    #[inline]
    pub(crate) fn admits(&self, key: f32, norm: f32) -> bool {
        !Bound::excludes(self.bound.base(key, norm), self.limit)
    }

    /// Take a row into account.
    #[inline]
    pub(crate) fn offer(&mut self, key: f32, norm: f32, slot: u32) {
        let base = self.bound.base(key, norm);
        if Bound::excludes(base, self.limit) {
            return;
        }
        self.items.push(Candidate { upper: self.bound.upper(key, norm), base, slot });
        if self.items.len() >= self.room {
            self.prune();
        }
    }

    /// How many are wanted.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Take the candidates of another thread over the same query.
    pub(crate) fn merge(&mut self, other: Self) {
        self.items.extend(other.items);
        self.prune();
    }

    /// Bring the limit down to what is known now, and forget what it excludes.
    pub(crate) fn prune(&mut self) {
        if self.items.len() >= self.k {
            let (_, kth, _) =
                self.items.select_nth_unstable_by(self.k - 1, |a, b| a.upper.total_cmp(&b.upper));
            let limit = self.bound.limit(kth.upper);
            self.limit = limit;
            self.items.retain(|item| !Bound::excludes(item.base, limit));
        }
        // Where nearly all of them are tied, a full buffer is not sorted again for each new row.
        self.room = self.room.max(2 * self.items.len());
    }

    /// The slots that are left, in no order.
    pub(crate) fn finish(mut self) -> impl Iterator<Item = u32> {
        self.prune();
        self.items.into_iter().map(|item| item.slot)
    }

    /// Put `slots[position]` in the place of each position that was offered instead of a slot.
    pub(crate) fn into_slots(mut self, slots: &[u32]) -> Self {
        self.prune();
        self.items.iter_mut().for_each(|item| item.slot = slots[item.slot as usize]);
        self
    }

    /// How many rows are held.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}
