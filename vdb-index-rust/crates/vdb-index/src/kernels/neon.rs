//! NEON: 4 lanes. The panel's tile is 6 rows by 4 registers: 24 sums, 4 lanes and a broadcast of 32 registers.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32, vsubq_f32,
};

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

kernels_of!(Isa::Neon, F32x4, "neon", 6, 4, super::super::fast_scan);
