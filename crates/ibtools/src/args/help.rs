//! Help by use: the verbs in two groups, examples for each, and the names that other programs have for them.

use clap::{Command, CommandFactory};

use super::Args;

/// What the blocks of a backup are made with. All other verbs are for everyday use.
const BLOCKS: [&str; 9] =
    ["index", "diff", "apply", "squash", "signature", "delta", "patch", "show", "compare"];
/// What is about this program.
const ABOUT: [&str; 2] = ["completions", "man"];

/// Two examples of each verb: what for, and how.
const EXAMPLES: &[(&str, [(&str, &str); 2])] = &[
    (
        "init",
        [
            ("A store on a disk that is mounted", "ibtools init /mnt/disk/photos"),
            (
                "An encrypted one, for who has the identity of a public key",
                "ibtools init /mnt/disk/photos --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
            ),
        ],
    ),
    (
        "key",
        [
            ("An identity; its public key is printed", "ibtools key new -o backup.key"),
            ("Who may write to an encrypted store", "ibtools key list /mnt/disk/photos"),
        ],
    ),
    (
        "backup",
        [
            ("A snapshot of photos/", "ibtools backup photos /mnt/disk/photos"),
            (
                "One that leaves out caches and what a build makes",
                "ibtools backup src /mnt/disk/src --exclude-caches --exclude '*.o'",
            ),
        ],
    ),
    (
        "restore",
        [
            (
                "The last snapshot, into a new directory",
                "ibtools restore /mnt/disk/photos restored",
            ),
            (
                "One directory, as it was at the end of a day",
                "ibtools restore /mnt/disk/photos restored --path 2024/june --at 2026-11-22",
            ),
        ],
    ),
    (
        "snapshots",
        [
            ("All snapshots of a store", "ibtools snapshots /mnt/disk/photos"),
            ("The same for a program", "ibtools snapshots /mnt/disk/photos --json"),
        ],
    ),
    (
        "ls",
        [
            (
                "What is in a directory of the last snapshot",
                "ibtools ls /mnt/disk/photos 2024/june",
            ),
            ("All of an earlier snapshot", "ibtools ls /mnt/disk/photos --at 2026-11-22 -r"),
        ],
    ),
    (
        "find",
        [
            (
                "Every photo called so, whenever it was there",
                "ibtools find /mnt/disk/photos 'beach*.jpg'",
            ),
            ("What a directory ever had", "ibtools find /mnt/disk/photos '2024/june/**'"),
        ],
    ),
    (
        "log",
        [
            (
                "When a file changed, and where it was before",
                "ibtools log /mnt/disk/notes todo.txt",
            ),
            (
                "The same by the path that it has outside of the backup",
                "ibtools log /mnt/disk/notes /home/ann/notes/todo.txt",
            ),
        ],
    ),
    (
        "cat",
        [
            ("A file of the last snapshot", "ibtools cat /mnt/disk/notes todo.txt"),
            (
                "The same file on another day",
                "ibtools cat /mnt/disk/notes todo.txt --at 2026-11-22",
            ),
        ],
    ),
    (
        "dump",
        [
            ("A directory into a file", "ibtools dump /mnt/disk/photos 2024/june > june.tar"),
            (
                "All of an earlier snapshot",
                "ibtools dump /mnt/disk/photos --at 2026-11-22 > photos.tar",
            ),
        ],
    ),
    (
        "stats",
        [
            ("How a store grew", "ibtools stats /mnt/disk/photos"),
            ("The same for a program", "ibtools stats /mnt/disk/photos --json"),
        ],
    ),
    (
        "changes",
        [
            ("What is new since a day", "ibtools changes /mnt/disk/photos 2026-11-22"),
            ("What one day brought", "ibtools changes /mnt/disk/photos 2026-11-21 2026-11-22"),
        ],
    ),
    (
        "mount",
        [
            (
                "The snapshots as directories, until Ctrl-C",
                "ibtools mount /mnt/disk/photos /mnt/snapshots",
            ),
            (
                "Without a word, as from a script: `fusermount3 -u old` ends it",
                "ibtools mount /mnt/disk/photos old --quiet",
            ),
        ],
    ),
    (
        "serve",
        [
            (
                "What `sshd` runs for a key, as the file `authorized_keys` says: command=\"…\",restrict ssh-ed25519 …",
                "ibtools serve /srv/backups/laptop",
            ),
            (
                "The same, for a machine that may be taken over: it adds backups, and deletes none",
                "ibtools serve --append-only /srv/backups/laptop",
            ),
        ],
    ),
    (
        "verify",
        [
            ("Every byte of a store", "ibtools verify /mnt/disk/photos"),
            (
                "The directory too, and corrupt files of it back",
                "ibtools verify /mnt/disk/photos --against photos --repair",
            ),
        ],
    ),
    (
        "protect",
        [
            (
                "Parity for a store, now and after each backup: a tenth of each file may be damaged",
                "ibtools protect /mnt/disk/photos --parity 10%",
            ),
            ("Parity beside any file", "ibtools protect disk.img"),
        ],
    ),
    (
        "prune",
        [
            (
                "What rules would remove",
                "ibtools prune /mnt/disk/photos --keep-daily 14 --keep-monthly 12 --dry-run",
            ),
            ("All but the last three", "ibtools prune /mnt/disk/photos --keep-last 3"),
        ],
    ),
    (
        "forget",
        [
            ("What it would free", "ibtools forget /mnt/disk/photos 20261121T190000Z --dry-run"),
            ("Two snapshots", "ibtools forget /mnt/disk/photos 20261121T1900 20261122T1900"),
        ],
    ),
    (
        "index",
        [
            ("An index of photos/", "ibtools index photos -o photos.index"),
            (
                "A new one, and an alarm at bit rot",
                "ibtools index photos -o photos.index --since photos.index --verify",
            ),
        ],
    ),
    (
        "diff",
        [
            (
                "A full backup, and an index to start the next one from",
                "ibtools diff photos -o full.tgz --index photos.index",
            ),
            (
                "An incremental one: it needs the old index, not the old files",
                "ibtools diff photos --base photos.index -o monday.tgz --index photos.index",
            ),
        ],
    ),
    (
        "apply",
        [
            ("Everything back, into a new directory", "ibtools apply restored full.tgz monday.tgz"),
            ("A copy brought up to date", "ibtools apply copy monday.tgz"),
        ],
    ),
    (
        "squash",
        [
            ("One archive of two", "ibtools squash full.tgz monday.tgz -o both.tgz"),
            ("A full backup out of a store", "ibtools squash /mnt/disk/photos -o photos.tar.zst"),
        ],
    ),
    (
        "signature",
        [
            ("What delta needs of a file", "ibtools signature disk.img disk.sig"),
            (
                "A signature that rdiff reads",
                "ibtools signature --hash rdiff-blake2 disk.img disk.sig",
            ),
        ],
    ),
    (
        "delta",
        [
            (
                "From the file of a signature to a new one",
                "ibtools delta disk.sig new.img new.delta",
            ),
            ("With a signature of rdiff's", "ibtools delta --unchecked disk.sig new.img new.delta"),
        ],
    ),
    (
        "patch",
        [
            ("The new file", "ibtools patch disk.img new.delta new.img"),
            (
                "With a delta from elsewhere",
                "ssh server cat new.delta | ibtools patch disk.img - new.img",
            ),
        ],
    ),
    (
        "show",
        [
            ("What an archive changes", "ibtools show monday.tgz"),
            ("How much is in an index", "ibtools show photos.index --summary"),
        ],
    ),
    (
        "compare",
        [
            ("What has changed since an index was made", "ibtools compare photos photos.index"),
            ("Whether any file is corrupt", "ibtools compare photos photos.index --verify"),
        ],
    ),
    (
        "completions",
        [
            (
                "For bash",
                "ibtools completions bash > ~/.local/share/bash-completion/completions/ibtools",
            ),
            (
                "For fish (for zsh into a directory of fpath, as _ibtools)",
                "ibtools completions fish > ~/.config/fish/completions/ibtools.fish",
            ),
        ],
    ),
    (
        "man",
        [
            ("For yourself", "ibtools man ~/.local/share/man/man1 && man ibtools-backup"),
            ("For everybody", "sudo ibtools man /usr/local/share/man/man1"),
        ],
    ),
];

