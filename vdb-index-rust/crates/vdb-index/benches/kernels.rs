//! What each instruction set gains over the plain loops, on rows that fit the second-level cache and rows that do not.
//!
//! `cargo bench -p vdb-index`; sets are measured in turns, so that a noisy machine disturbs them alike.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;
use std::time::Instant;

use vdb_index::Matrix;
use vdb_index::kernels::{
    BLOCK, BLOCKS, BlockBounds, Blocks, CodedQuery, FAST_TABLE, Isa, Kernels, Meeting, PANEL, Packed, Panel,
    Planes, RowBound, put_bound,
};

const ROUNDS: usize = 9;

fn main() {
    let sets: Vec<&Kernels> = Isa::ALL.into_iter().filter_map(Kernels::of).collect();
    for (dim, rows) in [(96, 512), (384, 512), (1536, 128), (384, 50_000)] {
        let data: Vec<f32> = (0..rows * dim).map(|i| (i % 1013) as f32 / 1013.0 - 0.5).collect();
        let matrix = Matrix::new(&data, rows, dim).unwrap();
        let slots: Vec<u32> = (0..rows as u32).collect();
        let query = matrix.row(7);
        let panel = Panel::pack((0..PANEL as u32).map(|slot| matrix.row(slot)), dim);
        let mut values = vec![0.0; rows];
        let mut lanes = vec![[0.0; PANEL]; rows];
        println!("{rows} rows of {dim}");
        report("  dot, one query", &sets, rows, |kernels| {
            (kernels.dot_rows)(black_box(query), matrix, &slots, &mut values);
        });
        report("  l2, one query", &sets, rows, |kernels| {
            (kernels.l2_rows)(black_box(query), matrix, &slots, &mut values);
        });
        report("  dot, 32 queries", &sets, rows * PANEL, |kernels| {
            (kernels.dot_panel)(black_box(&panel), matrix, &slots, &mut lanes);
        });
        report("  dot, float64", &sets, rows, |kernels| {
            for &slot in &slots {
                black_box((kernels.dot_exact)(query, matrix.row(slot)));
            }
        });
    }
    bytes(&sets, 1024);
    bytes(&sets, 180_032);
    encode(&sets);
    pieces(&sets);
}

