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
    sum(a, b, |x, y| x * y, |a, b| eights(a, b, |x, y| x * y))
}

/// Sum of squared differences, in the order of [`dot_exact`]; never contracted to FMA.
#[inline(always)]
pub(super) fn l2_exact(a: &[f32], b: &[f32]) -> f64 {
    let square = |x, y| (x - y) * (x - y);
    sum(a, b, square, |a, b| eights(a, b, square))
}

/// Sum of what `term` makes of two values, given how `eights` sums what comes in eights.
#[inline(always)]
pub(super) fn sum(
    a: &[f32],
    b: &[f32],
    term: impl Fn(f64, f64) -> f64,
    eights: impl Fn(&[[f32; 8]], &[[f32; 8]]) -> f64,
) -> f64 {
    let leaf = |a: &[f32], b: &[f32]| {
        let ((a_eights, a_rest), (b_eights, b_rest)) = (a.as_chunks(), b.as_chunks());
        let mut sum = eights(a_eights, b_eights);
        for (&x, &y) in a_rest.iter().zip(b_rest) {
            sum += term(f64::from(x), f64::from(y));
        }
        sum
    };
    let total = a.len().min(b.len());
    if total <= LEAF {
        return leaf(&a[..total], &b[..total]);
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
            sums[ready] = leaf(&a[at..at + terms], &b[at..at + terms]);
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
fn eights(a: &[[f32; 8]], b: &[[f32; 8]], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0f64; 8];
    for (x, y) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}
