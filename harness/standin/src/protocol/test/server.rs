//! A server on real sockets.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::client::{Client, access, describe, descriptor, message, version};
use super::connection::shape;
use super::recorder::Bench;
use super::socket::Folder;
use crate::protocol::wire::{Command, DmaMap, Header, flag};
use crate::protocol::{Board, Ended, Idle, Outbox, Place, Server, Settings, Stop};

/// Runs a server of two functions, `0` and `1` in `folder`, while `play` plays their clients.
fn with_server<B: Board + Send>(mut board: B, play: impl FnOnce(&Folder, &Stop) + Send) -> (B, Ended) {
    let folder = Folder::new();
    let mut server = Server::new(Settings::default()).expect("an eventfd");
    for (index, name) in ["0", "1"].into_iter().enumerate() {
        assert_eq!(server.add(folder.endpoint(name), shape()), index);
    }
    let stop = server.stop();
    let ended = thread::scope(|scope| {
        let server = scope.spawn(|| server.run(&mut board).expect("the server runs"));
        play(&folder, &stop);
        stop.stop();
        server.join().expect("no panic")
    });
    (board, ended)
}

fn connect(folder: &Folder, name: &str) -> Client {
    Client::connect(&folder.0.join(name))
}

#[test]
fn clients_are_served_in_turn_and_again() {
    let (board, ended) = with_server(Bench::default(), |folder, _| {
        for round in 0..3 {
            let mut client = connect(folder, "0");
            let memory = descriptor();
            let map = DmaMap { argsz: 32, flags: 3, offset: 0, address: 0x4000_0000, size: 0x1000 };
            client.send(Command::DMA_MAP, 0, &map.encode(), &[memory.as_fd()]);
            assert_eq!(describe(&client.receive()), "1:ok", "round {round}");
            let read = client.ask(Command::REGION_READ, &access(7, 0, 4, &[]));
            assert_eq!(read, "2:ok 00000000 00000000 07000000 04000000 00010203");
        }
    });
    let round = "connected; map 0x40000000 0x1000 rw file+0x0; read Config+0x0 4; unmap 0x40000000 0x1000; disconnected: ";
    let [mut first, mut second] = board.functions;
    let log = first.take();
    assert_eq!(log.matches(round).count(), 3, "{log}");
    assert_eq!(second.take(), "");
    assert_eq!(ended, Ended::Stopped);
    assert_eq!(board.arrivals.len(), 9, "a version, a map and a read each");
    assert!(board.arrivals.is_sorted_by_key(|(_, now)| *now), "host time does not run back");
}

#[test]
fn a_second_client_waits_for_the_first_to_go() {
    with_server(Bench::default(), |folder, _| {
        let mut first = connect(folder, "0");
        let second = UnixStream::connect(folder.0.join("0")).expect("it may wait in line");
        let mut second = Client::new(second);
        second.send_bytes(&version(), &[]);
        assert_eq!(first.ask(Command::DEVICE_RESET, &[]), "1:ok");
        second.stream.set_nonblocking(true).expect("a mode");
        let early = second.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
        second.stream.set_nonblocking(false).expect("a mode");
        drop(first);
        assert_eq!(second.receive().0.flags, flag::REPLY, "its turn has come");
    });
}

#[test]
fn a_dma_write_follows_the_reply_and_goes_where_the_board_wants() {
    let (board, _) = with_server(Bench::default(), |folder, _| {
        let mut first = connect(folder, "0");
        let mut second = connect(folder, "1");
        assert_eq!(
            first.ask(Command::REGION_WRITE, &access(0, 0x40, 4, &[1, 2, 3, 4])),
            "1:ok 40000000 00000000 00000000 04000000"
        );
        let write = "0:DMA_WRITE 0x10 40000000 00000000 04000000 00000000 01020304";
        assert_eq!(describe(&first.receive()), write);
        assert_eq!(describe(&second.receive()), write);
        let refusal = Header {
            id: 0,
            command: Command::DMA_WRITE.0,
            size: 16,
            flags: flag::REPLY | flag::ERROR,
            error: 14,
        };
        second.send_bytes(&refusal.encode(), &[]);
        assert_eq!(second.ask(Command::DEVICE_RESET, &[]), "1:ok");
        drop(second);
        // Until the server has noticed, the write still goes to the socket.
        thread::sleep(Duration::from_millis(100));
        first.send(Command::REGION_WRITE, flag::NO_REPLY, &access(0, 0x80, 1, &[5]), &[]);
        assert_eq!(describe(&first.receive()), "1:DMA_WRITE 0x10 80000000 00000000 01000000 00000000 05");
    });
    let [_, mut second] = board.functions;
    assert_eq!(
        second.take(),
        "connected; refused 0x40 14; reset; disconnected: the client hung up; refused 0x80 107"
    );
}

