//! Commands and their replies; streams that are wrong.

use super::client::{QEMU_VERSION, access, describe, descriptor, message, split, version};
use super::recorder::Recorder;
use super::wire::hex;
use crate::protocol::wire::{Command, DmaMap, DmaUnmap, Header, IrqSet, RegionInfo, flag};
use crate::protocol::{Closed, Connection, Irq, Limits, Shape, Unsent};

pub(super) fn shape() -> Shape {
    Shape::new(256).with_bar(0, 0x1000).with_irqs(Irq::Msi, 4)
}

/// A connection, its function, and what it has sent.
struct Rig {
    connection: Connection,
    function: Recorder,
    sent: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        let connection = Connection::new(shape(), Limits::default());
        Self { connection, function: Recorder::default(), sent: Vec::new() }
    }

    /// One that has agreed on a version.
    fn open() -> Self {
        let mut rig = Self::new();
        rig.feed(&version(), 0);
        assert!(rig.connection.is_open());
        rig.sent.clear();
        rig
    }

    fn feed(&mut self, chunk: &[u8], fds: usize) {
        self.connection.receive(chunk, (0..fds).map(|_| descriptor()).collect());
        self.run();
    }

    fn run(&mut self) {
        while self.connection.ready() {
            self.connection.serve(&mut self.function);
        }
        while !self.connection.pending().is_empty() {
            self.sent.extend_from_slice(self.connection.pending());
            self.connection.advance(self.connection.pending().len());
        }
    }

    /// Replies since the last call, and what the function saw.
    fn outcome(&mut self) -> String {
        let replies: Vec<_> = split(&std::mem::take(&mut self.sent)).iter().map(describe).collect();
        format!("{} | {}", replies.join("; "), self.function.take())
    }
}

fn map(address: u64, size: u64, offset: u64, flags: u32) -> Vec<u8> {
    DmaMap { argsz: 32, flags, offset, address, size }.encode().to_vec()
}

fn unmap(address: u64, size: u64, flags: u32) -> Vec<u8> {
    DmaUnmap { argsz: 24, flags, address, size }.encode().to_vec()
}

fn irqs(flags: u32, index: u32, start: u32, count: u32) -> Vec<u8> {
    IrqSet { argsz: 20, flags, index, start, count }.encode().to_vec()
}

fn region_info(index: u32, argsz: u32) -> Vec<u8> {
    RegionInfo { argsz, index, ..RegionInfo::default() }.encode().to_vec()
}

