//! The verbs `completions` and `man`: what a shell and a manual say of the command line, made from its own description.
//! Must not know what the verbs do.

use std::fs;

use anyhow::{Context, Result};

use crate::Answer;
use crate::args::{CompletionsArgs, ManArgs, command};
use crate::console::{Console, shown};
use crate::json::{object, put_file};

/// `ibtools completions`
pub(crate) fn completions(args: &CompletionsArgs, console: &mut Console) -> Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "ibtools", &mut script);
    let script = String::from_utf8(script).context("cannot write completions")?;
    console.document(object([("script", script.clone().into())]))?;
    console.line(script.trim_end())?;
    Ok(Answer::Yes)
}

/// `ibtools man`
pub(crate) fn man(args: &ManArgs, console: &mut Console) -> Result<Answer> {
    let failed = || format!("cannot write manual pages to {}", shown(&args.dir));
    fs::create_dir_all(&args.dir).with_context(failed)?;
    clap_mangen::generate_to(command(), &args.dir).with_context(failed)?;
    let mut document = object([]);
    put_file(&mut document, "directory", &args.dir);
    console.document(document)?;
    console.line(format_args!("manual pages are in {}", shown(&args.dir)))?;
    Ok(Answer::Yes)
}
