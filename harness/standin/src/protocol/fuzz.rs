//! An entry for fuzzers.

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::connection::{Connection, Limits};
use super::function::{DmaFile, DmaRange, Function, Irq, IrqData, Region, SetIrqs, Shape};
use super::wire::{Command, Header};

/// Feeds a connection with a stream that `data` describe, and checks what it does with it.
///
/// The bytes are a script. If the first is odd, a version has been agreed on. Then comes a byte that says how long the next chunk
/// is (bits 4 to 0; bit 7: times 16), whether a descriptor comes with it (bit 6) and whether the client does not read its
/// replies yet (bit 5); then the chunk; and so on.
///
/// # Panics
/// The connection breaks a promise: it calls the function with what its shape does not admit, or holds too much memory.
pub fn fuzz(data: &[u8]) {
    let shape = Shape::new(4096).with_bar(0, 0x1_0000).with_bar(2, 0x1000).with_irqs(Irq::Msi, 8);
    let limits = Limits { fds: 2, transfer: 8192, dma_maps: 8, output: 16 << 10, output_max: 64 << 10 };
    let mut connection = Connection::new(shape.clone(), limits);
    let mut function = Checked { shape, maps: Vec::new() };
    let Some((first, mut rest)) = data.split_first() else { return };
    if first & 1 != 0 {
        let header = Header { command: Command::VERSION.0, size: 20, ..Header::default() };
        connection.receive(&[&header.encode()[..], &[0; 4]].concat(), Vec::new());
        connection.serve(&mut function);
        assert!(connection.is_open(), "a version without data is enough");
    }
    while let Some((control, bytes)) = rest.split_first()
        && connection.closed().is_none()
    {
        let length = usize::from(control & 0x1f) * if control & 0x80 != 0 { 16 } else { 1 };
        let (chunk, after) = bytes.split_at(length.min(bytes.len()));
        rest = after;
        let fds = if control & 0x40 == 0 { Vec::new() } else { descriptor().into_iter().collect() };
        if connection.wants_input() {
            connection.receive(chunk, fds);
        }
        while connection.ready() {
            connection.serve(&mut function);
            let _ = connection.dma_write(0x802_0040, &[0x51, 0, 0, 0]);
            if control & 0x20 == 0 {
                read_all(&mut connection);
            }
        }
        if !connection.wants_input() {
            read_all(&mut connection);
        }
        assert!(connection.held() < 1 << 20, "a connection holds a few messages");
        assert!(function.maps.len() <= limits.dma_maps, "no more ranges are mapped than were offered");
    }
    connection.hang_up();
    connection.release(&mut function);
    assert!(function.maps.is_empty(), "what was mapped is unmapped");
}

fn descriptor() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

fn read_all(connection: &mut Connection) {
    while !connection.pending().is_empty() {
        connection.advance(connection.pending().len().div_ceil(2));
    }
}

/// A function that checks what it is called with.
struct Checked {
    shape: Shape,
    maps: Vec<DmaRange>,
}

impl Checked {
    fn check(&self, region: Region, offset: u64, length: usize) -> Result<(), Errno> {
        let end = offset.checked_add(length as u64).expect("an access does not overflow");
        assert!(length > 0 && end <= self.shape.bytes(region), "an access lies within its region");
        if offset % 7 == 3 { Err(Errno::IO) } else { Ok(()) }
    }
}

impl Function for Checked {
    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.check(region, offset, data.len())
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.check(region, offset, data.len())
    }

    fn dma_map(&mut self, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno> {
        let end = range.address.checked_add(range.size).expect("a range does not overflow");
        assert!(range.size > 0, "a range is not empty");
        for map in &self.maps {
            assert!(map.address >= end || range.address >= map.address + map.size, "ranges do not overlap");
        }
        if let Some(file) = file {
            file.offset.checked_add(range.size).expect("the range does not overflow in its file");
        }
        self.maps.push(range);
        Ok(())
    }

    fn dma_unmap(&mut self, range: DmaRange) {
        let index = self.maps.iter().position(|map| *map == range).expect("what is unmapped was mapped");
        self.maps.remove(index);
    }

    fn set_irqs(&mut self, set: SetIrqs) -> Result<(), Errno> {
        let end = set.start.checked_add(set.count).expect("the interrupts do not overflow");
        assert!(end <= self.shape.irqs(set.irq), "the interrupts exist");
        let data = match &set.data {
            IrqData::None => 0,
            IrqData::Bools(bools) => bools.len(),
            IrqData::Eventfds(fds) => fds.len(),
        };
        assert!(data == 0 || data == set.count as usize, "there are data for each interrupt, or none");
        Ok(())
    }

    fn reset(&mut self) {}

    fn dma_refused(&mut self, address: u64, _errno: Errno) {
        assert_eq!(address, 0x802_0040, "what is refused was sent");
    }
}
