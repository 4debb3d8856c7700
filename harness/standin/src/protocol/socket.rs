//! UNIX sockets that carry descriptors.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};

/// The most descriptors that one read takes.
pub(super) const FDS_MAX: usize = 16;

/// Bytes of a path in a socket address; the NUL at its end needs one more.
const PATH_MAX: usize = 107;

/// A socket that one client at a time can connect to. Its file goes with it.
#[derive(Debug)]
pub struct Endpoint {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    file: (u64, u64),
}

/// Why there is no [`Endpoint`].
#[derive(Debug)]
pub enum EndpointError {
    /// The path does not fit into a socket address.
    TooLong(PathBuf),
    /// Another process serves this path.
    InUse(PathBuf),
    /// Something that is not a socket is there.
    NotSocket(PathBuf),
    /// The folder does not exist.
    NoFolder(PathBuf),
    /// Not permitted.
    Permission(PathBuf),
    /// Something else.
    Other(PathBuf, io::Error),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(path) => {
                let length = path.as_os_str().len();
                write!(
                    f,
                    "the path of a socket has at most {PATH_MAX} bytes, {} has {length}: choose a folder with a shorter path",
                    path.display()
                )
            }
            Self::InUse(path) => {
                write!(f, "another process serves {}: end it, or choose another folder", path.display())
            }
            Self::NotSocket(path) => write!(
                f,
                "{} exists and is not a socket: remove it, or choose another folder",
                path.display()
            ),
            Self::NoFolder(path) => {
                write!(f, "the folder of {} does not exist: create it first", path.display())
            }
            Self::Permission(path) => write!(
                f,
                "no permission to create the socket {}: choose a folder that you may write to",
                path.display()
            ),
            Self::Other(path, error) => write!(f, "cannot create the socket {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// Creates the socket. A socket that nobody answers on, left behind by a process that died, is replaced.
    ///
    /// # Errors
    /// What is in the way, and what to do about it.
    pub fn bind(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        if path.as_os_str().len() > PATH_MAX {
            return Err(EndpointError::TooLong(path));
        }
        match Self::bind_at(&path) {
            Ok((listener, file)) => Ok(Self { listener, path, file }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::AddrInUse => EndpointError::InUse(path),
                io::ErrorKind::AlreadyExists => EndpointError::NotSocket(path),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => EndpointError::NoFolder(path),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    EndpointError::Permission(path)
                }
                _ => EndpointError::Other(path, error),
            }),
        }
    }

    fn bind_at(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok((listener, identity(path)?))
    }

    /// Where clients connect to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next client, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Stream::new(stream).map(Some),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Whether it works or not, there is nobody left to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes room at `path` if a socket is there that nobody answers on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// One client's socket.
#[derive(Debug)]
pub(super) struct Stream(UnixStream);

/// What one read brought.
#[derive(Debug)]
pub(super) enum Received {
    /// Nothing is there.
    Nothing,
    /// The client hung up.
    End,
    /// Bytes, and the descriptors that came with them.
    Chunk(usize, Vec<OwnedFd>),
    /// Descriptors were lost: there were too many, or this process has too many open.
    LostDescriptors,
}

impl Stream {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// Reads once.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Received, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(&self.0, &mut [io::IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            result => result?,
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Ok(match received.bytes {
            _ if received.flags.contains(ReturnFlags::CTRUNC) => Received::LostDescriptors,
            0 => Received::End,
            bytes => Received::Chunk(bytes, fds),
        })
    }

    /// Sends what the socket takes at once; says how much that is.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            result => result,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
