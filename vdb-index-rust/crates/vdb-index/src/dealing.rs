//! Which dimensions make up the pieces of a vector.
//!
//! A piece has as many codewords as any other, so that pieces should have as much to tell. Where the first dimensions tell most, as
//! those of principal components do, they are dealt to pieces like cards, the widest spread first and every other round backwards
//! (after the allocation of eigenvalues in Ge, He, Ke, Sun: "Optimized Product Quantization", PAMI 2014, without its rotation,
//! which costs every query a product with a matrix).

use crate::matrix::Matrix;

/// By how much the spread of the widest piece exceeds the mean where it is worth while to try another order.
const UNEVEN: f64 = 1.5;

/// For each dimension the sum of squares of all rows.
pub(crate) fn spreads(rows: Matrix<'_>) -> Vec<f64> {
    let mut spreads = vec![0.0; rows.dim()];
    for row in (0..rows.rows() as u32).map(|slot| rows.row(slot)) {
        spreads.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) * f64::from(value));
    }
    spreads
}

/// Whether pieces of dimensions as they lie, beginning at `starts`, have much more to tell than others.
pub(crate) fn uneven(spreads: &[f64], starts: &[usize]) -> bool {
    let pieces = starts.windows(2).map(|piece| spreads[piece[0]..piece[1]].iter().sum::<f64>());
    let widest = pieces.fold(0.0, f64::max);
    widest * (starts.len() - 1) as f64 > UNEVEN * spreads.iter().sum::<f64>()
}

/// The dimensions of the first piece, of the second one, and so on, so that pieces have about as much to tell.
pub(crate) fn deal(spreads: &[f64], starts: &[usize]) -> Vec<u32> {
    let mut dimensions: Vec<u32> = (0..spreads.len() as u32).collect();
    dimensions.sort_by(|&a, &b| spreads[b as usize].total_cmp(&spreads[a as usize]));
    let mut order = vec![0; spreads.len()];
    let mut dimensions = dimensions.into_iter();
    let pieces = starts.len() - 1;
    let rounds = starts.windows(2).map(|piece| piece[1] - piece[0]).max().unwrap_or(0);
    for round in 0..rounds {
        for turn in 0..pieces {
            let piece = if round % 2 == 0 { turn } else { pieces - 1 - turn };
            let place = starts[piece] + round;
            if place < starts[piece + 1] {
                order[place] = dimensions.next().unwrap_or_default();
            }
        }
    }
    order
}

/// Whether an order names each dimension once.
pub(crate) fn is_order(order: &[u32]) -> bool {
    let mut seen = vec![false; order.len()];
    order.iter().all(|&d| seen.get_mut(d as usize).is_some_and(|seen| !std::mem::replace(seen, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_get_as_much_each() {
        let spreads = [100.0, 80.0, 60.0, 40.0, 4.0, 3.0, 2.0, 1.0];
        let starts = [0, 2, 4, 6, 8];
        assert!(uneven(&spreads, &starts));
        let order = deal(&spreads, &starts);
        assert_eq!(order, [0, 7, 1, 6, 2, 5, 3, 4]);
        assert!(is_order(&order));
        assert!(!uneven(&[1.0, 2.0, 2.0, 1.0], &[0, 2, 4]));
    }

    #[test]
    fn pieces_of_different_lengths_get_all_dimensions() {
        for (dim, pieces) in [(1usize, 1usize), (7, 3), (10, 4), (5, 5)] {
            let starts: Vec<usize> = (0..=pieces).map(|p| p * (dim / pieces) + p.min(dim % pieces)).collect();
            for spreads in [vec![0.0; dim], vec![f64::NAN; dim], (0..dim).map(|d| d as f64).collect()] {
                assert!(is_order(&deal(&spreads, &starts)));
            }
        }
        assert!(!is_order(&[0, 0]));
        assert!(!is_order(&[1, 2]));
    }
}
