//! Translation requests and translated transactions.

use models::bus::Abort;
use models::dma::{DmaResult, Grant};
use spec::smmu::descriptor::Leaf2;
use spec::smmu::event::class;
use spec::smmu::{Command, EventNumber, EventRecord};

use crate::rig::{DATA, Dma, IPA, Rig, fault, same};
use crate::suite::{Check, Need, Row};

/// A request for reads and writes, and one for reads only.
const REQUEST: Dma = Dma::ats(0x1000, true);
const READ_ONLY: Dma = Dma::ats(0x1000, false);
const PA: u64 = DATA + 0x1000;

/// F_BAD_ATS_TREQ for [`REQUEST`].
const BAD_REQUEST: EventRecord = EventRecord::new(EventNumber::F_BAD_ATS_TREQ, 1)
    .with_inputpage(0x1000)
    .with_span(1)
    .with_r(true)
    .with_w(true);

/// The default stream with this EATS, and CR0.ATSCHK.
fn boot(r: &mut Rig, eats: u64, atschk: bool) -> Check {
    r.setup.cr0 = r.setup.cr0.with_atschk(atschk);
    r.boot()?;
    r.ste(1, |ste| ste.with_eats(eats));
    Ok(())
}

/// A writable-clean page under HA=HD=1. Says where its descriptor is.
fn clean(r: &mut Rig) -> Result<u64, String> {
    boot(r, 1, false)?;
    r.cd(|cd| cd.with_ha(true).with_hd(true));
    r.page(0x1000, |leaf| leaf.with_ap(3).with_dbm(true));
    let space = r.one;
    Ok(r.descriptor(&space, 0x1000, 3))
}

/// A request must be granted a page at `pa`.
fn page(r: &mut Rig, request: Dma, permissions: (bool, bool), pa: u64) -> Check {
    let granted = r.grants(request, permissions)?;
    same("the translation", granted, (pa, 12))
}

/// A request must be answered with Success and no permission.
fn nothing(r: &mut Rig, request: Dma) -> Check {
    r.grants(request, (false, false)).map(|_| ())
}

