//! NEON: 4 lanes. The panel's tile is 6 rows by 4 registers: 24 sums, 4 lanes and a broadcast of 32 registers.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vaddvq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, veorq_u8, vfmaq_f32,
    vget_low_s8, vld1q_f32, vld1q_u8, vmull_high_s8, vmull_s8, vpaddlq_s16, vpaddq_s32, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vst1q_f32, vst1q_s32, vsubq_f32,
};

use super::blocks::{BLOCK, BlockSums, Blocks, CodedQuery, Encoded, STEP, ZERO, check};
use super::generic::{self, Vector, kernels_of};
use super::{Best, FAST_ROWS, Isa, Kernels, Lanes, Panel};
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
    super::super::fast_scan,
    super::code_sums,
    crate::kernels::blocks::code_screen
);

/// A register holds four dimensions of four rows. With signed codes no sum of two products leaves 16 bits.
#[target_feature(enable = "neon")]
fn code_sums(blocks: &Blocks<'_>, picked: &[u32], queries: &[CodedQuery], sums: &mut [BlockSums]) {
    const ROWS: usize = 4;
    check(blocks, picked, queries, sums);
    let zero = vdupq_n_u8(ZERO);
    for (query, sums) in queries.iter().zip(sums) {
        for (&block, sums) in picked.iter().zip(sums) {
            let mut total = [vdupq_n_s32(0); BLOCK / ROWS];
            let (steps, _) = blocks.codes(block).as_chunks::<{ BLOCK * STEP }>();
            for (codes, query) in steps.iter().zip(&query.codes) {
                let query =
                    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(query.map(|code| code as u8))));
                for (codes, total) in codes.as_chunks::<{ ROWS * STEP }>().0.iter().zip(&mut total) {
                    // SAFETY: 16 bytes.
                    let codes = vreinterpretq_s8_u8(veorq_u8(unsafe { vld1q_u8(codes.as_ptr()) }, zero));
                    let low = vpaddlq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(query)));
                    let high = vpaddlq_s16(vmull_high_s8(codes, query));
                    *total = vaddq_s32(*total, vpaddq_s32(low, high));
                }
            }
            for (sums, total) in sums.as_chunks_mut::<ROWS>().0.iter_mut().zip(total) {
                // SAFETY: room for four sums.
                unsafe { vst1q_s32(sums.as_mut_ptr(), total) };
            }
        }
    }
}
