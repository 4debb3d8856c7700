//! The client's side of the protocol: builders of messages, and a client on a socket.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::protocol::wire::{Command, Header, RegionAccess, flag};

/// The version data of QEMU 11.1.2 as it sends them, without the NUL.
pub(super) const QEMU_VERSION: &str = r#"{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}"#;

/// A message.
pub(super) fn message(id: u16, command: Command, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = (Header::SIZE + payload.len()) as u32;
    let header = Header { id, command: command.0, size, flags, error: 0 };
    [&header.encode()[..], payload].concat()
}

/// A VERSION message as QEMU sends it.
pub(super) fn version() -> Vec<u8> {
    message(0, Command::VERSION, flag::COMMAND, &[&[0; 4], QEMU_VERSION.as_bytes(), &[0]].concat())
}

/// Payload of a REGION_READ, or of a REGION_WRITE with its data.
pub(super) fn access(region: u32, offset: u64, count: u32, data: &[u8]) -> Vec<u8> {
    [&RegionAccess { offset, region, count }.encode()[..], data].concat()
}

/// A descriptor, of whatever.
pub(super) fn descriptor() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd")
}

/// Messages of a stream of replies.
pub(super) fn split(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some(header) = Header::decode(bytes) {
        let (message, rest) = bytes.split_at(header.size as usize);
        messages.push((header, message[Header::SIZE..].to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "messages are whole");
    messages
}

/// What a message says, in short.
pub(super) fn describe((header, payload): &(Header, Vec<u8>)) -> String {
    let payload: String = payload.chunks(4).map(|word| format!(" {}", hex(word))).collect();
    match header.flags {
        flag::REPLY => format!("{:x}:ok{payload}", header.id),
        flags if flags == flag::REPLY | flag::ERROR => {
            format!("{:x}:errno {}{payload}", header.id, header.error)
        }
        flags => format!("{:x}:{} {flags:#x}{payload}", header.id, header.command()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A client on a socket, which waits for its replies.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    id: u16,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Self { stream, id: 0 }
    }

    /// Connects and agrees on a version.
    pub(super) fn connect(path: &Path) -> Self {
        let mut client = Self::new(UnixStream::connect(path).expect("a server listens"));
        client.send_bytes(&version(), &[]);
        assert_eq!(client.receive().0.flags, flag::REPLY, "a version is agreed on");
        client
    }

    pub(super) fn send(&mut self, command: Command, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        self.id += 1;
        self.send_bytes(&message(self.id, command, flags, payload), fds);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "there is room");
        }
        let sent = sendmsg(self.stream.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()), "the socket takes the message");
    }

    /// The next message from the server.
    pub(super) fn receive(&mut self) -> (Header, Vec<u8>) {
        let mut header = [0; Header::SIZE];
        self.stream.read_exact(&mut header).expect("a message");
        let header = Header::decode(&header).expect("enough bytes");
        let mut payload = vec![0; header.size as usize - Header::SIZE];
        self.stream.read_exact(&mut payload).expect("a payload");
        (header, payload)
    }

    /// Sends a command, and returns the next message.
    pub(super) fn ask(&mut self, command: Command, payload: &[u8]) -> String {
        self.send(command, flag::COMMAND, payload, &[]);
        describe(&self.receive())
    }
}