pub(super) const ROWS: &[Row] = &[
    Row::new("A01", "3.9.1.2", "A request for a page that may be read and written is granted both", |r| {
        boot(r, 1, false)?;
        page(r, REQUEST, (true, true), PA)
    }),
    Row::new("A02", "7.3.6", "With EATS=0 a request is unsupported and recorded", |r| {
        boot(r, 0, false)?;
        r.denies(REQUEST, DmaResult::Unsupported, &[BAD_REQUEST])
    }),
    Row::new(
        "A03",
        "3.9.1.2",
        "A request for an unmapped page succeeds without permissions or record",
        |r| {
            boot(r, 1, false)?;
            nothing(r, Dma::ats(0x2000, true))
        },
    ),
    Row::new(
        "A04",
        "3.9.1.2",
        "A request under an invalid STE is answered by an abort and not recorded",
        |r| {
            boot(r, 1, false)?;
            page(r, REQUEST, (true, true), PA)?;
            r.ste(1, |ste| ste.with_v(false));
            r.commands(&[Command::cfgi_ste(1, true)])?;
            r.denies(REQUEST, DmaResult::Aborted(Abort), &[])
        },
    ),
    Row::new("A05", "3.9.1.2", "A request for a read-only page is granted reads", |r| {
        boot(r, 1, false)?;
        r.page(0x1000, |leaf| leaf.with_ap(3));
        page(r, REQUEST, (true, false), PA)
    }),
    Row::new("A06", "3.13.7.1", "A request for writes makes a writable-clean page dirty", |r| {
        let at = clean(r)?;
        page(r, REQUEST, (true, true), PA)?;
        same("AP[2]", r.peek(at) >> 7 & 1, 0)
    })
    .needs(Need::Httu),
    Row::new(
        "A07",
        "3.13.7.1",
        "A request for reads leaves a writable-clean page clean, without write permission",
        |r| {
            let at = clean(r)?;
            let before = r.peek(at);
            page(r, READ_ONLY, (true, false), PA)?;
            same("the descriptor", r.peek(at), before)
        },
    )
    .needs(Need::Httu),
    Row::new(
        "A08",
        "3.9.1.3",
        "With ATSCHK=1 a translated write under EATS=0 is aborted and recorded",
        |r| {
            boot(r, 0, true)?;
            let record = EventRecord::new(EventNumber::F_TRANSL_FORBIDDEN, 1).with_inputaddr(PA);
            r.aborts(Dma::write(PA).translated(), &[record])
        },
    ),
    Row::new("A09", "3.9.1.3", "With ATSCHK=0 a translated write passes", |r| {
        boot(r, 0, false)?;
        r.reaches(Dma::write(PA).translated(), PA)
    }),
    Row::new(
        "A10",
        "3.9.1.3",
        "Split-stage ATS: requests get intermediate addresses, stage 2 translates what comes",
        |r| {
            boot(r, 0, true)?;
            r.nested();
            r.ste(1, |ste| ste.with_eats(2));
            page(r, REQUEST, (true, true), IPA + 0x1000)?;
            let translated = Dma::read(IPA + 0x1000).translated();
            r.reaches(translated, PA)?;
            r.page2(IPA + 0x1000, |_| Leaf2([0]));
            r.commands(&[Command::tlbi_s2_ipa(5, IPA + 0x1000, true), Command::tlbi_nh_all(5)])?;
            let record = fault(EventNumber::F_TRANSLATION, IPA + 0x1000);
            r.aborts(translated, &[record.with_stage2(class::IN, IPA + 0x1000)])
        },
    ),
    Row::new("A11", "5.2", "With ATSCHK=0 split-stage ATS counts as none", |r| {
        boot(r, 0, false)?;
        r.nested();
        r.ste(1, |ste| ste.with_eats(2));
        r.denies(REQUEST, DmaResult::Unsupported, &[BAD_REQUEST])
    }),
    Row::new(
        "A12",
        "13.7",
        "Exe is granted to who asks for it, and only where the page may be executed",
        |r| {
            boot(r, 1, false)?;
            r.substreams(1);
            let request = READ_ONLY.pasid(1);
            let readable = Grant { pa: PA, size_log2: 12, read: true, write: true, ..Grant::default() };
            same("what a page is granted for", r.granted(request)?, readable)?;
            let executable = Grant { execute: true, ..readable };
            same("what Exe=1 is granted for", r.granted(request.instruction())?, executable)?;
            r.page(0x1000, |leaf| leaf.with_uxn(true));
            r.commands(&[Command::tlbi_nh_all(0)])?;
            same("what an XN page is granted for", r.granted(request)?, readable)?;
            same("what Exe=1 is granted for, of an XN page", r.granted(request.instruction())?, readable)
        },
    ),
    Row::new("A13", "3.9.1.2", "S1DSS=1 answers requests without PASID with the address itself", |r| {
        boot(r, 1, false)?;
        r.substreams(4);
        r.ste(1, |ste| ste.with_s1dss(1));
        let granted = r.granted(REQUEST)?;
        let Grant { pa, size_log2, .. } = granted;
        same("the translation of 0x1000", pa | (0x1000 & ((1 << size_log2) - 1)), 0x1000)?;
        let all =
            Grant { pa, size_log2, read: true, write: true, untranslated_only: false, ..Grant::default() };
        same("what is granted", granted, all)
    }),
    Row::new(
        "A14",
        "3.9.1.2",
        "A request never stalls: an unmapped page gives no permissions under S=1 too",
        |r| {
            boot(r, 1, false)?;
            r.cd(|cd| cd.with_s(true));
            nothing(r, Dma::ats(0x2000, true))
        },
    ),
];
