//! Distances of one query, or of a panel of 32, against rows picked by slot.
//!
//! ```text
//! scalar   plain loops, no intrinsics: the oracle of the others
//! generic  one algorithm over the `Vector` trait
//! avx2     Vector = 8 lanes    needs avx2 and fma
//! avx512   Vector = 16 lanes   needs avx512f and avx512bw
//! vnni     avx512, and bytes    needs avx512vnni too
//! vbmi     vnni, and tables     needs avx512vbmi too
//! amx      vbmi, and tiles      needs amx-tile and amx-int8 too, and Linux
//! neon     Vector = 4 lanes    every aarch64 CPU
//! ```
//!
//! The CPU is asked once ([`Kernels::best`]); a search carries the chosen table along.
//!
//! A *panel* holds 32 vectors crosswise, so that one load brings the same dimension of all of them:
//!
//! ```text
//! panel[d * 32 + lane] = vector[lane][d]        lanes without a vector are zero
//! ```

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_exact;
#[cfg(target_arch = "x86_64")]
mod avx2_fast;
#[cfg(target_arch = "x86_64")]
mod avx2_nearest;
#[cfg(target_arch = "x86_64")]
mod avx2_rows;
#[cfg(target_arch = "x86_64")]
mod avx2_sift;
#[cfg(target_arch = "x86_64")]
mod avx2_sums;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod exact;
mod fast;
#[cfg(target_arch = "x86_64")]
mod floors;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod generic;
mod meeting;
mod nearest;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod sift;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vbmi;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod whole;
mod words;

use std::fmt;
use std::sync::OnceLock;

use crate::matrix::Matrix;

pub use blocks::{
    BLOCK, BLOCKS, BlockBounds, BlockSums, Blocks, CodeScreenKernel, CodeSumsKernel, CodedQuery,
    EncodeKernel, Encoded, LowerSumsKernel, NearestRow, Planes, RowBound, RowSumsKernel, put_bound,
};
pub(crate) use blocks::{GROUP, LINE, MAX_DIM, MOST_AHEAD, STEP, ZERO};
pub use fast::{
    FAST_GROUP, FAST_TABLE, FAST_WORDS, FastKeepKernel, FastKeys, FastLayout, FastScanKernel,
    FastScreenKernel, FastSums, FastTablesKernel, TABLES_TOGETHER,
};
pub use meeting::{Asked, AssembleKernel, Line, Meeting, Packed, Passing, WholeKernel, WholeKernels};
pub use nearest::NearestKeysKernel;
pub use sift::{Pick, SiftKernel, Sifted, WithinKernel};
pub use words::{NearestWord, NearestWordKernel, Words};

/// Vectors side by side in a [`Panel`].
pub const PANEL: usize = 32;

/// One raw value for each lane of a panel.
pub type Lanes = [f32; PANEL];

