//! Address translation operations: what software asks in ATOS registers, and the PAR that answers it (IHI 0070, chapter 9).
//!
//! An operation is a [`Translation`](super::Translation) that records nothing, never stalls, obeys no override of the STE, and
//! ends with an [`Answer`] instead of an access.

use spec::smmu::atos::{Failed, Found, code, kind, reason};
use spec::smmu::event::class;
use spec::smmu::page0::{GATOS_ADDR, GATOS_SID};
use spec::smmu::{EventNumber, EventRecord};

use super::attributes::Attributes;
use super::features::Features;
use super::granule::low_mask;
use super::request::{Request, RequestKind};
use crate::bus::PhysAddr;

/// Registers that perform one operation at a time, independently of the other group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// GATOS, in page 0.
    Global,
    /// VATOS, in a page of its own.
    Virtual,
}

impl Group {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Global, Self::Virtual];
}

/// Which translation is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Virtual to intermediate address.
    One,
    /// Intermediate to physical address.
    Two,
    /// Virtual to physical address.
    Both,
}

impl Stages {
    /// Bits of STE.Config that must be set.
    const fn config(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Both => 3,
        }
    }
}

/// What an operation asks that no transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Which translation.
    pub stages: Stages,
    /// ATOS_ADDR.HTTUI: no descriptor is updated, and it is as if all that are to be had been.
    pub inhibits_updates: bool,
    /// The VMID that the stream must have, for VATOS.
    pub vmid: Option<u16>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is an address.
    Found {
        /// Where the address asked about goes.
        addr: PhysAddr,
        /// log2 of the size of the translation.
        size_log2: u8,
        /// Memory attributes of the stages asked about, without any of a transaction.
        attributes: Attributes,
        /// A TLB was filled with it.
        filled: bool,
    },
    /// A transaction would have ended with this event.
    Fault(EventRecord),
    /// The stream is not translated by the stages asked about.
    InvalidStage,
    /// The SMMU is in Service Failure Mode.
    InternalError,
}

impl Lookup {
    /// Whether STE.Config, of a valid STE, has what is asked about.
    pub const fn fits(&self, config: u64) -> bool {
        config & 4 != 0 && config & self.stages.config() == self.stages.config()
    }
}

/// Attributes that the tables of either stage alone decide what becomes of: cached and allocated wherever these permit it, shared
/// only where they say so (IHI 0070, 6.3.40).
pub(super) const NEUTRAL: Attributes = Attributes::UNSUPPLIED;

/// The request that the registers describe; `vmid` is VATOS_SEL.VMID for the virtual group.
///
/// # Errors
/// The operation is malformed; PAR says so.
pub fn request(
    sid: GATOS_SID,
    addr: GATOS_ADDR,
    vmid: Option<u16>,
    features: &Features,
) -> Result<Request, u64> {
    let ssid = sid.ssid_valid().then_some(sid.substreamid() as u32);
    let global = vmid.is_none();
    let stages = match addr.type_() {
        kind::STAGE1 if features.s1p => Stages::One,
        kind::STAGE2 if global && features.s2p && ssid.is_none() => Stages::Two,
        kind::BOTH if global && features.s1p && features.s2p => Stages::Both,
        _ => return Err(failed(code::INV_REQ)),
    };
    let lookup = Lookup { stages, inhibits_updates: addr.httui(), vmid };
    Ok(Request {
        sid: sid.streamid() as u32,
        ssid,
        addr: addr.addr(),
        write: !addr.rnw(),
        atomic: false,
        instruction: addr.ind(),
        privileged: addr.pnu(),
        attributes: NEUTRAL,
        unsupported: false,
        kind: RequestKind::Operation(lookup),
    })
}

const fn failed(code: u64) -> u64 {
    Failed([0]).with_fault(true).with_faultcode(code).0[0]
}

/// What PAR shows.
pub fn par(lookup: &Lookup, answer: &Answer) -> u64 {
    match *answer {
        Answer::Found { addr, size_log2, attributes, .. } => found(addr, size_log2, attributes),
        Answer::InvalidStage => failed(code::INV_STAGE),
        Answer::InternalError => failed(code::INTERNAL_ERR),
        Answer::Fault(event) => fault(lookup.stages, &event),
    }
}

fn found(addr: PhysAddr, size_log2: u8, attributes: Attributes) -> u64 {
    let addr = addr & !low_mask(size_log2);
    let large = size_log2 > 12;
    let size = if large { 1 << (size_log2 - 1) } else { 0 };
    let par = Found([0]).with_size(large).with_addr(addr | size);
    par.with_attr(attributes.mair().into()).with_sh(attributes.sh().into()).0[0]
}

