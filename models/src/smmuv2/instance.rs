//! One SMMUv2: its registers and its TLB. No time.

use spec::regs::{Block, RegFile};
use spec::smmuv2::{
    Attributes, BANKS, Bank, CBA2R, CBAR, CBFRSYNRA, FAR, FSR, FSYNR0, GLOBAL_PAGES, Global, IDR0, IDR1,
    IDR2, Place, S2CR, SCTLR, SMR, STAGE1_ONLY, STREAMS, Stream, TLBGSTATUS, TLBIASID, TLBIVA, TLBIVMID,
    TLBSTATUS, sCR0, sGFAR, sGFSR, sGFSYNR0, sGFSYNR1, stream_kind,
};

use super::tlb::{Scope, Tlb};
use super::walk::{Fault, Regime};
use crate::bus::{Abort, Data};

/// What waits for invalidations: the global synchronisation or that of one context bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Global,
    Bank(u8),
}

/// What a register write asks the invalidation engine for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Invalidate(Scope),
    Sync(Sync),
}

/// Why no context could be found for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GlobalFault {
    Unidentified,
    Conflict,
    InvalidContext,
    UnimplementedBank,
}

/// Where a stream's transactions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Bypass,
    Bank(u8, Regime),
    Fault(GlobalFault),
}

/// What a fault means for the transaction, and for software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Abort, rather than read zeros and drop writes.
    pub(super) abort: bool,
    /// Raise the interrupt.
    pub(super) interrupt: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Instance {
    global: RegFile<Global>,
    streams: Vec<RegFile<Stream>>,
    attributes: Vec<RegFile<Attributes>>,
    banks: Vec<RegFile<Bank>>,
    pub(super) tlb: Tlb,
}

impl Instance {
    pub(super) fn new(tlb_entries: usize) -> Self {
        let mut global = RegFile::<Global>::reset();
        global.set(
            IDR0(0)
                .with_s1ts(true)
                .with_sms(true)
                .with_cttw(true)
                .with_numsidb(15)
                .with_numirpt(1)
                .with_ptfs(3)
                .with_numsmrg(STREAMS.into()),
        );
        let numpagendxb = u64::from(GLOBAL_PAGES.ilog2()) - 1;
        global.set(IDR1(0).with_numcb(BANKS.into()).with_numpagendxb(numpagendxb));
        global.set(IDR2(0).with_ias(5).with_oas(5).with_ptfs4k(true));
        Self {
            global,
            streams: vec![RegFile::reset(); STREAMS.into()],
            attributes: vec![RegFile::reset(); BANKS.into()],
            banks: vec![RegFile::reset(); BANKS.into()],
            tlb: Tlb::new(tlb_entries),
        }
    }

    /// Software reads a register of 4 or 8 bytes, or half of one. What does not exist reads as zero.
    pub(super) fn read(&self, offset: u32, len: u32) -> Result<Data, Abort> {
        let Some((place, upper)) = access(offset, len)? else {
            return Ok(Data::new(&[0; 8][..len as usize]));
        };
        let value = match place {
            Place::Global(reg) => self.global.read(reg),
            Place::Stream { n, reg } => self.streams[usize::from(n)].read(reg),
            Place::Attributes { n, reg } => self.attributes[usize::from(n)].read(reg),
            Place::Bank { n, reg } => self.banks[usize::from(n)].read(reg),
        };
        Ok(if len == 8 { Data::u64(value) } else { Data::u32((value >> if upper { 32 } else { 0 }) as u32) })
    }

    /// Software writes a register of 4 or 8 bytes, or half of one. Writes of what does not exist are ignored.
    pub(super) fn write(&mut self, offset: u32, value: u64, len: u32) -> Result<Option<Work>, Abort> {
        let Some((place, upper)) = access(offset, len)? else {
            return Ok(None);
        };
        Ok(match place {
            Place::Global(reg) => {
                put(&mut self.global, reg, upper, value, len);
                self.global_work(reg)
            }
            Place::Stream { n, reg } => {
                put(&mut self.streams[usize::from(n)], reg, upper, value, len);
                None
            }
            Place::Attributes { n, reg } => {
                put(&mut self.attributes[usize::from(n)], reg, upper, value, len);
                None
            }
            Place::Bank { n, reg } => {
                put(&mut self.banks[usize::from(n)], reg, upper, value, len);
                // Software without 64-bit accesses writes the upper half first.
                if upper { None } else { self.bank_work(n, reg) }
            }
        })
    }

