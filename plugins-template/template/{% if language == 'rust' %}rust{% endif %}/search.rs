//! Walks the graph to where a query's neighbours are (Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs", 2016, algorithms 2 and 5).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::distance::Space;
use crate::graph::{Graph, NONE};

/// A distance and a slot as one number that sorts by distance, then slot.
pub(crate) type Near = u64;

pub(crate) fn near(distance: f32, slot: u32) -> Near {
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(slot)
}

pub(crate) fn slot_of(near: Near) -> u32 {
    near as u32
}

pub(crate) fn distance_of(near: Near) -> f32 {
    let ordered = (near >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// Which rows a search has been at. Kept from one search to the next: clearing it is one addition.
#[derive(Default)]
pub(crate) struct Visited {
    round: u32,
    rounds: Vec<u32>,
}

impl Visited {
    pub(crate) fn begin(&mut self, rows: usize) {
        if self.rounds.len() != rows || self.round == u32::MAX {
            self.rounds = vec![0; rows];
            self.round = 0;
        }
        self.round += 1;
    }

    fn is_new(&mut self, slot: u32) -> bool {
        std::mem::replace(&mut self.rounds[slot as usize], self.round) != self.round
    }
}

/// What is searched: the graph over its rows.
#[derive(Clone, Copy)]
pub(crate) struct Searcher<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) space: Space<'a>,
}

impl Searcher<'_> {
    /// The nearest rows to a query that `allowed` lets through, nearest first, at most `k`.
    pub(crate) fn nearest(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        allowed: Option<&[u64]>,
        visited: &mut Visited,
    ) -> Vec<Near> {
        let rows = self.graph.levels.len();
        if rows == 0 {
            return Vec::new();
        }
        let distance = |slot| self.space.to_query(query, slot);
        let ef = ef.max(k).min(rows);
        if let Some(words) = allowed {
            let count = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            // A walk sees about ef * links rows for each one that the filter lets through of n / count; comparing
            // every allowed row is cheaper below that, and exact.
            if count.saturating_mul(count) <= (ef * self.graph.links).saturating_mul(rows) {
                let mut all: Vec<Near> = members(words).map(|slot| near(distance(slot), slot)).collect();
                all.sort_unstable();
                all.truncate(k);
                return all;
            }
        }
        let top = self.graph.levels[self.graph.entry as usize];
        let start = self.descend(&distance, top, 0);
        let mut found = self.beam(&distance, &[start], 0, ef, allowed, visited);
        found.truncate(k);
        found
    }

    /// Walk downhill from the entry through the layers above `layer`; the row where that ends.
    pub(crate) fn descend(&self, distance: &impl Fn(u32) -> f32, from: u8, layer: u8) -> Near {
        let mut best = near(distance(self.graph.entry), self.graph.entry);
        for layer in (layer + 1..=from).rev() {
            loop {
                let steps = self.graph.neighbours(slot_of(best), layer);
                let next = steps.iter().map(|slot| near(distance(*slot), *slot)).min().unwrap_or(best);
                if next >= best {
                    break;
                }
                best = next;
            }
        }
        best
    }

    /// The `ef` nearest rows of one layer that a walk from `starts` comes by, nearest first.
    ///
    /// Rows that the filter does not let through are walked over and not kept.
    pub(crate) fn beam(
        &self,
        distance: &impl Fn(u32) -> f32,
        starts: &[Near],
        layer: u8,
        ef: usize,
        allowed: Option<&[u64]>,
        visited: &mut Visited,
    ) -> Vec<Near> {
        visited.begin(self.graph.levels.len());
        let passes =
            |slot: u32| allowed.is_none_or(|words| words[slot as usize / 64] >> (slot % 64) & 1 == 1);
        let mut ahead: BinaryHeap<Reverse<Near>> = BinaryHeap::new();
        let mut kept: BinaryHeap<Near> = BinaryHeap::new();
        for start in starts {
            if visited.is_new(slot_of(*start)) {
                ahead.push(Reverse(*start));
                if passes(slot_of(*start)) {
                    kept.push(*start);
                }
            }
        }
        while let Some(Reverse(current)) = ahead.pop() {
            let full = kept.len() >= ef;
            if full && kept.peek().is_some_and(|worst| current > *worst) {
                break;
            }
            for slot in self.graph.neighbours(slot_of(current), layer) {
                if !visited.is_new(*slot) {
                    continue;
                }
                let candidate = near(distance(*slot), *slot);
                if kept.len() < ef || kept.peek().is_some_and(|worst| candidate < *worst) {
                    ahead.push(Reverse(candidate));
                    if passes(*slot) {
                        kept.push(candidate);
                        if kept.len() > ef {
                            kept.pop();
                        }
                    }
                }
            }
        }
        kept.into_sorted_vec()
    }
}

/// The slots of a bitmap, ascending.
fn members(words: &[u64]) -> impl Iterator<Item = u32> {
    words.iter().enumerate().flat_map(|(at, word)| {
        (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at as u32 * 64 + bit)
    })
}

/// Write an answer, padded.
pub(crate) fn write_answer(found: &[Near], slots: &mut [u32], distances: &mut [f32]) {
    slots.fill(NONE);
    distances.fill(f32::INFINITY);
    for (place, near) in found.iter().enumerate() {
        slots[place] = slot_of(*near);
        distances[place] = distance_of(*near);
    }
}
