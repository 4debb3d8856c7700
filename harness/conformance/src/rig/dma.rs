//! Requests of devices, and what may come of them.

use models::bus::{Abort, Data, Op};
use models::dma::{AddressType, DmaRequest, DmaResult, Grant, Incoming};
use models::smmu::Attributes;
use spec::smmu::{EventNumber, EventRecord};

use super::{Rig, same};
use crate::suite::Check;

/// Eight bytes, by default of stream 1 without SubstreamID; or a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dma {
    sid: u32,
    ssid: Option<u32>,
    addr: u64,
    write: bool,
    kind: AddressType,
    unsupported: bool,
    incoming: Incoming,
}

impl Dma {
    pub(crate) const fn read(addr: u64) -> Self {
        Self {
            sid: 1,
            ssid: None,
            addr,
            write: false,
            kind: AddressType::Untranslated,
            unsupported: false,
            incoming: Incoming::DEFAULT,
        }
    }
    pub(crate) const fn write(addr: u64) -> Self {
        Self { write: true, ..Self::read(addr) }
    }
    /// An ATS request for reads; `write` asks for writes as well (NW=0).
    pub(crate) const fn ats(addr: u64, write: bool) -> Self {
        Self { kind: AddressType::TranslationRequest { write }, ..Self::read(addr) }
    }
    /// Of another stream.
    pub(crate) const fn of(self, sid: u32) -> Self {
        Self { sid, ..self }
    }
    /// With a SubstreamID.
    pub(crate) const fn pasid(self, ssid: u32) -> Self {
        Self { ssid: Some(ssid), ..self }
    }
    /// Of a kind that the SMMU does not support.
    pub(crate) const fn unsupported(self) -> Self {
        Self { unsupported: true, ..self }
    }
    /// Privileged: PnU=1.
    pub(crate) const fn privileged(self) -> Self {
        Self { incoming: Incoming { privileged: true, ..self.incoming }, ..self }
    }
    /// Said to be an instruction fetch: InD=1.
    pub(crate) const fn instruction(self) -> Self {
        Self { incoming: Incoming { instruction: true, ..self.incoming }, ..self }
    }
    /// With memory attributes of its own.
    pub(crate) const fn to(self, memory: Attributes) -> Self {
        Self { incoming: Incoming { memory, ..self.incoming }, ..self }
    }
    /// To an address that came from ATS.
    pub(crate) const fn translated(self) -> Self {
        Self { kind: AddressType::Translated, ..self }
    }
}

/// The record of a fault of stream 1 at stage 1, of an unprivileged data read.
pub(crate) const fn fault(number: EventNumber, addr: u64) -> EventRecord {
    EventRecord::translation(number, 1, None, addr, false)
}

impl Rig {
    /// Sends a request and goes on. Says its tag.
    pub(crate) fn start(&mut self, dma: Dma) -> u32 {
        self.tag += 1;
        self.value += 1;
        let op = if dma.write { Op::Write(Data::u64(self.value)) } else { Op::Read { len: 8 } };
        let Dma { sid, ssid, addr, kind, unsupported, incoming, .. } = dma;
        let tag = self.tag;
        let incoming = if self.world.bare_wires { Incoming::DEFAULT } else { incoming };
        let request = DmaRequest { endpoint: 0, tag, sid, ssid, addr, kind, op, unsupported, incoming };
        let (machine, world) = self.machine();
        machine.send(request, world);
        self.tag
    }
    /// The answer to the request with this tag, if there is one yet.
    pub(crate) fn answer(&self, tag: u32) -> Option<DmaResult> {
        self.world.answers.get(&tag).copied()
    }
    /// Sends a request and waits until nothing happens any more.
    pub(crate) fn dma(&mut self, dma: Dma) -> Result<DmaResult, String> {
        let tag = self.start(dma);
        self.run();
        self.answer(tag).ok_or_else(|| format!("{dma:x?} is not answered"))
    }
    /// The answer to a request must be this.
    pub(crate) fn answers(&mut self, tag: u32, expected: DmaResult) -> Check {
        self.run();
        match self.answer(tag) {
            Some(result) if result == expected => Ok(()),
            seen => Err(format!("the answer is {seen:x?}, expected {expected:x?}")),
        }
    }

