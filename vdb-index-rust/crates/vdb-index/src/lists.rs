//! Inverted lists: which rows belong to which centroid, as slots; no row is copied.
//!
//! ```text
//! offsets  [0, 3, 3, 7, ...]          list i holds slots[offsets[i] .. offsets[i + 1]]
//! slots    [4, 9, 11 | | 0, 1, 2, 6 | ...]   ascending within a list
//! blocks   [0, 1, 1, 2, ...]          list i fills blocks[i] .. blocks[i + 1] of 16 rows, the last one in part
//! ```

use std::path::Path;

use crate::bitmap::Bitmap;
use crate::error::Result;
use crate::filters::{Filter, Left};
use crate::kernels::{BLOCK, Kernels, Pick};
use crate::kmeans::group;
use crate::results::NO_SLOT;
use crate::{npy, store};

const OFFSETS: &str = "offsets.npy";
const SLOTS: &str = "slots.npy";

/// # Invariants
/// `offsets` ascends from 0 to the number of rows; `slots` is a permutation of all rows (of the
/// allowed ones, where filtered), ascending within each list. `blocks`, `places` and `whole` follow from these.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists {
    offsets: Vec<usize>,
    slots: Vec<u32>,
    blocks: Vec<u32>,
    /// Where each row lies among all rows of all blocks; [`NO_SLOT`] for rows in no list.
    places: Vec<u32>,
    /// Which places of each block hold a row.
    whole: Vec<u16>,
}

impl Lists {
    /// From the list of each row; `count` lists.
    pub(crate) fn new(list_of_row: impl Iterator<Item = u32> + Clone, count: usize) -> Self {
        let (offsets, slots) = group(list_of_row, count);
        let rows = slots.len();
        Self::of(offsets, slots, rows)
    }

    fn of(offsets: Vec<usize>, slots: Vec<u32>, rows: usize) -> Self {
        let (mut blocks, mut whole) = (vec![0], Vec::new());
        for pair in offsets.windows(2) {
            let rows = pair[1] - pair[0];
            whole.extend(std::iter::repeat_n(u16::MAX, rows / BLOCK));
            if !rows.is_multiple_of(BLOCK) {
                whole.push((1 << (rows % BLOCK)) - 1);
            }
            blocks.push(whole.len() as u32);
        }
        let mut places = vec![NO_SLOT; rows];
        for (pair, &block) in offsets.windows(2).zip(&blocks) {
            for (&slot, place) in slots[pair[0]..pair[1]].iter().zip(block * BLOCK as u32..) {
                // What a damaged file names is found out later.
                places.get_mut(slot as usize).into_iter().for_each(|known| *known = place);
            }
        }
        Self { offsets, slots, blocks, places, whole }
    }

    /// How many lists.
    pub(crate) fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Positions of a list in the order of all lists.
    #[inline]
    pub(crate) fn range(&self, list: u32) -> std::ops::Range<usize> {
        self.offsets[list as usize]..self.offsets[list as usize + 1]
    }

    /// Rows of a list.
    #[inline]
    pub(crate) fn slots(&self, list: u32) -> &[u32] {
        &self.slots[self.range(list)]
    }

    /// Blocks of a list.
    #[inline]
    pub(crate) fn blocks(&self, list: u32) -> std::ops::Range<u32> {
        self.blocks[list as usize]..self.blocks[list as usize + 1]
    }

