//! A tiny seeded generator whose stream never changes: a seed gives the same index with every version.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for one purpose: different `stream` numbers under one seed are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        rng.next();
        rng
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; `bound` is at least 1. The bias of at most `bound / 2^64` is of no consequence.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// `count` distinct slots of `0..rows`, ascending, one from each of `count` equal stretches: as spread out as a
    /// sample can be, and kind to the disk when rows are memory-mapped.
    pub(crate) fn spread_sample(&mut self, rows: usize, count: usize) -> Vec<u32> {
        if count >= rows {
            return (0..rows as u32).collect();
        }
        (0..count)
            .map(|i| {
                let start = (i as u128 * rows as u128 / count as u128) as usize;
                let end = ((i + 1) as u128 * rows as u128 / count as u128) as usize;
                (start + self.below(end - start)) as u32
            })
            .collect()
    }

    /// `count` distinct members of `from`, in random order.
    pub(crate) fn choose(&mut self, from: &[u32], count: usize) -> Vec<u32> {
        let mut pool = from.to_vec();
        let count = count.min(pool.len());
        for i in 0..count {
            let j = i + self.below(pool.len() - i);
            pool.swap(i, j);
        }
        pool.truncate(count);
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_frozen() {
        let mut rng = Rng::new(42, 1);
        let first: Vec<usize> = (0..4).map(|_| rng.below(1000)).collect();
        let mut again = Rng::new(42, 1);
        assert_eq!(first, (0..4).map(|_| again.below(1000)).collect::<Vec<_>>());
        assert_ne!(first, (0..4).map(|_| Rng::new(42, 2).below(1000)).collect::<Vec<_>>());
    }

    #[test]
    fn samples_are_distinct_and_inside() {
        let mut rng = Rng::new(7, 0);
        for (rows, count) in [(10, 3), (10, 10), (10, 20), (1_000, 999), (1, 1), (0, 3)] {
            let sample = rng.spread_sample(rows, count);
            assert_eq!(sample.len(), count.min(rows));
            assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(sample.iter().all(|&slot| (slot as usize) < rows));
        }
        let mut chosen = rng.choose(&[5, 6, 7, 8], 3);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 3);
    }
}