/// One command in a fresh connection: payload, descriptors, and what comes of it.
#[test]
fn commands_and_their_replies() {
    use Command as C;
    const INVAL: &str = "7:errno 22 | ";
    let rows: Vec<(Command, Vec<u8>, usize, &str)> = vec![
        (
            C::DEVICE_GET_INFO,
            hex("10000000 00000000 00000000 00000000"),
            0,
            "7:ok 10000000 03000000 09000000 05000000 | ",
        ),
        (C::DEVICE_GET_INFO, hex("0f000000 00000000 00000000 00000000"), 0, INVAL),
        (C::DEVICE_GET_INFO, hex("10000000 00000000 00000000"), 0, INVAL),
        (C::DEVICE_GET_INFO, hex("10000000 00000000 00000000 00000000"), 1, INVAL),
        (
            C::DEVICE_GET_REGION_INFO,
            region_info(0, 32),
            0,
            "7:ok 20000000 03000000 00000000 00000000 00100000 00000000 00000000 00000000 | ",
        ),
        (
            C::DEVICE_GET_REGION_INFO,
            region_info(1, 32),
            0,
            "7:ok 20000000 00000000 01000000 00000000 00000000 00000000 00000000 00000000 | ",
        ),
        (
            C::DEVICE_GET_REGION_INFO,
            region_info(7, 99),
            0,
            "7:ok 20000000 03000000 07000000 00000000 00010000 00000000 00000000 00000000 | ",
        ),
        (
            C::DEVICE_GET_REGION_INFO,
            region_info(8, 32),
            0,
            "7:ok 20000000 00000000 08000000 00000000 00000000 00000000 00000000 00000000 | ",
        ),
        (C::DEVICE_GET_REGION_INFO, region_info(9, 32), 0, INVAL),
        (C::DEVICE_GET_REGION_INFO, region_info(0, 31), 0, INVAL),
        (C::DEVICE_GET_REGION_INFO, region_info(u32::MAX, 32), 0, INVAL),
        (
            C::DEVICE_GET_IRQ_INFO,
            hex("10000000 00000000 00000000 00000000"),
            0,
            "7:ok 10000000 07000000 00000000 00000000 | ",
        ),
        (
            C::DEVICE_GET_IRQ_INFO,
            hex("10000000 00000000 01000000 00000000"),
            0,
            "7:ok 10000000 09000000 01000000 04000000 | ",
        ),
        (
            C::DEVICE_GET_IRQ_INFO,
            hex("10000000 00000000 04000000 00000000"),
            0,
            "7:ok 10000000 01000000 04000000 00000000 | ",
        ),
        (C::DEVICE_GET_IRQ_INFO, hex("10000000 00000000 05000000 00000000"), 0, INVAL),
        (C::DEVICE_GET_IRQ_INFO, hex("08000000 00000000 01000000 00000000"), 0, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x21, 1, 0, 0), 0, "7:ok | Trigger Msi 0+0 none"),
        (C::DEVICE_SET_IRQS, irqs(0x21, 0, 0, 0), 0, "7:ok | Trigger Intx 0+0 none"),
        (C::DEVICE_SET_IRQS, irqs(0x09, 1, 1, 3), 0, "7:ok | Mask Msi 1+3 none"),
        (C::DEVICE_SET_IRQS, irqs(0x24, 1, 0, 2), 2, "7:ok | Trigger Msi 0+2 2 eventfds"),
        (C::DEVICE_SET_IRQS, irqs(0x24, 1, 0, 2), 0, "7:ok | Trigger Msi 0+2 0 eventfds"),
        (
            C::DEVICE_SET_IRQS,
            [irqs(0x12, 1, 0, 2), hex("0001")].concat(),
            0,
            "7:ok | Unmask Msi 0+2 [false, true]",
        ),
        (C::DEVICE_SET_IRQS, [irqs(0x12, 1, 0, 2), hex("00")].concat(), 0, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x24, 1, 0, 2), 1, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x21, 1, 0, 2), 2, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x24, 1, 0, 0), 0, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x24, 1, 3, 2), 2, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x24, 0, 0, 1), 1, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x26, 1, 0, 1), 1, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x31, 1, 0, 1), 0, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x21, 5, 0, 0), 0, INVAL),
        (C::DEVICE_SET_IRQS, irqs(0x21, 1, u32::MAX, 2), 0, "7:errno 75 | "),
        (
            C::REGION_READ,
            access(7, 0xfe, 2, &[]),
            0,
            "7:ok fe000000 00000000 07000000 02000000 feff | read Config+0xfe 2",
        ),
        (
            C::REGION_READ,
            access(0, 8, 8, &[]),
            0,
            "7:ok 08000000 00000000 00000000 08000000 08090a0b 0c0d0e0f | read Bar(0)+0x8 8",
        ),
        (C::REGION_READ, access(7, 0xff, 2, &[]), 0, INVAL),
        (C::REGION_READ, access(7, 0x100, 1, &[]), 0, INVAL),
        (C::REGION_READ, access(7, 0, 0, &[]), 0, INVAL),
        (C::REGION_READ, access(1, 0, 4, &[]), 0, INVAL),
        (C::REGION_READ, access(9, 0, 4, &[]), 0, INVAL),
        (C::REGION_READ, access(0, u64::MAX, 4, &[]), 0, INVAL),
        (C::REGION_READ, access(0, Recorder::BROKEN, 1, &[]), 0, "7:errno 5 | read Bar(0)+0xbad 1"),
        (
            C::REGION_WRITE,
            access(0, 4, 4, &[1, 2, 3, 4]),
            0,
            "7:ok 04000000 00000000 00000000 04000000 | write Bar(0)+0x4 [1, 2, 3, 4]",
        ),
        (C::REGION_WRITE, access(0, 4, 4, &[1, 2, 3]), 0, INVAL),
        (C::REGION_WRITE, access(0, 4, 4, &[1, 2, 3, 4, 5]), 0, INVAL),
        (C::REGION_WRITE, access(0, 0xffe, 4, &[1, 2, 3, 4]), 0, INVAL),
        (C::REGION_WRITE, access(0, Recorder::BROKEN, 1, &[1]), 0, "7:errno 5 | write Bar(0)+0xbad [1]"),
        (C::REGION_WRITE, hex("00"), 0, INVAL),
        (C::DMA_MAP, map(0x4000_0000, 0x2000, 0x1000, 3), 1, "7:ok | map 0x40000000 0x2000 rw file+0x1000"),
        (C::DMA_MAP, map(0, 0x1000, 0, 1), 0, "7:ok | map 0x0 0x1000 r no file"),
        (C::DMA_MAP, map(0, 0x1000, 0, 3), 2, INVAL),
        (C::DMA_MAP, map(0, 0, 0, 3), 1, INVAL),
        (C::DMA_MAP, map(0x800, 0x1000, 0, 3), 1, INVAL),
        (C::DMA_MAP, map(0, 0x1800, 0, 3), 1, INVAL),
        (C::DMA_MAP, map(0, 0x1000, 0, 4), 1, INVAL),
        (C::DMA_MAP, map(u64::MAX - 0xfff, 0x1000, 0, 3), 1, "7:errno 75 | "),
        (C::DMA_MAP, map(0, 0x1000, u64::MAX - 0xfff, 3), 1, "7:errno 75 | "),
        (
            C::DMA_MAP,
            map(Recorder::BROKEN << 12, 0x1000, 0, 3),
            1,
            "7:errno 12 | map 0xbad000 0x1000 rw file+0x0",
        ),
        (C::DMA_UNMAP, unmap(0, 0x1000, 0), 0, "7:errno 2 | "),
        (C::DMA_UNMAP, unmap(0, 0, 2), 0, "7:ok 18000000 02000000 00000000 00000000 00000000 00000000 | "),
        (C::DMA_UNMAP, unmap(0, 0x1000, 2), 0, INVAL),
        (C::DMA_UNMAP, unmap(0, 0x1000, 1), 0, "7:errno 95 | "),
        (C::DEVICE_RESET, vec![], 0, "7:ok | reset"),
        (C::VERSION, hex("0000 0000"), 0, INVAL),
        (C::DEVICE_GET_REGION_IO_FDS, hex("20000000 00000000 00000000 00000000"), 0, "7:errno 95 | "),
        (C::REGION_WRITE_MULTI, hex("0000000000000000"), 0, "7:errno 95 | "),
        (C::DMA_WRITE, hex("0000000000000000 0000000000000000"), 0, "7:errno 95 | "),
        (Command(0), vec![], 0, "7:errno 95 | "),
        (Command(0xffff), vec![], 0, "7:errno 95 | "),
    ];
    for (command, payload, fds, expected) in rows {
        let mut rig = Rig::open();
        rig.feed(&message(7, command, flag::COMMAND, &payload), fds);
        assert_eq!(rig.outcome(), expected, "{command} {payload:02x?}, {fds} descriptors");
        assert_eq!(rig.connection.closed(), None, "{command} {payload:02x?}");
    }
}