    fn global_work(&self, reg: Global) -> Option<Work> {
        match reg {
            Global::TLBIVMID => {
                Some(Work::Invalidate(Scope::Vmid(self.global.get::<TLBIVMID>().vmid() as u8)))
            }
            Global::TLBIALLNSNH => Some(Work::Invalidate(Scope::All)),
            Global::TLBGSYNC => Some(Work::Sync(Sync::Global)),
            _ => None,
        }
    }
    fn bank_work(&self, n: u8, reg: Bank) -> Option<Work> {
        let bank = &self.banks[usize::from(n)];
        let vmid = self.vmid(n);
        let scope = match reg {
            Bank::TLBIVA => {
                let operand = bank.get::<TLBIVA>();
                Scope::Va { vmid, asid: operand.asid() as u16, iova: operand.va() << 12 }
            }
            Bank::TLBIASID => Scope::Asid { vmid, asid: bank.get::<TLBIASID>().asid() as u16 },
            Bank::TLBIALL => Scope::Vmid(vmid),
            Bank::TLBSYNC => return Some(Work::Sync(Sync::Bank(n))),
            _ => return None,
        };
        Some(Work::Invalidate(scope))
    }
    fn vmid(&self, n: u8) -> u8 {
        self.attributes[usize::from(n)].get::<CBAR>().vmid() as u8
    }

    /// A synchronisation has started or ended.
    pub(super) fn set_active(&mut self, sync: Sync, active: bool) {
        match sync {
            Sync::Global => self.global.set(TLBGSTATUS(0).with_gsactive(active)),
            Sync::Bank(n) => self.banks[usize::from(n)].set(TLBSTATUS(0).with_sactive(active)),
        }
    }

    /// Where a stream's transactions go.
    pub(super) fn route(&self, sid: u32) -> Route {
        let control = self.global.get::<sCR0>();
        if control.clientpd() {
            return Route::Bypass;
        }
        let mut matching = self.streams.iter().filter(|group| {
            let smr = group.get::<SMR>();
            smr.valid() && (u64::from(sid) ^ smr.id()) & !smr.mask() == 0
        });
        match (matching.next(), matching.next()) {
            (None, _) if control.usfcfg() => Route::Fault(GlobalFault::Unidentified),
            (None, _) => Route::Bypass,
            (Some(_), Some(_)) => Route::Fault(GlobalFault::Conflict),
            (Some(group), None) => self.context(group.get()),
        }
    }
    fn context(&self, s2cr: S2CR) -> Route {
        let n = s2cr.cbndx() as u8;
        match s2cr.kind() {
            stream_kind::BYPASS => Route::Bypass,
            stream_kind::TRANSLATE if n >= BANKS => Route::Fault(GlobalFault::UnimplementedBank),
            stream_kind::TRANSLATE => {
                let (bank, attributes) = (&self.banks[usize::from(n)], &self.attributes[usize::from(n)]);
                if attributes.get::<CBAR>().kind() != STAGE1_ONLY {
                    return Route::Fault(GlobalFault::InvalidContext);
                }
                if !bank.get::<SCTLR>().m() {
                    return Route::Bypass;
                }
                Route::Bank(n, Regime::new(bank, self.vmid(n), attributes.get::<CBA2R>().va64()))
            }
            _ => Route::Fault(GlobalFault::InvalidContext),
        }
    }

    /// Records a global fault.
    pub(super) fn global_fault(&mut self, fault: GlobalFault, sid: u32, iova: u64, write: bool) -> Verdict {
        let status = self.global.get::<sGFSR>();
        let first = status.bits() == 0;
        let status = match fault {
            GlobalFault::Unidentified => status.with_usf(true),
            GlobalFault::Conflict => status.with_smcf(true),
            GlobalFault::InvalidContext => status.with_icf(true),
            GlobalFault::UnimplementedBank => status.with_ucbf(true),
        };
        self.global.set(status.with_multi(!first));
        if first {
            self.global.set(sGFAR(iova));
            self.global.set(sGFSYNR0(0).with_wnr(write));
            self.global.set(sGFSYNR1(0).with_streamid(sid.into()));
        }
        let control = self.global.get::<sCR0>();
        Verdict { abort: control.gcfgfre(), interrupt: control.gcfgfie() && first }
    }

