//! [`Address`]: what a user writes for a store. Knows nothing of how a store is reached.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a store is, as it is written.
///
/// | Written | Is |
/// |---|---|
/// | `dir`, `/dir`, `file:///dir` | a directory of this machine |
/// | `s3://bucket/prefix` | a bucket of Amazon S3, or of a server like it |
/// | `gs://bucket/prefix` | a bucket of Google Cloud Storage |
/// | `az://container/prefix` | a container of Azure |
/// | `user@host:dir`, `sftp://user@host:port/dir` | a directory of another machine, over SSH |
///
/// A directory of this machine that is called like another machine's is reached as `./user@host:dir`. If it exists, its name alone is
/// enough.
///
/// ```
/// use stores::{Address, Cloud};
/// let address: Address = "s3://backups/laptop/".parse()?;
/// assert_eq!(address, Address::Cloud { cloud: Cloud::S3, bucket: "backups".into(), prefix: "laptop".into() });
/// assert_eq!(address.to_string(), "s3://backups/laptop");
/// assert_eq!("/srv/store".parse(), Ok(Address::Local("/srv/store".into())));
/// assert!("s3:backups".parse::<Address>().unwrap_err().to_string().contains("s3://BUCKET/PREFIX"));
/// # Ok::<(), stores::InvalidAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A directory of this machine.
    Local(PathBuf),
    /// Objects in a cloud, all of whose names begin alike.
    Cloud {
        /// Whose.
        cloud: Cloud,
        /// The bucket or container.
        bucket: String,
        /// What the names begin with, without a slash at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// A directory of another machine.
    Sftp {
        /// The user there; `None` is as SSH has it.
        user: Option<String>,
        /// The machine, or what SSH's settings call it.
        host: String,
        /// The port; `None` is as SSH has it.
        port: Option<u16>,
        /// The directory: from the user's home unless it begins with a slash.
        dir: String,
    },
}

/// Who keeps objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// Amazon S3, and servers that speak as it does.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Cloud {
    fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3",
            Cloud::Google => "gs",
            Cloud::Azure => "az",
        }
    }
}

/// What is written is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no address of a store: {why}", dirindex_escape(word))]
pub struct InvalidAddress {
    word: Vec<u8>,
    why: String,
}

fn dirindex_escape(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().flat_map(char::escape_debug).collect()
}

const FORMS: &str = "write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, sftp://USER@HOST/DIR, \
                     USER@HOST:DIR, or a directory";

impl Address {
    /// Reads an address. What is there as a path of this machine is that path, whatever it looks like.
    ///
    /// # Errors
    /// When it looks like a place elsewhere, and is not written as this crate wants it.
    pub fn parse(word: impl AsRef<OsStr>) -> Result<Address, InvalidAddress> {
        let word = word.as_ref();
        let (path, bytes) = (Path::new(word), word.as_bytes());
        let first = bytes.split(|&byte| byte == b'/').next().unwrap_or_default();
        if !first.contains(&b':') || path.symlink_metadata().is_ok() {
            return Ok(Address::Local(path.to_path_buf()));
        }
        let invalid = |why: String| InvalidAddress { word: bytes.to_vec(), why };
        if let Some(path) = bytes.strip_prefix(b"file://") {
            return match path.first() {
                Some(b'/') => Ok(Address::Local(PathBuf::from(OsStr::from_bytes(path)))),
                _ => Err(invalid(
                    "a file:// address has a whole path, as in file:///srv/backups".into(),
                )),
            };
        }
        let text = word.to_str().ok_or_else(|| invalid("it is no UTF-8".into()))?;
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains([':', '/']) => {
                of_scheme(scheme, rest).map_err(invalid)
            }
            _ => scp(text).map_err(invalid),
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Address::Local(_))
    }
}

