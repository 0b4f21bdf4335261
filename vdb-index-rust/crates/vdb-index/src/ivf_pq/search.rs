//! Searches: estimates by codes, a shortlist of them re-ranked.

use crate::bitmap::Bitmap;
use crate::coarse::{ListQuery, Ranking};
use crate::codes::{Sums, Tables};
use crate::error::Result;
use crate::ivf_pq::IvfPq;
use crate::kernels::{CodedQuery, TABLES_TOGETHER};
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::pool;
use crate::probing::Probing;
use crate::results::{Neighbours, write_best};
use crate::scan::{Scan, admit};
use crate::shortlist::Shortlist;

/// Queries that a thread takes at a time: their tables and shortlists stay within 1 MB, the second-level cache of most CPUs.
const TOGETHER: usize = 256;
/// How fast probes rise with the rarity of what a filter leaves. Slower than in `ivf_flat`: for the same recall more lists are
/// probed without a filter, to make up for what the codes lose, and with one they lose less.
const RISE: f64 = 1.55;
/// From so many queries on, lists are read once for all queries that probe them.
const MANY: usize = 16;

/// Rows re-ranked when the query names no number: with the default codes the true neighbours are nearly always among
/// the best 120 estimates of ten.
pub(crate) fn default_rerank(k: usize) -> usize {
    k.saturating_mul(8).saturating_add(40)
}

/// Memory that one query after the other uses.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    live: Vec<u16>,
    sums: Sums,
    positions: Vec<u32>,
}

/// What all queries of a search share.
struct Ranked<'a> {
    rows: Matrix<'a>,
    k: usize,
    rerank: usize,
}

impl IvfPq {
    /// The `k` nearest of the allowed rows in the `n_probes` nearest lists that have any, by estimate; the best
    /// `rerank` of them (at least `k`) are decided by their full rows. `rerank` 0 returns estimated distances. A
    /// filter scans more lists, as in [`IvfFlat::search`](crate::IvfFlat::search).
    ///
    /// # Errors
    /// [`Error::Shape`] when the arrays do not belong to this index.
    ///
    /// # Parallelism
    /// Up to `threads` threads split the queries.
    #[allow(clippy::too_many_arguments, reason = "a search says where, what, how many, among which and how")]
    pub fn search(
        &self,
        rows: Matrix<'_>,
        queries: Matrix<'_>,
        k: usize,
        allowed: Option<Bitmap<'_>>,
        n_probes: Option<usize>,
        rerank: Option<usize>,
        threads: usize,
    ) -> Result<Neighbours> {
        let mut result = admit(rows, (self.rows, self.dim), queries, k)?;
        let k = k.min(self.rows);
        if k == 0 {
            return Ok(result);
        }
        let n_probes = n_probes.unwrap_or_else(|| self.default_n_probes());
        let probing = Probing::new(
            self.kernels,
            (&self.lists, &self.filters),
            k,
            n_probes,
            RISE,
            allowed,
            queries.rows(),
        );
        let rerank = rerank.unwrap_or_else(|| default_rerank(k));
        let ranked = Ranked { rows, k, rerank };
        let mut places = result.rows_mut();
        let block = queries.rows().div_ceil(threads.max(1)).min(TOGETHER);
        pool::chunks_mut(threads, &mut places, block, |start, part| {
            let asked = (start..start + part.len()).map(|number| queries.row(number as u32));
            let asked = self.coarse.rank(self.kernels, asked, probing.n_probes, probing.empty());
            let mut scratch = Scratch::default();
            let many = part.len() >= MANY;
            let (coded, rankings): (Vec<_>, Vec<_>) =
                asked.into_iter().map(|ListQuery { coded, ranking }| (coded, ranking)).unzip();
            let number = |index: usize| queries.row((start + index) as u32);
            let wanted = rerank.max(k).min(self.rows);
            let found = if many {
                self.estimate_many(part.len(), number, wanted, rankings, &probing, &mut scratch)
            } else {
                let one =
                    |(index, ranking)| self.estimate(number(index), wanted, ranking, &probing, &mut scratch);
                rankings.into_iter().enumerate().map(one).collect()
            };
            for (index, ((places, coded), found)) in part.iter_mut().zip(coded).zip(found).enumerate() {
                self.finish(&ranked, number(index), coded, found, &mut scratch, places);
            }
        });
        Ok(result)
    }