/// Instruction sets that have kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, on every CPU.
    Scalar,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
    /// AVX-512F and its instruction for bytes.
    Avx512Vnni,
    /// AVX-512F and its instructions for bytes and for tables of 64 of them.
    Avx512Vbmi,
    /// All of these, and tiles of bytes.
    Amx,
    /// The vector unit of every aarch64 CPU.
    Neon,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: [Isa; 7] =
        [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Vbmi, Isa::Amx];

    /// Name as shown in statistics and in `VDB_REQUIRE_ISA` of the tests.
    pub fn as_str(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512_vnni",
            Isa::Avx512Vbmi => "avx512_vbmi",
            Isa::Amx => "amx_int8",
            Isa::Neon => "neon",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `out[i]` = raw value of `query` and row `slots[i]`.
pub type RowsKernel = fn(query: &[f32], rows: Matrix<'_>, slots: &[u32], out: &mut [f32]);
/// `out[i][lane]` = raw value of the panel's vector `lane` and row `slots[i]`.
pub type PanelKernel = fn(panel: &Panel, rows: Matrix<'_>, slots: &[u32], out: &mut [Lanes]);
/// Raw value of two vectors in float64, the same to the bit on every CPU and in NumPy.
pub type ExactKernel = fn(a: &[f32], b: &[f32]) -> f64;
/// Bit `lane` = `values[lane] - scale[lane] * norm` is not greater than `limit[lane]`, or is NaN or infinite.
pub type ScreenKernel = fn(values: &Lanes, scale: &Lanes, norm: f32, limit: &Lanes) -> u32;

/// Per lane, the smaller of `best` and `keys + bias`, remembering `panel` where the latter is smaller.
pub type KeepSmallerKernel = fn(keys: &[Lanes], bias: &Lanes, panel: u32, best: &mut [Best]);

/// For each query the smaller of what `nearest` holds and the keys of the rows of the blocks; see [`Blocks`] for these.
pub type KeepNearestKernel = fn(
    blocks: &Blocks<'_>,
    picked: &[u32],
    queries: &[&CodedQuery],
    sums: &[BlockSums],
    nearest: &mut [NearestRow],
);

/// Bit `i`: `slots[i]`, one of up to 16, is below `rows` and set in the bitmap, which has a bit for each row.
pub type MembersKernel = fn(words: &[u64], rows: usize, slots: &[u32]) -> u16;
/// Ask for all of it.
pub type PrefetchKernel = fn(bytes: &[u8]);
/// Ask for all of it.
pub type PrefetchRowKernel = fn(row: &[f32]);

/// `out[p * words + w]` = inner product of `query[starts[p]..starts[p + 1]]` and codeword `w` of piece `p`, where
/// `crosswise` holds `words` values a dimension and `out` is zero.
pub type TablesKernel = fn(query: &[f32], crosswise: &[f32], starts: &[usize], out: &mut [f32]);
/// The smallest value that each lane has had, and the panel that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    value: Lanes,
    panel: [u32; PANEL],
}

impl Best {
    /// Nothing seen yet.
    pub const NONE: Best = Best { value: [f32::INFINITY; PANEL], panel: [0; PANEL] };

    /// The smallest value of all, and the number of its vector counted across panels; the smallest number of equals.
    pub fn smallest(&self) -> (f32, u32) {
        // Where nothing compares (NaN, overflow) the first vector is as good as any.
        let mut smallest = (f32::INFINITY, 0);
        for (lane, (&value, &panel)) in self.value.iter().zip(&self.panel).enumerate() {
            let number = panel * PANEL as u32 + lane as u32;
            if value < smallest.0 || (value == smallest.0 && number < smallest.1) {
                smallest = (value, number);
            }
        }
        smallest
    }
}

/// The functions of one instruction set. All of them check lengths; none trusts its caller.
///
/// Raw values: `dot` is `a·b`, `l2` is `|a - b|²`. Float32 results carry rounding errors within the bounds of
/// the `bounds` module, whatever the order of summation.
pub struct Kernels {
    /// Which instruction set this is.
    pub isa: Isa,
    /// Inner products of one query.
    pub dot_rows: RowsKernel,
    /// Squared distances of one query.
    pub l2_rows: RowsKernel,
    /// Inner products of a panel.
    pub dot_panel: PanelKernel,
    /// Squared distances of a panel.
    pub l2_panel: PanelKernel,
    /// Inner product in float64.
    pub dot_exact: ExactKernel,
    /// Squared distance in float64.
    pub l2_exact: ExactKernel,
    /// Which lanes of a panel pass a limit.
    pub screen: ScreenKernel,
    /// Running minimum over panels.
    pub keep_smaller: KeepSmallerKernel,
    /// Asymmetric distance tables.
    pub tables: TablesKernel,
    /// Those tables in whole steps.
    pub fast_tables: FastTablesKernel,
    /// How 4-bit codes lie for `fast_scan`.
    pub fast_layout: FastLayout,
    /// Sums over 4-bit codes.
    pub fast_scan: FastScanKernel,
    /// Which rows pass a limit by those sums.
    pub fast_screen: FastScreenKernel,
    /// Those rows as items of a shortlist.
    pub fast_keep: FastKeepKernel,
    /// Inner products of upper halves of codes, exact integers.
    pub code_sums: CodeSumsKernel,
    /// What lower halves add to them.
    pub lower_sums: LowerSumsKernel,
    /// Inner products of codes of rows that lie apart, exact integers.
    pub row_sums: RowSumsKernel,
    /// Both for many queries at once, where a CPU is quicker so.
    pub whole: Option<&'static WholeKernels>,
    /// Which rows pass a limit by the upper halves of their codes.
    pub code_screen: CodeScreenKernel,
    /// The rows of many blocks that pass the limit of one query, and how near they may be at most.
    pub sift: SiftKernel,
    /// Which of them pass another limit.
    pub within: WithinKernel,
    /// Which rows a bitmap names.
    pub members: MembersKernel,
    /// The smallest of many keys.
    pub nearest_keys: NearestKeysKernel,
    /// Ask for memory that will soon be read.
    pub prefetch: PrefetchKernel,
    /// Ask for a row that will soon be read.
    pub prefetch_row: PrefetchRowKernel,
    /// The nearest of many rows by their bytes.
    pub keep_nearest: KeepNearestKernel,
    /// A vector as bytes.
    pub encode: EncodeKernel,
    /// The nearest codeword of many rows.
    pub nearest_word: NearestWordKernel,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.isa).finish()
    }
}

