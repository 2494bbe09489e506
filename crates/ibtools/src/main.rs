//! `ibtools`, the command line of incremental-backups-tools: reads the arguments, does what the
//! verb says, and turns the outcome into an exit code. Knows no file format and no algorithm.

mod apply;
mod args;
mod backup;
mod changes;
mod compare;
mod console;
mod diff;
mod files;
mod generated;
mod history;
mod hooks;
mod index;
mod init;
mod json;
#[cfg(feature = "encryption")]
mod key;
#[cfg(not(feature = "encryption"))]
#[path = "key/missing.rs"]
mod key;
mod link;
mod look;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount;
#[cfg(not(all(feature = "mount", target_os = "linux")))]
#[path = "mount/missing.rs"]
mod mount;
mod output;
mod paths;
mod pattern;
mod places;
mod progress;
mod protect;
mod prune;
mod restore;
mod rsync;
mod scan;
mod serve;
mod show;
mod snapshots;
mod source;
mod sources;
mod squash;
mod stats;
mod threads;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

use self::args::{Args, Global, Hooks, Unparsed, Verb};
use self::console::Console;
use self::source::Reach;

/// What a verb that did not fail has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Done, or the answer is yes: exit 0.
    Yes,
    /// The answer is no: exit 1.
    No,
}

fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args_os().collect();
    let (args, hooks) = match args::parse(&typed) {
        Ok(parsed) => parsed,
        Err(Unparsed::Help(help)) => help.exit(),
        Err(Unparsed::Wrong(what)) => {
            console::complain(&what);
            return ExitCode::from(2);
        }
    };
    match run(&args, &hooks) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            console::report(&error);
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args, hooks: &Hooks) -> Result<Answer> {
    let Global { limit_upload, limit_download, identity, .. } = &args.global;
    source::set(Reach {
        upload: *limit_upload,
        download: *limit_download,
        identities: identity.clone(),
    });
    threads::with(args.global.threads.map(usize::from), || verb(args, hooks))?
}

fn verb(args: &Args, hooks: &Hooks) -> Result<Answer> {
    // What it says on standard output is for a program, not for the console, which holds it.
    if let Verb::Serve(args) = &args.verb {
        return serve::run(args);
    }
    let mut console = Console::new(&args.global);
    let answer = match &args.verb {
        Verb::Signature(args) => rsync::signature(args, &mut console),
        Verb::Delta(args) => rsync::delta(args, &mut console),
        Verb::Patch(args) => rsync::patch(args, &mut console),
        Verb::Index(args) => index::run(args, &mut console),
        Verb::Diff(args) => diff::run(args, &mut console),
        Verb::Init(args) => init::run(args, &mut console),
        Verb::Key(args) => key::run(args, &mut console),
        Verb::Backup(args) => {
            hooks::around(hooks, &mut console, |console| backup::run(args, console))
        }
        Verb::Snapshots(args) => snapshots::run(args, &mut console),
        Verb::Ls(args) => look::ls(args, &mut console),
        Verb::Find(args) => history::find(args, &mut console),
        Verb::Log(args) => history::log(args, &mut console),
        Verb::Cat(args) => look::cat(args, &mut console),
        Verb::Dump(args) => look::dump(args, &mut console),
        Verb::Stats(args) => stats::run(args, &mut console),
        Verb::Changes(args) => look::changes(args, &mut console),
        Verb::Mount(args) => mount::run(args, &mut console),
        Verb::Serve(_) => Ok(Answer::Yes),
        Verb::Apply(args) => apply::run(args, &mut console),
        Verb::Restore(args) => restore::run(args, &mut console),
        Verb::Squash(args) => squash::run(args, &mut console),
        Verb::Verify(args) => verify::run(args, &mut console),
        Verb::Protect(args) => protect::run(args, &mut console),
        Verb::Prune(args) => prune::run(args, &mut console),
        Verb::Forget(args) => prune::forget(args, &mut console),
        Verb::Show(args) => show::run(args, &mut console),
        Verb::Compare(args) => compare::run(args, &mut console),
        Verb::Completions(args) => generated::completions(args, &mut console),
        Verb::Man(args) => generated::man(args, &mut console),
    }?;
    console.finish()?;
    Ok(answer)
}
