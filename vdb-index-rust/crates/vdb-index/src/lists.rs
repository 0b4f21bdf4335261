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
use crate::kernels::{BLOCK, Kernels};
use crate::kmeans::group;
use crate::results::NO_SLOT;
use crate::sieve::Pick;
use crate::{npy, store};

const OFFSETS: &str = "offsets.npy";
const SLOTS: &str = "slots.npy";

/// # Invariants
/// `offsets` ascends from 0 to the number of rows; `slots` is a permutation of all rows (of the
/// allowed ones, where filtered), ascending within each list. `blocks` follows from `offsets`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists {
    offsets: Vec<usize>,
    slots: Vec<u32>,
    blocks: Vec<u32>,
}

impl Lists {
    /// From the list of each row; `count` lists.
    pub(crate) fn new(list_of_row: impl Iterator<Item = u32> + Clone, count: usize) -> Self {
        let (offsets, slots) = group(list_of_row, count);
        Self::of(offsets, slots)
    }

    fn of(offsets: Vec<usize>, slots: Vec<u32>) -> Self {
        let mut blocks = vec![0];
        for pair in offsets.windows(2) {
            blocks.push(blocks[blocks.len() - 1] + (pair[1] - pair[0]).div_ceil(BLOCK) as u32);
        }
        Self { offsets, slots, blocks }
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

    /// Append the blocks of a list that have rows which may be returned; how many rows these are.
    pub(crate) fn pick(
        &self,
        kernels: &Kernels,
        list: u32,
        allowed: Option<Bitmap<'_>>,
        picks: &mut Vec<Pick>,
    ) -> usize {
        let mut seen = 0;
        let mut start = self.offsets[list as usize] as u32;
        for (block, slots) in self.blocks(list).zip(self.slots(list).chunks(BLOCK)) {
            let live = members(kernels, allowed, slots);
            if live != 0 {
                picks.push(Pick { block, start, live });
                seen += live.count_ones() as usize;
            }
            start += slots.len() as u32;
        }
        seen
    }

    /// Which rows of a list may be returned, 16 a block; how many they are.
    pub(crate) fn live(
        &self,
        kernels: &Kernels,
        list: u32,
        allowed: Option<Bitmap<'_>>,
        live: &mut Vec<u16>,
    ) -> usize {
        live.clear();
        live.extend(self.slots(list).chunks(BLOCK).map(|slots| members(kernels, allowed, slots)));
        live.iter().map(|rows| rows.count_ones() as usize).sum()
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
        Self::of(offsets, slots)
    }

    /// All rows, list after list.
    pub(crate) fn all_slots(&self) -> &[u32] {
        &self.slots
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice())
            + size_of_val(self.slots.as_slice())
            + size_of_val(self.blocks.as_slice())
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
        let lists = Self::of(offsets.into_iter().map(|offset| offset as usize).collect(), slots);
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

/// Which of up to 16 slots may be returned.
#[inline]
fn members(kernels: &Kernels, allowed: Option<Bitmap<'_>>, slots: &[u32]) -> u16 {
    let Some((words, rows)) = allowed.map(|allowed| allowed.words()) else {
        return u16::MAX >> (BLOCK - slots.len());
    };
    (kernels.members)(words, rows, slots)
}
