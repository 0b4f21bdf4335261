//! Plain loops: what the other kernels are tested against, and what runs where there is no vector unit we know.

use super::{FastLayout, Isa, Kernels, Lanes, PANEL, Panel};
use crate::matrix::Matrix;

pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::Scalar,
    dot_rows: |query, rows, slots, out| each_row(query, rows, slots, out, dot),
    l2_rows: |query, rows, slots, out| each_row(query, rows, slots, out, l2),
    dot_panel: |panel, rows, slots, out| each_lane(panel, rows, slots, out, |sum, a, b| sum + a * b),
    l2_panel: |panel, rows, slots, out| {
        each_lane(panel, rows, slots, out, |sum, a, b| sum + (a - b) * (a - b))
    },
    dot_exact: super::exact::dot_exact,
    l2_exact: super::exact::l2_exact,
    screen: super::screen,
    keep_smaller: super::keep_smaller,
    tables: super::tables,
    fast_tables: super::fast::fast_tables,
    fast_layout: FastLayout::Lanes,
    fast_scan: super::fast::fast_scan,
    fast_screen: super::fast::fast_screen,
    fast_keep: super::fast::fast_keep,
    code_sums: super::blocks::code_sums,
    lower_sums: super::blocks::lower_sums,
    row_sums: super::blocks::row_sums,
    whole: None,
    code_screen: super::blocks::code_screen,
    sift: |blocks, picks, range, query, limit, sifted| {
        super::sift::sift(blocks, picks, range, query, limit, sifted, super::blocks::code_sums);
    },
    within: super::sift::within,
    members: super::members,
    nearest_keys: |keys, first, order| {
        super::nearest::nearest_keys(keys, first, order, super::sift::within);
    },
    prefetch: |_| (),
    prefetch_row: |_| (),
    keep_nearest: super::blocks::keep_nearest,
    encode: super::blocks::encode,
    nearest_word: super::words::nearest_word::<false>,
};

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn l2(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

fn each_row(
    query: &[f32],
    rows: Matrix<'_>,
    slots: &[u32],
    out: &mut [f32],
    raw: impl Fn(&[f32], &[f32]) -> f32,
) {
    assert_eq!(query.len(), rows.dim(), "a query has as many values as a row");
    assert_eq!(slots.len(), out.len(), "one result a slot");
    for (&slot, value) in slots.iter().zip(out) {
        *value = raw(query, rows.row(slot));
    }
}

fn each_lane(
    panel: &Panel,
    rows: Matrix<'_>,
    slots: &[u32],
    out: &mut [Lanes],
    add: impl Fn(f32, f32, f32) -> f32,
) {
    assert_eq!(panel.dim(), rows.dim(), "a panel has as many values as a row");
    assert_eq!(slots.len(), out.len(), "one result a slot");
    let (crosswise, _) = panel.values().as_chunks::<PANEL>();
    for (&slot, sums) in slots.iter().zip(out) {
        *sums = [0.0; PANEL];
        for (lanes, &value) in crosswise.iter().zip(rows.row(slot)) {
            for (sum, &lane) in sums.iter_mut().zip(lanes) {
                *sum = add(*sum, lane, value);
            }
        }
    }
}