#[test]
fn a_dma_write_overtakes_no_reply_and_no_later_reply_overtakes_it() {
    with_server(Bench::default(), |folder, _| {
        let mut client = connect(folder, "0");
        let write = |id| message(id, Command::REGION_WRITE, 0, &access(0, 0x40, 1, &[id as u8]));
        client.send_bytes(&[write(1), write(2)].concat(), &[]);
        let received: Vec<_> = (0..4).map(|_| describe(&client.receive())).collect();
        let received: Vec<_> = received.iter().filter_map(|message| message.split(' ').next()).collect();
        assert_eq!(received, ["1:ok", "0:DMA_WRITE", "2:ok", "1:DMA_WRITE"]);
    });
}

#[test]
fn a_board_may_send_when_nothing_waits() {
    with_server(Bench::default(), |folder, _| {
        let mut first = connect(folder, "0");
        let mut second = connect(folder, "1");
        for round in 0..3 {
            second.send(Command::REGION_WRITE, flag::NO_REPLY, &access(0, 0x40, 1, &[round]), &[]);
            let write = format!("{round}:DMA_WRITE 0x10 40000000 00000000 01000000 00000000 0{round}");
            assert_eq!(describe(&first.receive()), write);
            assert_eq!(describe(&second.receive()), write);
        }
    });
}

/// The kernel hands out messages of several sends at once, but stops behind one with descriptors.
#[test]
fn descriptors_stay_with_their_message_on_a_real_socket() {
    let (board, _) = with_server(Bench::default(), |folder, _| {
        let mut client = connect(folder, "0");
        let memory = descriptor();
        let map = |index: u64| {
            DmaMap { argsz: 32, flags: 3, offset: 0, address: index << 12, size: 0x1000 }.encode()
        };
        for index in 0..40 {
            let fds = [memory.as_fd()];
            client.send(Command::DMA_MAP, 0, &map(index), if index % 3 == 0 { &fds } else { &[] });
        }
        for id in 1..=40 {
            assert_eq!(describe(&client.receive()), format!("{id:x}:ok"));
        }
    });
    let [mut first, _] = board.functions;
    let log = first.take();
    for index in 0..40_u64 {
        let file = if index % 3 == 0 { "file+0x0" } else { "no file" };
        assert!(log.contains(&format!("map {:#x} 0x1000 rw {file};", index << 12)), "{index}: {log}");
    }
}

