//! The rows that may still be among the best `k` of one query, given that their keys are known only within bounds.

use crate::bounds::Bound;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    upper: f32,
    base: f32,
    slot: u32,
}

/// Up to so many it is quicker to count for each how many are smaller than to sort them apart, which jumps as cannot be foreseen.
const FEW: usize = 64;

/// The `k`-th smallest upper bound of at least as many, in the order of [`f32::total_cmp`].
fn kth_upper(items: &mut [Candidate], k: usize) -> f32 {
    if items.len() > FEW {
        return items.select_nth_unstable_by(k - 1, |a, b| a.upper.total_cmp(&b.upper)).1.upper;
    }
    // Its own inverse: bits of floats as whole numbers that are in the order of the floats.
    let turned = |bits: i32| bits ^ ((bits >> 31) as u32 >> 1) as i32;
    let mut keys = [i32::MAX; FEW];
    for (key, item) in keys.iter_mut().zip(items.iter()) {
        *key = turned(item.upper.to_bits() as i32);
    }
    let keys = &keys[..items.len().next_multiple_of(8)];
    let mut kth = i32::MIN;
    for &key in &keys[..items.len()] {
        let smaller: i32 = keys.iter().map(|&other| i32::from(other < key)).sum();
        // Of fewer than `k` smaller ones, the `k`-th has the most.
        kth = if (smaller as usize) < k { kth.max(key) } else { kth };
    }
    f32::from_bits(turned(kth) as u32)
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
            let limit = self.bound.limit(kth_upper(&mut self.items, self.k));
            self.limit = limit;
            // Which of them stay cannot be foreseen: each is put down, and stays if it does.
            let mut count = 0;
            for at in 0..self.items.len() {
                let item = self.items[at];
                self.items[count] = item;
                count += usize::from(!Bound::excludes(item.base, limit));
            }
            self.items.truncate(count);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_kth_is_that_of_all_sorted() {
        let mut rng = Rng::new(4, 4);
        let special = [f32::INFINITY, f32::NAN, -f32::NAN, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, 1e-40];
        // Under Miri some of the lengths.
        for len in (1..=2 * FEW).step_by(if cfg!(miri) { 31 } else { 1 }) {
            let mut value = |_| match rng.below(4) {
                0 => special[rng.below(special.len())],
                1 => rng.below(3) as f32,
                _ => rng.below(1000) as f32 - 500.0,
            };
            let values: Vec<f32> = (0..len).map(&mut value).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            for k in (1..=len).step_by(if cfg!(miri) { 9 } else { 1 }) {
                let mut items: Vec<_> =
                    values.iter().map(|&upper| Candidate { upper, base: upper, slot: 0 }).collect();
                assert_eq!(kth_upper(&mut items, k).to_bits(), sorted[k - 1].to_bits(), "{k} of {values:?}");
            }
        }
    }
}
