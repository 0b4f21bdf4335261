//! What a search returns.

use std::cmp::Ordering;

use crate::error::{Error, Result};

/// Padding where fewer than `k` rows could be returned.
pub const NO_SLOT: u32 = u32::MAX;

/// The nearest rows of each query, closest first.
///
/// # Invariants
/// `slots.len() == distances.len() == queries * k`; places without a row hold [`NO_SLOT`] and `+inf`.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Row numbers, `k` a query.
    pub slots: Vec<u32>,
    /// Distances, `k` a query, ascending.
    pub distances: Vec<f32>,
    /// Places a query.
    pub k: usize,
}

impl Neighbours {
    /// Room for `queries * k` places, all padding.
    ///
    /// # Errors
    /// [`Error::Shape`] when so much cannot be addressed or had.
    pub(crate) fn empty(queries: usize, k: usize) -> Result<Self> {
        let room = || {
            let places = queries.checked_mul(k)?;
            Some((filled(places, NO_SLOT)?, filled(places, f32::INFINITY)?))
        };
        let (slots, distances) = room().ok_or_else(|| Error::Shape {
            what: "queries and k",
            expected: "a result that fits memory".to_owned(),
            received: format!("{queries} queries with {k} places each"),
        })?;
        Ok(Self { slots, distances, k })
    }

    /// Both rows of places of each query, for threads to fill.
    pub(crate) fn rows_mut(&mut self) -> Vec<(&mut [u32], &mut [f32])> {
        if self.k == 0 {
            return Vec::new();
        }
        self.slots.chunks_exact_mut(self.k).zip(self.distances.chunks_exact_mut(self.k)).collect()
    }
}

/// `count` times `value`; `None` where there is no memory for it, which `vec!` would end the process for.
fn filled<T: Copy>(count: usize, value: T) -> Option<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).ok()?;
    values.resize(count, value);
    Some(values)
}

/// The order of hits: by float64, NaN last, ties to the smaller slot.
pub(crate) fn nearer(a: &(f64, u32), b: &(f64, u32)) -> Ordering {
    // -0.0 equals 0.0 and NaN of either sign is last: total_cmp alone would separate the former.
    a.0.partial_cmp(&b.0).unwrap_or_else(|| a.0.is_nan().cmp(&b.0.is_nan())).then(a.1.cmp(&b.1))
}

/// Put hits in order and write the first places of one query.
pub(crate) fn write_best(found: &mut [(f64, u32)], slots: &mut [u32], distances: &mut [f32]) {
    let k = slots.len().min(found.len());
    if k < found.len() && k > 0 {
        found.select_nth_unstable_by(k - 1, nearer);
    }
    let best = &mut found[..k];
    best.sort_unstable_by(nearer);
    for ((&mut (distance, slot), to_slot), to_distance) in best.iter_mut().zip(slots).zip(distances) {
        *to_slot = slot;
        *to_distance = distance as f32;
    }
}
