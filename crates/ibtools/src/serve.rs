//! The verb `serve`: a store for others, by SFTP. What may be done there is the crate's `stores`.

use anyhow::{Context, Result};

use crate::Answer;
use crate::args::ServeArgs;
use crate::console::shown;

/// `ibtools serve`
pub(crate) fn run(args: &ServeArgs) -> Result<Answer> {
    serve(args).with_context(|| format!("cannot serve {}", shown(&args.dir)))?;
    Ok(Answer::Yes)
}

#[cfg(feature = "sftp")]
fn serve(args: &ServeArgs) -> std::io::Result<()> {
    incremental_backups_tools::stores::serve(&args.dir, args.append_only)
}

#[cfg(not(feature = "sftp"))]
fn serve(_: &ServeArgs) -> std::io::Result<()> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "this program was built without SFTP: build it with the feature `sftp`",
    ))
}