    /// Records a fault of a context.
    pub(super) fn context_fault(&mut self, n: u8, fault: Fault, sid: u32, iova: u64, write: bool) -> Verdict {
        let bank = &mut self.banks[usize::from(n)];
        let status = bank.get::<FSR>();
        let first = status.bits() == 0;
        let (status, level) = match fault {
            Fault::Translation(level) => (status.with_tf(true), level),
            Fault::AccessFlag(level) => (status.with_aff(true), level),
            Fault::Permission(level) => (status.with_pf(true), level),
            Fault::External(level) => (status.with_ef(true), level),
        };
        bank.set(status.with_multi(!first));
        if first {
            bank.set(FAR(iova));
            bank.set(FSYNR0(0).with_plvl(level.into()).with_wnr(write).with_s1cbndx(n.into()));
            self.attributes[usize::from(n)].set(CBFRSYNRA(0).with_streamid(sid.into()));
        }
        let control = self.banks[usize::from(n)].get::<SCTLR>();
        Verdict { abort: control.cfre(), interrupt: control.cfie() && first }
    }
}

/// The register of an access: `None` where there is none. Aborts accesses of a wrong size or alignment.
fn access(offset: u32, len: u32) -> Result<Option<(Place, bool)>, Abort> {
    if !matches!(len, 4 | 8) || !offset.is_multiple_of(len) {
        return Err(Abort);
    }
    match Place::decode(offset) {
        Some((place, _)) if place.bytes() < len => Err(Abort),
        found => Ok(found),
    }
}

fn put<B: Block>(file: &mut RegFile<B>, reg: B, upper: bool, value: u64, len: u32) {
    let half = len == 4 && reg.desc().bytes == 8;
    let value = if half { file.merge_word(reg, upper, value as u32) } else { value };
    file.write(reg, value);
}

#[cfg(test)]
mod test {
    use super::*;

    const CONTEXT: Place = Place::Attributes { n: 2, reg: Attributes::CBAR };

    fn write(instance: &mut Instance, place: Place, value: u64) -> Option<Work> {
        instance.write(place.offset(), value, place.bytes()).unwrap()
    }

    #[test]
    fn routes() {
        let fault = Route::Fault;
        let smr = |n| Place::Stream { n, reg: Stream::SMR };
        let s2cr = |n| Place::Stream { n, reg: Stream::S2CR };
        let valid = |id: u64, mask: u64| SMR(0).with_valid(true).with_id(id).with_mask(mask).bits();
        let kind = |kind, bank| S2CR(0).with_kind(kind).with_cbndx(bank).bits();
        let enabled = |usfcfg| (Place::Global(Global::sCR0), sCR0(0).with_usfcfg(usfcfg).bits());
        type Row<'a> = (&'a str, &'a [(Place, u64)], u32, Route);
        let rows: &[Row<'_>] = &[
            ("reset", &[], 5, Route::Bypass),
            ("unmatched", &[enabled(false)], 5, Route::Bypass),
            ("unmatched, fault", &[enabled(true)], 5, fault(GlobalFault::Unidentified)),
            ("bypass", &[enabled(true), (smr(3), valid(5, 0)), (s2cr(3), kind(1, 0))], 5, Route::Bypass),
            ("masked", &[enabled(true), (smr(3), valid(4, 3)), (s2cr(3), kind(1, 0))], 7, Route::Bypass),
            (
                "fault",
                &[enabled(true), (smr(3), valid(5, 0)), (s2cr(3), kind(2, 0))],
                5,
                fault(GlobalFault::InvalidContext),
            ),
            (
                "two groups",
                &[enabled(true), (smr(3), valid(5, 0)), (smr(4), valid(4, 1))],
                5,
                fault(GlobalFault::Conflict),
            ),
            (
                "no such bank",
                &[enabled(true), (smr(0), valid(5, 0)), (s2cr(0), kind(0, 8))],
                5,
                fault(GlobalFault::UnimplementedBank),
            ),
            (
                "stage 2",
                &[enabled(true), (smr(0), valid(5, 0)), (s2cr(0), kind(0, 2))],
                5,
                fault(GlobalFault::InvalidContext),
            ),
            (
                "stage 1 off",
                &[enabled(true), (CONTEXT, 1 << 16), (smr(0), valid(5, 0)), (s2cr(0), kind(0, 2))],
                5,
                Route::Bypass,
            ),
        ];
        for (name, writes, sid, want) in rows {
            let mut instance = Instance::new(4);
            for (place, value) in *writes {
                write(&mut instance, *place, *value);
            }
            assert_eq!(instance.route(*sid), *want, "{name}");
        }
    }