    /// The slot of each row of each block, [`NO_SLOT`] where a block is not full.
    pub(crate) fn padded(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.blocks[self.count()] as usize * BLOCK);
        for list in 0..self.count() as u32 {
            order.extend_from_slice(self.slots(list));
            order.resize(order.len().next_multiple_of(BLOCK), NO_SLOT);
        }
        order
    }

    /// Bring a filter into the order of the lists, by its rows where these are `few`, else by all rows of the lists.
    pub(crate) fn left(&self, kernels: &Kernels, allowed: Bitmap<'_>, few: bool) -> Left {
        let blocks = if few {
            let mut blocks = vec![0u16; self.block_count()];
            for slot in allowed.slots() {
                if let Some(&place) = self.places.get(slot as usize).filter(|&&place| place != NO_SLOT) {
                    blocks[place as usize / BLOCK] |= 1 << (place as usize % BLOCK);
                }
            }
            blocks
        } else {
            let lists = (0..self.count() as u32).flat_map(|list| self.slots(list).chunks(BLOCK));
            let (words, rows) = allowed.words();
            lists.map(|slots| (kernels.members)(words, rows, slots)).collect()
        };
        let ranges = self.blocks.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
        let rows: Vec<u32> =
            ranges.map(|range| blocks[range].iter().map(|rows| rows.count_ones()).sum()).collect();
        let empty: Vec<bool> = rows.iter().map(|&rows| rows == 0).collect();
        let lists = empty.iter().filter(|&&empty| !empty).count();
        Left { blocks, rows, empty, lists }
    }

    /// Append the blocks of a list that have rows which may be returned; how many rows these are.
    pub(crate) fn pick(
        &self,
        kernels: &Kernels,
        list: u32,
        filter: &Filter<'_>,
        picks: &mut Vec<Pick>,
    ) -> usize {
        let mut start = self.offsets[list as usize] as u32;
        if let Filter::None = filter {
            let rows = self.range(list).len();
            let blocks = self.blocks(list);
            picks.extend((0..blocks.len() as u32).map(|at| Pick {
                block: blocks.start + at,
                start: start + at * BLOCK as u32,
                live: u16::MAX,
            }));
            if let Some(last) = picks.last_mut().filter(|_| !rows.is_multiple_of(BLOCK)) {
                last.live >>= BLOCK - rows % BLOCK;
            }
            return rows;
        }
        let mut seen = 0;
        for (block, slots) in self.blocks(list).zip(self.slots(list).chunks(BLOCK)) {
            let live = filter.of(kernels, block, slots);
            if live != 0 {
                picks.push(Pick { block, start, live });
                seen += live.count_ones() as usize;
            }
            start += slots.len() as u32;
        }
        seen
    }

    /// Which rows of a list may be returned, 16 a block; how many they are. `made` is scratch.
    pub(crate) fn live<'l>(
        &'l self,
        kernels: &Kernels,
        list: u32,
        filter: &'l Filter<'_>,
        made: &'l mut Vec<u16>,
    ) -> (&'l [u16], usize) {
        let blocks = self.blocks(list);
        let range = blocks.start as usize..blocks.end as usize;
        match filter {
            Filter::None => (&self.whole[range], self.range(list).len()),
            Filter::Left(left) => (&left.blocks[range], left.rows[list as usize] as usize),
            Filter::Bitmap(_) => {
                let slots = self.slots(list).chunks(BLOCK);
                made.clear();
                made.extend(blocks.zip(slots).map(|(block, slots)| filter.of(kernels, block, slots)));
                let rows = made.iter().map(|rows| rows.count_ones() as usize).sum();
                (made, rows)
            }
        }
    }

    /// How many blocks all lists fill.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks[self.count()] as usize
    }

    /// The same lists, with the allowed rows only.
    pub(crate) fn filtered(&self, allowed: Bitmap<'_>) -> Self {
        let mut offsets = Vec::with_capacity(self.offsets.len());
        let mut slots = Vec::new();
        offsets.push(0);
        for list in 0..self.count() as u32 {
            slots.extend(self.slots(list).iter().copied().filter(|&slot| allowed.contains(slot)));
            offsets.push(slots.len());
        }
        Self::of(offsets, slots, self.places.len())
    }

    /// All rows, list after list.
    pub(crate) fn all_slots(&self) -> &[u32] {
        &self.slots
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice())
            + size_of_val(self.slots.as_slice())
            + size_of_val(self.blocks.as_slice())
            + size_of_val(self.places.as_slice())
            + size_of_val(self.whole.as_slice())
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let offsets: Vec<u64> = self.offsets.iter().map(|&offset| offset as u64).collect();
        npy::write(&store::file(directory, OFFSETS), &[offsets.len()], &offsets)?;
        npy::write(&store::file(directory, SLOTS), &[self.slots.len()], &self.slots)
    }

    pub(crate) fn load(directory: &Path, count: usize, rows: usize) -> Result<Self> {
        let offsets: Vec<u64> = store::array(directory, OFFSETS, [count + 1])?;
        let slots: Vec<u32> = store::array(directory, SLOTS, [rows])?;
        let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascending || offsets[0] != 0 || offsets[count] != rows as u64 {
            return Err(store::damaged(
                directory,
                OFFSETS,
                format!("offsets do not ascend from 0 to {rows}"),
            ));
        }
        let lists = Self::of(offsets.into_iter().map(|offset| offset as usize).collect(), slots, rows);
        let mut seen = vec![false; rows];
        for list in 0..count as u32 {
            let slots = lists.slots(list);
            let fresh = slots
                .iter()
                .all(|&slot| seen.get_mut(slot as usize).is_some_and(|seen| !std::mem::replace(seen, true)));
            if !fresh || !slots.windows(2).all(|pair| pair[0] < pair[1]) {
                let reason = format!("the rows of list {list} are not different, ascending and below {rows}");
                return Err(store::damaged(directory, SLOTS, reason));
            }
        }
        Ok(lists)
    }
}