/// A sequence of maps and unmaps in one connection.
#[test]
fn ranges_do_not_overlap_and_go_with_the_client() {
    let mut rig = Rig::open();
    for (command, payload, expected) in [
        (Command::DMA_MAP, map(0x4000, 0x2000, 0, 3), "7:ok | map 0x4000 0x2000 rw no file"),
        (Command::DMA_MAP, map(0x3000, 0x2000, 0, 3), "7:errno 17 | "),
        (Command::DMA_MAP, map(0x5000, 0x1000, 0, 3), "7:errno 17 | "),
        (Command::DMA_MAP, map(0x5000, 0x2000, 0, 3), "7:errno 17 | "),
        (Command::DMA_MAP, map(0x1000, 0x8000, 0, 3), "7:errno 17 | "),
        (Command::DMA_MAP, map(0x6000, 0x1000, 0, 3), "7:ok | map 0x6000 0x1000 rw no file"),
        (Command::DMA_MAP, map(0x3000, 0x1000, 0, 2), "7:ok | map 0x3000 0x1000 w no file"),
        (Command::DMA_UNMAP, unmap(0x4000, 0x1000, 0), "7:errno 22 | "),
        (Command::DMA_UNMAP, unmap(0x5000, 0x1000, 0), "7:errno 2 | "),
        (
            Command::DMA_UNMAP,
            unmap(0x4000, 0x2000, 0),
            "7:ok 18000000 00000000 00400000 00000000 00200000 00000000 | unmap 0x4000 0x2000",
        ),
        (Command::DMA_MAP, map(0x5000, 0x1000, 0, 3), "7:ok | map 0x5000 0x1000 rw no file"),
    ] {
        rig.feed(&message(7, command, flag::COMMAND, &payload), 0);
        assert_eq!(rig.outcome(), expected, "{command} {payload:02x?}");
    }
    rig.connection.hang_up();
    rig.connection.release(&mut rig.function);
    assert_eq!(rig.outcome(), " | unmap 0x3000 0x1000; unmap 0x5000 0x1000; unmap 0x6000 0x1000");
    assert_eq!(rig.connection.closed(), Some(&Closed::Finished));
}

