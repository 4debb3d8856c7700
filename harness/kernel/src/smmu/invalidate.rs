//! Invalidation commands for a range of addresses.

use spec::smmu::{Command, command::tg};

use crate::pgtable::Granule;

/// Which translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Stage 1 of EL1: ASID and VMID.
    Asid {
        /// ASID.
        asid: u16,
        /// VMID.
        vmid: u16,
    },
    /// Stage 1 of EL2 with E2H: ASID.
    HostAsid {
        /// ASID.
        asid: u16,
    },
    /// Stage 2: VMID.
    Vmid {
        /// VMID.
        vmid: u16,
    },
}

impl Scope {
    /// The command for one address.
    fn one(self, addr: u64, leaf: bool) -> Command {
        match self {
            Self::Asid { asid, vmid } => Command::tlbi_nh_va(asid, vmid, addr, leaf),
            Self::HostAsid { asid } => Command::tlbi_el2_va(asid, addr, leaf),
            Self::Vmid { vmid } => Command::tlbi_s2_ipa(vmid, addr, leaf),
        }
    }
    /// The command for all addresses.
    pub fn all(self) -> Command {
        match self {
            Self::Asid { asid, vmid } => Command::tlbi_nh_asid(asid, vmid),
            Self::HostAsid { asid } => Command::tlbi_el2_asid(asid),
            Self::Vmid { vmid } => Command::tlbi_s12_vmall(vmid),
        }
    }
}

/// A range to be invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub addr: u64,
    /// Number of bytes.
    pub len: u64,
    /// Bytes of each leaf, or of what each removed table resolved.
    pub stride: u64,
    /// Only leaves need go.
    pub leaf: bool,
}

/// Appends the commands that invalidate `range`: one an entry, or with `ril` a few for the whole range.
pub fn push_range(out: &mut Vec<Command>, scope: Scope, granule: Granule, range: &Range, ril: bool) {
    if !ril {
        let mut addr = range.addr;
        while addr < range.addr + range.len {
            out.push(scope.one(addr, range.leaf));
            addr += range.stride;
        }
        return;
    }
    let page = u64::from(granule.bits());
    let code = match granule {
        Granule::K4 => tg::K4,
        Granule::K16 => tg::K16,
        Granule::K64 => tg::K64,
    };
    // The level is only worth telling when the entry at that level is what goes.
    let ttl = if range.leaf { 3 - (u64::from(range.stride.ilog2()) - page) / (page - 3) } else { 0 };
    let mut addr = range.addr;
    let mut pages = range.len >> page;
    while pages > 0 {
        let scale = u64::from(pages.trailing_zeros()).min(31);
        // Only at the largest scale can the low five bits be zero.
        let count = match (pages >> scale) & 31 {
            0 => 31,
            n => n,
        };
        let command = scope.one(addr, range.leaf);
        // One page at an unknown level has no encoding as a range.
        out.push(if count == 1 && scale == 0 && ttl == 0 {
            command
        } else {
            command.with_tg(code).with_scale(scale).with_num(count - 1).with_ttl(ttl)
        });
        pages -= count << scale;
        addr += (count << scale) << page;
    }
}

/// The ATC_INV that covers a range: the smallest aligned power of two around it.
pub fn atc_range(sid: u32, ssid: Option<u32>, addr: u64, len: u64) -> Command {
    const PAGE: u32 = 12;
    let (first, last) = (addr >> PAGE, (addr + len - 1) >> PAGE);
    let span = 64 - (first ^ last).leading_zeros();
    let aligned = if span == 64 { 0 } else { first >> span << span };
    Command::atc_inv(sid, ssid, aligned << PAGE, span.into())
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    const SCOPE: Scope = Scope::Asid { asid: 0x42, vmid: 0 };

    fn commands(addr: u64, len: u64, stride: u64, leaf: bool, ril: bool) -> Vec<String> {
        let mut out = Vec::new();
        push_range(&mut out, SCOPE, Granule::K4, &Range { addr, len, stride, leaf }, ril);
        out.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges() {
        let head = "TLBI_NH_VA asid=0x42 vmid=0 va=";
        for (addr, len, stride, leaf, ril, want) in [
            (0x1000, 0x2000, 0x1000, true, false, vec!["0x1000 leaf", "0x2000 leaf"]),
            (0x1000_0000, 0x10000, 0x1000, true, true, vec!["0x10000000 tg=1 scale=4 ttl=3 leaf"]),
            (0x1000, 0x1000, 0x1000, true, true, vec!["0x1000 tg=1 ttl=3 leaf"]),
            (0x1000, 0x3000, 0x1000, true, true, vec!["0x1000 tg=1 num=2 ttl=3 leaf"]),
            (0x20_0000, 0x40_0000, 0x20_0000, true, true, vec!["0x200000 tg=1 scale=10 ttl=2 leaf"]),
            (0x20_0000, 0x20_0000, 0x20_0000, false, true, vec!["0x200000 tg=1 scale=9"]),
            (0x1000, 0x1000, 0x1000, false, true, vec!["0x1000"]),
            (
                0x1000,
                0x21000,
                0x1000,
                true,
                true,
                vec!["0x1000 tg=1 ttl=3 leaf", "0x2000 tg=1 scale=5 ttl=3 leaf"],
            ),
        ] {
            let want: Vec<_> = want.iter().map(|s| format!("{head}{s}")).collect();
            assert_eq!(commands(addr, len, stride, leaf, ril), want);
        }
    }

    proptest! {
        /// The ranges of the commands are the range, once, in order.
        #[test]
        fn range_commands_cover_exactly(first in 0_u64..1 << 30, pages in 1_u64..1 << 22) {
            let mut out = Vec::new();
            let range = Range { addr: first << 12, len: pages << 12, stride: 1 << 12, leaf: true };
            push_range(&mut out, SCOPE, Granule::K4, &range, true);
            let mut at = first << 12;
            for c in out {
                prop_assert_eq!(c.va(), at);
                at += ((c.num() + 1) << c.scale()) << 12;
            }
            prop_assert_eq!(at, (first + pages) << 12);
        }

        #[test]
        fn atc_ranges_cover(first in 0_u64..1 << 36, pages in 1_u64..1 << 20) {
            let (addr, len) = (first << 12, pages << 12);
            let c = atc_range(7, None, addr, len);
            let span = 1_u64 << (12 + c.size());
            prop_assert!(c.addr().is_multiple_of(span) && c.addr() <= addr && addr + len <= c.addr() + span);
        }
    }
}
