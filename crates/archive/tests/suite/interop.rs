//! To other programs an archive is an ordinary tar.gz or tar.zst.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use archive::{DiffData, Format};
use sha2::{Digest, Sha256};

use crate::common::{FORMATS, Trees, agree, large, small};

/// The names in the archive, in order, and what is in the files of whole contents.
fn expected(trees: &Trees) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
    let mut names = vec!["diff.index".to_owned(), "PATHS".to_owned()];
    let mut wholes = BTreeMap::new();
    let mut contents = trees.contents();
    for change in trees.diff.changes() {
        let Some(content) = change.stored_content() else { continue };
        let whole = *content == diffindex::Content::Whole;
        let hash: [u8; 32] = Sha256::digest(change.path.as_bytes()).into();
        let hash: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{}/{hash}", if whole { "created" } else { "updated" });
        let bytes = contents.remove(&change.path.to_string()).unwrap();
        if whole {
            wholes.insert(name.clone(), bytes);
        }
        names.push(name);
    }
    names.push("TABLE".to_owned());
    (names, wholes)
}

fn check_extracted(at: &Path, trees: &Trees, by: &str) {
    let (names, wholes) = expected(trees);
    for (name, bytes) in wholes {
        assert!(fs::read(at.join(&name)).unwrap() == bytes, "{by}: {name}");
    }
    assert_eq!(fs::read(at.join("diff.index")).unwrap(), trees.carried_diff(), "{by}");
    let files: usize =
        [".", "created", "updated"].iter().map(|dir| count_files(&at.join(dir))).sum();
    assert_eq!(files, names.len(), "{by}");
}

fn count_files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file()).count()
}

const PYTHON: &str = "
import sys, tarfile
tar = tarfile.open(sys.argv[1])
for frame in tar:
    assert frame.isreg() and frame.mode == 0o644 and frame.mtime == 0, frame
    assert frame.uid == frame.gid == 0 and frame.uname == frame.gname == '', frame
    print(frame.name)
    tar.extract(frame, sys.argv[2])
";

#[test]
fn other_programs_list_and_extract_every_archive() {
    for trees in [small(), large()] {
        let names = expected(&trees).0.join("\n") + "\n";
        for (format, name) in FORMATS.into_iter().zip(["diff.tgz", "diff.tar.zst"]) {
            let path = trees.path(name);
            DiffData::create(&trees.dir(), &trees.old, &trees.diff, &path).unwrap();
            let archive = path.to_str().unwrap();
            let to = |by: &str| {
                let to = trees.path(&format!("{name}.{by}"));
                fs::create_dir(&to).unwrap();
                to.to_str().unwrap().to_owned()
            };
            for program in ["tar", "bsdtar"] {
                if let Some(listed) = agree(program, &["-tf", archive]) {
                    assert_eq!(listed, names, "{program}");
                    let to = to(program);
                    agree(program, &["-xf", archive, "-C", &to]).unwrap();
                    check_extracted(Path::new(&to), &trees, program);
                }
            }
            python(format, &path, &to("python"), &names, &trees);
            match format {
                Format::Gzip => agree("gzip", &["-t", archive]),
                Format::Zstd => agree("zstd", &["-qt", archive]),
            };
        }
    }
}

fn python(format: Format, path: &Path, to: &str, names: &str, trees: &Trees) {
    let mut input = path.to_path_buf();
    if format == Format::Zstd {
        // Python before 3.14 has no zstd of its own.
        input.set_extension("plain");
        let (from, to) = (path.to_str().unwrap(), input.to_str().unwrap());
        if agree("zstd", &["-qdf", from, "-o", to]).is_none() {
            return;
        }
    }
    if let Some(listed) = agree("python3", &["-c", PYTHON, input.to_str().unwrap(), to]) {
        assert_eq!(listed, names, "python3");
        check_extracted(Path::new(to), trees, "python3");
    }
}
