//! The verb `init`: a new store.

use anyhow::{Context, Result};
use incremental_backups_tools::stores::{self, Address};

use crate::Answer;
use crate::args::InitArgs;
use crate::console::{Console, is_dash, number_of, shown};
use crate::json::{object, put_file};
use crate::key;
use crate::source::{no_store, reached};

/// `ibtools init`
pub(crate) fn run(args: &InitArgs, console: &mut Console) -> Result<Answer> {
    anyhow::ensure!(!is_dash(&args.store), "a store cannot be standard output: name a directory");
    let reached = reached()?;
    let (store, id) = match args.recipient.is_empty() {
        true => {
            let store = stores::create(&Address::parse(&args.store)?, &reached);
            (store.map_err(|error| no_store(error, &args.store))?, None)
        }
        false => key::create(args, &reached).map(|(store, id)| (store, Some(id)))?,
    };
    let snapshots =
        store.snapshots().with_context(|| format!("cannot list {}", shown(&args.store)))?;
    let count = snapshots.all().count();
    let mut document = object([("snapshots", count.into()), ("id", id.clone().into())]);
    put_file(&mut document, "store", &args.store);
    console.document(document)?;
    let count = number_of(count, "snapshot");
    let kind = if id.is_some() { "an encrypted store" } else { "a store" };
    console.line(format_args!("{} is {kind} now: {count}", shown(&args.store)))?;
    if let Some(id) = id {
        console.line(format_args!(
            "Its id is {id}: note it where the store's keeper cannot write. This machine can back up to it, and cannot read it"
        ))?;
    }
    Ok(Answer::Yes)
}