impl Kernels {
    /// The fastest table that this CPU can run; the CPU is asked once in the life of the process.
    pub fn best() -> &'static Kernels {
        static BEST: OnceLock<&'static Kernels> = OnceLock::new();
        BEST.get_or_init(|| Isa::ALL.iter().rev().find_map(|&isa| Self::of(isa)).unwrap_or(&scalar::KERNELS))
    }

    /// The table of an instruction set, if this CPU has it.
    pub fn of(isa: Isa) -> Option<&'static Kernels> {
        match isa {
            Isa::Scalar => Some(&scalar::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
                .then_some(&avx2::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"))
                .then_some(&avx512::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => (is_x86_feature_detected!("avx512vnni") && Self::of(Isa::Avx512).is_some())
                .then_some(&vnni::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vbmi => (is_x86_feature_detected!("avx512vbmi")
                && Self::of(Isa::Avx512Vnni).is_some())
            .then_some(&vbmi::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => (Self::of(Isa::Avx512Vbmi).is_some() && amx::is_available()).then_some(&amx::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(&neon::KERNELS),
            #[allow(unreachable_patterns, reason = "reached only for the other architecture's sets")]
            _ => None,
        }
    }
}

/// Up to 32 vectors, crosswise; see the module's drawing.
#[derive(Clone, Debug)]
pub struct Panel {
    values: Vec<f32>,
    lanes: usize,
}

impl Panel {
    /// Lay up to [`PANEL`] vectors of `dim` values crosswise; more than that are left out.
    ///
    /// # Allocates
    /// `dim * 32` values.
    pub fn pack<'v>(vectors: impl IntoIterator<Item = &'v [f32]>, dim: usize) -> Self {
        let mut values = vec![0.0; dim * PANEL];
        let mut lanes = 0;
        for (lane, vector) in vectors.into_iter().take(PANEL).enumerate() {
            for (place, &value) in values.iter_mut().skip(lane).step_by(PANEL).zip(vector) {
                *place = value;
            }
            lanes = lane + 1;
        }
        Self { values, lanes }
    }

    /// How many lanes hold a vector.
    #[inline]
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Values a vector.
    #[inline]
    pub fn dim(&self) -> usize {
        self.values.len() / PANEL
    }

    #[inline]
    fn values(&self) -> &[f32] {
        &self.values
    }
}

#[inline(always)]
fn screen(values: &Lanes, scale: &Lanes, norm: f32, limit: &Lanes) -> u32 {
    let mut mask = 0;
    for lane in 0..PANEL {
        let base = values[lane] - scale[lane] * norm;
        let excluded = (base > limit[lane]) & (base < f32::INFINITY);
        mask |= u32::from(!excluded) << lane;
    }
    mask
}

#[inline(always)]
fn keep_smaller(keys: &[Lanes], bias: &Lanes, panel: u32, best: &mut [Best]) {
    for (keys, best) in keys.iter().zip(best) {
        for lane in 0..PANEL {
            let value = keys[lane] + bias[lane];
            let smaller = value < best.value[lane];
            best.value[lane] = if smaller { value } else { best.value[lane] };
            best.panel[lane] = if smaller { panel } else { best.panel[lane] };
        }
    }
}

#[inline(always)]
fn members(words: &[u64], rows: usize, slots: &[u32]) -> u16 {
    assert!(slots.len() <= BLOCK && rows <= words.len() * 64, "up to 16 slots, and a bit for each row");
    slots.iter().rev().fold(0, |bits, &slot| {
        let slot = slot as usize;
        bits << 1 | u16::from(slot < rows && words[slot / 64] >> (slot % 64) & 1 == 1)
    })
}

#[inline(always)]
fn tables(query: &[f32], crosswise: &[f32], starts: &[usize], out: &mut [f32]) {
    let pieces = starts.len() - 1;
    let words = out.len() / pieces;
    for (piece, out) in starts.windows(2).zip(out.chunks_exact_mut(words.max(1))) {
        for d in piece[0]..piece[1] {
            for (sum, &value) in out.iter_mut().zip(&crosswise[d * words..][..words]) {
                *sum += query[d] * value;
            }
        }
    }
}
