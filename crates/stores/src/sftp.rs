//! Directories of other machines, by the SFTP server there, reached through the user's own `ssh`: its settings, keys and agent are those
//! that the user has. Knows nothing of what the files are.

mod fault;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, SeekFrom};
use std::ops::Range;
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_core::Stream;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::File;
use openssh_sftp_client::metadata::{MetaData, Permissions};
use openssh_sftp_client::{Error, Sftp, SftpOptions};
use tokio::io::AsyncSeekExt;
use tokio::process::Command;
use tokio::runtime::Runtime;

use self::fault::Fault;
use crate::Options;
use crate::remote::{How, Object, Parts, RemoteStore, Transport};
use crate::runtime::runtime;

/// What a file is called while it is written, with six letters after it: as in a directory of this machine.
pub(crate) const UNFINISHED: &str = ".ibtools-put-";
/// Longer files are sent in parts of this length.
const PART_LEN: usize = 4 << 20;
/// What takes longer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// The store in the directory `dir` of `host`. Nothing is asked yet.
pub(crate) fn connect(
    (user, host, port, dir): (Option<&str>, &str, Option<u16>, &str),
    options: &Options,
) -> io::Result<RemoteStore> {
    // Who needs another program, or other settings, says so.
    let command = std::env::var("IBTOOLS_SSH_COMMAND").unwrap_or_else(|_| "ssh".to_owned());
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let mut word = |word: &str| words.push(word.to_owned());
    // A line that is dead is noticed.
    ["-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=6"].into_iter().for_each(&mut word);
    if let Some(port) = port {
        ["-p", &port.to_string()].into_iter().for_each(&mut word);
    }
    if let Some(user) = user {
        ["-l", user].into_iter().for_each(&mut word);
    }
    ["-s", "--", host, "sftp"].into_iter().for_each(&mut word);
    let name = format!("sftp {user:?} {host} {port:?} {dir}");
    let dir = dir.trim_end_matches('/');
    let dir = if dir.is_empty() { "/".to_owned() } else { dir.to_owned() };
    let remote = Directory { runtime: runtime()?, words, dir, session: Mutex::new(None) };
    Ok(RemoteStore::new(Arc::new(remote), &name, options))
}

/// A directory of another machine.
struct Directory {
    runtime: &'static Runtime,
    /// The command that reaches its server.
    words: Vec<String>,
    dir: String,
    session: Mutex<Option<Session>>,
}

/// The server, while the line holds. The program ends with this.
type Session = Arc<(Sftp, tokio::process::Child)>;

impl Directory {
    fn place(&self, name: &str) -> String {
        match self.dir.as_str() {
            "/" => format!("/{name}"),
            dir => format!("{dir}/{name}"),
        }
    }

    /// The server, reached anew if the line broke.
    async fn session(&self) -> Result<Session, Fault> {
        let held = || self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = held().clone() {
            return Ok(session);
        }
        let Some((program, words)) = self.words.split_first() else {
            return Err(Fault::Line(ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let began = command.spawn().map_err(|error| {
            Fault::Line(io::Error::new(error.kind(), format!("cannot run `{program}`: {error}")))
        });
        let mut child = began?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::Line(ErrorKind::BrokenPipe.into()));
        };
        let reached = Sftp::new(stdin, stdout, SftpOptions::new()).await;
        let sftp = reached.map_err(|_| {
            let why = "`ssh` could not reach an SFTP server there: see above for what it said";
            Fault::Line(io::Error::new(ErrorKind::NotConnected, why))
        })?;
        let session = Arc::new((sftp, child));
        *held() = Some(Arc::clone(&session));
        Ok(session)
    }

    /// What comes of `work`, which is done a second time, by a new line, if the line breaks.
    fn wait<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        work: impl Fn(Session) -> F,
    ) -> io::Result<T> {
        self.runtime.block_on(async {
            let mut tries = 0;
            loop {
                tries += 1;
                let done = tokio::time::timeout(PATIENCE, async {
                    let session = self.session().await?;
                    work(session).await
                });
                let done = done.await.unwrap_or_else(|_| {
                    let why = format!("there was no answer for {} seconds", PATIENCE.as_secs());
                    Err(Fault::Line(io::Error::new(ErrorKind::TimedOut, why)))
                });
                match done {
                    Err(Fault::Line(error))
                        if tries < 2 && error.kind() != ErrorKind::NotConnected =>
                    {
                        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    }
                    done => return done.map_err(Fault::into_io),
                }
            }
        })
    }

