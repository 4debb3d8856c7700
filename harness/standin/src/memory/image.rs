//! Memory as a player has it: what the models wrote, and what they were told.

use std::collections::{HashMap, HashSet};

use super::Saw;

/// Bytes of a page of the image.
pub const PAGE: usize = 4096;

/// Sparse memory; what was never written is zero.
#[derive(Debug, Default)]
pub struct Image {
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    /// Pages that the access in progress has used.
    used: HashSet<u64>,
}

impl Image {
    /// An access begins.
    pub(super) fn begin(&mut self) {
        self.used.clear();
    }

    /// Reads.
    pub(super) fn read(&self, addr: u64, into: &mut [u8]) {
        for (page, offset, range) in pieces(addr, into.len()) {
            let part = &mut into[range];
            match self.pages.get(&page) {
                Some(held) => part.copy_from_slice(&held[offset..offset + part.len()]),
                None => part.fill(0),
            }
        }
    }

    /// Writes.
    pub(super) fn write(&mut self, addr: u64, bytes: &[u8]) {
        for (page, offset, range) in pieces(addr, bytes.len()) {
            self.used.insert(page);
            let part = &bytes[range];
            self.page(page)[offset..offset + part.len()].copy_from_slice(part);
        }
    }

    /// Takes over what memory really holds, and tells where that is news. `nth` numbers the memory access.
    pub(super) fn learn(&mut self, addr: u64, bytes: &[u8], nth: u32, news: &mut Vec<Saw>) {
        for (page, offset, range) in pieces(addr, bytes.len()) {
            let first_use = self.used.insert(page);
            let part = &bytes[range.clone()];
            let held = &mut self.page(page)[offset..offset + part.len()];
            let Some(first) = held.iter().zip(part).position(|(a, b)| a != b) else { continue };
            let end = held.iter().zip(part).rposition(|(a, b)| a != b).expect("one differs") + 1;
            held[first..end].copy_from_slice(&part[first..end]);
            // What the access has not used before held from its beginning, as far as it can tell.
            let since = if first_use { 0 } else { nth };
            let addr = addr + (range.start + first) as u64;
            news.push(Saw { since, addr, bytes: part[first..end].to_vec() });
        }
        // A player lets them hold in this order.
        news.sort_by_key(|saw| saw.since);
    }

    fn page(&mut self, page: u64) -> &mut [u8; PAGE] {
        self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]))
    }
}

/// The pages of a range: number, offset within, part of the range.
fn pieces(addr: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let here = addr + at as u64;
        let offset = here as usize % PAGE;
        let n = (PAGE - offset).min(len - at);
        let range = at..at + n;
        at += n;
        Some((here / PAGE as u64, offset, range))
    })
}
