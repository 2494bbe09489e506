//! The commands of a profile that are run around a backup. Must not know what a backup does.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Answer;
use crate::args::Hooks;
use crate::console::Console;

/// Runs `work` between the hooks. What the failure of a hook means: without `before` there is no work, a failure of `after`
/// is one of the whole, and one of `failed` a warning. The failure that came first is the one that counts.
pub(crate) fn around(
    hooks: &Hooks,
    console: &mut Console,
    work: impl FnOnce(&mut Console) -> Result<Answer>,
) -> Result<Answer> {
    let done = run("before", hooks.before.as_deref(), "0").and_then(|()| work(console));
    let done = done.and_then(|answer| {
        run("after", hooks.after.as_deref(), if answer == Answer::Yes { "0" } else { "1" })?;
        Ok(answer)
    });
    if done.is_err()
        && let Err(error) = run("failed", hooks.failed.as_deref(), "2")
    {
        console.warn(crate::console::in_words(error.as_ref()));
    }
    done
}

/// Runs a hook in a shell. It writes to standard error, as standard output is that of the verb.
fn run(name: &str, hook: Option<&str>, exit: &str) -> Result<()> {
    let Some(hook) = hook else { return Ok(()) };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", hook]).env("IBTOOLS_EXIT", exit).stdin(Stdio::null());
    let err = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned();
    shell.stdout(err.map_or_else(|_| Stdio::null(), Stdio::from));
    let status = shell.status().with_context(|| format!("cannot run the hook `{name}`"))?;
    if !status.success() {
        bail!("the hook `{name}` failed: {status}");
    }
    Ok(())
}
