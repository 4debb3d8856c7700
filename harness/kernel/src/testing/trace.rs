//! Software's accesses to a CMDQV in the order of the bus, values included, as text with a line an access.

use std::collections::BTreeMap;
use std::fmt::Write;

use models::bus::{Op, Requester, Response, Transaction};
use spec::cmdqv::Place;
use spec::cmdqv::config::PARAM;

/// What has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A read, and what it gave. A register that is read again and again is seen once, with what it gave last.
    Read { offset: u64, len: u8, value: u64 },
    /// A write.
    Write { offset: u64, len: u8, value: u64 },
    /// CONS of the SMMU's own queue has passed a CMD_SYNC.
    Sync,
    /// An edge of the CMDQV's interrupt.
    Edge,
}

/// Accesses so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    seen: Vec<Seen>,
    /// Reads that are not answered, by CPU and tag.
    open: BTreeMap<(u16, u32), usize>,
}

impl Trace {
    pub(crate) fn push(&mut self, seen: Seen) {
        self.seen.push(seen);
    }
    /// A CPU accesses the CMDQV.
    pub(crate) fn asked(&mut self, offset: u64, transaction: &Transaction) {
        let Requester::Cpu(cpu) = transaction.from else { return };
        match transaction.op {
            Op::Read { len } => {
                self.open.insert((cpu, transaction.tag), self.seen.len());
                self.seen.push(Seen::Read { offset, len, value: 0 });
            }
            Op::Write(data) => {
                self.seen.push(Seen::Write { offset, len: data.len() as u8, value: data.value() });
            }
            Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_) => {
                panic!("drivers use no atomics on registers")
            }
        }
    }
    /// Something is answered: perhaps one of the reads.
    pub(crate) fn answered(&mut self, response: &Response) {
        if let Requester::Cpu(cpu) = response.to
            && let Some(at) = self.open.remove(&(cpu, response.tag))
            && let Seen::Read { value, .. } = &mut self.seen[at]
        {
            *value = response.result.expect("the CMDQV answers").value();
        }
    }
    /// What has been seen since the last call.
    pub(crate) fn take(&mut self) -> Vec<Seen> {
        assert!(self.open.is_empty(), "every read is answered");
        only(&std::mem::take(&mut self.seen), |_| true)
    }
}

/// What is wanted of it; reads of one register that then follow each other are one.
pub(crate) fn only(seen: &[Seen], wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    let mut kept: Vec<Seen> = Vec::new();
    for seen in seen.iter().filter(|seen| wanted(seen)) {
        let again = match (kept.last(), seen) {
            (Some(Seen::Read { offset: a, .. }), Seen::Read { offset: b, .. }) => a == b,
            _ => false,
        };
        if again {
            kept.pop();
        }
        kept.push(*seen);
    }
    kept
}

/// A line an access: what, offset, name, value.
pub(crate) fn text(seen: &[Seen], param: PARAM) -> String {
    let mut out = String::new();
    for seen in seen {
        let (what, offset, len, value) = match *seen {
            Seen::Read { offset, len, value } => ("R", offset, len, value),
            Seen::Write { offset, len, value } => ("W", offset, len, value),
            Seen::Sync => {
                out.push_str("        (CMD_SYNC of the SMMU's own queue)\n");
                continue;
            }
            Seen::Edge => {
                out.push_str("        (edge)\n");
                continue;
            }
        };
        let place = Place::decode(offset, param);
        let (bits, digits) = if len == 8 { ("64", 16) } else { ("  ", 8) };
        let _ = writeln!(out, "{what}{bits} 0x{offset:06x} {place} = 0x{value:0digits$x}");
    }
    out
}
