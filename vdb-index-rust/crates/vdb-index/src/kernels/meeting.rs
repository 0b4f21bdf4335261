//! Many queries over the same blocks by whole codes: what is put together for that, and what comes of it.

use super::blocks::{BlockSums, Blocks, CodedQuery, GROUP, LINE};

/// 64 bytes that lie in one line of the cache.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Line(pub(super) [u8; LINE]);

/// Put the codes of up to four blocks together: for each block its steps of four dimensions, a line each, filled up with lines
/// of any content to [`WholeKernels::steps`].
///
/// ```text
/// bytes[block * lines + step][4 row + i] = byte of dimension 4 step + i of a row of the block
/// ```
///
/// The blocks of `next` are asked for meanwhile.
pub type AssembleKernel = fn(blocks: &Blocks<'_>, picked: &[u32], next: &[u32], bytes: &mut Vec<Line>);
/// Hears of a query by its number, of the rows that passed as in [`CodeScreenKernel`](super::CodeScreenKernel), and of sums as in [`BlockSums`], but over
/// whole codes, which hold for blocks of which a row passed.
pub type Passing<'a> = dyn FnMut(usize, u64, &BlockSums) + 'a;
/// As the sums and the screen of upper halves, over whole codes; tells `passing` of the queries for which a row passed.
pub type WholeKernel = fn(met: &Meeting<'_>, passing: &mut Passing<'_>);

/// Up to four blocks and any number of queries that meet them by whole codes.
#[derive(Clone, Copy, Debug)]
pub struct Meeting<'a> {
    /// Codes of the blocks, put together.
    pub bytes: &'a [Line],
    /// The queries.
    pub packed: &'a Packed,
    /// Where the blocks are.
    pub blocks: &'a Blocks<'a>,
    /// Which of them.
    pub picked: &'a [u32],
    /// The largest key that each still wants.
    pub limits: &'a [f32],
}

#[cfg(target_arch = "x86_64")]
impl Meeting<'_> {
    /// Check what kernels rely on; blocks are filled up to a multiple of `steps`.
    #[inline(always)]
    pub(super) fn check(&self, steps: usize) {
        assert!(self.picked.len() <= super::BLOCKS, "up to four blocks a call");
        let Asked { total, unit, by_residual, by_norm } = &self.packed.asked;
        let lens = [total.len(), unit.len(), by_residual.len(), by_norm.len()];
        assert_eq!(lens, [self.limits.len(); 4], "a limit for each query");
        let lines = (self.blocks.groups() * 2).next_multiple_of(steps);
        assert_eq!(self.bytes.len(), self.picked.len() * lines, "codes of each block");
        let lines = self.limits.len().next_multiple_of(PLACES) * packed_lines(self.blocks.groups());
        assert_eq!(self.packed.lines.len(), lines, "codes of each query");
    }
}

/// What a CPU has for many queries.
#[derive(Clone, Copy, Debug)]
pub struct WholeKernels {
    /// From so many queries on it pays to put codes together.
    pub worthwhile: usize,
    /// Steps that a block is filled up to a multiple of.
    pub steps: usize,
    /// Puts codes together.
    pub assemble: AssembleKernel,
    /// Sums and screens.
    pub screen: WholeKernel,
}

/// Lines of a packed query.
#[inline]
pub(super) fn packed_lines(groups: usize) -> usize {
    (groups * GROUP).div_ceil(LINE)
}

/// Places for queries are a multiple of this, itself a multiple of what any kernel takes side by side: 6 or 16.
pub(super) const PLACES: usize = 48;

/// Many queries, put together.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Codes, those of each query from a line of its own on; zeros where a line is not full, and in places without a query.
    pub lines: Vec<Line>,
    /// What is known beside the codes.
    pub asked: Asked,
    /// The largest factor of half of a squared norm in the error; the same for all queries of an index.
    pub by_half: f32,
}

/// What is known about each of the queries beside its codes; see [`CodedQuery`].
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Sum of the codes.
    pub total: Vec<i32>,
    /// Size of a unit of the codes.
    pub unit: Vec<f32>,
    /// Factor of a row's residual in the error.
    pub by_residual: Vec<f32>,
    /// Factor of its norm.
    pub by_norm: Vec<f32>,
}

impl Packed {
    /// Put queries together, which are as long as each other, in place of those before.
    pub fn pack(&mut self, queries: &[&CodedQuery]) {
        let lines = packed_lines(queries.first().map_or(0, |query| query.codes.len() / 2));
        self.lines.clear();
        self.lines.resize(queries.len().next_multiple_of(PLACES) * lines, Line([0; LINE]));
        for (place, query) in self.lines.chunks_exact_mut(lines.max(1)).zip(queries) {
            for (line, codes) in place.iter_mut().zip(query.codes.as_flattened().chunks(LINE)) {
                line.0.iter_mut().zip(codes).for_each(|(byte, &code)| *byte = code as u8);
            }
        }
        self.by_half = queries.iter().map(|query| query.by_half).fold(0.0, f32::max);
        self.asked = Asked {
            total: queries.iter().map(|query| query.total).collect(),
            unit: queries.iter().map(|query| 2.0 * query.scale).collect(),
            by_residual: queries.iter().map(|query| query.by_residual).collect(),
            by_norm: queries.iter().map(|query| query.by_norm).collect(),
        };
    }
}