fn of_scheme(scheme: &str, rest: &str) -> Result<Address, String> {
    let cloud = match scheme {
        "s3" => Cloud::S3,
        "gs" => Cloud::Google,
        "az" => Cloud::Azure,
        "sftp" => return sftp(rest),
        "ssh" | "scp" => return Err(format!("write sftp://{rest}")),
        "http" | "https" => {
            return Err(format!(
                "for a server that speaks as S3 does, write s3://BUCKET/PREFIX and set \
                 AWS_ENDPOINT_URL={scheme}://{}",
                rest.split('/').next().unwrap_or_default()
            ));
        }
        _ => return Err(FORMS.into()),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(format!("it names no bucket: write {scheme}://BUCKET/PREFIX"));
    }
    if bucket.contains(['@', ':', '?', '#', ' ']) {
        return Err(format!(
            "`{bucket}` is no name of a bucket: write {scheme}://BUCKET/PREFIX, and keys, regions and endpoints in the \
             environment"
        ));
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
        return Err("a prefix has no empty part, no `.` and no `..`".into());
    }
    Ok(Address::Cloud { cloud, bucket: bucket.into(), prefix: prefix.into() })
}

/// `user@host:port/dir`. As in `sftp(1)`, `/dir` is from the user's home, and `//dir` from the root.
fn sftp(rest: &str) -> Result<Address, String> {
    const FORM: &str = "write sftp://USER@HOST:PORT/DIR";
    let (host, dir) =
        rest.split_once('/').ok_or_else(|| format!("it names no directory: {FORM}"))?;
    let (user, host) = user_of(host)?;
    let bracket = host.rfind(']').unwrap_or_default();
    let (host, port) = match host.rfind(':').filter(|colon| *colon >= bracket) {
        Some(colon) => {
            let (host, port) = (&host[..colon], &host[colon + 1..]);
            let port = port.parse().map_err(|_| format!("`{port}` is no port: {FORM}"))?;
            (host, Some(port))
        }
        None => (host, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    at_host(user, host, port, dir)
}

/// `user@host:dir`.
fn scp(text: &str) -> Result<Address, String> {
    let (host, dir) = text.split_once(':').ok_or(FORMS)?;
    const SCHEMES: [&str; 12] = [
        "s3", "gs", "az", "azure", "b2", "swift", "rest", "rclone", "sftp", "file", "http", "https",
    ];
    if SCHEMES.contains(&host) {
        let rest = dir.trim_start_matches('/');
        return Err(match host {
            "s3" => "write s3://BUCKET/PREFIX, and set AWS_ENDPOINT_URL=https://HOST for another server than Amazon's".into(),
            "gs" | "az" => format!("write {host}://BUCKET/PREFIX"),
            "azure" => "write az://CONTAINER/PREFIX".into(),
            "b2" => "write s3://BUCKET/PREFIX, and set AWS_ENDPOINT_URL to the S3 endpoint of Backblaze B2".into(),
            "sftp" => format!("write {rest} or sftp://USER@HOST/DIR"),
            "file" => "write file:///DIR".into(),
            _ => FORMS.into(),
        });
    }
    let (user, host) = user_of(host)?;
    if host.len() == 1 && user.is_none() {
        return Err(format!("a drive of Windows is nothing here: {FORMS}"));
    }
    at_host(user, host, None, dir)
}

fn user_of(host: &str) -> Result<(Option<String>, &str), String> {
    match host.rsplit_once('@') {
        None => Ok((None, host)),
        Some((user, _)) if user.contains(':') => {
            Err("a password does not belong into an address: use a key, or SSH's agent".into())
        }
        Some(("", _)) => Err("it names no user before the @".into()),
        Some((user, host)) => Ok((Some(user.into()), host)),
    }
}

fn at_host(
    user: Option<String>,
    host: &str,
    port: Option<u16>,
    dir: &str,
) -> Result<Address, String> {
    // What begins with a hyphen would be an option of `ssh`.
    let is_name = |name: &str| {
        !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_whitespace())
    };
    if !is_name(host) || user.as_deref().is_some_and(|user| !is_name(user)) {
        return Err(format!("it names no machine: {FORMS}"));
    }
    if dir.is_empty() {
        return Err("it names no directory: write USER@HOST:DIR".into());
    }
    Ok(Address::Sftp { user, host: host.into(), port, dir: dir.into() })
}

impl std::str::FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(word: &str) -> Result<Address, InvalidAddress> {
        Address::parse(word)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Local(path) => path.display().fmt(f),
            Address::Cloud { cloud, bucket, prefix } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "{}://{bucket}{slash}{prefix}", cloud.scheme())
            }
            Address::Sftp { user, host, port, dir } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                match port {
                    Some(port) if host.contains(':') => {
                        write!(f, "sftp://{user}[{host}]:{port}/{dir}")
                    }
                    Some(port) => write!(f, "sftp://{user}{host}:{port}/{dir}"),
                    None => write!(f, "{user}{host}:{dir}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an address says is read one way, and written so that it reads the same.
    #[test]
    fn addresses_say_where_a_store_is() {
        let cloud = |cloud, bucket: &str, prefix: &str| Address::Cloud {
            cloud,
            bucket: bucket.into(),
            prefix: prefix.into(),
        };
        let sftp = |user: Option<&str>, host: &str, port, dir: &str| Address::Sftp {
            user: user.map(Into::into),
            host: host.into(),
            port,
            dir: dir.into(),
        };
        for (word, address) in [
            ("store", Address::Local("store".into())),
            ("./s3:bucket", Address::Local("./s3:bucket".into())),
            ("/a:b/c", Address::Local("/a:b/c".into())),
            ("file:///srv/a b", Address::Local("/srv/a b".into())),
            ("s3://b", cloud(Cloud::S3, "b", "")),
            ("s3://b/", cloud(Cloud::S3, "b", "")),
            ("s3://b/c/d/", cloud(Cloud::S3, "b", "c/d")),
            ("gs://b/c", cloud(Cloud::Google, "b", "c")),
            ("az://b/c", cloud(Cloud::Azure, "b", "c")),
            ("me@host:dir", sftp(Some("me"), "host", None, "dir")),
            ("host:/srv/dir", sftp(None, "host", None, "/srv/dir")),
            ("sftp://me@host/dir", sftp(Some("me"), "host", None, "dir")),
            ("sftp://host:2222//dir", sftp(None, "host", Some(2222), "/dir")),
            ("sftp://[::1]:22/dir", sftp(None, "::1", Some(22), "dir")),
        ] {
            assert_eq!(Address::parse(word), Ok(address.clone()), "{word}");
            assert_eq!(Address::parse(address.to_string()), Ok(address), "{word}");
        }
    }

    /// What is written as other programs want it gets the right form for an answer.
    #[test]
    fn what_is_no_address_is_said_how_to_write() {
        for (word, said) in [
            ("s3:bucket", "s3://BUCKET/PREFIX"),
            ("s3:http://host:9000/bucket", "AWS_ENDPOINT_URL"),
            ("s3://", "names no bucket"),
            ("s3://key:secret@b", "in the environment"),
            ("s3://b/../c", "no `..`"),
            ("http://host:9000/bucket", "AWS_ENDPOINT_URL=http://host:9000"),
            ("b2:bucket", "Backblaze"),
            ("azure:c:/", "az://"),
            ("rclone:remote:dir", "sftp://USER@HOST/DIR"),
            ("sftp:me@host:dir", "write me@host:dir"),
            ("sftp://host", "names no directory"),
            ("sftp://me:secret@host/dir", "a password"),
            ("sftp://host:x/dir", "no port"),
            ("-oProxyCommand=x:dir", "no machine"),
            ("me@-oProxyCommand=x:dir", "no machine"),
            ("C:/backups", "Windows"),
            ("file://dir", "file:///"),
            ("ftp://host/dir", "sftp://"),
        ] {
            let error = Address::parse(word).unwrap_err().to_string();
            assert!(error.contains(said), "{word}: {error}");
        }
    }
}
