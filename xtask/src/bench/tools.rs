//! The programs that back up a directory, ours and our peers, and how each is asked to. Knows nothing of what is backed up.
//!
//! Commands are for a shell, in a directory that has `source`. `$R` is where the tool keeps backups, `$T` where it may keep what
//! else it wants. Backups are numbered: this one is `$N`, the one before it `$P`. `$TO` is where a restore goes, and is not there.
//! `$I` is what `note` printed after the backup that is restored, `$ONE` the path of a file.

use std::path::Path;

use anyhow::Result;

use crate::process::{installed, look_first_in, output, target_dir};

pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: &'static str,
    version: &'static str,
    /// What it is asked to do, in words.
    pub(crate) asked: &'static str,
    /// Said before each command.
    pub(crate) with: &'static str,
    pub(crate) init: &'static str,
    pub(crate) full: &'static str,
    pub(crate) next: &'static str,
    /// Prints what the newest backup is called. A tool that has no way to do something has nothing here and below.
    pub(crate) note: &'static str,
    pub(crate) restore: &'static str,
    pub(crate) one: &'static str,
    /// Keeps the last thirty backups.
    pub(crate) prune: &'static str,
}

/// For those who make a backup with one and the same command.
const fn ours(
    name: &'static str,
    asked: &'static str,
    init: &'static str,
    backup: &'static str,
) -> Tool {
    Tool {
        name,
        program: "ibtools",
        version: "ibtools --version",
        asked,
        with: "export HOME=$T",
        init,
        full: backup,
        next: backup,
        note: "ibtools snapshots $R | grep -o '^[0-9]*T[^ ]*' | tail -n 1",
        restore: "ibtools -q restore $R $TO --at $I $(test -e $T/key && echo --identity $T/key)",
        one: "ibtools -q restore $R $TO --at $I --path $ONE $(test -e $T/key && echo --identity $T/key)",
        prune: "ibtools -q prune $R --keep-last 30 $(test -e $T/key && echo --identity $T/key)",
    }
}

const TAR_RESTORE: &str = "mkdir $TO && for n in $(seq 0 $N); do $UNPACK $R/$n | tar -C $TO -g /dev/null -xf -; done && sync -f .";
const TAR_ONE: &str = "mkdir $TO && for n in $(seq 0 $N); do $UNPACK $R/$n | tar -C $TO -xf - ./$ONE 2>/dev/null || true; done";

const fn tar(
    name: &'static str,
    program: &'static str,
    version: &'static str,
    with: &'static str,
) -> Tool {
    let backup = "tar -C source -g $T/snar -cf - . | $PACK > $R/$N";
    Tool {
        name,
        program,
        version,
        asked: "whole files that changed, by time and inode; no deduplication, no checks, no encryption, no fsync",
        with,
        init: "",
        full: backup,
        next: backup,
        note: "",
        restore: TAR_RESTORE,
        one: TAR_ONE,
        prune: "",
    }
}

const fn borg(name: &'static str, asked: &'static str, with: &'static str) -> Tool {
    let backup = "cd source && borg create $PACK $R::b$N .";
    Tool {
        name,
        program: "borg",
        version: "borg --version",
        asked,
        with,
        init: "borg init -e none $R",
        full: backup,
        next: backup,
        note: "",
        restore: "mkdir $TO && cd $TO && borg extract $R::b$N && sync -f .",
        one: "mkdir $TO && cd $TO && borg extract $R::b$N $ONE",
        prune: "borg prune --keep-last 30 $R && borg compact $R",
    }
}