    /// A new file without a name of its own yet, in the directory, which is made if it is not there.
    async fn unfinished(&self, session: &Session) -> Result<(String, File), Fault> {
        let sftp = &session.0;
        let letters: String = std::iter::repeat_with(fastrand::lowercase).take(6).collect();
        let name = format!("{UNFINISHED}{letters}");
        let place = self.place(&name);
        let open = async || {
            let mut options = sftp.options();
            options.read(true).write(true).create_new(true).open(&place).await
        };
        let file = match open().await {
            Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => {
                let mut fs = sftp.fs();
                let mut builder = fs.dir_builder();
                builder.permissions(private(true));
                builder.create(&self.dir).await?;
                open().await?
            }
            opened => opened?,
        };
        let mut file = file;
        file.set_permissions(private(false)).await?;
        Ok((name, file))
    }

    /// Gives a file that is whole its name.
    async fn name(
        &self,
        session: &Session,
        (unfinished, mut file): (String, File),
        name: &str,
        how: &How,
    ) -> Result<Object, Fault> {
        let sftp = &session.0;
        if sftp.support_fsync() {
            file.sync_all().await?;
        }
        let metadata = file.metadata().await?;
        file.close().await?;
        let (from, to) = (self.place(&unfinished), self.place(name));
        let mut fs = sftp.fs();
        match how {
            How::Replace => fs.rename(&from, &to).await?,
            How::New => self.name_new(session, &from, &to).await?,
            How::Instead(was) => {
                // Whoever takes it away is the one who may put another there.
                let letters: String = std::iter::repeat_with(fastrand::lowercase).take(6).collect();
                let away = self.place(&format!("{UNFINISHED}{letters}"));
                if !is(&fs.metadata(&to).await?, was) {
                    return Err(taken());
                }
                fs.rename(&to, &away).await?;
                if !is(&fs.metadata(&away).await?, was) {
                    // It was another by then, which gets its name again.
                    drop(fs.hard_link(&away, &to).await);
                    drop(fs.remove_file(&away).await);
                    return Err(taken());
                }
                drop(fs.remove_file(&away).await);
                self.name_new(session, &from, &to).await?;
            }
        }
        Ok(object(name, &metadata))
    }

    /// Renames a file, and never in the place of another.
    async fn name_new(&self, session: &Session, from: &str, to: &str) -> Result<(), Fault> {
        let mut fs = session.0.fs();
        // A link is made in one step, or not.
        let linked = match session.0.support_hardlink() {
            true => fs.hard_link(from, to).await.map_err(Fault::from),
            false => Err(Fault::Refused(ErrorKind::Unsupported.into())),
        };
        match linked {
            Ok(()) => {
                drop(fs.remove_file(from).await);
                Ok(())
            }
            Err(Fault::Line(error)) => Err(Fault::Line(error)),
            Err(Fault::Refused(_)) => match fs.metadata(to).await {
                Ok(_) => {
                    drop(fs.remove_file(from).await);
                    Err(taken())
                }
                // There are no links: nobody else is putting, under the lock.
                Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => {
                    Ok(fs.rename(from, to).await?)
                }
                Err(error) => Err(error.into()),
            },
        }
    }

    async fn entries(&self, session: &Session) -> Result<Vec<(String, MetaData)>, Fault> {
        let mut fs = session.0.fs();
        let dir = match fs.open_dir(&self.dir).await {
            // It is made when something is put.
            Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => return Ok(Vec::new()),
            dir => dir?,
        };
        let (mut read, mut entries) = (pin!(dir.read_dir()), Vec::new());
        while let Some(entry) = poll_fn(|context| read.as_mut().poll_next(context)).await {
            let entry = entry?;
            if let Some(name) = entry.filename().to_str() {
                entries.push((name.to_owned(), entry.metadata()));
            }
        }
        Ok(entries)
    }
}

fn taken() -> Fault {
    Fault::Refused(ErrorKind::AlreadyExists.into())
}

/// For its owner alone.
fn private(is_dir: bool) -> Permissions {
    let mut permissions = Permissions::new();
    permissions.set_read_by_owner(true).set_write_by_owner(true).set_execute_by_owner(is_dir);
    permissions
}

fn is(found: &MetaData, object: &Object) -> bool {
    found.len() == Some(object.size) && time(found) == object.tag
}

fn time(metadata: &MetaData) -> String {
    metadata.modified().map(|time| time.into_raw().to_string()).unwrap_or_default()
}

fn object(name: &str, metadata: &MetaData) -> Object {
    let modified = metadata.modified().map_or(0, |time| i64::from(time.into_raw()) * 1000);
    let size = metadata.len().unwrap_or_default();
    Object { name: name.to_owned(), size, tag: time(metadata), version: None, modified }
}

