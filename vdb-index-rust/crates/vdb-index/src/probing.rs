//! Which lists a query probes, and when it has seen enough.

use crate::bitmap::Bitmap;
use crate::coarse::Ranking;
use crate::filters::{Filter, Filters};
use crate::kernels::Kernels;
use crate::kmeans::group;
use crate::lists::Lists;

/// Lists to scan where a filter leaves the share `s` of the rows, with `t = -log10 s`: `n_probes (1 + rise t - 0.2 t²)`, up to
/// `t = 4`. The nearest allowed rows lie farther off, in more lists, than the nearest of all; and a list costs less, because
/// only its allowed rows are compared.
fn filtered_probes(n_probes: usize, rise: f64, allowed: usize, rows: usize) -> usize {
    let share = allowed.max(1) as f64 / rows.max(1) as f64;
    let rarity = (-share.log10()).clamp(0.0, 4.0);
    (n_probes as f64 * (1.0 + rise * rarity - 0.2 * rarity * rarity)).ceil() as usize
}

/// What all queries of a search share.
#[derive(Clone, Debug)]
pub(crate) struct Probing<'a> {
    pub(crate) k: usize,
    /// Lists that have rows which may be returned.
    pub(crate) n_probes: usize,
    pub(crate) allowed: Option<Bitmap<'a>>,
    /// The same in the order of the lists.
    pub(crate) filter: Filter<'a>,
    /// Rows that each query has to see; lists are probed until then.
    rows: usize,
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

impl<'a> Probing<'a> {
    /// The best `k` of `n_probes` lists, or of more where a filter leaves few rows, by `rise`; for so many queries.
    pub(crate) fn new(
        kernels: &Kernels,
        (lists, filters): (&Lists, &Filters),
        k: usize,
        n_probes: usize,
        rise: f64,
        allowed: Option<Bitmap<'a>>,
        queries: usize,
    ) -> Self {
        let n_probes = n_probes.max(1);
        let Some(bitmap) = allowed else {
            return Self { k, n_probes, allowed, filter: Filter::None, rows: k };
        };
        let (count, filter) = filters.of(kernels, lists, bitmap, queries);
        let n_probes = filtered_probes(n_probes, rise, count, lists.all_slots().len());
        // With all lists seen that have any, a query has seen enough.
        let left = filter.left().map_or(lists.count(), |left| left.lists);
        Self { k, n_probes: n_probes.min(left), allowed, filter, rows: k.min(count) }
    }

    /// Which lists are known to have no row that may be returned, for each of them.
    pub(crate) fn empty(&self) -> Option<&[bool]> {
        self.filter.left().map(|left| left.empty.as_slice())
    }

    /// Whether it is known that no row of a list may be returned.
    #[inline]
    pub(crate) fn skips(&self, list: u32) -> bool {
        self.filter.left().is_some_and(|left| left.empty[list as usize])
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget { lists: self.n_probes.max(1), rows: self.rows }
    }

    /// Who probes what, in rounds: the list nearest to each query, the next nearest ones, and the others, for what is found
    /// first brings the limits down for what comes later. `rows` tells how many rows of a list may be returned.
    pub(crate) fn probes(
        &self,
        rankings: Vec<Ranking<'_>>,
        rows: impl Fn(u32) -> usize,
        count: usize,
    ) -> [Probes; 3] {
        let mut rounds: [Vec<(u32, u32, f32)>; 3] = Default::default();
        let near = 1 + self.n_probes / 8;
        for (number, ranking) in (0..).zip(rankings) {
            let mut budget = self.budget();
            let mut probed = 0;
            for (key, list) in ranking {
                let rows = rows(list);
                if rows > 0 {
                    let round = usize::from(probed > 0) + usize::from(probed >= near);
                    rounds[round].push((list, number, key));
                    probed += 1;
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
