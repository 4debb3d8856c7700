//! Physical Region Pages: where in host memory the data of a command is (NVM Express 1.4, 4.3).

use super::layout::{Status, Submission};
use super::port::{Port, Refused};

impl From<Refused> for Status {
    fn from(_: Refused) -> Self {
        Self::DATA_TRANSFER_ERROR
    }
}

/// The bytes of one command in host memory, from the first to the last.
#[derive(Debug)]
pub(super) struct Prps<'a> {
    page: u64,
    /// Bytes not yet moved.
    left: u64,
    /// Where the rest of the page in use is.
    iova: u64,
    /// Bytes of that rest.
    piece: u64,
    /// PRP2, and whether the first page is still in use.
    second: u64,
    first: bool,
    /// Entries of a list page: the bytes `at..end`, and where the list goes on.
    list: &'a mut [u8],
    at: usize,
    end: usize,
    chain: u64,
}

impl<'a> Prps<'a> {
    /// The `len` bytes that PRP1 and PRP2 describe, in pages of `page` bytes. `list` has room for a list page.
    ///
    /// # Errors
    /// PRP Offset Invalid: PRP1 is between dwords.
    pub(super) fn new(command: &Submission, len: u64, page: u64, list: &'a mut [u8]) -> Result<Self, Status> {
        let iova = command.prp1();
        if !iova.is_multiple_of(4) {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        let piece = len.min(page - iova % page);
        let second = command.prp2();
        Ok(Self { page, left: len, iova, piece, second, first: true, list, at: 0, end: 0, chain: 0 })
    }

    /// Reads the next bytes from host memory.
    ///
    /// # Errors
    /// Data Transfer Error, PRP Offset Invalid.
    pub(super) fn read<P: Port + ?Sized>(&mut self, mut into: &mut [u8], port: &mut P) -> Result<(), Status> {
        while !into.is_empty() {
            let (iova, len) = self.take(into.len(), port)?;
            let (now, later) = into.split_at_mut(len);
            port.dma_read(iova, now)?;
            into = later;
        }
        Ok(())
    }

    /// Writes the next bytes to host memory.
    ///
    /// # Errors
    /// Data Transfer Error, PRP Offset Invalid.
    pub(super) fn write<P: Port + ?Sized>(&mut self, mut from: &[u8], port: &mut P) -> Result<(), Status> {
        while !from.is_empty() {
            let (iova, len) = self.take(from.len(), port)?;
            let (now, later) = from.split_at(len);
            port.dma_write(iova, now)?;
            from = later;
        }
        Ok(())
    }

    /// Address and length of the next bytes, at most `most` of them and within a page.
    fn take<P: Port + ?Sized>(&mut self, most: usize, port: &mut P) -> Result<(u64, usize), Status> {
        if self.piece == 0 {
            self.iova = self.next_page(port)?;
            self.piece = self.left.min(self.page);
        }
        let len = self.piece.min(most as u64);
        let iova = self.iova;
        self.iova += len;
        self.piece -= len;
        self.left -= len;
        Ok((iova, len as usize))
    }

    fn next_page<P: Port + ?Sized>(&mut self, port: &mut P) -> Result<u64, Status> {
        let page = if self.first && self.left <= self.page {
            self.second
        } else {
            if self.first {
                if !self.second.is_multiple_of(8) {
                    return Err(Status::PRP_OFFSET_INVALID);
                }
                self.chain = self.second;
            }
            self.next_entry(port)?
        };
        self.first = false;
        if !page.is_multiple_of(self.page) {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        Ok(page)
    }

    /// The next entry of the list. A list page that is used up ends in the address of the next.
    fn next_entry<P: Port + ?Sized>(&mut self, port: &mut P) -> Result<u64, Status> {
        while self.at == self.end {
            let room = (self.page - self.chain % self.page) / 8;
            let pages = self.left.div_ceil(self.page);
            let bytes = 8 * room.min(pages) as usize;
            port.dma_read(self.chain, &mut self.list[..bytes])?;
            (self.at, self.end) = (0, bytes);
            if pages > room {
                self.end -= 8;
                self.chain = entry(self.list, self.end);
                if !self.chain.is_multiple_of(self.page) {
                    return Err(Status::PRP_OFFSET_INVALID);
                }
            }
        }
        self.at += 8;
        Ok(entry(self.list, self.at - 8))
    }
}

fn entry(list: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(list[at..at + 8].try_into().expect("eight bytes"))
}
