//! Which lists a query probes, and when it has seen enough.

use crate::bitmap::Bitmap;
use crate::coarse::Ranking;
use crate::kmeans::group;

/// Lists to scan where a filter leaves the share `s` of the rows: `n_probes s^-1/4`. The nearest allowed rows lie farther
/// off, in more lists, than the nearest of all; and a list costs less, because only its allowed rows are compared.
pub(crate) fn filtered_probes(n_probes: usize, allowed: Option<Bitmap<'_>>, rows: usize) -> usize {
    let Some(allowed) = allowed else { return n_probes };
    let share = allowed.count().max(1) as f64 / rows.max(1) as f64;
    (n_probes as f64 * share.powf(-0.25)).ceil() as usize
}

/// What all queries of a search share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probing<'a> {
    pub(crate) k: usize,
    /// Lists that have rows which may be returned.
    pub(crate) n_probes: usize,
    pub(crate) allowed: Option<Bitmap<'a>>,
}

/// What a query may still probe.
#[derive(Debug)]
pub(crate) struct Budget {
    lists: usize,
    rows: usize,
}

impl Budget {
    /// A list of so many rows was probed; whether another one is needed. Lists without rows cost nothing.
    #[inline]
    pub(crate) fn take(&mut self, rows: usize) -> bool {
        if rows > 0 {
            self.lists = self.lists.saturating_sub(1);
            self.rows = self.rows.saturating_sub(rows);
        }
        self.lists > 0 || self.rows > 0
    }
}

/// The queries that probe each list.
#[derive(Debug)]
pub(crate) struct Probes {
    offsets: Vec<usize>,
    who: Vec<u32>,
    keys: Vec<f32>,
}

impl Probes {
    /// The queries that probe a list, and the key of the list for each.
    pub(crate) fn of(&self, list: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[list as usize]..self.offsets[list as usize + 1];
        (&self.who[range.clone()], &self.keys[range])
    }
}

impl Probing<'_> {
    pub(crate) fn budget(&self) -> Budget {
        Budget { lists: self.n_probes.max(1), rows: self.k }
    }

    /// Who probes what: first the list nearest to each query, then the others. `rows` tells how many rows of a list may
    /// be returned.
    pub(crate) fn probes(
        &self,
        rankings: Vec<Ranking<'_>>,
        rows: impl Fn(u32) -> usize,
        count: usize,
    ) -> [Probes; 2] {
        let mut rounds: [Vec<(u32, u32, f32)>; 2] = Default::default();
        for (number, ranking) in (0..).zip(rankings) {
            let mut budget = self.budget();
            let mut round = 0;
            for (key, list) in ranking {
                let rows = rows(list);
                if rows > 0 {
                    rounds[round].push((list, number, key));
                    round = 1;
                }
                if !budget.take(rows) {
                    break;
                }
            }
        }
        rounds.map(|probes| {
            let (offsets, order) = group(probes.iter().map(|&(list, ..)| list), count);
            let in_order = || order.iter().map(|&place| probes[place as usize]);
            let (who, keys) = (in_order().map(|(_, number, _)| number), in_order().map(|(.., key)| key));
            Probes { who: who.collect(), keys: keys.collect(), offsets }
        })
    }
}
