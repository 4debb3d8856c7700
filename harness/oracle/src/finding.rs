//! What the oracle has to say.

use crate::witness::{SmmuId, Time};
use std::fmt;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A translation was used after an invalidation that covers it had completed.
    StaleUse,
    /// A CMD_SYNC completed while a transaction that used an invalidated translation was still on its way.
    EarlySync,
    /// A transaction went where its stream was never sent, or to memory that its owner does not own.
    IsolationBreach,
    /// A transaction was aborted, a record was due, and none was written.
    LostEvent,
    /// A record was written for which there is no reason.
    SpuriousEvent,
    /// A transaction was aborted with another event than the architecture says.
    WrongEvent,
    /// The Event queue became non-empty and nobody was told.
    LostInterrupt,
    /// A transaction was aborted that should have gone through.
    SpuriousAbort,
    /// A transaction went on before the Access flag or dirty state that the hardware keeps was recorded.
    MissingUpdate,
    /// The hardware changed a descriptor as it must not.
    WrongUpdate,
}

impl Kind {
    /// Name in results and scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleUse => "stale-use",
            Self::EarlySync => "early-sync",
            Self::IsolationBreach => "isolation-breach",
            Self::LostEvent => "lost-event",
            Self::SpuriousEvent => "spurious-event",
            Self::WrongEvent => "wrong-event",
            Self::LostInterrupt => "lost-interrupt",
            Self::SpuriousAbort => "spurious-abort",
            Self::MissingUpdate => "missing-update",
            Self::WrongUpdate => "wrong-update",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One broken promise, with the story of how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which promise.
    pub kind: Kind,
    /// When it was broken.
    pub time: Time,
    /// The SMMU it is about.
    pub smmu: SmmuId,
    /// The StreamID there, unless it is about the SMMU as a whole.
    pub sid: Option<u32>,
    /// One line.
    pub title: String,
    /// What happened, in order, one line each.
    pub story: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.kind, Clock(self.time), self.title)?;
        for line in &self.story {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// A time in microseconds, to the nanosecond.
pub(crate) struct Clock(pub(crate) Time);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} us", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn prints() {
        let f = Finding {
            kind: Kind::StaleUse,
            time: 12_345_678,
            smmu: 0,
            sid: None,
            title: "t".into(),
            story: vec!["a".into()],
        };
        assert_eq!(f.to_string(), "stale-use at 12.345 us: t\n  a");
    }
}
