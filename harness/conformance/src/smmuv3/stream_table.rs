//! From StreamID to STE, and which STEs are legal.

use models::smmu::Attributes;
use models::smmu::attributes::{Memory, Shareability};
use spec::smmu::ste::config;
use spec::smmu::{Command, EventNumber, EventRecord, L1Std, Ste};

use crate::rig::{DATA, Dma, Rig, fault, stage1_ste};
use crate::suite::{Check, Row};

const READ: Dma = Dma::read(0x1000);

const fn unknown(sid: u32) -> EventRecord {
    EventRecord::configuration(EventNumber::C_BAD_STREAMID, sid, None)
}

/// Traffic of stream 1 passes, and meets C_BAD_STE after this change of its STE.
fn becomes_illegal(r: &mut Rig, edit: impl FnOnce(Ste) -> Ste) -> Check {
    r.reaches(READ, DATA + 0x1000)?;
    r.ste(1, edit);
    r.commands(&[Command::cfgi_ste(1, true)])?;
    r.aborts(READ, &[EventRecord::configuration(EventNumber::C_BAD_STE, 1, None)])
}

/// The same for the default stream.
fn illegal(r: &mut Rig, edit: impl FnOnce(Ste) -> Ste) -> Check {
    r.boot()?;
    becomes_illegal(r, edit)
}

