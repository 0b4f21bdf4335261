//! The smallest of many keys, in order.

use crate::shortlist::{item, ordered, unordered};

/// `order` = the `first` smallest keys in ascending order with their places, as items of the `shortlist` module.
pub type NearestKeysKernel = fn(keys: &[f32], first: usize, order: &mut Vec<u64>);

const LANES: usize = 16;
/// Vectors of lanes that one smallest key a lane is taken of.
const DEPTH: usize = 16;

/// The `first`-th smallest of the smallest keys of groups bounds what can be among the `first` smallest of all, so that a
/// single pass, of `within`, leaves few keys to sort. Keys that are no numbers count as infinite.
#[inline(always)]
pub(super) fn nearest_keys(
    keys: &[f32],
    first: usize,
    order: &mut Vec<u64>,
    within: impl Fn(&[f32], f32, &mut Vec<u32>),
) {
    order.clear();
    if 0 < first && first < keys.len() / DEPTH {
        let mut smallest: Vec<u32> = Vec::with_capacity(keys.len() / DEPTH + LANES);
        for group in keys.chunks(LANES * DEPTH) {
            let mut least = [f32::INFINITY; LANES];
            for keys in group.as_chunks::<LANES>().0 {
                for lane in 0..LANES {
                    least[lane] = if keys[lane] < least[lane] { keys[lane] } else { least[lane] };
                }
            }
            smallest.extend(least.map(ordered));
        }
        let (_, &mut limit, _) = smallest.select_nth_unstable(first - 1);
        let limit = unordered(limit);
        if limit < f32::INFINITY {
            let mut near = Vec::new();
            within(keys, limit, &mut near);
            order.extend(near.into_iter().map(|place| item(keys[place as usize], place)));
        }
    }
    if order.len() < first.min(keys.len()) {
        // Few keys.
        order.clear();
        order.extend(keys.iter().zip(0u32..).map(|(&key, place)| item(key, place)));
    }
    if first < order.len() {
        order.select_nth_unstable(first);
        order.truncate(first);
    }
    order.sort_unstable();
}