#[test]
fn more_ranges_than_offered_are_refused() {
    let limits = Limits { dma_maps: 2, ..Limits::default() };
    let mut rig = Rig { connection: Connection::new(shape(), limits), ..Rig::new() };
    rig.feed(&version(), 0);
    for address in [0, 0x1000, 0x2000] {
        rig.sent.clear();
        rig.feed(&message(7, Command::DMA_MAP, flag::COMMAND, &map(address, 0x1000, 0, 3)), 0);
    }
    assert_eq!(rig.outcome(), "7:errno 28 | map 0x0 0x1000 rw no file; map 0x1000 0x1000 rw no file");
}

#[test]
fn posted_commands_are_done_and_not_answered() {
    let mut rig = Rig::open();
    let posted = flag::COMMAND | flag::NO_REPLY;
    rig.feed(&message(1, Command::REGION_WRITE, posted, &access(0, 0, 1, &[1])), 0);
    rig.feed(&message(2, Command::REGION_WRITE, posted, &access(0, Recorder::BROKEN, 1, &[2])), 0);
    rig.feed(&message(3, Command::REGION_WRITE, posted, &access(0, 0x1000, 1, &[3])), 0);
    rig.feed(&message(4, Command::REGION_READ, posted, &access(0, 4, 1, &[])), 0);
    assert_eq!(rig.outcome(), " | write Bar(0)+0x0 [1]; write Bar(0)+0xbad [2]; read Bar(0)+0x4 1");
    assert_eq!(rig.connection.closed(), None);
}

