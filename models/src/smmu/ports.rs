//! The command queues of an SMMU as the arbiter numbers them.

use super::arbiter::Limits;

/// Which queue a port of the arbiter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The SMMU's own.
    Main,
    /// A VCMDQ, by global index.
    Vcmdq(u16),
    /// An enhanced command queue.
    Ecmdq(usize),
}

/// Ports: 0 is the SMMU's own queue, then come the VCMDQs, then the enhanced command queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// VCMDQs.
    pub vcmdqs: usize,
    /// Enhanced command queues.
    pub ecmdqs: usize,
}

impl Ports {
    /// All ports.
    pub const fn count(self) -> usize {
        1 + self.vcmdqs + self.ecmdqs
    }
    /// Whose port this is.
    pub const fn of(self, port: usize) -> Port {
        match port.checked_sub(1) {
            None => Port::Main,
            Some(vcmdq) if vcmdq < self.vcmdqs => Port::Vcmdq(vcmdq as u16),
            Some(other) => Port::Ecmdq(other - self.vcmdqs),
        }
    }
    /// How long a queue may be served where no CMDQV says it.
    pub const fn limits(self) -> Limits {
        if self.ecmdqs == 0 { Limits::NONE } else { Limits::IN_TURN }
    }
    /// The first port of an enhanced command queue.
    pub const fn first_ecmdq(self) -> usize {
        1 + self.vcmdqs
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn ports_and_queues() {
        for (vcmdqs, ecmdqs, want) in [
            (0, 0, vec![Port::Main]),
            (0, 2, vec![Port::Main, Port::Ecmdq(0), Port::Ecmdq(1)]),
            (2, 0, vec![Port::Main, Port::Vcmdq(0), Port::Vcmdq(1)]),
            (1, 1, vec![Port::Main, Port::Vcmdq(0), Port::Ecmdq(0)]),
        ] {
            let ports = Ports { vcmdqs, ecmdqs };
            assert_eq!((0..ports.count()).map(|port| ports.of(port)).collect::<Vec<_>>(), want);
            assert_eq!(ports.first_ecmdq(), ports.count() - ecmdqs);
        }
    }
}
