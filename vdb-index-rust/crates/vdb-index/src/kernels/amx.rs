//! AMX: products of 16 queries and 16 rows, 64 dimensions at a time, in one instruction of 16,384 products. Everything else is
//! as for VBMI.
//!
//! A tile holds 16 lines of 64 bytes. One of codes that were put together is 16 steps of four dimensions of the 16 rows of a
//! block, one of packed queries 64 dimensions of 16 queries, and one of sums what four registers of VNNI hold, 16 queries long.
//! Compilers have no stable intrinsics for tiles, so each use of them is one piece of assembly.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _mm512_loadu_si512, _xgetbv};
use std::sync::OnceLock;

use super::blocks::{BLOCK, BLOCKS, BlockSums, LINE};
use super::meeting::{Line, Meeting, Passing, WholeKernels, packed_lines};
use super::whole::{Asking, assemble, rows_of, store};
use super::{Isa, Kernels, vbmi};

/// Lines of a tile.
const TILE: usize = 16;
/// Queries side by side.
const QUERIES: usize = 16;

pub(super) static KERNELS: Kernels = Kernels { isa: Isa::Amx, whole: Some(&WHOLE), ..vbmi::KERNELS };

static WHOLE: WholeKernels = WholeKernels {
    worthwhile: 16,
    steps: TILE,
    assemble: |blocks, picked, next, bytes| {
        // SAFETY: only the table of a CPU with AVX-512 names this one.
        unsafe { assemble::<TILE>(blocks, picked, next, bytes) }
    },
    screen: |met, passing| {
        // SAFETY: `Kernels::of` hands this table out only after `is_available` said so.
        unsafe { screen(met, passing) }
    },
};

/// Whether the CPU has tiles for bytes, and the system lets this process use them, for which it is asked once.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_tiles() && may_use_tiles())
}

#[allow(
    unused_unsafe,
    reason = "asking the CPU became safe after the oldest compiler that this crate allows"
)]
fn has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILES_OF_BYTES: u32 = 1 << 24 | 1 << 25;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    if cfg!(miri) {
        return false;
    }
    // SAFETY: every x86-64 CPU tells about itself.
    let (leaves, basic) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx) };
    if leaves < 7 || basic & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the CPU has this leaf, and the system lets programs read the register, as OSXSAVE tells.
    let (features, saved) = unsafe { (__cpuid_count(7, 0).edx, _xgetbv(0)) };
    features & TILES_OF_BYTES == TILES_OF_BYTES && saved & TILE_STATE == TILE_STATE
}

/// Linux keeps room for the tiles of those processes alone that asked for it (since 5.16).
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILE_DATA: libc::c_long = 18;
    // SAFETY: a request that takes two numbers and changes nothing but what this process may do.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// What tiles look like: all eight 16 lines of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Inner products of 16 queries with the rows of four blocks.
#[repr(C, align(64))]
struct Sums([BlockSums; QUERIES]);

/// # Safety
/// [`is_available`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn screen(met: &Meeting<'_>, passing: &mut Passing<'_>) {
    met.check(WHOLE.steps);
    let Meeting { bytes, packed, blocks, picked, limits } = *met;
    if picked.is_empty() {
        return;
    }
    let (tiles, lines) = (packed_lines(blocks.groups()), (blocks.groups() * 2).next_multiple_of(TILE));
    let (rows, most) = rows_of::<BLOCKS>(met);
    let mut sums = [const { Sums([[[0; BLOCK]; BLOCKS]; QUERIES]) }; 2];
    // Where there are fewer blocks the last one is summed up again, into places that nobody reads.
    let codes: [*const Line; BLOCKS] =
        std::array::from_fn(|b| bytes[b.min(picked.len() - 1) * lines..][..lines].as_ptr());
    // SAFETY: the CPU has tiles and the process may use them, as the caller promises; the address is that of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags, readonly)) };
    let sum_up = |number: usize, sums: &mut Sums| {
        if tiles > 0 && number * QUERIES < limits.len() {
            let packed = packed.lines[number * QUERIES * tiles..][..QUERIES * tiles].as_ptr();
            // SAFETY: tiles are set up; `codes` name `16 * tiles` lines each, and `packed` as many.
            unsafe { products(codes, packed, tiles, sums) };
        }
    };
    sum_up(0, &mut sums[0]);
    for (number, limits) in limits.chunks(QUERIES).enumerate() {
        // The CPU works on the next products while these sums are looked at.
        let [these, next] = &mut sums;
        let (these, next) = if number % 2 == 0 { (these, next) } else { (next, these) };
        sum_up(number + 1, next);
        for (q, &limit) in limits.iter().enumerate() {
            let asking = Asking::of(&packed.asked, number * QUERIES + q, limit, most);
            let (mut passed, sums) = (0, &mut these.0[q]);
            for (b, (rows, sums)) in rows.iter().zip(sums.iter_mut()).take(picked.len()).enumerate() {
                // SAFETY: 16 sums of 4 bytes are 64 bytes.
                let total = asking.begin(unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) });
                let within = rows.within(&asking, total);
                if within != 0 {
                    store(total, sums);
                }
                passed |= u64::from(within) << (b * BLOCK);
            }
            if passed != 0 {
                passing(number * QUERIES + q, passed, sums);
            }
        }
    }
    // SAFETY: as for `ldtilecfg`. From here on a thread that is put aside has no tiles to be kept.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

/// `sums[q][b][row]` = inner product of the codes of the `q`-th packed query and the bytes of a row of the `b`-th block.
///
/// # Safety
/// Tiles are set up as [`CONFIG`] says; each of `codes` has `16 * tiles` lines, `packed` as many; `tiles` is not zero.
#[inline]
unsafe fn products(codes: [*const Line; BLOCKS], packed: *const Line, tiles: usize, sums: &mut Sums) {
    // SAFETY: reads `tiles` tiles from each place, the lines of a query following one another and those of a block too, and
    // writes 16 lines of 64 bytes, a line for each query, 64 bytes apart for the blocks: what `sums` consists of.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{queries} + {apart} * 1]",
            "tileloadd tmm5, [{first} + {line} * 1]",
            "tdpbsud tmm0, tmm4, tmm5",
            "tileloadd tmm6, [{second} + {line} * 1]",
            "tdpbsud tmm1, tmm4, tmm6",
            "tileloadd tmm7, [{third} + {line} * 1]",
            "tdpbsud tmm2, tmm4, tmm7",
            "tileloadd tmm5, [{fourth} + {line} * 1]",
            "tdpbsud tmm3, tmm4, tmm5",
            "add {queries}, 64",
            "add {first}, 1024",
            "add {second}, 1024",
            "add {third}, 1024",
            "add {fourth}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{sums} + {between} * 1], tmm0",
            "tilestored [{sums} + {between} * 1 + 64], tmm1",
            "tilestored [{sums} + {between} * 1 + 128], tmm2",
            "tilestored [{sums} + {between} * 1 + 192], tmm3",
            queries = inout(reg) packed => _,
            first = inout(reg) codes[0] => _,
            second = inout(reg) codes[1] => _,
            third = inout(reg) codes[2] => _,
            fourth = inout(reg) codes[3] => _,
            tiles = inout(reg) tiles => _,
            apart = in(reg) tiles * LINE,
            line = in(reg) LINE,
            sums = in(reg) &raw mut *sums,
            between = in(reg) size_of::<BlockSums>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