/// 4-bit codes of 96 pieces: 64 rows in the first-level cache, one query and four of them.
fn pieces(sets: &[&'static Kernels]) {
    const GROUPS: usize = 12;
    let codes: Vec<u8> = (0..GROUPS * 64 * 4).map(|i| (i * 31 % 256) as u8).collect();
    let table: Vec<u8> = (0..GROUPS * FAST_TABLE).map(|i| (i * 37 % 256) as u8).collect();
    println!("codes of 96 pieces of 4 bits");
    for count in [1, 4] {
        let tables = vec![table.as_slice(); count];
        report(&format!("  sums, {count} queries"), sets, 64 * 1000 * count, |kernels| {
            let mut sums = vec![[0; BLOCK]; 4 * count];
            for _ in 0..1000 {
                (kernels.fast_scan)(black_box(&codes), black_box(&tables), &mut sums);
            }
        });
    }
}

/// Codes instead of values: `rows` of 384, one query and 60 of them.
fn bytes(sets: &[&'static Kernels], rows: usize) {
    const DIM: usize = 384;
    let codes: Vec<u8> = (0..rows * DIM / 2).map(|i| (i * 31 % 256) as u8).collect();
    let (mut of_block, mut length) = (BlockBounds::default(), 0.0);
    let bound = RowBound { scale: 1e-3, residual: 1e-3, norm: 1e-3, half: 0.0 };
    (0..BLOCK).for_each(|row| put_bound(&mut of_block, &mut length, row, bound, 1e-3));
    let (bounds, lengths) = (vec![of_block; rows / BLOCK], vec![length; rows / BLOCK]);
    let planes = Planes { upper: &codes, lower: &codes, bounds: &bounds, lengths: &lengths };
    let blocks = Blocks::new(planes, DIM / 8).unwrap();
    let query: Vec<i8> = (0..DIM).map(|i| (i * 37 % 255) as u8 as i8).map(|code| code.max(-127)).collect();
    let query = CodedQuery::new(&query);
    let queries = [&query; 60];
    let limits = [-1e9; 60];
    let picked: Vec<[u32; BLOCKS]> = (0..(rows / BLOCK) as u32)
        .step_by(BLOCKS)
        .map(|first| std::array::from_fn(|j| first + j as u32))
        .collect();
    println!("{rows} rows of {DIM} codes");
    for count in [1, 60] {
        report(&format!("  sums of upper halves, {count} queries"), sets, rows * count, |kernels| {
            let mut sums = vec![[[0; BLOCK]; BLOCKS]; 6];
            for (at, blocks_of) in picked.iter().enumerate() {
                let next = picked.get(at + 1).map_or(&[][..], |next| next);
                for queries in queries[..count].chunks(6) {
                    let sums = &mut sums[..queries.len()];
                    (kernels.code_sums)(&blocks, blocks_of, next, black_box(queries), sums);
                }
            }
        });
    }
    report("  screen of upper halves, 60 queries", sets, rows * 60, |kernels| {
        let sums = vec![[[0; BLOCK]; BLOCKS]; 6];
        let mut passed = [0; 6];
        for picked in &picked {
            for queries in queries.chunks(6) {
                (kernels.code_screen)(&blocks, picked, black_box(queries), &limits[..6], &sums, &mut passed);
                black_box(&passed);
            }
        }
    });
    let many: Vec<&Kernels> = sets.iter().copied().filter(|kernels| kernels.whole.is_some()).collect();
    for count in [60, 960] {
        let queries: Vec<&CodedQuery> = queries.iter().copied().cycle().take(count).collect();
        let limits = vec![limits[0]; count];
        let name = format!("  whole codes put together, summed and screened, {count} queries");
        report(&name, &many, rows * count, |kernels| {
            let Some(whole) = kernels.whole else { return };
            let (mut bytes, mut packed) = (Vec::new(), Packed::default());
            packed.pack(&queries);
            for picked in &picked {
                (whole.assemble)(&blocks, picked, &[], &mut bytes);
                let (packed, limits) = (black_box(&packed), limits.as_slice());
                let met = Meeting { bytes: &bytes, packed, blocks: &blocks, picked, limits };
                (whole.screen)(&met, &mut |_, passed, _| {
                    black_box(passed);
                });
            }
        });
    }
    report("  whole codes put together", &many, rows, |kernels| {
        let Some(whole) = kernels.whole else { return };
        let mut bytes = Vec::new();
        for picked in &picked {
            (whole.assemble)(&blocks, picked, &[], &mut bytes);
            black_box(&bytes);
        }
    });
}

/// Encoding rows, in values.
fn encode(sets: &[&'static Kernels]) {
    let data: Vec<f32> = (0..384 * 256).map(|i| (i % 1013) as f32 / 1013.0 - 0.5).collect();
    let mean = [0.01; 384];
    let mut codes = [0; 384];
    println!("256 rows of 384");
    report("  encode", sets, data.len(), |kernels| {
        for row in data.chunks(384) {
            black_box((kernels.encode)(black_box(row), &mean, &mut codes));
        }
    });
}

/// Median nanoseconds a value of each set, in interleaved rounds.
fn report(what: &str, sets: &[&'static Kernels], values: usize, mut run: impl FnMut(&Kernels)) {
    let mut times = vec![Vec::new(); sets.len()];
    for _ in 0..ROUNDS {
        for (kernels, times) in sets.iter().zip(&mut times) {
            let began = Instant::now();
            run(kernels);
            times.push(began.elapsed().as_secs_f64() * 1e9 / values as f64);
        }
    }
    let medians = times.iter_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    let line: Vec<String> =
        sets.iter().zip(medians).map(|(kernels, median)| format!("{} {median:.3} ns", kernels.isa)).collect();
    println!("{what}: {}", line.join(", "));
}
