//! NEON: 4 lanes. The panel's tile is 6 rows by 4 registers: 24 sums, 4 lanes and a broadcast of 32 registers.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vaddvq_f32, vandq_u8, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vfmaq_f32,
    vget_low_s8, vld1q_f32, vld1q_u8, vmull_high_s8, vmull_s8, vpaddlq_s16, vpaddq_s32, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vshlq_n_s32, vshrq_n_u8, vst1q_f32, vst1q_s32, vsubq_f32,
};

use super::blocks::{BLOCK, BlockSums, Blocks, CodedQuery, Encoded, LINE, NearestRow, STEP, check};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FastLayout, FastSums, Isa, Kernels, Lanes, Panel};
use crate::matrix::Matrix;

#[derive(Clone, Copy)]
struct F32x4(float32x4_t);

impl Vector for F32x4 {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(unsafe { vdupq_n_f32(0.0) })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: every aarch64 CPU has NEON; the caller vouches for 4 values at `source`.
        Self(unsafe { vld1q_f32(source) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: every aarch64 CPU has NEON; the caller vouches for room for 4 values at `target`.
        unsafe { vst1q_f32(target, self.0) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, other: Self, plus: Self) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(unsafe { vfmaq_f32(plus.0, self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: every aarch64 CPU has NEON.
        unsafe { vaddvq_f32(self.0) }
    }
}

kernels_of!(
    Isa::Neon,
    F32x4,
    "neon",
    6,
    4,
    crate::kernels::exact::dot_exact,
    crate::kernels::exact::l2_exact,
    crate::kernels::fast::fast_tables,
    crate::kernels::fast::fast_scan,
    crate::kernels::fast::fast_screen,
    crate::kernels::fast::fast_keep,
    super::code_sums,
    crate::kernels::blocks::lower_sums,
    crate::kernels::blocks::row_sums,
    super::sift,
    crate::kernels::sift::within,
    crate::kernels::blocks::code_screen,
    crate::kernels::blocks::keep_nearest
);

super::sift::sift_with!("neon", code_sums);

/// A register holds eight dimensions of four rows. With upper halves below 16 no sum of two products leaves 16 bits.
#[target_feature(enable = "neon")]
fn code_sums(
    blocks: &Blocks<'_>,
    picked: &[u32],
    _next: &[u32],
    queries: &[&CodedQuery],
    sums: &mut [BlockSums],
) {
    const ROWS: usize = 4;
    check(blocks, picked, queries, sums);
    let nibble = vdupq_n_u8(15);
    for (query, sums) in queries.iter().zip(sums) {
        for (&block, sums) in picked.iter().zip(sums) {
            let mut total = [vdupq_n_s32(0); BLOCK / ROWS];
            let (lines, _) = blocks.codes(block).as_chunks::<LINE>();
            for (codes, pair) in lines.iter().zip(query.codes.as_chunks::<2>().0) {
                let [first, second] = pair.map(|four| {
                    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(four.map(|code| code as u8))))
                });
                for (codes, total) in codes.as_chunks::<{ ROWS * STEP }>().0.iter().zip(&mut total) {
                    // SAFETY: 16 bytes.
                    let codes = unsafe { vld1q_u8(codes.as_ptr()) };
                    let below = vreinterpretq_s8_u8(vandq_u8(codes, nibble));
                    let above = vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes));
                    for (half, query) in [(below, first), (above, second)] {
                        let low = vpaddlq_s16(vmull_s8(vget_low_s8(half), vget_low_s8(query)));
                        let high = vpaddlq_s16(vmull_high_s8(half, query));
                        *total = vaddq_s32(*total, vpaddq_s32(low, high));
                    }
                }
            }
            let start = vdupq_n_s32(query.start());
            for (sums, total) in sums.as_chunks_mut::<ROWS>().0.iter_mut().zip(total) {
                // SAFETY: room for four sums.
                unsafe { vst1q_s32(sums.as_mut_ptr(), vaddq_s32(vshlq_n_s32::<5>(total), start)) };
            }
        }
    }
}
