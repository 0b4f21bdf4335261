//! The rows with the smallest estimated keys.

/// Keeps the `wanted` smallest keys of all that are offered; among equal keys the smaller slots, so that the order in which
/// rows come does not matter.
#[derive(Clone, Debug)]
pub(crate) struct Shortlist {
    wanted: usize,
    room: usize,
    limit: f32,
    /// Key and slot in one number, in the same order.
    items: Vec<u64>,
}

impl Shortlist {
    /// Nothing yet; `wanted` is at least 1.
    pub(crate) fn new(wanted: usize) -> Self {
        let room = wanted.saturating_add(wanted.clamp(192, 1024));
        Self { wanted, room, limit: f32::INFINITY, items: Vec::with_capacity(room.min(4096)) }
    }

    /// Take a row into account. A key that is no number counts as infinite.
    #[inline]
    pub(crate) fn offer(&mut self, key: f32, slot: u32) {
        if key > self.limit {
            return;
        }
        self.items.push(item(key, slot));
        if self.items.len() >= self.room {
            self.prune();
        }
    }

    /// Take rows into account whose items `keep` appends; it is told above which keys none is among the smallest.
    #[inline]
    pub(crate) fn extend(&mut self, keep: impl FnOnce(f32, &mut Vec<u64>)) {
        keep(self.limit, &mut self.items);
        if self.items.len() >= self.room {
            self.prune();
        }
    }

    fn prune(&mut self) {
        if self.items.len() >= self.wanted {
            let (_, &mut last, _) = self.items.select_nth_unstable(self.wanted - 1);
            self.items.truncate(self.wanted);
            self.limit = key_of(last);
        }
    }

    /// The smallest keys with their slots, in no order.
    pub(crate) fn finish(mut self) -> impl ExactSizeIterator<Item = (f32, u32)> {
        self.prune();
        self.items.into_iter().map(|item| (key_of(item), slot_of(item)))
    }
}

/// A key and a slot as one number; numbers are in the order of keys, then of slots. A key that is no number counts as
/// infinite.
#[inline]
pub(crate) fn item(key: f32, slot: u32) -> u64 {
    u64::from(ordered(key)) << 32 | u64::from(slot)
}

/// The slot of an item.
#[inline]
pub(crate) fn slot_of(item: u64) -> u32 {
    item as u32
}

/// The key of an item.
#[inline]
pub(crate) fn key_of(item: u64) -> f32 {
    unordered((item >> 32) as u32)
}

/// Unsigned numbers in the order of floats; the bits of a positive float are in order already.
#[inline]
pub(crate) fn ordered(key: f32) -> u32 {
    // Adding 0 makes -0 the same as 0.
    let bits = if key.is_nan() { f32::INFINITY.to_bits() } else { (key + 0.0).to_bits() };
    bits ^ (((bits as i32 >> 31) as u32) | 1 << 31)
}

/// The float of an [`ordered`] number.
#[inline]
pub(crate) fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn keeps_the_smallest_whatever_the_order() {
        let mut rng = Rng::new(4, 0);
        // Under Miri without the long ones.
        let sizes = [(0, 1), (1, 1), (5, 9), (300, 20), (1000, 1), (1000, 40), (5000, 700)];
        for &(rows, wanted) in &sizes[..if cfg!(miri) { 4 } else { sizes.len() }] {
            let mut offered: Vec<(f32, u32)> =
                (0..rows).map(|slot| (rng.below(300) as f32 - 150.0, slot)).collect();
            let mut expected = offered.clone();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            expected.truncate(wanted);
            for _ in 0..3 {
                let mut list = Shortlist::new(wanted);
                offered.iter().for_each(|&(key, slot)| list.offer(key, slot));
                let mut found: Vec<(f32, u32)> = list.finish().collect();
                found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                assert_eq!(found, expected);
                offered.reverse();
            }
        }
    }

    #[test]
    fn what_is_no_number_comes_last() {
        let mut list = Shortlist::new(3);
        for (slot, key) in [f32::NAN, f32::INFINITY, -0.0, f32::NEG_INFINITY, -1e-30].into_iter().enumerate()
        {
            list.offer(key, slot as u32);
        }
        let mut found: Vec<u32> = list.finish().map(|(_, slot)| slot).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
    }
}
