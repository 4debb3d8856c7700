//! Transactions that wait for CMD_RESUME.

use models::bus::{Abort, Data};
use models::dma::DmaResult;
use spec::smmu::event::class;
use spec::smmu::ste::config;
use spec::smmu::{Command, EventNumber, EventRecord};

use crate::rig::{DATA, Dma, PAGE1, Rig, fault, same};
use crate::suite::{Check, Row};

/// A read of an unmapped page, and its record before it has a tag.
const READ: Dma = Dma::read(0x2000);
const RECORD: EventRecord = fault(EventNumber::F_TRANSLATION, 0x2000);

const ABORTED: DmaResult = DmaResult::Aborted(Abort);

/// Faults of the default stream stall.
fn stalling(r: &mut Rig) -> Check {
    r.boot()?;
    r.cd(|cd| cd.with_s(true));
    Ok(())
}

/// The default stream with one read that is stalled: its tag and its STAG.
fn stalled(r: &mut Rig) -> Result<(u32, u16), String> {
    stalling(r)?;
    r.stalls(READ, RECORD)
}

/// Maps the page that [`READ`] wants. Says what is there.
fn map(r: &mut Rig) -> DmaResult {
    let space = r.one;
    r.map1(&space, 0x2000, DATA + 0x2000, 3, PAGE1);
    r.poke(DATA + 0x2000, 0x1122_3344_5566_7788);
    DmaResult::Ok(Data::u64(0x1122_3344_5566_7788))
}

/// Stalls a read, gives the STE Config=0b000 and this V, retries, and restores the STE.
fn retried_under(r: &mut Rig, v: bool, records: &[EventRecord]) -> Check {
    let ste = r.ste_at(1);
    let valid = r.peek(ste);
    let (tag, stag) = r.stalls(READ, RECORD)?;
    r.ste(1, |ste| ste.with_v(v).with_config(config::ABORT));
    r.commands(&[Command::cfgi_ste(1, true)])?;
    r.commands(&[Command::resume(1, stag, true, false)])?;
    r.answers(tag, ABORTED)?;
    r.recorded(records)?;
    r.poke(ste, valid);
    r.commands(&[Command::cfgi_ste(1, true)])
}

pub(super) const ROWS: &[Row] = &[
    Row::new("L01", "3.12.2", "S=1 holds a faulting transaction and records it with a STAG", |r| {
        let (tag, _) = stalled(r)?;
        r.run();
        same("the answer", r.answer(tag), None)
    }),
    Row::new("L02", "4.7.1", "RESUME with retry translates again", |r| {
        let (tag, stag) = stalled(r)?;
        let there = map(r);
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x2000, true)])?;
        r.commands(&[Command::resume(1, stag, true, false)])?;
        r.answers(tag, there)?;
        r.recorded(&[])
    }),
    Row::new("L03", "4.7.1", "RESUME with abort aborts", |r| {
        let (tag, stag) = stalled(r)?;
        r.commands(&[Command::resume(1, stag, false, true)])?;
        r.answers(tag, ABORTED)
    }),
    Row::new("L04", "4.7.1", "RESUME with neither ends a transaction without effect", |r| {
        let (tag, stag) = stalled(r)?;
        r.commands(&[Command::resume(1, stag, false, false)])?;
        r.answers(tag, DmaResult::Ok(Data::u64(0)))
    }),
    Row::new("L05", "4.7.1", "RESUME of another stream has no effect", |r| {
        let (tag, stag) = stalled(r)?;
        r.commands(&[Command::resume(2, stag, false, true)])?;
        r.run();
        same("the answer", r.answer(tag), None)
    }),
    Row::new("L06", "3.12.2", "A retry that faults again stalls again, with a record of its own", |r| {
        let (tag, stag) = stalled(r)?;
        r.commands(&[Command::resume(1, stag, true, false)])?;
        let seen = r.records();
        let again = seen.first().map_or(0, |record| record.stag());
        same("the records", seen, vec![RECORD.with_stall(true).with_stag(again)])?;
        same("the answer", r.answer(tag), None)?;
        let there = map(r);
        r.commands(&[Command::resume(1, again as u16, true, false)])?;
        r.answers(tag, there)
    }),
    Row::new(
        "L07",
        "3.12.2.1",
        "Two stalls of a page have a record each or one for both, and all can be resumed",
        |r| {
            stalling(r)?;
            let tags = [r.start(READ), r.start(READ)];
            let records = r.records();
            same("one or two records", (1..=2).contains(&records.len()), true)?;
            let there = map(r);
            for record in records {
                same("the record", record.with_stag(0), RECORD.with_stall(true))?;
                r.commands(&[Command::resume(1, record.stag() as u16, true, false)])?;
            }
            tags.into_iter().try_for_each(|tag| r.answers(tag, there))
        },
    ),
    Row::new(
        "L08",
        "4.7.2",
        "STALL_TERM aborts what is stalled of its stream; the tags are free again",
        |r| {
            let (tag, _) = stalled(r)?;
            let ste = r.ste_at(1);
            let valid = r.peek(ste);
            r.ste(1, |ste| ste.with_config(config::ABORT));
            r.commands(&[Command::cfgi_ste(1, true)])?;
            r.commands(&[Command::stall_term(1)])?;
            r.answers(tag, ABORTED)?;
            r.poke(ste, valid);
            r.commands(&[Command::cfgi_ste(1, true)])?;
            // More than STALL_MAX in all, one after the other.
            for _ in 0..20 {
                let (tag, _) = r.stalls(READ, RECORD)?;
                r.commands(&[Command::stall_term(1)])?;
                r.answers(tag, ABORTED)?;
            }
            Ok(())
        },
    ),
    Row::new("L09", "4.7.1", "RESUME is illegal where faults can only terminate", |r| {
        r.idr0(|idr0| idr0.with_stall_model(1));
        r.boot()?;
        r.refuses(Command::resume(1, 0, true, false), 1)
    }),
    Row::new("L10", "3.12.2", "S=1 does not stall on an aborted walk", |r| {
        stalling(r)?;
        let space = r.one;
        let at = r.descriptor(&space, 0x2000, 3);
        r.break_at(at);
        let record = fault(EventNumber::F_WALK_EABT, 0x2000).with_class(class::TT);
        r.aborts(READ, &[record.with_fetchaddr(at)])
    }),
    Row::new(
        "L11",
        "3.12.2",
        "A retry meets the configuration of now: it aborts, with a record if V=0",
        |r| {
            stalling(r)?;
            retried_under(r, true, &[])?;
            retried_under(r, false, &[EventRecord::configuration(EventNumber::C_BAD_STE, 1, None)])
        },
    ),
];
