//! Looking at index files, for benchmarks: what opening and comparing them costs, and what each part
//! takes up. Knows the numbers of an index's sections from `docs/format.md`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use incremental_backups_tools::container::Sections;
use incremental_backups_tools::{DiffIndex, DirIndex};

/// Opens one index, or two and compares them.
pub(crate) fn open(files: &[PathBuf]) -> Result<()> {
    let indexes: Vec<DirIndex> = files.iter().map(DirIndex::from_file).collect::<Result<_, _>>()?;
    match &indexes[..] {
        [index] => println!("{} entries", index.records().len()),
        [old, new] => println!("{} changes", DiffIndex::between(old, new).changes().len()),
        _ => bail!("one index or two"),
    }
    Ok(())
}

/// What each kind of section takes up, in all and for each entry.
pub(crate) fn parts(file: &Path) -> Result<()> {
    let entries = DirIndex::from_file(file)?.records().len().max(1);
    let sections = Sections::open(File::open(file)?, *b"INDX")?;
    let kinds =
        [(1, "catalogue"), (2, "trust"), (3, "signatures"), (4, "problems"), (5, "excluded")];
    println!("| part | sections | bytes | an entry | unpacked, an entry |\n|---|---|---|---|---|");
    for (kind, name) in kinds {
        let numbers: Vec<usize> = sections.of_kind(kind).collect();
        let stored: usize = numbers.iter().map(|&number| sections.stored_len(number)).sum();
        let raw: usize = numbers.iter().map(|&number| sections.raw_len(number)).sum();
        let each = |bytes: usize| bytes as f64 / entries as f64;
        println!(
            "| {name} | {} | {stored} | {:.1} | {:.1} |",
            numbers.len(),
            each(stored),
            each(raw)
        );
    }
    Ok(())
}
