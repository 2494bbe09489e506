//! [`serve`]: one directory of this machine, by the protocol SFTP (draft-ietf-secsh-filexfer-02, version 3) on standard input and output.
//! It knows which files may be changed; it must not know what is in them.
//!
//! `sshd` runs it for a key, in place of its own server. What is served has no directories in it. Where files are only added, a file that has
//! a name of its own is never changed, replaced, renamed or deleted: only the lock, and what is still without its name.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use russh_sftp::extensions::{
    FSYNC, FsyncExtension, HARDLINK, HardlinkExtension, LIMITS, LimitsExtension,
};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet,
    Status, StatusCode, Version,
};
use russh_sftp::server::{Config, Handler, StatusReply, run_with_config};
use russh_sftp::{de, ser};
use tokio::sync::oneshot;

use crate::runtime::runtime;
use crate::sftp::UNFINISHED;

/// The extension that renames in the place of another file.
const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// No message is longer: as OpenSSH has it.
const MAX_PACKET: u32 = 256 << 10;
/// As much is read or written at once.
const MAX_DATA: u32 = MAX_PACKET - 1024;
/// So many files are open at once.
const MAX_OPEN: usize = 256;
/// So many names are in one answer.
const NAMES: usize = 100;

/// Serves the directory `dir` until standard input ends. With `append_only` files are only added.
///
/// # Errors
/// When there is no such directory, or no thread can be made.
pub fn serve(dir: &Path, append_only: bool) -> io::Result<()> {
    let dir = dir.canonicalize()?;
    if !dir.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let (ended, end) = oneshot::channel();
    let served = Served { dir, append_only, open: HashMap::new(), next: 0, _ended: ended };
    runtime()?.block_on(async {
        let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        run_with_config(stream, served, Config { max_client_packet_len: MAX_PACKET }).await;
        // It is dropped, with the sender, when the stream ends.
        drop(end.await);
    });
    Ok(())
}

/// A directory that is served.
struct Served {
    dir: PathBuf,
    append_only: bool,
    open: HashMap<String, Opened>,
    next: u64,
    _ended: oneshot::Sender<()>,
}

/// What a handle stands for.
enum Opened {
    File {
        file: File,
        name: String,
        /// Whether it may be written to. Not any more when it has its name.
        writes: bool,
    },
    /// Names that were not listed yet.
    Dir(Vec<Entry>),
}

/// Why a request is refused.
struct Refused(StatusCode, String);

impl From<Refused> for StatusReply {
    fn from(Refused(code, text): Refused) -> StatusReply {
        code.with_message(text)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        let code = match error.kind() {
            ErrorKind::NotFound => StatusCode::NoSuchFile,
            ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
            _ => StatusCode::Failure,
        };
        Refused(code, error.to_string())
    }
}

fn refused(text: &str) -> Refused {
    Refused(StatusCode::PermissionDenied, text.to_owned())
}

type Answer<T> = Result<T, Refused>;

impl Served {
    /// The name that a path has in the directory. Empty: the directory itself.
    fn name(path: &str) -> Answer<&str> {
        let name = path.trim_matches('/');
        match name {
            "." => Ok(""),
            ".." => Err(refused("there is nothing above what is served")),
            name if name.contains(['/', '\0']) => Err(Refused(
                StatusCode::NoSuchFile,
                "what is served has no directories in it".to_owned(),
            )),
            name => Ok(name),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// That a file of this name may be changed, replaced or deleted.
    fn check_change(&self, name: &str) -> Answer<()> {
        let passing = matches!(name, "lock" | "lock.clock") || name.starts_with(UNFINISHED);
        match passing || !self.append_only {
            true if !name.is_empty() => Ok(()),
            _ => Err(refused("files are only added here: none is changed or deleted")),
        }
    }

    fn hold(&mut self, id: u32, opened: Opened) -> Answer<Handle> {
        if self.open.len() >= MAX_OPEN {
            return Err(Refused(StatusCode::Failure, "too many files are open".to_owned()));
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), opened);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Answer<(&File, bool)> {
        match self.open.get(handle) {
            Some(Opened::File { file, writes, .. }) => Ok((file, *writes)),
            _ => Err(Refused(StatusCode::Failure, "there is no such handle".to_owned())),
        }
    }

    fn writer(&self, handle: &str) -> Answer<&File> {
        match self.file(handle)? {
            (file, true) => Ok(file),
            _ => Err(refused("the file is not open for writing")),
        }
    }

    /// Gives a file another name, too, if no file has that. What it has is settled then.
    fn link(&mut self, from: &str, to: &str) -> Answer<()> {
        let (from, to) = (Self::name(from)?, Self::name(to)?);
        self.check_change(from)?;
        fs::hard_link(self.place(from), self.place(to))?;
        for opened in self.open.values_mut() {
            if let Opened::File { name, writes, .. } = opened
                && name == from
            {
                *writes = false;
            }
        }
        Ok(self.sync()?)
    }

    /// Renames a file; where `replaces`, also in the place of one that may be changed.
    fn rename(&mut self, from: &str, to: &str, replaces: bool) -> Answer<()> {
        let (old, new) = (Self::name(from)?, Self::name(to)?);
        self.check_change(old)?;
        if replaces && self.check_change(new).is_ok() {
            fs::rename(self.place(old), self.place(new))?;
            return Ok(self.sync()?);
        }
        // A link is never made in the place of another file.
        self.link(from, to)?;
        Ok(fs::remove_file(self.place(old))?)
    }

    /// What has its name keeps it after a power cut.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn list(&self) -> Answer<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // A file may go meanwhile, and a name that is no text is none of a store.
            if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) {
                entries.push(Entry::new(name, attributes(&metadata)));
            }
        }
        Ok(entries)
    }

    fn attributes_of(&self, path: &str) -> Answer<FileAttributes> {
        Ok(attributes(&self.place(Self::name(path)?).metadata()?))
    }
}