    /// A request must reach physical address `pa`, and leave no record.
    pub(crate) fn reaches(&mut self, dma: Dma, pa: u64) -> Check {
        self.arrives(dma, pa)?;
        self.recorded(&[])
    }
    fn arrives(&mut self, dma: Dma, pa: u64) -> Check {
        let there = 0x1234_0000_0000_0000 | pa;
        self.poke(pa, there);
        let result = self.dma(dma)?;
        if dma.write {
            let (seen, expected) = (self.peek(pa), self.value);
            if result != DmaResult::Ok(Data::EMPTY) || seen != expected {
                return Err(format!(
                    "{dma:x?}: {result:x?}, {seen:x} at {pa:x}, expected {expected:x} there"
                ));
            }
        } else if result != DmaResult::Ok(Data::u64(there)) {
            return Err(format!("{dma:x?}: {result:x?}, expected {there:x} from {pa:x}"));
        }
        Ok(())
    }
    /// A request must reach `pa` with these memory attributes, and leave no record.
    pub(crate) fn reaches_as(&mut self, dma: Dma, pa: u64, attributes: Attributes) -> Check {
        self.reaches(dma, pa)?;
        self.accessed_as(pa, attributes)
    }
    /// The last access of the SMMU to this address must have had these memory attributes.
    pub(crate) fn accessed_as(&self, addr: u64, attributes: Attributes) -> Check {
        let seen = self.world.attributes.get(&addr).copied();
        same(&format!("how {addr:x} was accessed"), seen, Some(attributes))
    }
    /// A request must be aborted and leave exactly these records.
    pub(crate) fn aborts(&mut self, dma: Dma, records: &[EventRecord]) -> Check {
        let result = self.dma(dma)?;
        if result != DmaResult::Aborted(Abort) {
            return Err(format!("{dma:x?}: {result:x?}, expected an abort"));
        }
        self.recorded(records)
    }
    /// A request must end well without effect: a read sees zeros, a write changes nothing at `pa`.
    pub(crate) fn ignored(&mut self, dma: Dma, pa: u64, records: &[EventRecord]) -> Check {
        self.poke(pa, 0x77);
        let result = self.dma(dma)?;
        let nothing = if dma.write { Data::EMPTY } else { Data::u64(0) };
        if result != DmaResult::Ok(nothing) || self.peek(pa) != 0x77 {
            let now = self.peek(pa);
            return Err(format!("{dma:x?}: {result:x?}, {now:x} at {pa:x}, expected no effect"));
        }
        self.recorded(records)
    }
    /// A request must either reach `pa` or be aborted; records are taken. True if it reached.
    pub(crate) fn may_reach(&mut self, dma: Dma, pa: u64) -> Result<bool, String> {
        let reached = self.arrives(dma, pa);
        let tag = self.tag;
        self.records();
        match self.answer(tag) {
            Some(DmaResult::Aborted(_)) => Ok(false),
            _ => reached.map(|()| true),
        }
    }
    /// A request must wait for CMD_RESUME and leave one record, this one with some STAG. Says the tag and the STAG.
    pub(crate) fn stalls(&mut self, dma: Dma, record: EventRecord) -> Result<(u32, u16), String> {
        let tag = self.start(dma);
        self.run();
        if let Some(result) = self.answer(tag) {
            return Err(format!("{dma:x?}: {result:x?}, expected no answer"));
        }
        let records = self.records();
        let [seen] = records[..] else {
            return Err(format!("{} records, expected one", records.len()));
        };
        let stag = seen.stag();
        let expected = record.with_stall(true).with_stag(stag);
        if seen != expected {
            return Err(format!("recorded: {seen}, expected {expected}"));
        }
        Ok((tag, stag as u16))
    }

    /// A translation request must be answered by a translation with these permissions. Says where to, and log2 of the size.
    pub(crate) fn grants(&mut self, dma: Dma, permissions: (bool, bool)) -> Result<(u64, u8), String> {
        let Grant { pa, size_log2, read, write, .. } = self.granted(dma)?;
        if (read, write) != permissions {
            return Err(format!("{dma:x?}: R, W are {:?}, expected {permissions:?}", (read, write)));
        }
        Ok((pa, size_log2))
    }
    /// A translation request must be answered by a translation, and leave no record. Says by which.
    pub(crate) fn granted(&mut self, dma: Dma) -> Result<Grant, String> {
        let result = self.dma(dma)?;
        let DmaResult::Translation(grant) = result else {
            return Err(format!("{dma:x?}: {result:x?}, expected a translation"));
        };
        self.recorded(&[])?;
        Ok(grant)
    }
    /// A translation request must be answered like this and leave these records.
    pub(crate) fn denies(&mut self, dma: Dma, expected: DmaResult, records: &[EventRecord]) -> Check {
        let result = self.dma(dma)?;
        if result != expected {
            return Err(format!("{dma:x?}: {result:x?}, expected {expected:x?}"));
        }
        self.recorded(records)
    }
}