    #[test]
    fn work() {
        let bank = |reg| Place::Bank { n: 2, reg };
        for (place, value, want) in [
            (Place::Global(Global::TLBIALLNSNH), 0, Some(Work::Invalidate(Scope::All))),
            (Place::Global(Global::TLBIVMID), 0x17, Some(Work::Invalidate(Scope::Vmid(0x17)))),
            (Place::Global(Global::TLBGSYNC), 0, Some(Work::Sync(Sync::Global))),
            (
                bank(Bank::TLBIVA),
                0x0007_0000_0001_2345,
                Some(Work::Invalidate(Scope::Va { vmid: 9, asid: 7, iova: 0x1234_5000 })),
            ),
            (bank(Bank::TLBIASID), 7, Some(Work::Invalidate(Scope::Asid { vmid: 9, asid: 7 }))),
            (bank(Bank::TLBIALL), 0, Some(Work::Invalidate(Scope::Vmid(9)))),
            (bank(Bank::TLBSYNC), 0, Some(Work::Sync(Sync::Bank(2)))),
            (bank(Bank::SCTLR), 1, None),
        ] {
            let mut instance = Instance::new(4);
            write(&mut instance, CONTEXT, CBAR(0).with_vmid(9).bits());
            assert_eq!(write(&mut instance, place, value), want, "{place:?}");
        }
    }

    #[test]
    fn accesses() {
        let mut instance = Instance::new(4);
        for (offset, len, want) in [
            (0x00, 4, Ok(1)),
            (0x24, 4, Ok(2 << 28 | 8)),
            (0x40, 8, Ok(0)),
            (0x20, 8, Err(Abort)),
            (0x21, 4, Err(Abort)),
            (0x20, 2, Err(Abort)),
            (0x3000, 4, Ok(0)),
        ] {
            assert_eq!(instance.read(offset, len).map(|d| d.value()), want, "{offset:#x} {len}");
        }
        // Halves of a 64-bit register.
        instance.write(0x8024, 0x0005_0000, 4).unwrap();
        instance.write(0x8020, 0x8000_0000, 4).unwrap();
        assert_eq!(instance.read(0x8020, 8).unwrap().value(), 0x0005_0000_8000_0000);
        assert_eq!(instance.read(0x8024, 4).unwrap().value(), 0x0005_0000);
    }

    #[test]
    fn the_first_fault_is_kept() {
        let mut instance = Instance::new(4);
        write(&mut instance, Place::Bank { n: 2, reg: Bank::SCTLR }, SCTLR(0).with_cfie(true).bits());
        let first = instance.context_fault(2, Fault::Translation(3), 5, 0x1000, true);
        assert_eq!(first, Verdict { abort: false, interrupt: true });
        let second = instance.context_fault(2, Fault::Permission(3), 6, 0x2000, false);
        assert_eq!(second, Verdict { abort: false, interrupt: false });
        let read = |i: &Instance, reg| {
            let place = Place::Bank { n: 2, reg };
            i.read(place.offset(), place.bytes()).unwrap().value()
        };
        assert_eq!(read(&instance, Bank::FSR), 1 << 31 | 1 << 3 | 1 << 1);
        assert_eq!(read(&instance, Bank::FAR), 0x1000);
        write(&mut instance, Place::Bank { n: 2, reg: Bank::FSR }, u64::from(u32::MAX));
        assert_eq!(read(&instance, Bank::FSR), 0);
    }
}