/// What other programs call a verb, the verb, and what that does.
const OTHER_NAMES: &[(&[&str], &str, &str)] = &[
    (
        &["list", "snapshot", "history", "versions", "list-increments"],
        "snapshots",
        "lists the snapshots of a store",
    ),
    (&["create", "save", "push", "archive"], "backup", "adds a snapshot of a directory to a store"),
    (&["init-repo", "repo-create", "new"], "init", "makes a directory a store"),
    (
        &["extract", "recover", "checkout", "pull", "copy"],
        "restore",
        "brings back a snapshot, or paths of it",
    ),
    (&["check", "fsck", "test", "scrub"], "verify", "reads and checks every byte of a store"),
    (
        &["repair", "rebuild-index"],
        "verify",
        "finds what is damaged; the next `backup` makes a lost index again",
    ),
    (&["par2", "parity"], "protect", "puts parity beside files, by which damage is mended"),
    (&["mend", "heal"], "verify", "mends what is damaged by its parity, with --heal"),
    (&["delete", "remove", "rm"], "forget", "removes one snapshot"),
    (
        &["forget", "delete", "remove", "rm", "expire", "gc", "cleanup"],
        "prune",
        "removes snapshots by rule",
    ),
    (&["compact"], "prune", "removes snapshots and frees their room at once"),
    (
        &["unlock", "break-lock"],
        "backup",
        "needs no unlocking: a lock ends with the process that holds it",
    ),
    (&["files", "tree", "dir"], "ls", "lists a directory of a snapshot"),
    (&["search", "locate"], "find", "finds a name in all snapshots"),
    (&["export", "export-tar", "tar"], "dump", "writes a directory of a snapshot as tar"),
    (&["print", "view", "get"], "cat", "prints a file of a snapshot"),
    (&["info", "du", "size"], "stats", "says what takes up the room in a store"),
    (&["info"], "snapshots", "lists the snapshots of a store"),
    (
        &["passwd", "encrypt", "keys"],
        "key",
        "makes keys for encrypted stores, and says who may use these",
    ),
    (&["fuse", "browse"], "mount", "shows the snapshots of a store as directories"),
    (&["merge"], "squash", "makes one archive of several"),
    (
        &["status"],
        "snapshots",
        "says when the last snapshot was made; `apply --status` whether an apply is unfinished",
    ),
];

