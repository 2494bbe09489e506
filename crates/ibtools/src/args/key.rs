//! What is typed for the keys of encrypted stores.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make an identity, which opens backups, and print its public key, for `init --recipient`
    New {
        /// The file to write it to. Keep it, and a copy, where the machine that backs up cannot read it
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Encrypt the file with a passphrase: asked for, or in IBTOOLS_PASSPHRASE
        #[arg(long)]
        passphrase: bool,
    },
    /// Print the key of this machine, by which it may write to stores. It is made if there is none
    Show,
    /// List who may write to an encrypted store
    List {
        /// The store
        store: PathBuf,
    },
    /// Have this machine take a store for the one with this id, and remember it
    Trust {
        /// The store
        store: PathBuf,
        /// The id that `init` printed when the store was made
        #[arg(long, value_name = "ID")]
        id: String,
    },
    /// Have this machine forget what it remembers of a store, as when an older state of it was brought back on purpose
    Forget {
        /// The store
        store: PathBuf,
    },
    /// Let another machine write to a store. Needs the identity
    Allow {
        /// The store
        store: PathBuf,
        /// Its key, as `key show` prints it there
        key: String,
    },
    /// Let a machine write to a store no more. Needs the identity. What it put stays
    Revoke {
        /// The store
        store: PathBuf,
        /// Its key, as `key list` prints it
        key: String,
    },
    /// Give a store a new secret, for these recipients alone. Needs the identity. No archive is written anew
    Rotate {
        /// The store
        store: PathBuf,
        /// As for `init`
        #[arg(long, required = true, value_name = "KEY|FILE|passphrase")]
        recipient: Vec<String>,
    },
}
