//! What each command does.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tracing::debug;

use super::connection::{Closed, Limits};
use super::function::{DmaFile, DmaRange, Function, Irq, IrqAction, IrqData, Region, SetIrqs, Shape};
use super::inbound::Message;
use super::outbound::Outbound;
use super::version::{self, PAGE, Peer};
use super::wire::{
    Command, DeviceInfo, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess, RegionInfo, flag,
};

/// What is known of a client, and the checks in front of its function.
#[derive(Debug)]
pub(super) struct Session {
    shape: Shape,
    limits: Limits,
    /// Known since VERSION.
    peer: Option<Peer>,
    /// Mapped DMA ranges by their address. They do not overlap.
    maps: BTreeMap<u64, DmaRange>,
}

impl Session {
    pub(super) fn new(shape: Shape, limits: Limits) -> Self {
        Self { shape, limits, peer: None, maps: BTreeMap::new() }
    }

    /// The most data the client takes in one message; `None` in front of VERSION.
    pub(super) fn transfer(&self) -> Option<u64> {
        self.peer.map(|peer| peer.transfer)
    }

    /// Serves a message.
    pub(super) fn serve<F: Function + ?Sized>(
        &mut self,
        message: Message<'_>,
        out: &mut Outbound,
        function: &mut F,
    ) -> Result<(), Closed> {
        let Message { header, payload, fds } = message;
        let command = header.command();
        if header.is_reply() {
            return take_reply(&header, out, function);
        }
        if self.peer.is_none() {
            return self.greet(&header, payload, out);
        }
        let result = out.reply(&header, |reply| self.request(command, payload, fds, reply, function));
        match result {
            Err(Errno::OPNOTSUPP) if header.is_posted() && !is_served(command) => {
                Err(Closed::Unsupported { command })
            }
            Err(errno) => {
                debug!(%command, %errno, posted = header.is_posted(), "refused");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Unmaps everything.
    pub(super) fn release<F: Function + ?Sized>(&mut self, function: &mut F) {
        while let Some((_, range)) = self.maps.pop_first() {
            function.dma_unmap(range);
        }
    }

    /// The first message: VERSION, or the end.
    fn greet(&mut self, header: &Header, payload: &[u8], out: &mut Outbound) -> Result<(), Closed> {
        let command = header.command();
        let mut closed = Closed::NoVersion { command };
        let refused = out.reply(header, |reply| {
            if command == Command::VERSION {
                match version::negotiate(payload, &self.limits, reply) {
                    Ok(peer) => {
                        self.peer = Some(peer);
                        return Ok(());
                    }
                    Err(why) => closed = Closed::BadVersion(why),
                }
            }
            Err(Errno::INVAL)
        });
        refused.map_err(|_| closed)
    }

    fn request<F: Function + ?Sized>(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: Vec<OwnedFd>,
        reply: &mut Vec<u8>,
        function: &mut F,
    ) -> Result<(), Errno> {
        if !fds.is_empty() && !matches!(command, Command::DMA_MAP | Command::DEVICE_SET_IRQS) {
            return Err(Errno::INVAL);
        }
        match command {
            Command::DMA_MAP => self.dma_map(payload, fds, function),
            Command::DMA_UNMAP => self.dma_unmap(payload, reply, function),
            Command::DEVICE_GET_INFO => get_info(payload, reply),
            Command::DEVICE_GET_REGION_INFO => self.get_region_info(payload, reply),
            Command::DEVICE_GET_IRQ_INFO => self.get_irq_info(payload, reply),
            Command::DEVICE_SET_IRQS => function.set_irqs(self.irq_set(payload, fds)?),
            Command::REGION_READ => self.region_read(payload, reply, function),
            Command::REGION_WRITE => self.region_write(payload, reply, function),
            Command::DEVICE_RESET => {
                function.reset();
                Ok(())
            }
            Command::VERSION => Err(Errno::INVAL),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    fn dma_map<F: Function + ?Sized>(
        &mut self,
        payload: &[u8],
        mut fds: Vec<OwnedFd>,
        function: &mut F,
    ) -> Result<(), Errno> {
        let map = DmaMap::decode(payload).ok_or(Errno::INVAL)?;
        let end = map.address.checked_add(map.size).ok_or(Errno::OVERFLOW)?;
        map.offset.checked_add(map.size).ok_or(Errno::OVERFLOW)?;
        let aligned = map.size.is_multiple_of(PAGE) && map.address.is_multiple_of(PAGE);
        if map.size == 0 || !aligned || map.flags & !0b11 != 0 || fds.len() > 1 {
            return Err(Errno::INVAL);
        }
        let below = self.maps.range(..end).next_back();
        if below.is_some_and(|(address, range)| address + range.size > map.address) {
            return Err(Errno::EXIST);
        }
        if self.maps.len() >= self.limits.dma_maps {
            return Err(Errno::NOSPC);
        }
        let range = DmaRange {
            address: map.address,
            size: map.size,
            readable: map.flags & 1 != 0,
            writable: map.flags & 2 != 0,
        };
        function.dma_map(range, fds.pop().map(|fd| DmaFile { fd, offset: map.offset }))?;
        self.maps.insert(map.address, range);
        Ok(())
    }

    fn dma_unmap<F: Function + ?Sized>(
        &mut self,
        payload: &[u8],
        reply: &mut Vec<u8>,
        function: &mut F,
    ) -> Result<(), Errno> {
        const DIRTY_BITMAP: u32 = 1;
        const ALL: u32 = 2;
        let unmap = DmaUnmap::decode(payload).ok_or(Errno::INVAL)?;
        match unmap.flags {
            0 => {
                let mapped = self.maps.get(&unmap.address).ok_or(Errno::NOENT)?;
                if mapped.size != unmap.size {
                    return Err(Errno::INVAL);
                }
                function.dma_unmap(*mapped);
                self.maps.remove(&unmap.address);
            }
            ALL if unmap.address == 0 && unmap.size == 0 => self.release(function),
            flags if flags & DIRTY_BITMAP != 0 => return Err(Errno::OPNOTSUPP),
            _ => return Err(Errno::INVAL),
        }
        reply.extend_from_slice(&DmaUnmap { argsz: DmaUnmap::SIZE as u32, ..unmap }.encode());
        Ok(())
    }

    fn get_region_info(&self, payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Errno> {
        let asked = RegionInfo::decode(payload).ok_or(Errno::INVAL)?;
        if asked.index >= Region::COUNT || (asked.argsz as usize) < RegionInfo::SIZE {
            return Err(Errno::INVAL);
        }
        let size = Region::from_index(asked.index).map_or(0, |region| self.shape.bytes(region));
        let info = RegionInfo {
            argsz: RegionInfo::SIZE as u32,
            flags: if size == 0 { 0 } else { 0b11 },
            index: asked.index,
            cap_offset: 0,
            size,
            offset: 0,
        };
        reply.extend_from_slice(&info.encode());
        Ok(())
    }

    fn get_irq_info(&self, payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Errno> {
        const EVENTFD: u32 = 1;
        const MASKABLE: u32 = 2;
        const AUTOMASKED: u32 = 4;
        const NORESIZE: u32 = 8;
        let asked = IrqInfo::decode(payload).ok_or(Errno::INVAL)?;
        let irq = Irq::from_index(asked.index).ok_or(Errno::INVAL)?;
        if (asked.argsz as usize) < IrqInfo::SIZE {
            return Err(Errno::INVAL);
        }
        let flags = match irq {
            Irq::Intx => EVENTFD | MASKABLE | AUTOMASKED,
            Irq::Msi | Irq::Msix => EVENTFD | NORESIZE,
            Irq::Err | Irq::Req => EVENTFD,
        };
        let info =
            IrqInfo { argsz: IrqInfo::SIZE as u32, flags, index: asked.index, count: self.shape.irqs(irq) };
        reply.extend_from_slice(&info.encode());
        Ok(())
    }

    /// Checks a DEVICE_SET_IRQS.
    fn irq_set(&self, payload: &[u8], fds: Vec<OwnedFd>) -> Result<SetIrqs, Errno> {
        const NONE: u32 = 1;
        const BOOL: u32 = 2;
        const EVENTFD: u32 = 4;
        let IrqSet { flags, index, start, count, .. } = IrqSet::decode(payload).ok_or(Errno::INVAL)?;
        let irq = Irq::from_index(index).ok_or(Errno::INVAL)?;
        let action = match flags & !0b111 {
            0x08 => IrqAction::Mask,
            0x10 => IrqAction::Unmask,
            0x20 => IrqAction::Trigger,
            _ => return Err(Errno::INVAL),
        };
        let kind = flags & 0b111;
        let all = kind == NONE && start == 0 && count == 0;
        let end = start.checked_add(count).ok_or(Errno::OVERFLOW)?;
        if !all && (count == 0 || end > self.shape.irqs(irq)) {
            return Err(Errno::INVAL);
        }
        let meant = count as usize;
        let data = match kind {
            NONE if fds.is_empty() => IrqData::None,
            BOOL if fds.is_empty() => {
                let bytes = payload[IrqSet::SIZE..].get(..meant).ok_or(Errno::INVAL)?;
                IrqData::Bools(bytes.iter().map(|byte| *byte != 0).collect())
            }
            EVENTFD if fds.is_empty() || fds.len() == meant => IrqData::Eventfds(fds),
            _ => return Err(Errno::INVAL),
        };
        Ok(SetIrqs { irq, start, count, action, data })
    }

    /// Checks that an access lies in a region.
    fn access(&self, payload: &[u8]) -> Result<(RegionAccess, Region), Errno> {
        let access = RegionAccess::decode(payload).ok_or(Errno::INVAL)?;
        let region = Region::from_index(access.region).ok_or(Errno::INVAL)?;
        let end = access.offset.checked_add(access.count.into()).ok_or(Errno::INVAL)?;
        if access.count == 0 || end > self.shape.bytes(region) {
            return Err(Errno::INVAL);
        }
        if access.count as usize > self.limits.transfer {
            return Err(Errno::TOOBIG);
        }
        Ok((access, region))
    }

    fn region_read<F: Function + ?Sized>(
        &self,
        payload: &[u8],
        reply: &mut Vec<u8>,
        function: &mut F,
    ) -> Result<(), Errno> {
        let (access, region) = self.access(payload)?;
        reply.extend_from_slice(&access.encode());
        let data = reply.len();
        reply.resize(data + access.count as usize, 0);
        function.region_read(region, access.offset, &mut reply[data..])
    }

    fn region_write<F: Function + ?Sized>(
        &self,
        payload: &[u8],
        reply: &mut Vec<u8>,
        function: &mut F,
    ) -> Result<(), Errno> {
        let (access, region) = self.access(payload)?;
        let data = &payload[RegionAccess::SIZE..];
        if data.len() != access.count as usize {
            return Err(Errno::INVAL);
        }
        function.region_write(region, access.offset, data)?;
        reply.extend_from_slice(&access.encode());
        Ok(())
    }
}

/// Whether a command means anything here.
fn is_served(command: Command) -> bool {
    matches!(
        command,
        Command::VERSION
            | Command::DMA_MAP
            | Command::DMA_UNMAP
            | Command::DEVICE_GET_INFO
            | Command::DEVICE_GET_REGION_INFO
            | Command::DEVICE_GET_IRQ_INFO
            | Command::DEVICE_SET_IRQS
            | Command::REGION_READ
            | Command::REGION_WRITE
            | Command::DEVICE_RESET
    )
}

fn get_info(payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Errno> {
    const RESET: u32 = 1;
    const PCI: u32 = 2;
    let asked = DeviceInfo::decode(payload).ok_or(Errno::INVAL)?;
    if (asked.argsz as usize) < DeviceInfo::SIZE {
        return Err(Errno::INVAL);
    }
    let info = DeviceInfo {
        argsz: DeviceInfo::SIZE as u32,
        flags: RESET | PCI,
        regions: Region::COUNT,
        irqs: Irq::ALL.len() as u32,
    };
    reply.extend_from_slice(&info.encode());
    Ok(())
}

/// A reply to a command of ours: QEMU reports failure even of those that wanted no reply.
fn take_reply<F: Function + ?Sized>(header: &Header, out: &Outbound, function: &mut F) -> Result<(), Closed> {
    let command = header.command();
    if command != Command::DMA_WRITE || !out.has_sent(header.id) {
        return Err(Closed::UnknownReply { id: header.id, command });
    }
    if header.flags & flag::ERROR != 0 {
        let errno = errno(header.error);
        if let Some(address) = out.address_of(header.id) {
            function.dma_refused(address, errno);
        }
    }
    Ok(())
}

/// The errno of an error reply; EIO if it is none, and the specification lets it be zero.
fn errno(error: u32) -> Errno {
    const LAST: i32 = 4095;
    match i32::try_from(error) {
        Ok(code @ 1..=LAST) => Errno::from_raw_os_error(code),
        _ => Errno::IO,
    }
}
