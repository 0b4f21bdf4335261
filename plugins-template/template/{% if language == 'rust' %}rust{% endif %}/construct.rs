//! Builds the graph in batches: the rows of a batch look for their neighbours side by side in what is there already,
//! then all their links are made. No row waits for another, so that the number of threads changes nothing.

use crate::distance::Space;
use crate::graph::{Graph, MOST_LAYERS, NONE};
use crate::search::{Near, Searcher, Visited, near, slot_of};

/// A batch is a share of what is linked already: rows that do not see each other must be few.
const SHARE: usize = 16;
const LARGEST_BATCH: usize = 512;
/// Below so many pieces of work a thread takes longer to start than it saves.
const WORTH_A_THREAD: usize = 16;

/// What a build was asked for.
pub(crate) struct Options {
    pub(crate) links: usize,
    pub(crate) ef: usize,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

/// Build over rows; `go_on(done)` is asked between batches, and the build ends without a result when it says no.
pub(crate) fn construct(
    space: Space<'_>,
    rows: usize,
    options: &Options,
    mut go_on: impl FnMut(usize) -> bool,
) -> Option<Graph> {
    let levels = (0..rows as u64).map(|slot| draw_level(options.seed, slot, options.links)).collect();
    let mut graph = Graph::unlinked(levels, options.links);
    let mut done = 0;
    while done < rows {
        if !go_on(done) {
            return None;
        }
        let batch: Vec<u32> =
            (done..rows.min(done + (done / SHARE).clamp(1, LARGEST_BATCH))).map(|slot| slot as u32).collect();
        let searcher = Searcher { graph: &graph, space };
        let chosen =
            side_by_side(&batch, options.threads, |visited, slot| choose(&searcher, *slot, options, visited));
        let back = link_forward(&mut graph, &batch, &chosen);
        let searcher = Searcher { graph: &graph, space };
        let lists = side_by_side(&back, options.threads, |_, (layer, slot, sources)| {
            with_links_back(&searcher, *layer, *slot, sources)
        });
        for ((layer, slot, _), list) in back.iter().zip(lists) {
            graph.set_neighbours(*slot, *layer, &list);
        }
        for slot in &batch {
            graph.raise_entry(*slot);
        }
        done += batch.len();
    }
    go_on(done).then_some(graph)
}

/// The topmost layer of a row: a layer more for every row in `links`, drawn from seed and slot alone.
fn draw_level(seed: u64, slot: u64, links: usize) -> u8 {
    // SplitMix64 (Steele, Lea and Flood, 2014).
    let mut mixed = seed.wrapping_add(slot.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let uniform = ((mixed >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    let level = -uniform.ln() / (links.max(2) as f64).ln();
    (level as u8).min(MOST_LAYERS - 1)
}

/// The neighbours of a new row, a list a layer from the ground up.
fn choose(searcher: &Searcher<'_>, slot: u32, options: &Options, visited: &mut Visited) -> Vec<Vec<u32>> {
    let graph = searcher.graph;
    if graph.entry == NONE {
        return Vec::new();
    }
    let distance = |other| searcher.space.between(slot, other);
    let top = graph.levels[graph.entry as usize];
    let own = graph.levels[slot as usize].min(top);
    let mut starts = vec![searcher.descend(&distance, top, own)];
    let mut lists = vec![Vec::new(); usize::from(own) + 1];
    for layer in (0..=own).rev() {
        starts = searcher.beam(&distance, &starts, layer, options.ef, None, visited);
        lists[usize::from(layer)] = spread(searcher, &starts, options.links);
    }
    lists
}

/// Choose neighbours in several directions: one that is nearer to a chosen one than to the row is left out, unless
/// there is room in the end (algorithm 4 of the paper).
fn spread(searcher: &Searcher<'_>, candidates: &[Near], most: usize) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(most);
    let mut left_out: Vec<u32> = Vec::new();
    for candidate in candidates {
        if chosen.len() == most {
            break;
        }
        let slot = slot_of(*candidate);
        let shadowed =
            chosen.iter().any(|other| near(searcher.space.between(*other, slot), slot) < *candidate);
        if shadowed { left_out.push(slot) } else { chosen.push(slot) }
    }
    let room = most - chosen.len();
    chosen.extend(left_out.into_iter().take(room));
    chosen
}

/// Rows that get links back: the layer, the row, and the new rows that chose it.
type Back = (u8, u32, Vec<u32>);

/// Give new rows the neighbours they chose; returns who has to link back.
fn link_forward(graph: &mut Graph, batch: &[u32], chosen: &[Vec<Vec<u32>>]) -> Vec<Back> {
    let mut pairs: Vec<(u8, u32, u32)> = Vec::new();
    for (slot, lists) in batch.iter().zip(chosen) {
        for (layer, list) in lists.iter().enumerate() {
            graph.set_neighbours(*slot, layer as u8, list);
            pairs.extend(list.iter().map(|other| (layer as u8, *other, *slot)));
        }
    }
    pairs.sort_unstable();
    let same = |one: &(u8, u32, u32), other: &(u8, u32, u32)| (one.0, one.1) == (other.0, other.1);
    pairs.chunk_by(same).map(|run| (run[0].0, run[0].1, run.iter().map(|pair| pair.2).collect())).collect()
}

/// A row's links with those back to new rows; where there is no room for all, those that are kept.
fn with_links_back(searcher: &Searcher<'_>, layer: u8, slot: u32, sources: &[u32]) -> Vec<u32> {
    let mut all = [searcher.graph.neighbours(slot, layer), sources].concat();
    let room = searcher.graph.room(layer);
    if all.len() <= room {
        return all;
    }
    let mut candidates: Vec<Near> =
        all.drain(..).map(|other| near(searcher.space.between(slot, other), other)).collect();
    candidates.sort_unstable();
    spread(searcher, &candidates, room)
}

/// Work on items with several threads; the results come in the items' order.
pub(crate) fn side_by_side<I: Sync, R: Send>(
    items: &[I],
    threads: usize,
    work: impl Fn(&mut Visited, &I) -> R + Sync,
) -> Vec<R> {
    let alone = |items: &[I]| {
        let mut visited = Visited::default();
        items.iter().map(|item| work(&mut visited, item)).collect::<Vec<R>>()
    };
    let threads = threads.min(items.len() / WORTH_A_THREAD);
    if threads < 2 {
        return alone(items);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = items
            .chunks(items.len().div_ceil(threads))
            .map(|part| scope.spawn(move || alone(part)))
            .collect();
        running
            .into_iter()
            .flat_map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
