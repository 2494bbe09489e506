//! Why the server of another machine did not do something. Knows nothing of what was asked of it.

use std::io::{self, ErrorKind};

use openssh_sftp_client::Error;
use openssh_sftp_client::error::SftpErrorKind;

/// Why something did not work.
pub(super) enum Fault {
    /// The server says no.
    Refused(io::Error),
    /// The line is broken.
    Line(io::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let Error::SftpError(kind, text) = &error else {
            return Fault::Line(io::Error::new(ErrorKind::ConnectionAborted, error));
        };
        let kind = match kind {
            SftpErrorKind::NoSuchFile => ErrorKind::NotFound,
            SftpErrorKind::PermDenied => ErrorKind::PermissionDenied,
            SftpErrorKind::OpUnsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        };
        Fault::Refused(io::Error::new(kind, text.to_string()))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Line(error)
    }
}

impl Fault {
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Fault::Refused(error) | Fault::Line(error) => error,
        }
    }
}
