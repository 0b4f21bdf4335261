//! Write the files of each index as inputs of `load` into the folder that is named.

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/vdb-index/tests/suite/common.rs"]
mod common;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/vdb-index/tests/suite/specimen.rs"]
mod specimen;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    std::fs::create_dir_all(&folder)?;
    let specimens = specimen::small();
    let files = specimens.iter().flat_map(|each| &each.files);
    for (pick, (name, bytes)) in (0u8..=u8::MAX).zip(files) {
        std::fs::write(folder.join(format!("{pick}-{name}")), [&[pick], bytes.as_slice()].concat())?;
    }
    Ok(())
}
