//! libFuzzer over the files of an index: the first byte picks an index and one of its files, the others are what the
//! file holds. See `nox -s safety` for how to run it.
#![no_main]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/vdb-index/tests/suite/common.rs"]
mod common;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/vdb-index/tests/suite/specimen.rs"]
mod specimen;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use specimen::Specimen;

fuzz_target!(|input: &[u8]| {
    static SPECIMENS: OnceLock<Vec<Specimen>> = OnceLock::new();
    let specimens = SPECIMENS.get_or_init(specimen::small);
    let Some((&pick, bytes)) = input.split_first() else { return };
    let mut files = specimens.iter().flat_map(|each| each.files.iter().map(move |(name, _)| (each, name)));
    if let Some((specimen, name)) = files.nth(usize::from(pick)) {
        let _ = specimen.survive(&[(name, Some(bytes))]);
    }
});