/// The command line as it is parsed, with all of its help.
pub(crate) fn command() -> Command {
    let mut command = with_negative_numbers(Args::command());
    let verbs: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in &verbs {
        command = command.mut_subcommand(verb, |verb| with_examples(with_negative_numbers(verb)));
    }
    let list = |heading: &str, of: &dyn Fn(&str) -> bool| {
        let verbs = command.get_subcommands().filter(|verb| of(verb.get_name())).cloned();
        let only = Command::new("").disable_help_subcommand(true).disable_help_flag(true);
        let mut only =
            only.max_term_width(MAX_WIDTH).help_template("{subcommands}").subcommands(verbs);
        format!("{heading}:\n{}\n", only.render_help().ansi().to_string().trim_matches('\n'))
    };
    let everyday = |verb: &str| !BLOCKS.contains(&verb) && !ABOUT.contains(&verb);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\n{}\n{}\nOptions:\n{{options}}{{after-help}}",
        list("Commands", &everyday),
        list("Building blocks, without a store", &|verb| BLOCKS.contains(&verb)),
        list("About ibtools", &|verb| ABOUT.contains(&verb)),
    );
    command.help_template(template)
}

/// No line of the help is wider.
pub(super) const MAX_WIDTH: usize = 100;

/// A number below 0 is a wrong value, which is said, and no unknown option.
fn with_negative_numbers(verb: Command) -> Command {
    verb.mut_args(|arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    })
}

fn with_examples(verb: Command) -> Command {
    let mut text = verb.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    text.push_str("Examples:");
    for (what, how) in examples(verb.get_name()) {
        text.push_str(&format!("\n  {what}:\n    {how}"));
    }
    verb.after_help(text)
}

fn examples(verb: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(name, _)| *name == verb).map_or(&[], |(_, examples)| examples)
}

/// The verb of `command` that another program calls `name`, and what it does.
pub(super) fn meant(command: &Command, name: &str) -> Option<(&'static str, &'static str)> {
    let meant = OTHER_NAMES.iter().filter(|(names, ..)| names.contains(&name));
    let mut there = meant.filter(|(_, verb, _)| command.find_subcommand(verb).is_some());
    there.next().map(|(_, verb, does)| (*verb, *does))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: each verb has two examples, and the program takes each of them.
    #[test]
    fn every_verb_has_examples_that_it_takes() {
        let command = command();
        for verb in command.get_subcommands().map(Command::get_name) {
            let examples = examples(verb);
            assert_eq!(examples.len(), 2, "{verb} has no examples in help.rs");
            for (_, example) in examples {
                let typed = example.split(" && ").next().unwrap_or_default();
                let typed = typed.split(" > ").next().unwrap_or_default();
                let (_, typed) = typed.split_once("ibtools ").unwrap();
                let words = typed.split_whitespace().map(|word| word.trim_matches('\''));
                let parsed =
                    command.clone().try_get_matches_from(["ibtools"].into_iter().chain(words));
                let parsed = parsed.unwrap_or_else(|error| panic!("{example}: {error}"));
                assert_eq!(parsed.subcommand_name(), Some(verb), "{example}");
            }
        }
    }

    /// Promise: what stands in the groups and among the other names is a verb, and no verb is called as another one is.
    #[test]
    fn the_groups_and_the_other_names_are_of_verbs() {
        let command = command();
        for verb in BLOCKS.iter().chain(&ABOUT) {
            assert!(command.find_subcommand(verb).is_some(), "{verb}");
        }
        assert!(meant(&command, "list").is_some_and(|(verb, _)| verb == "snapshots"));
        assert!(meant(&command, "nonsense").is_none());
    }
}
