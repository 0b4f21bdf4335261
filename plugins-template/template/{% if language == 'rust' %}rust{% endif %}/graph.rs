//! The graph: layers of nearest-neighbour links, each layer a sample of the one below.
//!
//! ```text
//! layer 2     o-----------------o              levels[slot] = the topmost layer of a row
//! layer 1     o-------o---------o---o          upper: `links` places a row and layer above the ground
//! layer 0     o--o--o-o--o-o--o-o-o-o--o       ground: `2 * links` places a row
//! ```
//!
//! # Invariants
//! - Places that are free hold [`NONE`], behind those that are taken.
//! - A link leads to a row that has the layer; `entry` has the topmost layer of all.

use crate::distance::Space;

/// No row: the padding of links and of answers.
pub(crate) const NONE: u32 = u32::MAX;

/// No row reaches so high: with 16 links, a row in 10^18 is above layer 15.
pub(crate) const MOST_LAYERS: u8 = 16;

/// Links between rows; the rows themselves belong to the engine.
pub(crate) struct Graph {
    pub(crate) links: usize,
    pub(crate) entry: u32,
    pub(crate) levels: Vec<u8>,
    pub(crate) ground: Vec<u32>,
    pub(crate) upper: Vec<u32>,
    /// Where a row's lists begin in `upper`, in lists.
    upper_at: Vec<u32>,
}

impl Graph {
    /// A graph without links over rows of the given levels.
    pub(crate) fn unlinked(levels: Vec<u8>, links: usize) -> Self {
        let upper_at = starts(&levels);
        let lists = levels.iter().map(|level| usize::from(*level)).sum::<usize>();
        Self {
            links,
            entry: NONE,
            ground: vec![NONE; levels.len() * 2 * links],
            upper: vec![NONE; lists * links],
            levels,
            upper_at,
        }
    }

    /// A graph from the arrays that were saved; an error names what contradicts what.
    pub(crate) fn from_parts(
        rows: usize,
        links: usize,
        entry: u32,
        levels: Vec<u8>,
        ground: Vec<u32>,
        upper: Vec<u32>,
    ) -> Result<Self, String> {
        // Before anything of a size that a file names is made.
        if rows != levels.len() {
            return Err(format!("the graph was saved over {} rows, and there are {rows}", levels.len()));
        }
        if levels.iter().any(|level| *level >= MOST_LAYERS) {
            return Err(format!("a row reaches a layer above {MOST_LAYERS}"));
        }
        let lists = levels.iter().map(|level| usize::from(*level)).sum::<usize>();
        let fits = |lists: usize, received: usize| lists.checked_mul(links) == Some(received);
        if !fits(2 * rows, ground.len()) || !fits(lists, upper.len()) {
            let received = ground.len() + upper.len();
            return Err(format!("{links} links a row do not make {received} places"));
        }
        let mut graph = Self::unlinked(levels, links);
        (graph.entry, graph.ground, graph.upper) = (entry, ground, upper);
        graph.check()?;
        Ok(graph)
    }

    /// Every link leads to a row that has the layer, so that a search needs no check of its own.
    fn check(&self) -> Result<(), String> {
        let top = self.levels.iter().copied().max();
        if self.levels.get(self.entry as usize).copied() != top || (top.is_none() && self.entry != NONE) {
            return Err(format!("the entry {} is not a row of the topmost layer", self.entry));
        }
        for slot in 0..self.levels.len() as u32 {
            for layer in 0..=self.levels[slot as usize] {
                for other in self.neighbours(slot, layer) {
                    if self.levels.get(*other as usize).is_none_or(|level| *level < layer) {
                        return Err(format!("row {slot} has a link to {other} in layer {layer}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn place(&self, slot: u32, layer: u8) -> (usize, usize) {
        if layer == 0 {
            (slot as usize * 2 * self.links, 2 * self.links)
        } else {
            ((self.upper_at[slot as usize] as usize + usize::from(layer) - 1) * self.links, self.links)
        }
    }

    /// How many neighbours a row may have in a layer.
    pub(crate) fn room(&self, layer: u8) -> usize {
        if layer == 0 { 2 * self.links } else { self.links }
    }

    pub(crate) fn neighbours(&self, slot: u32, layer: u8) -> &[u32] {
        let (start, room) = self.place(slot, layer);
        let all = if layer == 0 { &self.ground } else { &self.upper };
        let list = &all[start..start + room];
        &list[..list.iter().position(|other| *other == NONE).unwrap_or(room)]
    }

    pub(crate) fn set_neighbours(&mut self, slot: u32, layer: u8, chosen: &[u32]) {
        let (start, room) = self.place(slot, layer);
        let all = if layer == 0 { &mut self.ground } else { &mut self.upper };
        let list = &mut all[start..start + room];
        list.fill(NONE);
        list[..chosen.len()].copy_from_slice(chosen);
    }

    /// Let the topmost of the rows that are linked be the entry.
    pub(crate) fn raise_entry(&mut self, slot: u32) {
        if self.entry == NONE || self.levels[slot as usize] > self.levels[self.entry as usize] {
            self.entry = slot;
        }
    }

    /// Bytes by part.
    pub(crate) fn bytes(&self, space: &Space<'_>) -> [(&'static str, usize); 3] {
        let levels = self.levels.len() + 4 * self.upper_at.len();
        [
            ("links", 4 * (self.ground.len() + self.upper.len())),
            ("levels", levels),
            ("lift", 4 * space.lift.len()),
        ]
    }
}

fn starts(levels: &[u8]) -> Vec<u32> {
    let mut next = 0u32;
    levels
        .iter()
        .map(|level| {
            let here = next;
            next += u32::from(*level);
            here
        })
        .collect()
}
