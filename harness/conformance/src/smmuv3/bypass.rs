//! What happens to traffic and commands while SMMUEN is clear.

use models::bus::Abort;
use models::dma::DmaResult;
use spec::smmu::{Command, EventNumber, EventRecord};

use crate::Rig;
use crate::rig::{DATA, Dma, fault, same};
use crate::suite::{Check, Row};

/// Nothing of the Stream table may have been read.
fn no_stream_read(r: &mut Rig) -> Check {
    let first = r.ste_at(0);
    let read = r.world.reads.iter().any(|addr| (first..first + 0x400).contains(addr));
    same("reading of the Stream table", read, false)
}

pub(super) const ROWS: &[Row] = &[
    Row::new("B01", "3.11", "With SMMUEN=0 traffic passes untranslated, and no STE is read", |r| {
        r.boot_disabled()?;
        r.reaches(Dma::read(DATA + 0x18), DATA + 0x18)?;
        r.reaches(Dma::write(DATA + 0x18), DATA + 0x18)?;
        no_stream_read(r)
    }),
    Row::new("B02", "6.3.14", "With SMMUEN=0 and GBPA.ABORT=1 traffic is aborted without a record", |r| {
        r.boot_disabled()?;
        r.gbpa(1 << 20)?;
        r.aborts(Dma::read(DATA), &[])
    }),
    Row::new(
        "B03",
        "3.4",
        "With SMMUEN=0 an address beyond the output size is aborted without a record",
        |r| {
            r.boot_disabled()?;
            r.aborts(Dma::read(1 << 48), &[])?;
            r.reaches(Dma::read((1 << 48) - 8), (1 << 48) - 8)
        },
    ),
    Row::new("B04", "3.9.1.2", "With SMMUEN=0 a translation request is unsupported and recorded", |r| {
        r.boot_disabled()?;
        let record = EventRecord::new(EventNumber::F_BAD_ATS_TREQ, 1).with_inputpage(0x1000).with_span(1);
        r.denies(Dma::ats(0x1000, true), DmaResult::Unsupported, &[record.with_r(true).with_w(true)])
    }),
    Row::new("B05", "3.9.1.3", "With SMMUEN=0 a translated transaction is aborted and recorded", |r| {
        r.boot_disabled()?;
        let record = EventRecord::new(EventNumber::F_TRANSL_FORBIDDEN, 1);
        let record = record.with_inputaddr(DATA).with_rnw(true);
        r.aborts(Dma::read(DATA).translated(), &[record])
    }),
    Row::new(
        "B06",
        "4.5.1",
        "With SMMUEN=0 ATC invalidations and prefetches are consumed without effect",
        |r| {
            r.boot_disabled()?;
            r.commands(&[
                Command::atc_inv(1, None, 0x1000, 0),
                Command::prefetch_config(1, None),
                Command::prefetch_addr(1, None, 0x1000, 0, 0),
            ])?;
            same("the number of invalidations sent", r.world.invalidations.len(), 0)?;
            no_stream_read(r)
        },
    ),
    Row::new(
        "B07",
        "3.12.2.3",
        "SMMUEN=0 ends stalled transactions with an abort; a RESUME comes too late",
        |r| {
            r.boot()?;
            r.cd(|cd| cd.with_s(true));
            let (tag, stag) = r.stalls(Dma::read(0x2000), fault(EventNumber::F_TRANSLATION, 0x2000))?;
            r.change_cr0(|cr0| cr0.with_smmuen(false))?;
            r.answers(tag, DmaResult::Aborted(Abort))?;
            r.commands(&[Command::resume(1, stag, true, false)])?;
            r.answers(tag, DmaResult::Aborted(Abort))?;
            r.recorded(&[])
        },
    ),
    Row::new(
        "B08",
        "3.11",
        "SMMUEN does not invalidate: a cached translation may still be used, and no other",
        |r| {
            r.boot()?;
            r.reaches(Dma::read(0x1000), DATA + 0x1000)?;
            r.unmap(0x1000);
            r.change_cr0(|cr0| cr0.with_smmuen(false))?;
            r.change_cr0(|cr0| cr0.with_smmuen(true))?;
            r.may_reach(Dma::read(0x1000), DATA + 0x1000)?;
            r.commands(&[Command::tlbi_nsnh_all()])?;
            r.aborts(Dma::read(0x1000), &[fault(EventNumber::F_TRANSLATION, 0x1000)])
        },
    ),
    Row::new("B09", "3.11", "With SMMUEN=0 a SubstreamID does not matter", |r| {
        r.boot_disabled()?;
        r.reaches(Dma::read(DATA).pasid(3), DATA)
    }),
];
