//! NVM commands (NVM Express 1.4, 6).

use super::identify::{ALL_NAMESPACES, NAMESPACE};
use super::layout::{Opcode, Range, Status, Submission};
use super::port::{Port, Storage};
use super::prp::Prps;
use super::{CHUNK, Controller};

/// What comes of a command that does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done; dword 0 of its completion.
    Done(u32),
    /// It ends later.
    Held,
}

/// Done, with nothing to say.
pub(super) const DONE: Result<Outcome, Status> = Ok(Outcome::Done(0));

impl<S: Storage> Controller<S> {
    pub(super) fn io<P: Port + ?Sized>(
        &mut self,
        command: &Submission,
        port: &mut P,
    ) -> Result<Outcome, Status> {
        let opcode = Opcode(command.opcode() as u8);
        if opcode.name().is_none() {
            return Err(Status::INVALID_OPCODE);
        }
        let nsid = command.nsid() as u32;
        if nsid != NAMESPACE && !(nsid == ALL_NAMESPACES && opcode == Opcode::FLUSH) {
            return Err(Status::INVALID_NAMESPACE);
        }
        match opcode {
            Opcode::FLUSH => self.flush()?,
            Opcode::READ => self.read_blocks(command, port)?,
            Opcode::WRITE => self.write_blocks(command, port)?,
            Opcode::COMPARE => self.compare(command, port)?,
            Opcode::WRITE_ZEROES => self.write_zeroes(command)?,
            _ => self.manage(command, port)?,
        }
        DONE
    }

    fn flush(&mut self) -> Result<(), Status> {
        let flushed = self.storage.flush();
        flushed.map_err(|_| self.media_error(Status::WRITE_FAULT))
    }

    /// What a write command owes the host beyond the write: permanence, without a write cache or with FUA.
    fn settle(&mut self, command: &Submission) -> Result<(), Status> {
        if command.fua() || !self.features.write_cache() { self.flush() } else { Ok(()) }
    }

    /// First byte and number of bytes of a range of blocks.
    fn extent(&self, slba: u64, blocks: u64) -> Result<(u64, u64), Status> {
        if slba.checked_add(blocks).is_none_or(|end| end > self.blocks()) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        let block = u64::from(self.config.block_bytes);
        Ok((slba * block, blocks * block))
    }

    /// The same for a command that transfers those blocks.
    fn transfer_extent(&self, command: &Submission) -> Result<(u64, u64), Status> {
        let blocks = command.nlb() + 1;
        self.check_length(blocks * u64::from(self.config.block_bytes))?;
        self.extent(command.slba(), blocks)
    }

    /// MDTS.
    pub(super) fn check_length(&self, len: u64) -> Result<(), Status> {
        let mdts = u32::from(self.config.mdts);
        if mdts > 0 && len > 4096_u64.checked_shl(mdts).unwrap_or(u64::MAX) {
            return Err(Status::INVALID_FIELD);
        }
        Ok(())
    }

    fn read_blocks<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> Result<(), Status> {
        let (at, len) = self.transfer_extent(command)?;
        let mut prps = Prps::new(command, len, self.page, &mut self.buffers.list)?;
        for (at, n) in chunks(at, len) {
            let data = &mut self.buffers.data[..n];
            if self.storage.read(at, data).is_err() {
                return Err(self.media_error(Status::UNRECOVERED_READ_ERROR));
            }
            prps.write(data, port)?;
            self.counters.bytes_read += n as u64;
        }
        Ok(())
    }

    fn write_blocks<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> Result<(), Status> {
        let (at, len) = self.transfer_extent(command)?;
        let mut prps = Prps::new(command, len, self.page, &mut self.buffers.list)?;
        for (at, n) in chunks(at, len) {
            let data = &mut self.buffers.data[..n];
            prps.read(data, port)?;
            if self.storage.write(at, data).is_err() {
                return Err(self.media_error(Status::WRITE_FAULT));
            }
            self.counters.bytes_written += n as u64;
        }
        self.settle(command)
    }

    fn compare<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> Result<(), Status> {
        let (at, len) = self.transfer_extent(command)?;
        let mut prps = Prps::new(command, len, self.page, &mut self.buffers.list)?;
        for (at, n) in chunks(at, len) {
            let (data, other) = (&mut self.buffers.data[..n], &mut self.buffers.other[..n]);
            prps.read(data, port)?;
            if self.storage.read(at, other).is_err() {
                return Err(self.media_error(Status::UNRECOVERED_READ_ERROR));
            }
            if data != other {
                return Err(Status::COMPARE_FAILURE);
            }
        }
        Ok(())
    }

    /// MDTS does not apply, as no data is transferred.
    fn write_zeroes(&mut self, command: &Submission) -> Result<(), Status> {
        let (at, len) = self.extent(command.slba(), command.nlb() + 1)?;
        self.zero(at, len)?;
        self.settle(command)
    }

    fn zero(&mut self, at: u64, len: u64) -> Result<(), Status> {
        let zeroed = self.storage.zero(at, len);
        zeroed.map_err(|_| self.media_error(Status::WRITE_FAULT))
    }

    /// Dataset Management: deallocates; the other attributes are hints that change nothing here.
    fn manage<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> Result<(), Status> {
        let len = (command.nr() as usize + 1) * Range::BYTES;
        let data = &mut self.buffers.data[..len];
        Prps::new(command, len as u64, self.page, &mut self.buffers.list)?.read(data, port)?;
        // The ranges lie at the front of a buffer that nothing below uses.
        let data = std::mem::take(&mut self.buffers.data);
        let done = self.manage_ranges(&data[..len], command.ad());
        self.buffers.data = data;
        done
    }

    /// All ranges are looked at before any is deallocated.
    fn manage_ranges(&mut self, ranges: &[u8], deallocate: bool) -> Result<(), Status> {
        let ranges = || ranges.as_chunks::<{ Range::BYTES }>().0.iter().map(|raw| Range::from_bytes(raw));
        for range in ranges() {
            self.extent(range.slba(), range.nlb())?;
        }
        for range in ranges().filter(|_| deallocate) {
            let (at, len) = self.extent(range.slba(), range.nlb())?;
            self.zero(at, len)?;
        }
        Ok(())
    }
}

/// Cuts `len` bytes from `at` on into pieces of [`CHUNK`]: where and how many.
fn chunks(at: u64, len: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..len).step_by(CHUNK).map(move |done| (at + done, (len - done).min(CHUNK as u64) as usize))
}