    /// From estimates to the answer.
    fn finish(
        &self,
        ranked: &Ranked<'_>,
        query: &[f32],
        coded: Option<(CodedQuery, f64)>,
        found: Shortlist,
        scratch: &mut Scratch,
        (slots, distances): &mut (&mut [u32], &mut [f32]),
    ) {
        let all_slots = self.lists.all_slots();
        if ranked.rerank == 0 {
            let offset = self.coarse.offset(self.kernels, query);
            let distance = |key: f32| {
                let key = f64::from(key) + f64::from(offset);
                // Estimates of what is too large for float32 say nothing.
                let key = if key.is_nan() { f64::INFINITY } else { key };
                self.metric.distance(if self.metric.is_inner_product() { -key } else { key })
            };
            let mut found: Vec<_> =
                found.finish().map(|(key, position)| (distance(key), all_slots[position as usize])).collect();
            write_best(&mut found, slots, distances);
            return;
        }
        scratch.positions.clear();
        scratch.positions.extend(found.finish().map(|(_, position)| position));
        let (scan, candidates) = if let (Some(codes), Some(coded)) = (&self.row_codes, &coded) {
            let candidates = codes.sieve(self.kernels, coded, ranked.k, &scratch.positions, all_slots);
            (Scan::deciding(self.kernels, self.metric, ranked.rows), candidates)
        } else {
            let scan = Scan::new(self.kernels, self.metric, ranked.rows, &self.norms);
            let mut search = scan.search(query, ranked.k);
            scratch.positions.iter_mut().for_each(|position| *position = all_slots[*position as usize]);
            scan.offer(&mut search, &scratch.positions);
            (scan, search.candidates)
        };
        scan.decide(query, candidates, slots, distances);
    }

    /// The `wanted` smallest estimated keys, without what all keys of the query share.
    fn estimate(
        &self,
        query: &[f32],
        wanted: usize,
        mut ranking: Ranking<'_>,
        probing: &Probing<'_>,
        scratch: &mut Scratch,
    ) -> Shortlist {
        let tables = self.tables(query, &mut scratch.values);
        let mut found = Shortlist::new(wanted);
        let mut budget = probing.budget();
        while let Some((key, list)) = ranking.next() {
            if probing.skips(list) {
                continue;
            }
            if let Some(next) = ranking.coming().filter(|&next| !probing.skips(next)) {
                self.codes.prefetch(self.kernels, &self.lists, next);
            }
            let Scratch { live, sums, .. } = &mut *scratch;
            let (live, rows) = self.lists.live(self.kernels, list, &probing.filter, live);
            if rows > 0 {
                self.scan_list(
                    list,
                    (&[0], &[key]),
                    &[&tables],
                    live,
                    sums,
                    std::slice::from_mut(&mut found),
                );
            }
            if !budget.take(rows) {
                break;
            }
        }
        found
    }

    /// The same of many queries, list after list. The list nearest to each query goes first, because it brings the limits down
    /// for the others.
    fn estimate_many<'q>(
        &self,
        count: usize,
        query: impl Fn(usize) -> &'q [f32],
        wanted: usize,
        rankings: Vec<Ranking<'_>>,
        probing: &Probing<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Shortlist> {
        let tables: Vec<Tables> =
            (0..count).map(|index| self.tables(query(index), &mut scratch.values)).collect();
        let mut found: Vec<Shortlist> = (0..count).map(|_| Shortlist::new(wanted)).collect();
        let (mut live, mut first) = (Vec::new(), vec![0]);
        let rows: Vec<usize> = (0..self.lists.count() as u32)
            .map(|list| {
                let (of_list, rows) = self.lists.live(self.kernels, list, &probing.filter, &mut scratch.live);
                live.extend_from_slice(of_list);
                first.push(live.len());
                rows
            })
            .collect();
        for probes in probing.probes(rankings, |list| rows[list as usize], rows.len()) {
            for list in 0..rows.len() as u32 {
                let (who, keys) = probes.of(list);
                let live = &live[first[list as usize]..first[list as usize + 1]];
                for (who, keys) in who.chunks(TABLES_TOGETHER).zip(keys.chunks(TABLES_TOGETHER)) {
                    let tables: [&Tables; TABLES_TOGETHER] =
                        std::array::from_fn(|q| &tables[who[q.min(who.len() - 1)] as usize]);
                    self.scan_list(
                        list,
                        (who, keys),
                        &tables[..who.len()],
                        live,
                        &mut scratch.sums,
                        &mut found,
                    );
                }
            }
        }
        found
    }

    /// Tables whose sums are added to the key.
    fn tables(&self, query: &[f32], values: &mut Vec<f32>) -> Tables {
        let (order, centre) = (self.quantizer.order().iter().map(|&d| d as usize), self.coarse.centre());
        let factor: Vec<f32> = if self.metric == Metric::L2 {
            let stretch = -2.0 * self.stretch;
            order.map(|d| stretch * (query[d] - centre[d])).collect()
        } else {
            order.map(|d| -self.stretch * query[d]).collect()
        };
        self.quantizer.tables(self.kernels, &factor, values);
        self.codes.tables(self.kernels, values, self.quantizer.codewords())
    }

    /// Offer the live rows of a list to up to four of the shortlists; each query knows the list by a key.
    fn scan_list(
        &self,
        list: u32,
        (who, keys): (&[u32], &[f32]),
        tables: &[&Tables],
        live: &[u16],
        sums: &mut Sums,
        found: &mut [Shortlist],
    ) {
        let blocks = self.lists.blocks(list);
        let terms = self.terms.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        self.codes.scan(self.kernels, (&self.lists, list), tables, live, terms, sums, (who, keys), found);
    }
}
