//! The Event queue: interrupts, overflow, aborts.

use spec::smmu::{EventNumber, EventRecord, GlobalError};

use crate::rig::{DATA, Dma, EVENT_LINE, Rig, at, fault, same};
use crate::suite::{Check, Row};

/// A transaction that faults, and its record.
const FAULTING: Dma = Dma::read(0x2000);
const RECORD: EventRecord = fault(EventNumber::F_TRANSLATION, 0x2000);

const OVFLG: u32 = 1 << 31;

/// Interrupts of the Event queue so far.
fn interrupts(r: &Rig) -> usize {
    r.world.edges.iter().filter(|line| **line == EVENT_LINE).count()
}

/// A full queue of 64 records.
fn full(r: &mut Rig) -> Check {
    r.boot()?;
    for _ in 0..64 {
        r.dma(FAULTING)?;
    }
    same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 64)
}

/// A queue of one entry, which is taken.
fn full_of_one(r: &mut Rig) -> Check {
    r.setup.events_log2 = 0;
    r.boot()?;
    r.dma(FAULTING)?;
    same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 1)
}

pub(super) const ROWS: &[Row] = &[
    Row::new("E01", "3.5.3", "The first record of an empty queue interrupts once, when it is visible", |r| {
        r.boot()?;
        r.start(FAULTING);
        r.until("an interrupt", |r| interrupts(r) > 0)?;
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 1)?;
        r.recorded(&[RECORD])?;
        same("the number of interrupts", interrupts(r), 1)
    }),
    Row::new("E02", "3.18.2", "A record behind unread ones does not interrupt", |r| {
        r.boot()?;
        r.dma(FAULTING)?;
        r.dma(FAULTING)?;
        same("the number of interrupts", interrupts(r), 1)?;
        r.recorded(&[RECORD, RECORD])?;
        r.dma(FAULTING)?;
        same("the number of interrupts after all were read", interrupts(r), 2)
    }),
    Row::new("E03", "7.4", "A record that finds the queue full is lost: OVFLG toggles, WR stays", |r| {
        full(r)?;
        r.dma(FAULTING)?;
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), OVFLG | 64)?;
        r.dma(FAULTING)?;
        same("EVENTQ_PROD after one more", r.read32(at::EVENTQ_PROD), OVFLG | 64)
    }),
    Row::new(
        "E04",
        "7.4",
        "With room again records are written, and OVFLG waits for its acknowledgement",
        |r| {
            full(r)?;
            r.dma(FAULTING)?;
            same("the number of records", r.records().len(), 64)?;
            r.aborts(FAULTING, &[RECORD])?;
            same("OVFLG", r.read32(at::EVENTQ_PROD) & OVFLG, OVFLG)?;
            r.write32(at::EVENTQ_CONS, OVFLG | 65);
            same("OVFLG", r.read32(at::EVENTQ_PROD) & OVFLG, OVFLG)?;
            for _ in 0..65 {
                r.dma(FAULTING)?;
            }
            same("OVFLG at the next overflow", r.read32(at::EVENTQ_PROD) & OVFLG, 0)
        },
    ),
    Row::new("E05", "7.2.1", "With EVENTQEN=0 nothing is recorded, and nothing overflows", |r| {
        r.boot()?;
        r.change_cr0(|cr0| cr0.with_eventqen(false))?;
        r.aborts(FAULTING, &[])?;
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 0)?;
        r.change_cr0(|cr0| cr0.with_eventqen(true))?;
        r.aborts(FAULTING, &[RECORD])
    }),
    Row::new("E06", "7.2.2", "After an aborted write nothing is recorded until that is acknowledged", |r| {
        r.boot()?;
        let queue = r.events_at();
        r.break_at(queue);
        r.dma(FAULTING)?;
        let error = GlobalError::EVENTQ_ABT_ERR.mask() as u32;
        same("GERROR", r.read32(at::GERROR), error)?;
        r.world.aborts.clear();
        r.aborts(FAULTING, &[])?;
        r.write32(at::GERRORN, error);
        r.aborts(FAULTING, &[RECORD])
    }),
    Row::new("E07", "7.4", "A queue of one entry holds one record", |r| {
        full_of_one(r)?;
        r.dma(FAULTING)?;
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), OVFLG | 1)?;
        r.recorded(&[RECORD])?;
        r.aborts(FAULTING, &[RECORD])
    }),
    Row::new("E08", "7.3.2", "An unsupported transaction is recorded, with SMMUEN=0 too", |r| {
        let record =
            |ssid| EventRecord::translation(EventNumber::F_UUT, 1, ssid, 0x1000, false).with_class(0);
        let unsupported = Dma::read(0x1000).unsupported();
        r.boot_disabled()?;
        r.aborts(unsupported, &[record(None)])?;
        r.gbpa(1 << 20)?;
        r.aborts(unsupported.pasid(3), &[record(Some(3))])?;
        r.change_cr0(|cr0| cr0.with_smmuen(true))?;
        r.reaches(Dma::read(0x1000), DATA + 0x1000)?;
        r.aborts(unsupported, &[record(None)])?;
        r.aborts(Dma::write(0x1000).unsupported(), &[record(None).with_rnw(false)])?;
        r.aborts(unsupported.of(99), &[record(None).with_sid(99)])?;
        r.aborts(Dma::read(DATA).translated().unsupported(), &[])
    }),
    Row::new("E09", "7.3.1", "With MEV=0 equal faults have a record each", |r| {
        r.boot()?;
        r.dma(FAULTING)?;
        r.dma(FAULTING)?;
        r.recorded(&[RECORD, RECORD])
    }),
    Row::new("E10", "7.2.1", "The record of a stall waits for room, and does not overflow the queue", |r| {
        r.setup.events_log2 = 0;
        r.boot()?;
        let bad = EventRecord::configuration(EventNumber::C_BAD_STE, 3, None);
        r.dma(FAULTING.of(3))?;
        r.cd(|cd| cd.with_s(true));
        let tag = r.start(FAULTING);
        r.run();
        same("the answer", r.answer(tag), None)?;
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 1)?;
        r.recorded(&[bad])?;
        r.run();
        let seen = r.records();
        let expected = RECORD.with_stall(true).with_stag(seen.first().map_or(0, |record| record.stag()));
        same("the records", seen, vec![expected])?;
        same("the answer", r.answer(tag), None)?;
        same("OVFLG", r.read32(at::EVENTQ_PROD) & OVFLG, 0)
    }),
];