fn attributes(metadata: &Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time).unwrap_or_default();
    FileAttributes {
        size: Some(metadata.len()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        ..FileAttributes::empty()
    }
}

fn done(id: u32) -> Answer<Status> {
    let (error_message, language_tag) = (String::new(), String::new());
    Ok(Status { id, status_code: StatusCode::Ok, error_message, language_tag })
}

fn part<'de, T: serde::Deserialize<'de>>(data: &'de mut Bytes) -> Answer<T> {
    de::from_bytes(data).map_err(|error| Refused(StatusCode::BadMessage, error.to_string()))
}

impl Handler for Served {
    type Error = Refused;

    fn unimplemented(&self) -> Refused {
        Refused(StatusCode::OpUnsupported, "this is not done here".to_owned())
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Answer<Version> {
        let mut version = Version::new();
        for extension in [FSYNC, HARDLINK, LIMITS, POSIX_RENAME] {
            version.extensions.insert(extension.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        _: FileAttributes,
    ) -> Answer<Handle> {
        let name = Self::name(&path)?;
        let writes = flags.intersects(
            OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE,
        );
        let is_new = flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUDE);
        let mut options = OpenOptions::new();
        options.read(!writes || flags.contains(OpenFlags::READ)).mode(0o600);
        if writes {
            self.check_change(name)?;
            if self.append_only && !is_new {
                return Err(refused("files are only added here"));
            }
            options.write(true).create_new(is_new);
            options
                .create(flags.contains(OpenFlags::CREATE))
                .truncate(flags.contains(OpenFlags::TRUNCATE));
        }
        let file = options.open(self.place(name))?;
        if !file.metadata()?.is_file() {
            return Err(Refused(StatusCode::Failure, "it is no file".to_owned()));
        }
        let name = name.to_owned();
        self.hold(id, Opened::File { file, name, writes })
    }

    async fn close(&mut self, id: u32, handle: String) -> Answer<Status> {
        match self.open.remove(&handle) {
            Some(_) => done(id),
            None => Err(Refused(StatusCode::Failure, "there is no such handle".to_owned())),
        }
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Answer<Data> {
        let mut data = vec![0; len.min(MAX_DATA) as usize];
        let read = self.file(&handle)?.0.read_at(&mut data, offset)?;
        data.truncate(read);
        match read == 0 && len > 0 {
            true => Err(Refused(StatusCode::Eof, "the file ends here".to_owned())),
            false => Ok(Data { id, data }),
        }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Answer<Status> {
        self.writer(&handle)?.write_all_at(&data, offset)?;
        done(id)
    }

    async fn stat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes_of(&path)? })
    }

    async fn lstat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes_of(&path)? })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: attributes(&self.file(&handle)?.0.metadata()?) })
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Answer<Status> {
        let file = self.writer(&handle)?;
        if let Some(mode) = attrs.permissions {
            file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
        }
        if let Some(size) = attrs.size {
            file.set_len(size)?;
        }
        done(id)
    }

    async fn opendir(&mut self, id: u32, path: String) -> Answer<Handle> {
        match Self::name(&path)? {
            "" => {
                let entries = self.list()?;
                self.hold(id, Opened::Dir(entries))
            }
            _ => Err(Refused(
                StatusCode::NoSuchFile,
                "what is served has no directories in it".to_owned(),
            )),
        }
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Answer<Name> {
        match self.open.get_mut(&handle) {
            Some(Opened::Dir(entries)) if entries.is_empty() => {
                Err(Refused(StatusCode::Eof, "these were all".to_owned()))
            }
            Some(Opened::Dir(entries)) => {
                let files = entries.split_off(entries.len().saturating_sub(NAMES));
                Ok(Name { id, files })
            }
            _ => Err(Refused(StatusCode::Failure, "there is no such handle".to_owned())),
        }
    }

    async fn remove(&mut self, id: u32, path: String) -> Answer<Status> {
        let name = Self::name(&path)?;
        self.check_change(name)?;
        fs::remove_file(self.place(name))?;
        done(id)
    }

    async fn realpath(&mut self, id: u32, path: String) -> Answer<Name> {
        let name = Self::name(&path)?;
        let entry = Entry::new(format!("/{name}"), FileAttributes::empty());
        Ok(Name { id, files: vec![entry] })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Answer<Status> {
        Served::rename(self, &from, &to, false)?;
        done(id)
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Answer<Packet> {
        let mut data = Bytes::from(data);
        match request.as_str() {
            HARDLINK => {
                let HardlinkExtension { oldpath, newpath } = part(&mut data)?;
                self.link(&oldpath, &newpath)?;
            }
            POSIX_RENAME => {
                let HardlinkExtension { oldpath, newpath } = part(&mut data)?;
                Served::rename(self, &oldpath, &newpath, true)?;
            }
            FSYNC => {
                let FsyncExtension { handle } = part(&mut data)?;
                self.file(&handle)?.0.sync_all()?;
            }
            LIMITS => {
                let limits = LimitsExtension {
                    max_packet_len: MAX_PACKET.into(),
                    max_read_len: MAX_DATA.into(),
                    max_write_len: MAX_DATA.into(),
                    max_open_handles: MAX_OPEN as u64,
                };
                let data = ser::to_bytes(&limits)
                    .map_err(|error| Refused(StatusCode::Failure, error.to_string()))?;
                return Ok(Packet::ExtendedReply(ExtendedReply { id, data: data.to_vec() }));
            }
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)?))
    }
}
