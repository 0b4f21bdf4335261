//! Sums in float64, the same to the bit on every CPU, and the same that NumPy makes of the products in one array.
//!
//! The order of a sum is part of its result. This one is pairwise summation (Higham, "The accuracy of floating point
//! summation", 1993) with the leaves that NumPy gives it, so that a caller may compute with either:
//!
//! ```text
//! up to 7 terms     one after the other
//! up to 128         eight partial sums, of every eighth term each; what is left is added one after the other
//! more              the sum of the first half, a multiple of eight, and the sum of the rest
//! ```

/// Terms that are summed without being halved.
const LEAF: usize = 128;
/// Sums that wait for another, and what is still to be summed: more than halving any slice can take.
const DEPTH: usize = 64;

/// Sum of products. Each product of two float32 is exact, so that contracting to FMA would change nothing.
#[inline(always)]
pub(super) fn dot_exact(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |x, y| x * y)
}

/// Sum of squared differences, in the order of [`dot_exact`]; never contracted to FMA.
#[inline(always)]
pub(super) fn l2_exact(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |x, y| (x - y) * (x - y))
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64 + Copy) -> f64 {
    let total = a.len().min(b.len());
    if total <= LEAF {
        return leaf(&a[..total], &b[..total], term);
    }
    // A function that calls itself would not be compiled for the CPU that calls it. 0 means: add the last two sums.
    let mut todo = [0; 2 * DEPTH];
    let mut sums = [0.0; DEPTH];
    let (mut left, mut ready, mut at) = (1, 0, 0);
    todo[0] = total;
    while left > 0 {
        left -= 1;
        let terms = todo[left];
        if terms == 0 {
            ready -= 1;
            sums[ready - 1] += sums[ready];
        } else if terms <= LEAF {
            sums[ready] = leaf(&a[at..at + terms], &b[at..at + terms], term);
            (ready, at) = (ready + 1, at + terms);
        } else {
            let half = terms / 2 - terms / 2 % 8;
            todo[left] = 0;
            todo[left + 1] = terms - half;
            todo[left + 2] = half;
            left += 3;
        }
    }
    sums[0]
}

#[inline(always)]
fn leaf(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64 + Copy) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    let mut sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    for (&x, &y) in a_rest.iter().zip(b_rest) {
        sum += term(f64::from(x), f64::from(y));
    }
    sum
}
