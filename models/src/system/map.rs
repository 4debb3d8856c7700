//! The address map: which completer answers at a physical address.

use std::fmt;

use crate::bus::PhysAddr;
use crate::smmu::pmcg::REGION;
use crate::smmu::register_pages::CONTROL_PAGES;

/// From the registers of a pSMMU to the pages of its performance monitors: the last pages below a CMDQV, which is 2 MiB behind
/// the registers. What the architecture puts in between has room for eight control pages.
pub const PMCG_OFFSET: u64 = 0x20_0000 - REGION;

const _: () = assert!(PMCG_OFFSET >= CONTROL_PAGES + 8 * 0x1_0000);

/// A completer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Memory.
    Memory,
    /// The interrupt controller.
    Interrupts,
    /// Registers of a pSMMU or its CMDQV.
    Psmmu(u16),
    /// Registers of a set of SMMUv2 instances.
    Pair(u16),
    /// The BAR of an endpoint.
    Endpoint(u16),
}

/// Two windows that overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The lower window: first byte, length, whose.
    pub lower: (PhysAddr, u64, Target),
    /// The upper window.
    pub upper: (PhysAddr, u64, Target),
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = (&self.lower, &self.upper);
        write!(
            f,
            "{:?} at {:#x}..{:#x} overlaps {:?} at {:#x}..{:#x}",
            a.2,
            a.0,
            a.0 + a.1,
            b.2,
            b.0,
            b.0 + b.1
        )
    }
}

/// Windows in ascending order, disjoint.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    windows: Vec<(PhysAddr, u64, Target)>,
}

impl AddressMap {
    /// A map of these windows (first byte, length, completer).
    ///
    /// # Errors
    /// Two windows overlap.
    pub fn new(mut windows: Vec<(PhysAddr, u64, Target)>) -> Result<Self, Overlap> {
        windows.retain(|w| w.1 > 0);
        windows.sort_by_key(|w| w.0);
        for pair in windows.windows(2) {
            if pair[0].0 + pair[0].1 > pair[1].0 {
                return Err(Overlap { lower: pair[0], upper: pair[1] });
            }
        }
        Ok(Self { windows })
    }
    /// Who answers at `addr`.
    pub fn target(&self, addr: PhysAddr) -> Option<Target> {
        let next = self.windows.partition_point(|w| w.0 <= addr);
        let (base, len, target) = *self.windows.get(next.checked_sub(1)?)?;
        (addr - base < len).then_some(target)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn windows_are_found_and_overlaps_refused() {
        let map =
            AddressMap::new(vec![(0x8000_0000, 0x1000, Target::Memory), (0x1000, 0x1000, Target::Psmmu(1))]);
        let map = map.unwrap();
        for (addr, want) in [
            (0xfff, None),
            (0x1000, Some(Target::Psmmu(1))),
            (0x1fff, Some(Target::Psmmu(1))),
            (0x2000, None),
            (0x8000_0fff, Some(Target::Memory)),
        ] {
            assert_eq!(map.target(addr), want, "{addr:#x}");
        }
        let clash = AddressMap::new(vec![(0, 0x1001, Target::Memory), (0x1000, 1, Target::Interrupts)]);
        assert_eq!(
            clash.unwrap_err().to_string(),
            "Memory at 0x0..0x1001 overlaps Interrupts at 0x1000..0x1001"
        );
    }
}
