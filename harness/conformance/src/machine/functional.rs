//! A pSMMU that answers at once.

use std::collections::BTreeMap;

use models::bus::{Abort, Data, LINE, Op, PhysAddr};
use models::dma::{AddressType, AtcInvalidate, DmaRequest, DmaResult, PageResponse};
use models::functional::{DmaError, Fate, FunctionalSmmu, Stream, Surroundings};
use models::psmmu::PsmmuConfig;
use models::record::Record;
use models::smmu::Attributes;
use sim::Time;
use spec::smmu::PageRequest;

use super::{Machine, World};

pub(super) struct Functional {
    smmu: FunctionalSmmu,
    /// Requests that are stalled, by the ticket of their stall.
    stalled: BTreeMap<u64, DmaRequest>,
}

impl Surroundings for World {
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        Self::compare_swap(self, addr, expected, new)
    }
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        Self::read(self, addr, into)
    }
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        Self::write(self, addr, bytes)
    }
    fn table_read(&mut self, addr: PhysAddr, _: &[u8], attributes: impl FnOnce() -> Attributes) {
        self.accessed(addr, attributes());
    }
    fn edge(&mut self, intid: u32) {
        self.edges.push(intid);
    }
    fn invalidate_atc(&mut self, invalidate: AtcInvalidate) -> bool {
        self.invalidations.push(invalidate);
        !self.is_mute(&invalidate)
    }
    fn page_response(&mut self, response: PageResponse) {
        self.page_responses.push(response);
    }
    fn now(&self) -> Time {
        Time::ZERO
    }
    fn record(&mut self, record: Record) {
        if let Record::DmaTranslated { pa, attributes, .. } = record {
            self.accessed(pa, attributes);
        }
        self.note(record);
    }
}

impl Functional {
    pub(super) fn new(config: PsmmuConfig) -> Self {
        let smmu = FunctionalSmmu::new(config).expect("what the ID registers promise is modelled");
        Self { smmu, stalled: BTreeMap::new() }
    }

    /// What became of a request; nothing yet if it is stalled.
    fn answer(&mut self, request: &DmaRequest, world: &mut World) -> Option<DmaResult> {
        let translated = request.kind == AddressType::Translated;
        let DmaRequest { sid, ssid, unsupported, incoming, .. } = *request;
        let stream = Stream { sid, ssid, translated, unsupported, incoming };
        if let AddressType::TranslationRequest { write } = request.kind {
            return Some(self.smmu.translation_request(stream, request.addr, write, world).result());
        }
        let result = match request.op {
            Op::Write(data) => {
                self.smmu.dma_write(stream, request.addr, data.bytes(), world).map(|()| Data::EMPTY)
            }
            op => {
                let mut bytes = [0; LINE];
                let into = &mut bytes[..op.len()];
                self.smmu.dma_read(stream, request.addr, into, world).map(|()| Data::new(&bytes[..op.len()]))
            }
        };
        match result {
            Ok(data) => Some(DmaResult::Ok(data)),
            Err(DmaError::Aborted { .. }) => Some(DmaResult::Aborted(Abort)),
            Err(DmaError::Stalled { ticket, .. }) => {
                self.stalled.insert(ticket, *request);
                None
            }
        }
    }

    /// Goes on with what is no longer stalled.
    fn resume(&mut self, world: &mut World) {
        while let Some(resumed) = self.smmu.resumed() {
            let request = self.stalled.remove(&resumed.ticket).expect("only what stalled is resumed");
            let zeros = match request.op {
                Op::Read { len } => Data::new(&[0; LINE][..len.into()]),
                _ => Data::EMPTY,
            };
            let result = match resumed.fate {
                Fate::Retry => self.answer(&request, world),
                Fate::Abort => Some(DmaResult::Aborted(Abort)),
                Fate::ZeroIgnore => Some(DmaResult::Ok(zeros)),
            };
            world.answers.extend(result.map(|result| (request.tag, result)));
        }
    }
}

impl Machine for Functional {
    fn access(&mut self, addr: PhysAddr, op: Op, world: &mut World) -> Result<Data, Abort> {
        let len = op.len();
        let result = match op {
            Op::Write(data) => self.smmu.write(addr, len as u8, data.value(), world).map(|()| Data::EMPTY),
            _ => {
                let value = self.smmu.read(addr, len as u8, world);
                value.map(|value| Data::new(&value.to_le_bytes()[..len]))
            }
        };
        self.resume(world);
        result
    }

    fn send(&mut self, request: DmaRequest, world: &mut World) {
        let result = self.answer(&request, world);
        world.answers.extend(result.map(|result| (request.tag, result)));
    }

    fn ask_for_page(&mut self, request: PageRequest, world: &mut World) {
        self.smmu.page_request(request, world);
    }

    fn step(&mut self, _: &mut World) -> bool {
        false
    }

    fn inserted_syncs(&self) -> u64 {
        super::inserted_syncs(&self.smmu.metrics())
    }
}