/// All that there is a way to ask.
pub(crate) const TOOLS: &[Tool] = &[
    ours(
        "ibtools .tgz",
        "gzip -6; deltas and whole files once; fsync; each file verified when restored, and synced; an index that proves every path",
        "ibtools -q init $R",
        "ibtools -q backup source $R",
    ),
    ours(
        "ibtools .zst",
        "the same with zstd",
        "ibtools -q init $R",
        "ibtools -q backup --zstd source $R",
    ),
    ours(
        "ibtools .zst encrypted",
        "the same with zstd, encrypted with age for a key that is elsewhere; a signed log",
        "ibtools key new -o $T/key > $T/pub && ibtools -q init $R --recipient $T/pub",
        "ibtools -q backup --zstd source $R",
    ),
    Tool {
        name: "bupstash",
        program: "bupstash",
        version: "bupstash --version",
        asked: "zstd:3; chunks once; encrypted for a key; fsync",
        with: "export HOME=$T BUPSTASH_REPOSITORY=$R BUPSTASH_KEY=$T/key BUPSTASH_QUERY_CACHE=$T/query",
        init: "rmdir $R && bupstash new-key -o $T/key && bupstash init",
        full: "bupstash put -q --send-log $T/log source > $T/id",
        next: "bupstash put -q --send-log $T/log source > $T/id",
        note: "cat $T/id",
        restore: "mkdir $TO && bupstash restore -q --into $TO id=$I && sync -f .",
        one: "mkdir $TO && bupstash get -q --pick $ONE id=$I > $TO/file",
        prune: "",
    },
    Tool {
        name: "rustic",
        program: "rustic",
        version: "rustic --version",
        asked: "zstd:3; chunks once; encrypted; hashes checked when read",
        with: "export HOME=$T RUSTIC_REPOSITORY=$R RUSTIC_PASSWORD=x RUSTIC_CACHE_DIR=$T/cache RUSTIC_NO_PROGRESS=true RUSTIC_LOG_LEVEL=error",
        init: "rustic init",
        full: "cd source && rustic backup --tag n$N .",
        next: "cd source && rustic backup --tag n$N .",
        note: "rustic snapshots --json --filter-tags n$N | grep -o '\"id\": *\"[0-9a-f]*' | tail -n 1 | grep -o '[0-9a-f]*$'",
        restore: "rustic restore $I $TO && sync -f .",
        one: "mkdir $TO && rustic dump $I:$ONE > $TO/file",
        prune: "rustic forget --keep-last 30 --prune --keep-delete 0s --instant-delete",
    },
    Tool {
        name: "restic",
        program: "restic",
        version: "restic version",
        asked: "zstd; chunks once; encrypted; fsync; hashes checked when read",
        with: "export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$R RESTIC_CACHE_DIR=$T/cache",
        init: "restic -q init",
        full: "cd source && restic -q backup --tag n$N .",
        next: "cd source && restic -q backup --tag n$N .",
        note: "",
        restore: "restic -q restore latest --tag n$N --target $TO && sync -f .",
        one: "restic -q restore latest --tag n$N --target $TO --include /$ONE",
        prune: "restic -q forget --group-by host --keep-last 30 --prune",
    },
    borg(
        "borg lz4",
        "lz4; chunks once; no encryption; fsync; hashes checked when read",
        "export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_BASE_DIR=$T/base; PACK='-C lz4'",
    ),
    borg(
        "borg zstd",
        "zstd:3; chunks once; no encryption; fsync; hashes checked when read",
        "export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_BASE_DIR=$T/base; PACK='-C zstd'",
    ),
    Tool {
        name: "conserve",
        program: "conserve",
        version: "conserve --version",
        asked: "snappy; blocks of whole files once; no encryption",
        with: "",
        init: "rmdir $R && conserve init $R",
        full: "conserve backup --no-progress $R source",
        next: "conserve backup --no-progress $R source",
        note: "",
        restore: "conserve restore --no-progress -b b$(printf %04d $N) $R $TO && sync -f .",
        one: "",
        prune: "",
    },
    Tool {
        name: "zpaq",
        program: "zpaq",
        version: "zpaq | head -n 1 | cut -d, -f1",
        asked: "method 1; chunks once; no encryption; times in seconds, no symbolic links",
        with: "",
        init: "",
        full: "zpaq add $R/a.zpaq source -m1",
        next: "zpaq add $R/a.zpaq source -m1",
        note: "date -u +%Y%m%d%H%M%S",
        restore: "zpaq extract $R/a.zpaq source -to $TO -until $I && sync -f .",
        one: "zpaq extract $R/a.zpaq source/$ONE -to $TO -until $I",
        prune: "",
    },
    Tool {
        name: "dar",
        program: "dar",
        version: "dar --version | sed -n 's/.*\\(dar version [0-9.]*\\).*/\\1/p'",
        asked: "zstd:1; whole files that changed; CRC; no encryption, no fsync",
        with: "",
        init: "",
        full: "dar -Q -q -w -zzstd:1 -R source -c $R/0",
        next: "dar -Q -q -w -zzstd:1 -R source -A $R/$P -c $R/$N",
        note: "",
        restore: "mkdir $TO && for n in $(seq 0 $N); do dar -Q -q -w -R $TO -x $R/$n; done && sync -f .",
        one: "mkdir $TO && for n in $(seq 0 $N); do dar -Q -q -w -R $TO -x $R/$n -g $ONE; done",
        prune: "",
    },
    Tool {
        name: "duplicity",
        program: "duplicity",
        version: "duplicity --version | cut -d' ' -f1,2",
        asked: "gzip; deltas; no encryption",
        // It opens the signatures of all of a chain at once.
        with: "ulimit -Sn $(ulimit -Hn); export HOME=$T; D='--verbosity 1 --no-encryption --archive-dir '$T/cache",
        init: "",
        full: "duplicity full $D source file://$R",
        next: "duplicity incremental $D source file://$R",
        note: "date +%s",
        restore: "duplicity restore $D --time $I file://$R $TO && sync -f .",
        one: "mkdir $TO && duplicity restore $D --time $I --path-to-restore $ONE file://$R $TO/file",
        prune: "",
    },
    tar("tar pigz -6", "pigz", "pigz --version 2>&1", "PACK='pigz -6'; UNPACK='pigz -dc'"),
    tar(
        "tar zstd -3",
        "zstd",
        "zstd --version | sed -n 's/.*\\(v[0-9.]*\\),.*/zstd \\1/p'",
        "PACK='zstd -q -T0 -3'; UNPACK='zstd -qdc'",
    ),
    tar(
        "tar zstd -3 --long",
        "zstd",
        "zstd --version | sed -n 's/.*\\(v[0-9.]*\\),.*/zstd \\1/p'",
        "PACK='zstd -q -T0 -3 --long=27'; UNPACK='zstd -qdc --long=27'",
    ),
];

