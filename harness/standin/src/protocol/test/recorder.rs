//! A function, and a board of them, that write down what happens to them.

use std::time::Duration;

use rustix::io::Errno;

use crate::protocol::{
    Board, Closed, DmaFile, DmaRange, Function, Idle, IrqData, Outbox, Place, Region, SetIrqs,
};

/// Reads bytes that tell their offset; refuses what touches [`Recorder::BROKEN`].
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) log: Vec<String>,
}

impl Recorder {
    /// Accesses that begin here fail.
    pub(super) const BROKEN: u64 = 0xbad;

    /// What happened since the last call, a line each.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.log).join("; ")
    }

    fn note(&mut self, line: String) {
        self.log.push(line);
    }
}

impl Function for Recorder {
    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.note(format!("read {region:?}+{offset:#x} {}", data.len()));
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = (offset as usize + index) as u8;
        }
        if offset == Self::BROKEN { Err(Errno::IO) } else { Ok(()) }
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.note(format!("write {region:?}+{offset:#x} {data:x?}"));
        if offset == Self::BROKEN { Err(Errno::IO) } else { Ok(()) }
    }

    fn dma_map(&mut self, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno> {
        let access = match (range.readable, range.writable) {
            (true, true) => "rw",
            (true, false) => "r",
            (false, true) => "w",
            (false, false) => "-",
        };
        let file = file.map_or("no file".into(), |file| format!("file+{:#x}", file.offset));
        self.note(format!("map {:#x} {:#x} {access} {file}", range.address, range.size));
        if range.address == Self::BROKEN << 12 { Err(Errno::NOMEM) } else { Ok(()) }
    }

    fn dma_unmap(&mut self, range: DmaRange) {
        self.note(format!("unmap {:#x} {:#x}", range.address, range.size));
    }

    fn set_irqs(&mut self, set: SetIrqs) -> Result<(), Errno> {
        let data = match set.data {
            IrqData::None => "none".into(),
            IrqData::Bools(bools) => format!("{bools:?}"),
            IrqData::Eventfds(fds) => format!("{} eventfds", fds.len()),
        };
        self.note(format!("{:?} {:?} {}+{} {data}", set.action, set.irq, set.start, set.count));
        Ok(())
    }

    fn reset(&mut self) {
        self.note("reset".into());
    }

    fn dma_refused(&mut self, address: u64, errno: Errno) {
        self.note(format!("refused {address:#x} {}", errno.raw_os_error()));
    }
}

/// Several recorders. A write to BAR 0 of the first sends its data as DMA_WRITEs of both, to the offset as address;
/// a write to BAR 0 of the second does so when nothing else waits.
#[derive(Debug, Default)]
pub(super) struct Bench {
    pub(super) functions: [Recorder; 2],
    pub(super) arrivals: Vec<(usize, Duration)>,
    owed: Option<(u64, Vec<u8>)>,
}

impl Board for Bench {
    fn arrival(&mut self, function: usize, now: Duration) {
        self.arrivals.push((function, now));
    }

    fn region_read(&mut self, place: Place, data: &mut [u8], _outbox: &mut Outbox) -> Result<(), Errno> {
        self.functions[place.function].region_read(place.region, place.offset, data)
    }

    fn region_write(&mut self, place: Place, data: &[u8], outbox: &mut Outbox) -> Result<(), Errno> {
        if place.function == 0 && place.region == Region::Bar(0) {
            outbox.dma_write(1, place.offset, data);
            outbox.dma_write(0, place.offset, data);
        }
        if place.function == 1 && place.region == Region::Bar(0) {
            self.owed = Some((place.offset, data.to_vec()));
        }
        self.functions[place.function].region_write(place.region, place.offset, data)
    }

    fn dma_map(&mut self, function: usize, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno> {
        self.functions[function].dma_map(range, file)
    }

    fn dma_unmap(&mut self, function: usize, range: DmaRange) {
        self.functions[function].dma_unmap(range);
    }

    fn set_irqs(&mut self, function: usize, set: SetIrqs) -> Result<(), Errno> {
        self.functions[function].set_irqs(set)
    }

    fn reset(&mut self, function: usize, _outbox: &mut Outbox) {
        self.functions[function].reset();
    }

    fn dma_refused(&mut self, function: usize, address: u64, errno: Errno) {
        self.functions[function].dma_refused(address, errno);
    }

    fn connected(&mut self, function: usize) {
        self.functions[function].note("connected".into());
    }

    fn disconnected(&mut self, function: usize, why: &Closed) {
        self.functions[function].note(format!("disconnected: {why}"));
    }

    fn idle(&mut self, _now: Duration, outbox: &mut Outbox) -> Idle {
        if let Some((address, data)) = self.owed.take() {
            outbox.dma_write(0, address, &data);
            outbox.dma_write(1, address, &data);
        }
        Idle::Sleep
    }
}