/// The same for one with stage 2 alone.
fn illegal_stage2(r: &mut Rig, edit: impl FnOnce(Ste) -> Ste) -> Check {
    r.boot()?;
    r.stage2_only();
    becomes_illegal(r, edit)
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "T01",
        "3.3.1.1",
        "A StreamID beyond a linear table is aborted, and recorded with RECINVSID=1",
        |r| {
            r.boot()?;
            r.aborts(READ.of(16), &[unknown(16)])
        },
    ),
    Row::new(
        "T02",
        "6.3.12",
        "A StreamID beyond the table is aborted without a record with RECINVSID=0",
        |r| {
            r.setup.cr2 = 0;
            r.boot()?;
            r.reaches(READ, DATA + 0x1000)?;
            r.aborts(READ.of(16), &[])
        },
    ),
    Row::new("T03", "6.3.25", "A table larger than SIDSIZE is cut to it", |r| {
        r.setup.streams_log2 = 20;
        r.boot()?;
        let context = r.cd_at;
        r.ste(0xffff, |_| stage1_ste(context));
        r.ste(0x1_0000, |_| stage1_ste(context));
        r.reaches(READ.of(0xffff), DATA + 0x1000)?;
        r.aborts(READ.of(0x1_0000), &[unknown(0x1_0000)])
    }),
    Row::new("T04", "3.3.1.2", "A level-1 descriptor with Span=0 has no streams", |r| {
        (r.setup.streams_log2, r.setup.split) = (16, Some(8));
        r.boot()?;
        r.reaches(READ, DATA + 0x1000)?;
        r.aborts(READ.of(0x500), &[unknown(0x500)])
    }),
    Row::new("T05", "3.3.1.2", "Streams beyond Span are unknown, those below are found", |r| {
        (r.setup.streams_log2, r.setup.split) = (16, Some(8));
        r.boot()?;
        let context = r.cd_at;
        r.ste(15, |_| stage1_ste(context));
        r.ste(16, |_| stage1_ste(context));
        let at = r.l1std_at(0);
        let entry = L1Std([r.peek(at)]).with_span(5);
        r.poke(at, entry.0[0]);
        r.reaches(READ.of(15), DATA + 0x1000)?;
        r.aborts(READ.of(16), &[unknown(16)])
    }),
    Row::new("T06", "5.1", "A Span larger than the level-2 table can be makes its streams unknown", |r| {
        (r.setup.streams_log2, r.setup.split) = (10, Some(6));
        r.boot()?;
        let at = r.l1std_at(0);
        let entry = L1Std([r.peek(at)]).with_span(8);
        r.poke(at, entry.0[0]);
        r.aborts(READ, &[unknown(1)])
    }),
    Row::new("T07", "7.3.4", "An aborted read of an STE is recorded with its address", |r| {
        r.boot()?;
        let at = r.ste_at(1);
        r.break_at(at);
        r.aborts(READ, &[EventRecord::fetch(EventNumber::F_STE_FETCH, 1, None, at)])
    }),
    Row::new("T08", "5.2", "An STE with V=0 is recorded", |r| illegal(r, |ste| ste.with_v(false))),
    Row::new("T09", "5.2", "Config=0b000 aborts without a record, whatever else the STE says", |r| {
        r.boot()?;
        r.reaches(READ, DATA + 0x1000)?;
        r.ste(1, |ste| ste.with_config(config::ABORT).with_s2tg(3));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.aborts(READ, &[])
    }),
    Row::new("T10", "5.2", "Config=0b100 lets traffic pass, with attributes overridden", |r| {
        r.boot()?;
        let bypass = Ste::default().with_v(true).with_config(config::BYPASS).with_shcfg(1);
        let outer = Attributes::new(Memory::WRITE_BACK, Shareability::Outer);
        let overridden = bypass.with_mtcfg(true).with_memattr(5).with_privcfg(3).with_instcfg(3);
        for (ste, incoming, attributes) in [
            (bypass, Attributes::COHERENT, Attributes::COHERENT),
            (bypass, Attributes::NOT_SNOOPED, Attributes::NOT_SNOOPED),
            (bypass.with_shcfg(2), Attributes::COHERENT, outer),
            (overridden, Attributes::COHERENT, Attributes::NOT_SNOOPED),
            (overridden.with_memattr(15).with_shcfg(2), Attributes::NOT_SNOOPED, outer),
        ] {
            r.ste(1, |_| ste);
            r.commands(&[Command::cfgi_ste(1, true)])?;
            for dma in [Dma::read(DATA + 0x3000), Dma::write(DATA + 0x3000)] {
                r.reaches_as(dma.to(incoming), DATA + 0x3000, attributes)?;
            }
        }
        Ok(())
    }),
    Row::new(
        "T11",
        "3.4",
        "An address beyond the output size is an address size fault of stage 1 in bypass",
        |r| {
            r.boot()?;
            r.ste(1, |_| Ste::default().with_v(true).with_config(config::BYPASS));
            r.aborts(Dma::read(1 << 48), &[fault(EventNumber::F_ADDR_SIZE, 1 << 48)])
        },
    ),
    Row::new("T12", "5.2", "S2TG=3 is illegal where stage 2 translates", |r| {
        illegal_stage2(r, |ste| ste.with_s2tg(3))
    }),
    Row::new("T13", "5.2", "Without small tables S2T0SZ=40 is illegal", |r| {
        illegal_stage2(r, |ste| ste.with_s2t0sz(40))
    }),
    Row::new("T14", "5.2", "S2SL0 and S2T0SZ that do not fit each other are illegal", |r| {
        illegal_stage2(r, |ste| ste.with_s2sl0(1).with_s2t0sz(20))
    }),
    Row::new("T15", "5.2", "A stage-2 table beyond S2PS is illegal", |r| {
        illegal_stage2(r, |ste| ste.with_s2ps(0).with_s2ttb(1 << 32))
    }),
    Row::new("T16", "5.2", "With 8-bit VMIDs a larger S2VMID is illegal", |r| {
        r.idr0(|idr0| idr0.with_vmid16(false));
        illegal_stage2(r, |ste| ste.with_s2vmid(0x100))
    }),
    Row::new("T17", "5.2", "S1CDMax beyond SSIDSIZE is illegal", |r| illegal(r, |ste| ste.with_s1cdmax(21))),
    Row::new("T18", "5.2", "S1STALLD is illegal where faults can only terminate", |r| {
        r.idr0(|idr0| idr0.with_stall_model(1));
        illegal(r, |ste| ste.with_s1stalld(true))
    }),
    Row::new("T19", "5.2", "STRW=1 is illegal where stage 1 alone translates", |r| {
        illegal(r, |ste| ste.with_strw(1))
    }),
    Row::new("T20", "5.2", "Split-stage ATS is illegal without stage 1", |r| {
        illegal_stage2(r, |ste| ste.with_eats(2))
    }),
];