/// Those of the tools that are installed, and their versions. `names` are beginnings of names; none of them means all. A tool
/// that is missing is one line on standard error.
pub(crate) fn present(names: &[String]) -> Vec<(&'static Tool, String)> {
    let wanted =
        |tool: &&Tool| names.is_empty() || names.iter().any(|name| tool.name.starts_with(&**name));
    let there = |tool: &'static Tool| match installed(tool.program) {
        true => Some((tool, version(tool.version))),
        false => {
            eprintln!(
                "skipped: {}: {} is not installed; try `cargo xtask peers`",
                tool.name, tool.program
            );
            None
        }
    };
    TOOLS.iter().filter(wanted).filter_map(there).collect()
}

/// The first line that a command prints.
pub(crate) fn version(command: &str) -> String {
    let text = output(command).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// Lets commands find what `cargo xtask peers` installed, and the `ibtools` that is measured, which is built unless it is given.
pub(crate) fn find_programs(ibtools: Option<&Path>) -> Result<()> {
    let target = target_dir()?;
    let program = match ibtools {
        Some(program) => program.canonicalize()?,
        None => {
            eprintln!("building ibtools");
            output("cargo build --release --package ibtools")?;
            target.join("release/ibtools")
        }
    };
    let ours = target.join("bench-bin");
    output(&format!(
        "mkdir -p '{0}' && ln -sfn '{1}' '{0}/ibtools'",
        ours.display(),
        program.display()
    ))?;
    look_first_in(vec![ours, target.join("peers/bin")])
}