#[test]
fn bad_clients_are_dropped_and_others_not() {
    let (board, _) = with_server(Bench::default(), |folder, stop| {
        let mut good = connect(folder, "1");
        let path = folder.0.join("0");
        let fds = [(); 60].map(|()| descriptor());
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();

        let mut garbage = Client::new(UnixStream::connect(&path).expect("a server listens"));
        garbage.send_bytes(&[0xff; 1000], &[]);
        assert_eq!(garbage.stream.read(&mut [0; 16]).unwrap_or(0), 0, "hung up");
        for count in [17, 60] {
            let mut many = Client::connect(&path);
            many.send(Command::DEVICE_RESET, 0, &[], &fds[..count]);
            assert_eq!(many.stream.read(&mut [0; 16]).unwrap_or(0), 0, "hung up on {count}");
        }
        let mut early = Client::new(UnixStream::connect(&path).expect("a server listens"));
        early.send(Command::DEVICE_RESET, 0, &[], &[]);
        assert_eq!(describe(&early.receive()), "1:errno 22");
        assert_eq!(early.stream.read(&mut [0; 16]).unwrap_or(0), 0, "hung up");
        let mut cut = Client::connect(&path);
        cut.send_bytes(&message(1, Command::DEVICE_RESET, 0, &[])[..9], &[]);
        drop(cut);
        assert_eq!(connect(folder, "0").ask(Command::DEVICE_RESET, &[]), "1:ok");
        assert_eq!(good.ask(Command::DEVICE_RESET, &[]), "1:ok");
        stop.stop();
        assert_eq!(good.stream.read(&mut [0; 16]).unwrap_or(0), 0, "hung up");
    });
    let [mut first, mut second] = board.functions;
    let many = "connected; disconnected: more descriptors came at once than can be taken; ";
    let cut = "connected; disconnected: the client hung up within a message; ";
    let log = first.take();
    assert!(log.starts_with(&format!("{many}{many}{cut}connected; reset")), "{log}");
    assert_eq!(second.take(), "connected; reset; disconnected: the server ended");
}

#[test]
fn a_client_that_reads_late_holds_up_nobody() {
    with_server(Bench::default(), |folder, _| {
        let read = message(1, Command::REGION_READ, 0, &access(0, 0, 0x1000, &[]));
        for _ in 0..5 {
            let mut late = connect(folder, "0");
            let mut other = connect(folder, "1");
            let mut writer = late.stream.try_clone().expect("a descriptor");
            let requests = read.repeat(1000);
            thread::scope(|scope| {
                scope.spawn(move || writer.write_all(&requests).expect("the server reads on in the end"));
                for id in 1..100 {
                    assert_eq!(other.ask(Command::DEVICE_RESET, &[]), format!("{id:x}:ok"));
                }
                scope.spawn(move || {
                    for id in 100..200 {
                        assert_eq!(other.ask(Command::DEVICE_RESET, &[]), format!("{id:x}:ok"));
                    }
                });
                for _ in 0..1000 {
                    assert_eq!(late.receive().1.len(), 0x1010);
                }
            });
        }
    });
}

/// Counts its idle calls and ends the server.
struct Timer(Vec<Duration>);

impl Board for Timer {
    fn region_read(&mut self, _: Place, _: &mut [u8], _: &mut Outbox) -> Result<(), rustix::io::Errno> {
        unreachable!("nobody asks")
    }
    fn region_write(&mut self, _: Place, _: &[u8], _: &mut Outbox) -> Result<(), rustix::io::Errno> {
        unreachable!("nobody asks")
    }
    fn dma_map(
        &mut self,
        _: usize,
        _: crate::protocol::DmaRange,
        _: Option<crate::protocol::DmaFile>,
    ) -> Result<(), rustix::io::Errno> {
        unreachable!("nobody asks")
    }
    fn dma_unmap(&mut self, _: usize, _: crate::protocol::DmaRange) {}
    fn reset(&mut self, _: usize, _: &mut Outbox) {}
    fn dma_refused(&mut self, _: usize, address: u64, errno: rustix::io::Errno) {
        assert_eq!((address, errno), (0x40, rustix::io::Errno::NOTCONN));
    }
    fn idle(&mut self, now: Duration, outbox: &mut Outbox) -> Idle {
        outbox.dma_write(0, 0x40, &[1]);
        self.0.push(now);
        match self.0.len() {
            1 => Idle::Again,
            2 => Idle::Until(now + Duration::from_millis(30)),
            _ => Idle::Stop,
        }
    }
}

#[test]
fn a_board_is_called_when_it_wants_and_ends_the_server() {
    let mut board = Timer(Vec::new());
    let mut server = Server::new(Settings::default()).expect("an eventfd");
    assert_eq!(server.run(&mut board).expect("it runs"), Ended::Board);
    let [_, second, third] = board.0[..] else { panic!("three calls, not {:?}", board.0) };
    assert!(third - second >= Duration::from_millis(30));
    server.stop().stop();
    board.0.clear();
    assert_eq!(server.run(&mut board).expect("it runs"), Ended::Stopped, "a stop is not forgotten");
}