/// The table of IHI 0070, 9.1.4.
fn fault(stages: Stages, event: &EventRecord) -> u64 {
    let number = event.event();
    let is_walk_abort = number == EventNumber::F_WALK_EABT;
    let (number, reason, faddr) = match (stages, event.s2()) {
        // To who sees stage 1 only, stage 2 is memory.
        (Stages::One, true) if event.class() == class::CD => (EventNumber::F_CD_FETCH, reason::STAGE1, 0),
        (Stages::One, true) => (EventNumber::F_WALK_EABT, reason::STAGE1, 0),
        (Stages::Two, false) if number != EventNumber::F_ADDR_SIZE => (number, reason::IN, 0),
        (_, false) => (number, reason::STAGE1, 0),
        (Stages::Two, true) => (number, reason::IN, 0),
        (Stages::Both, true) => {
            let reason = match event.class() {
                class::CD => reason::CD,
                class::TT => reason::TT,
                _ => reason::IN,
            };
            (number, reason, if is_walk_abort { 0 } else { event.ipa() })
        }
    };
    let par = Failed([failed(number.0.into())]).with_reason(reason);
    par.with_faddr(faddr).0[0]
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::smmu::features::IdrProfile;

    #[test]
    fn sizes() {
        for (addr, size_log2, want) in [
            (0x1234_5000, 12, 0x1234_5000),
            // The architecture's examples: 16KB and 64KB.
            (0x1234_4000, 14, 0x1234_4000 | 1 << 13 | 1 << 11),
            (0x1234_5000, 16, 0x1234_0000 | 1 << 15 | 1 << 11),
            (0x1234_5000, 21, 0x1220_0000 | 1 << 20 | 1 << 11),
            (0x80_0000_0000, 30, 0x80_0000_0000 | 1 << 29 | 1 << 11),
        ] {
            let attributes = 0xff << 56 | 3 << 8;
            assert_eq!(found(addr, size_log2, Attributes::COHERENT), want | attributes, "{size_log2}");
        }
    }

    #[test]
    fn malformed_operations() {
        let optional = Features::new(IdrProfile::OPTIONAL).unwrap();
        let one = Features { s2p: false, ..optional };
        let two = Features { s1p: false, ..optional };
        for (features, vmid, with_ssid, legal) in [
            (optional, None, false, [false, true, true, true]),
            (optional, None, true, [false, true, false, true]),
            (optional, Some(5), false, [false, true, false, false]),
            (one, None, false, [false, true, false, false]),
            (two, None, false, [false, false, true, false]),
        ] {
            for (kind, legal) in (0..4).zip(legal) {
                let sid = GATOS_SID(1).with_ssid_valid(with_ssid);
                let got = request(sid, GATOS_ADDR(0).with_type_(kind), vmid, &features);
                assert_eq!(got.is_ok(), legal, "{kind} {vmid:?} {with_ssid}");
                assert!(got.is_ok() || got == Err(0xff1));
            }
        }
    }

    /// The rows of the table, each with what PAR shows.
    #[test]
    fn faults() {
        let one = |number| EventRecord::translation(number, 1, None, 0x1000, false);
        let two = |number, class| one(number).with_stage2(class, 0x4_5000);
        let (cd, tt, input) = (class::CD, class::TT, class::IN);
        use EventNumber as E;
        use Stages::{Both, One, Two};
        for (stages, event, number, reason, faddr) in [
            (One, one(E::F_TRANSLATION), E::F_TRANSLATION, 0, 0),
            (One, one(E::F_WALK_EABT), E::F_WALK_EABT, 0, 0),
            (One, one(E::C_BAD_CD), E::C_BAD_CD, 0, 0),
            (One, two(E::F_TRANSLATION, cd), E::F_CD_FETCH, 0, 0),
            (One, two(E::F_WALK_EABT, cd), E::F_CD_FETCH, 0, 0),
            (One, two(E::F_PERMISSION, tt), E::F_WALK_EABT, 0, 0),
            (One, two(E::F_WALK_EABT, tt), E::F_WALK_EABT, 0, 0),
            (Two, two(E::F_ADDR_SIZE, input), E::F_ADDR_SIZE, 3, 0),
            (Two, one(E::F_ADDR_SIZE), E::F_ADDR_SIZE, 0, 0),
            (Two, two(E::F_ACCESS, input), E::F_ACCESS, 3, 0),
            (Two, two(E::F_WALK_EABT, input), E::F_WALK_EABT, 3, 0),
            (Two, one(E::C_BAD_STE), E::C_BAD_STE, 3, 0),
            (Both, one(E::F_PERMISSION), E::F_PERMISSION, 0, 0),
            (Both, two(E::F_TRANSLATION, cd), E::F_TRANSLATION, 1, 0x4_5000),
            (Both, two(E::F_ACCESS, tt), E::F_ACCESS, 2, 0x4_5000),
            (Both, two(E::F_ADDR_SIZE, input), E::F_ADDR_SIZE, 3, 0x4_5000),
            (Both, one(E::F_WALK_EABT), E::F_WALK_EABT, 0, 0),
            (Both, two(E::F_WALK_EABT, tt), E::F_WALK_EABT, 2, 0),
            (Both, one(E::F_CD_FETCH), E::F_CD_FETCH, 0, 0),
        ] {
            let want = 1 | reason << 1 | u64::from(number.0) << 4 | faddr;
            assert_eq!(fault(stages, &event), want, "{stages:?} {event}");
        }
    }
}
