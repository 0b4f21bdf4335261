//! Filters in the order of the lists, and those that were asked for lately.
//!
//! A bitmap tells of rows in the order of their slots, lists hold them in another, so that a search has to look up the bit of each
//! row that it meets. Where the same bitmap comes again, as that of a tenant or of a category does, this was done before.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bitmap::Bitmap;
use crate::kernels::{BLOCK, Kernels};
use crate::lists::Lists;

/// Filters that are remembered: their bitmaps take an eighth of a byte a row, and what they leave as much.
const REMEMBERED: usize = 4;
/// Where a filter leaves at most one row of so many, its rows are fewer than the blocks they lie in.
const FEW: usize = 16;
/// From so many queries on it pays to look up all rows once.
const MANY: usize = 16;

/// What a filter leaves, in the order of the lists.
#[derive(Debug)]
pub(crate) struct Left {
    /// Bit `i` of block `b`: the `i`-th row of the block.
    pub(crate) blocks: Vec<u16>,
    /// How many rows of each list.
    pub(crate) rows: Vec<u32>,
    /// Which lists have no row that may be returned.
    pub(crate) empty: Vec<bool>,
    /// How many lists have some.
    pub(crate) lists: usize,
}

/// Which rows a search may return.
#[derive(Clone, Debug)]
pub(crate) enum Filter<'a> {
    /// All of them.
    None,
    /// Those of a bitmap, which is asked for the rows of each list that is probed.
    Bitmap(Bitmap<'a>),
    /// Those of blocks.
    Left(Arc<Left>),
}

#[derive(Debug)]
struct Asked {
    words: Vec<u64>,
    count: usize,
    left: Option<Arc<Left>>,
}

/// The filters that an index was lately asked with, the last one first.
#[derive(Debug, Default)]
pub(crate) struct Filters(Mutex<Vec<Asked>>);

impl Filters {
    /// How many rows a filter allows, and which, for so many `queries`. It is brought into the order of the lists where that costs
    /// little, pays at once, or is asked for again.
    pub(crate) fn of<'a>(
        &self,
        kernels: &Kernels,
        lists: &Lists,
        allowed: Bitmap<'a>,
        queries: usize,
    ) -> (usize, Filter<'a>) {
        let (words, rows) = allowed.words();
        let known = self.recall(words);
        if let Some((count, Some(left))) = known {
            return (count, Filter::Left(left));
        }
        // What is remembered belongs together, even if somebody writes to the array meanwhile.
        let copy = words.to_vec();
        let kept = allowed.over(&copy);
        let count = kept.count();
        let left = (known.is_some() || count * FEW <= rows || queries >= MANY)
            .then(|| Arc::new(lists.left(kernels, kept, count * FEW <= rows)));
        self.remember(copy, count, left.clone());
        (count, left.map_or(Filter::Bitmap(allowed), Filter::Left))
    }

    /// What is known of a bitmap; it becomes the last one that was asked for.
    fn recall(&self, words: &[u64]) -> Option<(usize, Option<Arc<Left>>)> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = asked.iter().position(|asked| asked.words == words)?;
        asked[..=place].rotate_right(1);
        Some((asked[0].count, asked[0].left.clone()))
    }

    fn remember(&self, words: Vec<u64>, count: usize, left: Option<Arc<Left>>) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asked.iter_mut().find(|asked| asked.words == words) {
            asked.left = left.or(asked.left.take());
            return;
        }
        asked.truncate(REMEMBERED - 1);
        asked.insert(0, Asked { words, count, left });
    }

    /// Bytes held at the moment.
    pub(crate) fn bytes(&self) -> usize {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_left = |left: &Arc<Left>| {
            size_of_val(left.blocks.as_slice()) + size_of_val(left.rows.as_slice()) + left.empty.len()
        };
        asked
            .iter()
            .map(|asked| size_of_val(asked.words.as_slice()) + asked.left.as_ref().map_or(0, of_left))
            .sum()
    }
}

impl Filter<'_> {
    /// Which rows of a block may be returned; `slots` are all of them.
    #[inline]
    pub(crate) fn of(&self, kernels: &Kernels, block: u32, slots: &[u32]) -> u16 {
        match self {
            Filter::None => u16::MAX >> (BLOCK - slots.len()),
            Filter::Bitmap(allowed) => {
                let (words, rows) = allowed.words();
                (kernels.members)(words, rows, slots)
            }
            Filter::Left(left) => left.blocks[block as usize],
        }
    }

    /// What is left, where that is known beforehand.
    #[inline]
    pub(crate) fn left(&self) -> Option<&Left> {
        match self {
            Filter::Left(left) => Some(left),
            Filter::None | Filter::Bitmap(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_filter_leaves_the_same_however_often_it_comes() {
        let mut rng = Rng::new(6, 0);
        let kernels = Kernels::best();
        let rows = 700usize;
        let list_of_row: Vec<u32> = (0..rows).map(|_| rng.below(9) as u32 * 2).collect();
        let lists = Lists::new(list_of_row.iter().copied(), 20);
        let filters = Filters::default();
        let bitmaps: Vec<Vec<u64>> = [2, 30, 400, 650, 699]
            .map(|most| {
                let mut words = vec![0u64; rows.div_ceil(64)];
                (0..most).map(|_| rng.below(rows)).for_each(|slot| words[slot / 64] |= 1 << (slot % 64));
                words
            })
            .into();
        // Each once, then some again and again, more of them than are remembered.
        let order = (0..5).chain((0..200).map(|_| rng.below(5)));
        for (at, number) in order.enumerate() {
            let bitmap = Bitmap::new(&bitmaps[number], rows).unwrap();
            let (count, filter) = filters.of(kernels, &lists, bitmap, if at % 7 == 0 { 16 } else { 1 });
            assert_eq!(count, bitmap.count());
            let mut made = Vec::new();
            for list in 0..20 {
                let expected = lists.slots(list).iter().filter(|&&slot| bitmap.contains(slot)).count();
                let (live, found) = lists.live(kernels, list, &filter, &mut made);
                assert_eq!(found, expected);
                let bits = lists.slots(list).chunks(BLOCK).map(|slots| {
                    slots.iter().rev().fold(0, |bits, &slot| bits << 1 | u16::from(bitmap.contains(slot)))
                });
                assert!(live.iter().copied().eq(bits));
                if let Some(left) = filter.left() {
                    assert_eq!(left.empty[list as usize], expected == 0);
                    assert_eq!(left.lists, left.empty.iter().filter(|&&empty| !empty).count());
                }
            }
            assert!(filters.0.lock().unwrap().len() <= REMEMBERED);
        }
        // The second time it is known, whatever it leaves.
        let bitmap = Bitmap::new(&bitmaps[3], rows).unwrap();
        for _ in 0..2 {
            filters.of(kernels, &lists, bitmap, 1);
        }
        assert!(filters.of(kernels, &lists, bitmap, 1).1.left().is_some());
        assert!(filters.bytes() > 0);
    }
}
