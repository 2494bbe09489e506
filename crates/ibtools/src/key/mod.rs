//! The verb `key`, and the keys that other verbs are given: who can read an encrypted store, and who can write to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use incremental_backups_tools::Repository;
use incremental_backups_tools::stores::{
    self, Address, AnyStore,
    encryption::{self, Ask, Identities, Public, Recipients},
};
use serde_json::Value;

use crate::Answer;
use crate::args::{InitArgs, KeyArgs, KeyVerb};
use crate::console::{Console, number_of, shown};
use crate::json::{Object, object, put_file};
use crate::source::reached;

/// In this variable a passphrase is found that nobody can be asked for.
const VARIABLE: &str = "IBTOOLS_PASSPHRASE";

/// `ibtools key`
pub(crate) fn run(args: &KeyArgs, console: &mut Console) -> Result<Answer> {
    let options = reached()?;
    let (line, mut document) = match &args.verb {
        KeyVerb::New { output, passphrase } => {
            let passphrase = passphrase.then(|| new_passphrase(&format!("for {}", shown(output))));
            let made = encryption::new_identity(output, passphrase.transpose()?.as_deref());
            let recipient = made.map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => anyhow::anyhow!(
                    "{} is there already, and backups may need it: name another file",
                    shown(output)
                ),
                _ => anyhow::Error::new(error).context(format!("cannot write {}", shown(output))),
            })?;
            let mut document = object([("recipient", recipient.clone().into())]);
            put_file(&mut document, "file", output);
            (recipient, document)
        }
        KeyVerb::Show => {
            let file = options.keys.client_file()?;
            let secret = encryption::client_secret(&file)
                .with_context(|| format!("cannot read or make {}", shown(&file)))?;
            let key = secret.public().to_string();
            (key.clone(), object([("key", key.into())]))
        }
        KeyVerb::List { store } => {
            let opened = stores::open_encrypted(&Address::parse(store)?, &options)?;
            return list(&opened, console);
        }
        KeyVerb::Trust { store, id } => {
            let opened = stores::trust(&Address::parse(store)?, &options, id)?;
            let id = opened.id();
            let line = format!("this machine knows {} from now on: its id is {id}", shown(store));
            (line, object([("id", id.into())]))
        }
        KeyVerb::Forget { store } => {
            stores::forget(&Address::parse(store)?, &options)?;
            (format!("this machine has forgotten {}", shown(store)), Object::new())
        }
        KeyVerb::Allow { store, key } => {
            let key = public(key)?;
            stores::open_encrypted(&Address::parse(store)?, &options)?.allow(&key)?;
            (format!("{key} may write to {}", shown(store)), Object::new())
        }
        KeyVerb::Revoke { store, key } => {
            let key = public(key)?;
            let opened = stores::open_encrypted(&Address::parse(store)?, &options)?;
            ensure!(opened.clients().contains(&key), "{key} is none of the clients that may write");
            opened.revoke(&key)?;
            (format!("{key} may write to {} no more", shown(store)), Object::new())
        }
        KeyVerb::Rotate { store, recipient } => {
            let recipients = recipients(recipient)?;
            stores::open_encrypted(&Address::parse(store)?, &options)?.rotate(&recipients)?;
            let line = format!(
                "{} has a new secret, for these recipients alone. Others can read what they could read, and nothing that is \
                 put from now on",
                shown(store)
            );
            (line, Object::new())
        }
    };
    document.insert("done".into(), true.into());
    console.document(document)?;
    console.line(line)?;
    Ok(Answer::Yes)
}

fn list(store: &encryption::EncryptedStore, console: &mut Console) -> Result<Answer> {
    let (id, clients) = (store.id(), store.clients());
    console.line(format_args!("id      {id}"))?;
    for client in &clients {
        console.line(format_args!("client  {client}"))?;
    }
    console.line(format_args!(
        "log     {}",
        number_of(store.log_len() as usize, "entry").replace("entrys", "entries")
    ))?;
    let clients = clients.iter().map(|client| Value::from(client.to_string()));
    console.document(object([
        ("id", id.into()),
        ("clients", clients.collect()),
        ("log_entries", store.log_len().into()),
    ]))?;
    Ok(Answer::Yes)
}

fn public(key: &str) -> Result<Public> {
    key.parse().with_context(|| format!("{key:?} is no key of a machine"))
}

/// Makes an encrypted store.
pub(crate) fn create(
    args: &InitArgs,
    options: &stores::Options,
) -> Result<(Repository<AnyStore>, String)> {
    let address = Address::parse(&args.store)?;
    let made = stores::create_encrypted(&address, options, recipients(&args.recipient)?);
    let made = made.map_err(|error| crate::source::no_store(error, &args.store))?;
    let id = stores::open_encrypted(&address, options)?.id();
    Ok((made, id))
}

fn recipients(given: &[String]) -> Result<Recipients> {
    let ask: Ask = Arc::new(|of| new_passphrase(of).ok());
    let mut recipients = Recipients::default();
    for given in given {
        recipients.add(given, &ask)?;
    }
    Ok(recipients)
}

/// Has `options` open what the identities in these files open.
pub(crate) fn give(options: &mut stores::Options, files: &[PathBuf]) -> Result<()> {
    let mut identities = Identities::default();
    let ask: Ask = Arc::new(passphrase);
    for file in files {
        identities.add(file, &ask)?;
    }
    options.keys.identities = identities;
    Ok(())
}

/// What the user answered before: he is asked once.
static ANSWERS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The passphrase of something: that in the environment, or what the user types.
fn passphrase(of: &str) -> Option<String> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return Some(text);
    }
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = answers.get(of) {
        return Some(answer.clone());
    }
    let answer = rpassword::prompt_password(format!("Passphrase {of}: ")).ok()?;
    answers.insert(of.to_owned(), answer.clone());
    Some(answer)
}

/// A new passphrase, which is typed twice.
fn new_passphrase(of: &str) -> Result<String> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return Ok(text);
    }
    let ask = |what: &str| {
        let asked = rpassword::prompt_password(format!("{what} {of}: "));
        asked.with_context(|| {
            format!("a passphrase is needed {of}, and there is no terminal to ask for it: set {VARIABLE}")
        })
    };
    let first = ask("Passphrase")?;
    ensure!(!first.is_empty(), "an empty passphrase protects nothing");
    match ask("The same again")? == first {
        true => Ok(first),
        false => bail!("these were two different passphrases: nothing was made"),
    }
}