/// Reads a range of a file.
async fn read(file: &mut File, range: Range<u64>) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let wanted = range.end - range.start;
    while (bytes.len() as u64) < wanted {
        let at = range.start + bytes.len() as u64;
        file.seek(SeekFrom::Start(at)).await?;
        let left = u32::try_from(range.end - at).unwrap_or(u32::MAX);
        match file.read(left, BytesMut::new()).await? {
            Some(part) => bytes.extend_from_slice(&part),
            None => return Err(Fault::Refused(ErrorKind::UnexpectedEof.into())),
        }
    }
    Ok(bytes)
}

impl Transport for Directory {
    fn list(&self) -> io::Result<Vec<Object>> {
        let entries = self.wait(async |session| self.entries(&session).await)?;
        let is_file = |metadata: &MetaData| metadata.file_type().is_some_and(|kind| kind.is_file());
        let ours = |(name, metadata): &(String, MetaData)| {
            (is_file(metadata) && !name.starts_with(UNFINISHED)).then(|| object(name, metadata))
        };
        Ok(entries.iter().filter_map(ours).collect())
    }

    fn look(&self, name: &str, len: u64) -> io::Result<(Object, Vec<u8>)> {
        let place = self.place(name);
        self.wait(async |session| {
            let mut file = session.0.open(&place).await?;
            let object = object(name, &file.metadata().await?);
            let first = read(&mut file, 0..object.size.min(len)).await?;
            Ok((object, first))
        })
    }

    fn get(&self, object: &Object, range: Range<u64>) -> io::Result<Vec<u8>> {
        let place = self.place(&object.name);
        self.wait(async |session| {
            let mut file = session.0.open(&place).await?;
            match is(&file.metadata().await?, object) {
                true => read(&mut file, range.clone()).await,
                // It has been replaced.
                false => Err(Fault::Refused(ErrorKind::NotFound.into())),
            }
        })
    }

    fn put(&self, name: &str, bytes: Vec<u8>, how: How) -> io::Result<Object> {
        self.wait(async |session| {
            let (unfinished, mut file) = self.unfinished(&session).await?;
            file.write_all(&bytes).await?;
            let named = self.name(&session, (unfinished.clone(), file), name, &how).await;
            if let Err(Fault::Refused(_)) = &named {
                drop(session.0.fs().remove_file(self.place(&unfinished)).await);
            }
            named
        })
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Parts + '_>> {
        let (session, (unfinished, file)) = self.wait(async |session| {
            let unfinished = self.unfinished(&session).await?;
            Ok((session, unfinished))
        })?;
        let name = name.to_owned();
        Ok(Box::new(Written { to: self, session, name, unfinished, file: Some(file) }))
    }

    fn abort(&self, _: &str, id: &str) -> io::Result<()> {
        match id.starts_with(UNFINISHED) && !id.contains('/') {
            true => self.delete(id),
            false => Ok(()),
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let place = self.place(name);
        let deleted = self.wait(async |session| Ok(session.0.fs().remove_file(&place).await?));
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn part_len(&self) -> usize {
        PART_LEN
    }

    fn tidy(&self) -> io::Result<()> {
        let entries = self.wait(async |session| self.entries(&session).await)?;
        let left = |name: &str| name.strip_prefix(UNFINISHED).is_some_and(|it| it.len() == 6);
        entries.iter().filter(|(name, _)| left(name)).try_for_each(|(name, _)| self.delete(name))
    }
}

/// A file on its way in parts.
struct Written<'a> {
    to: &'a Directory,
    session: Session,
    name: String,
    unfinished: String,
    file: Option<File>,
}

impl Parts for Written<'_> {
    fn id(&self) -> &str {
        &self.unfinished
    }

    fn send(&mut self, part: Vec<u8>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let sent = self.to.runtime.block_on(async { Ok(file.write_all(&part).await?) });
        sent.map_err(Fault::into_io)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Object> {
        let file = self.file.take().ok_or(ErrorKind::BrokenPipe)?;
        let file = (self.unfinished.clone(), file);
        // Whether there is one of this name was looked up, and is again where links are.
        let named = self.to.name(&self.session, file, &self.name, &How::New);
        self.to.runtime.block_on(named).map_err(Fault::into_io)
    }
}

/// What was begun and not finished is taken back.
impl Drop for Written<'_> {
    fn drop(&mut self) {
        let entered = self.to.runtime.enter();
        let is_open = self.file.take().is_some();
        drop(entered);
        if is_open {
            drop(self.to.delete(&self.unfinished));
        }
    }
}

/// What is asynchronous ends among its threads.
impl Drop for Directory {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        drop(self.session.get_mut().map(Option::take));
    }
}
