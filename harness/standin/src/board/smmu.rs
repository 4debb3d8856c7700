//! A pSMMU of a board: without time, or with.

use models::bus::{Abort, PhysAddr};
use models::functional::{DmaError, FunctionalSmmu, Stream};
use models::psmmu::PsmmuConfig;
use models::smmu::AtsAnswer;
use sim::Time;

use super::around::Around;
use super::timed::Timed;

/// A pSMMU.
#[derive(Debug)]
pub(super) enum Smmu {
    Functional(Box<FunctionalSmmu>),
    Timed(Box<Timed>),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:expr, $smmu:ident => $call:expr) => {
        match $self {
            Smmu::Functional($smmu) => $call,
            Smmu::Timed($smmu) => $call,
        }
    };
}

impl Smmu {
    pub(super) fn new(config: PsmmuConfig, timed: bool) -> Result<Self, String> {
        Ok(if timed {
            Self::Timed(Box::new(Timed::new(config)?))
        } else {
            Self::Functional(Box::new(FunctionalSmmu::new(config)?))
        })
    }

    pub(super) fn read(&mut self, addr: PhysAddr, len: u8, around: &mut Around) -> Result<u64, Abort> {
        either!(self, smmu => smmu.read(addr, len, around))
    }
    pub(super) fn write(
        &mut self,
        addr: PhysAddr,
        len: u8,
        value: u64,
        around: &mut Around,
    ) -> Result<(), Abort> {
        either!(self, smmu => smmu.write(addr, len, value, around))
    }
    pub(super) fn dma_read(
        &mut self,
        stream: Stream,
        iova: u64,
        into: &mut [u8],
        around: &mut Around,
    ) -> Result<(), DmaError> {
        either!(self, smmu => smmu.dma_read(stream, iova, into, around))
    }
    pub(super) fn dma_write(
        &mut self,
        stream: Stream,
        iova: u64,
        bytes: &[u8],
        around: &mut Around,
    ) -> Result<(), DmaError> {
        either!(self, smmu => smmu.dma_write(stream, iova, bytes, around))
    }
    pub(super) fn translation_request(
        &mut self,
        stream: Stream,
        iova: u64,
        write: bool,
        around: &mut Around,
    ) -> AtsAnswer {
        either!(self, smmu => smmu.translation_request(stream, iova, write, around))
    }
    pub(super) fn reset(&mut self) {
        either!(self, smmu => smmu.reset());
    }

    /// Lets everything happen that is under way.
    pub(super) fn settle(&mut self, around: &mut Around) {
        if let Self::Timed(smmu) = self {
            smmu.settle(around);
        }
    }
    /// Simulated time, if there is any.
    pub(super) fn simulated(&self) -> Option<Time> {
        match self {
            Self::Functional(_) => None,
            Self::Timed(smmu) => Some(smmu.now()),
        }
    }
}