/// Version data and what becomes of them: the reply, or a part of the reason.
#[test]
fn versions() {
    let rows: Vec<(Vec<u8>, Result<&str, &str>)> = vec![
        (
            [&[0, 0, 0, 0], QEMU_VERSION.as_bytes(), &[0]].concat(),
            Ok(
                r#"{"capabilities":{"max_data_xfer_size":1048576,"max_dma_maps":4096,"max_msg_fds":16,"pgsizes":4096,"write_multiple":false}}"#,
            ),
        ),
        (hex("0000 0100"), Ok("")),
        (b"\0\0\0\0{}\0".to_vec(), Ok("{}")),
        (b"\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}\0".to_vec(), Ok("{}")),
        (
            b"\0\0\0\0{\"capabilities\":{\"max_dma_maps\":5}}\0".to_vec(),
            Ok(r#"{"capabilities":{"max_dma_maps":5}}"#),
        ),
        (hex("0100 0000"), Err("the client speaks version 1.0, this server 0.0")),
        (hex("0000 00"), Err("too short")),
        (b"\0\0\0\0{}".to_vec(), Err("no NUL")),
        (b"\0\0\0\0[]\0".to_vec(), Err("no JSON object")),
        (b"\0\0\0\0{\0}\0".to_vec(), Err("no JSON object")),
        (b"\0\0\0\0\xff\0".to_vec(), Err("no JSON object")),
        (b"\0\0\0\0{\"capabilities\":1}\0".to_vec(), Err("\"capabilities\" is not an object")),
        (
            b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":-1}}\0".to_vec(),
            Err("\"max_msg_fds\" is not a number"),
        ),
        (b"\0\0\0\0{\"capabilities\":{\"pgsizes\":65536}}\0".to_vec(), Err("\"pgsizes\" lacks 4096")),
        ([&b"\0\0\0\0"[..], &b"[".repeat(4000), b"\0"].concat(), Err("no JSON object")),
    ];
    for (payload, expected) in rows {
        let mut rig = Rig::new();
        rig.feed(&message(0, Command::VERSION, flag::COMMAND, &payload), 0);
        let shown = String::from_utf8_lossy(&payload).into_owned();
        let (header, reply) = split(&rig.sent).remove(0);
        match expected {
            Ok(data) => {
                let data = if data.is_empty() { Vec::new() } else { [data.as_bytes(), &[0]].concat() };
                assert_eq!(reply, [&[0; 4], &data[..]].concat(), "{shown}");
                assert!(reply.len() <= payload.len(), "QEMU has no more room than its request: {shown}");
                assert!(rig.connection.is_open() && rig.connection.closed().is_none(), "{shown}");
            }
            Err(part) => {
                assert_eq!((header.flags, header.error), (flag::REPLY | flag::ERROR, 22), "{shown}");
                let why = rig.connection.closed().expect("the connection ends").to_string();
                assert!(why.contains(part), "{shown}: {why}");
            }
        }
    }
}

/// Streams that end the connection: whether a version has been agreed on, the stream, and the reason.
#[test]
fn streams_that_cannot_be_served() {
    let header = |size, flags, command: Command| {
        Header { id: 9, command: command.0, size, flags, error: 0 }.encode().to_vec()
    };
    let posted = flag::NO_REPLY;
    let rows = [
        (false, header(16, 0, Command::DEVICE_RESET), Closed::NoVersion { command: Command::DEVICE_RESET }),
        (
            false,
            header(16, posted, Command::DEVICE_RESET),
            Closed::NoVersion { command: Command::DEVICE_RESET },
        ),
        (false, header(5000, 0, Command::VERSION), Closed::BadSize { size: 5000, limit: 4116 }),
        (true, header(15, 0, Command::DEVICE_RESET), Closed::BadSize { size: 15, limit: 0x10_0020 }),
        (
            true,
            header(0x10_0021, 0, Command::REGION_WRITE),
            Closed::BadSize { size: 0x10_0021, limit: 0x10_0020 },
        ),
        (
            true,
            header(u32::MAX, 0, Command::REGION_WRITE),
            Closed::BadSize { size: u32::MAX, limit: 0x10_0020 },
        ),
        (true, header(16, 2, Command::DEVICE_RESET), Closed::BadType { flags: 2 }),
        (
            true,
            header(16, 1, Command::DMA_WRITE),
            Closed::UnknownReply { id: 9, command: Command::DMA_WRITE },
        ),
        (
            true,
            header(16, 1, Command::DEVICE_RESET),
            Closed::UnknownReply { id: 9, command: Command::DEVICE_RESET },
        ),
        (
            true,
            header(16, posted, Command::REGION_WRITE_MULTI),
            Closed::Unsupported { command: Command::REGION_WRITE_MULTI },
        ),
    ];
    for (open, stream, why) in rows {
        let mut rig = if open { Rig::open() } else { Rig::new() };
        rig.feed(&stream, 0);
        assert_eq!(rig.connection.closed(), Some(&why));
        assert_eq!(rig.function.take(), "", "{why}");
        assert!(!rig.connection.wants_input() && !rig.connection.ready(), "{why}");
        assert_eq!(rig.connection.dma_write(0, &[0]), Err(Unsent::NotConnected), "{why}");
    }
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let stream = [
        version(),
        message(1, Command::REGION_READ, 0, &access(7, 0, 4, &[])),
        message(2, Command::REGION_WRITE, flag::NO_REPLY, &access(0, 0, 2, &[7, 8])),
        message(3, Command::DEVICE_RESET, 0, &[]),
    ]
    .concat();
    let mut whole = Rig::new();
    whole.feed(&stream, 0);
    let expected = whole.outcome();
    assert!(expected.ends_with("3:ok | read Config+0x0 4; write Bar(0)+0x0 [7, 8]; reset"), "{expected}");
    for size in 1..64 {
        let mut rig = Rig::new();
        for chunk in stream.chunks(size) {
            rig.feed(chunk, 0);
        }
        assert_eq!(rig.outcome(), expected, "in pieces of {size} bytes");
        rig.connection.hang_up();
        assert_eq!(rig.connection.closed(), Some(&Closed::Finished));
    }
    let mut cut = Rig::new();
    cut.feed(&stream[..stream.len() - 1], 0);
    cut.connection.hang_up();
    assert_eq!(cut.connection.closed(), Some(&Closed::Truncated));
}

/// Chunks with the number of descriptors that come with each; the connection's view of whose they are.
#[test]
fn descriptors_belong_to_the_last_message_that_begins() {
    let map = |address| message(1, Command::DMA_MAP, 0, &map(address, 0x1000, 0, 3));
    let reset = message(2, Command::DEVICE_RESET, 0, &[]);
    let (one, two) = (map(0x1000), map(0x2000));
    type Chunks = Vec<(Vec<u8>, usize)>;
    let rows: Vec<(Chunks, &str)> = vec![
        (vec![([reset.clone(), one.clone()].concat(), 1)], "reset; map 0x1000 0x1000 rw file+0x0"),
        (
            vec![(one.clone(), 1), (two.clone(), 0)],
            "map 0x1000 0x1000 rw file+0x0; map 0x2000 0x1000 rw no file",
        ),
        (
            vec![([&one[..], &two[..7]].concat(), 1), (two[7..].to_vec(), 0)],
            "map 0x1000 0x1000 rw no file; map 0x2000 0x1000 rw file+0x0",
        ),
        (vec![(one[..20].to_vec(), 1), (one[20..].to_vec(), 0)], "map 0x1000 0x1000 rw file+0x0"),
        (
            vec![(one[..20].to_vec(), 0), ([&one[20..], &two[..]].concat(), 1)],
            "map 0x1000 0x1000 rw no file; map 0x2000 0x1000 rw file+0x0",
        ),
        (
            vec![(one[..20].to_vec(), 1), ([&one[20..], &two[..16]].concat(), 1), (two[16..].to_vec(), 0)],
            "map 0x1000 0x1000 rw file+0x0; map 0x2000 0x1000 rw file+0x0",
        ),
    ];
    for (chunks, expected) in rows {
        let mut rig = Rig::open();
        for (chunk, fds) in &chunks {
            rig.feed(chunk, *fds);
        }
        assert_eq!(rig.function.take(), expected, "{chunks:?}");
    }

    let mut stray = Rig::open();
    stray.feed(&one[..20], 0);
    stray.feed(&one[20..], 1);
    assert_eq!(stray.connection.closed(), Some(&Closed::StrayDescriptors));
    let mut many = Rig::open();
    many.feed(&one, 17);
    assert_eq!(many.connection.closed(), Some(&Closed::TooManyDescriptors));
}

#[test]
fn a_dma_write_has_the_specifications_layout() {
    let mut rig = Rig::open();
    assert_eq!(rig.connection.dma_write(0x802_0040, &[0x51, 0, 0, 0]), Ok(()));
    rig.run();
    assert_eq!(
        rig.sent,
        hex("0000 0c00 24000000 10000000 00000000 4000020800000000 0400000000000000 51000000")
    );
    assert_eq!(rig.connection.dma_write(0, &[]), Err(Unsent::BadLength));
    assert_eq!(rig.connection.dma_write(0, &[0; (1 << 20) + 1]), Err(Unsent::BadLength));
    assert_eq!(rig.connection.dma_write(u64::MAX, &[0; 2]), Err(Unsent::Overflow));
    assert_eq!(rig.connection.dma_write(u64::MAX, &[0]), Ok(()));
    assert_eq!(Rig::new().connection.dma_write(0, &[0]), Err(Unsent::NotConnected));
}

#[test]
fn refusals_of_dma_writes_name_the_address() {
    let refusal = |id: u16, error: u32| {
        Header { id, command: Command::DMA_WRITE.0, size: 16, flags: flag::REPLY | flag::ERROR, error }
            .encode()
    };
    let mut rig = Rig::open();
    for index in 0..0x1_0010_u64 {
        assert_eq!(rig.connection.dma_write(index << 4, &[0]), Ok(()));
        rig.run();
    }
    for (id, error) in [(0x000f, 14), (0xffff, 19), (0x1000, 14), (0, 0), (1, 4096), (2, u32::MAX)] {
        rig.feed(&refusal(id, error), 0);
    }
    rig.sent.clear();
    let errnos =
        "refused 0x1000f0 14; refused 0xffff0 19; refused 0x100000 5; refused 0x100010 5; refused 0x100020 5";
    assert_eq!(rig.outcome(), format!(" | {errnos}"));
    assert_eq!(rig.connection.closed(), None);
    rig.feed(&message(0, Command::DMA_READ, flag::REPLY, &[]), 0);
    let other = Closed::UnknownReply { id: 0, command: Command::DMA_READ };
    assert_eq!(rig.connection.closed(), Some(&other), "the ID is known, but not with this command");
}

#[test]
fn who_does_not_read_is_not_served_and_in_the_end_dropped() {
    let read = message(1, Command::REGION_READ, 0, &access(0, 0, 0x1000, &[]));
    let mut rig = Rig::open();
    rig.connection.receive(&read.repeat(1000), Vec::new());
    while rig.connection.ready() {
        rig.connection.serve(&mut rig.function);
    }
    let served = rig.function.log.len();
    assert!((200..300).contains(&served), "replies of a mebibyte are queued, not {served} of 4 KiB");
    assert!(!rig.connection.wants_input(), "what has arrived waits");
    while rig.connection.closed().is_none() {
        let _ = rig.connection.dma_write(0, &[0; 0x1000]);
    }
    assert_eq!(rig.connection.closed(), Some(&Closed::NotReading));
    assert!(rig.connection.held() < 32 << 20);

    let mut rig = Rig::open();
    rig.feed(&read.repeat(1000), 0);
    while rig.connection.ready() {
        rig.run();
    }
    assert_eq!(rig.function.log.len(), 1000, "who reads late gets everything");
    assert!(rig.connection.held() < 1 << 20, "and room is given back");

    let mut rig = Rig::open();
    for _ in 0..1000 {
        if rig.connection.wants_input() {
            rig.connection.receive(&read, Vec::new());
            rig.connection.serve(&mut rig.function);
        }
    }
    assert_eq!(rig.function.log.len(), served);
    rig.connection.hang_up();
    assert_eq!(rig.connection.closed(), Some(&Closed::Finished), "nothing was read ahead");
}

/// QEMU takes a header that comes in two pieces for the end of the world.
#[test]
fn what_is_sent_at_once_does_not_cut_a_header() {
    let mut rig = Rig::open();
    let read = |count| message(1, Command::REGION_READ, 0, &access(0, 0, count, &[]));
    rig.connection.receive(&[read(5).repeat(1000), read(0x1000).repeat(20)].concat(), Vec::new());
    while rig.connection.ready() {
        rig.connection.serve(&mut rig.function);
    }
    while !rig.connection.pending().is_empty() {
        let piece = rig.connection.pending();
        let length = piece.len();
        assert!(length <= 16 << 10);
        assert!(!split(piece).is_empty());
        rig.connection.advance(length);
    }
    assert_eq!(rig.connection.dma_write(0, &[7; 100_000]), Ok(()));
    assert_eq!(rig.connection.dma_write(0, &[8; 4]), Ok(()));
    assert_eq!(rig.connection.pending().len(), 100_032, "a long message goes alone");
    rig.connection.advance(40_000);
    assert_eq!(rig.connection.pending().len(), 60_032, "and its rest too");
    rig.connection.advance(60_032);
    assert_eq!(rig.connection.pending().len(), 36);
}
