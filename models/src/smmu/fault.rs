//! What a fault is to the client and to the Event queue (IHI 0070, 3.12 and 7.3).

use spec::smmu::event::class;
use spec::smmu::{Cd, EventRecord, Ste};

use super::request::Request;
use super::rights::Access;

/// Why stage 2 was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To fetch a level-1 context descriptor.
    L1Cd,
    /// To fetch a context descriptor.
    Cd,
    /// To read a stage-1 translation table.
    Table,
    /// To update a descriptor of a stage-1 translation table.
    Update,
    /// For the address of the transaction.
    Input,
}

impl Purpose {
    /// Value of CLASS.
    pub const fn class(self) -> u64 {
        match self {
            Self::L1Cd | Self::Cd => class::CD,
            Self::Table | Self::Update => class::TT,
            Self::Input => class::IN,
        }
    }
}

/// Which stage faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Stage 1, or the check of the address where it is bypassed.
    One,
    /// Stage 2.
    Two {
        /// Intermediate address.
        ipa: u64,
        /// What for.
        purpose: Purpose,
    },
}

/// How a stage was told to treat its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Abort, rather than RAZ/WI.
    pub abort: bool,
    /// Record.
    pub record: bool,
    /// Stall.
    pub stall: bool,
}

impl Manner {
    /// Abort and record.
    pub const ALWAYS: Self = Self { abort: true, record: true, stall: false };

    /// CD.A, R, S.
    pub const fn stage1(cd: Cd) -> Self {
        Self { abort: cd.a(), record: cd.r(), stall: cd.s() }
    }

    /// STE.S2R, S2S.
    pub const fn stage2(ste: Ste) -> Self {
        Self { abort: true, record: ste.s2r(), stall: ste.s2s() }
    }
}

/// The fields about the transaction that every translation-related record has.
pub const fn with_access(record: EventRecord, request: &Request, access: Access) -> EventRecord {
    record
        .with_inputaddr(request.addr)
        .with_pnu(access.privileged)
        .with_ind(access.instruction)
        .with_rnw(!access.write)
}

/// A record of stage `stage`.
pub const fn at_stage(record: EventRecord, stage: Stage) -> EventRecord {
    match stage {
        Stage::One => record.with_class(class::IN),
        Stage::Two { ipa, purpose } => record.with_stage2(purpose.class(), ipa & !0xfff),
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use spec::smmu::EventNumber;

    /// The worked encodings of the architecture's examples.
    #[test]
    fn encodings() {
        let read = Access { read: true, write: false, instruction: false, privileged: false };
        let write = Access { read: false, write: true, instruction: false, privileged: true };
        let new = |number, ssid| EventRecord::configuration(number, 1, ssid);
        let far = Request::write(1, 0xffff_0000_1234_5678);
        let two = Stage::Two { ipa: 0x4000_1008, purpose: Purpose::Table };
        for (record, request, access, stage, want) in [
            (
                new(EventNumber::F_TRANSLATION, None),
                Request::read(1, 0x2000),
                read,
                Stage::One,
                [0x1_0000_0010, 0x208_0000_0000, 0x2000, 0],
            ),
            (
                new(EventNumber::F_PERMISSION, Some(5)),
                far,
                write,
                Stage::One,
                [0x1_0000_5813, 0x202_0000_0000, 0xffff_0000_1234_5678, 0],
            ),
            (
                new(EventNumber::F_TRANSLATION, None).with_stall(true).with_stag(7),
                Request::read(1, 0x2000),
                read,
                two,
                [0x1_0000_0010, 0x188_8000_0007, 0x2000, 0x4000_1000],
            ),
        ] {
            assert_eq!(at_stage(with_access(record, &request, access), stage).words(), want);
        }
    }
}
