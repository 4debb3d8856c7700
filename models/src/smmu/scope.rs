//! What an invalidation removes (IHI 0070, 4.3 and 4.4).

use spec::smmu::{Command, Opcode, command};

use super::control::Control;
use super::granule::{Granule, low_mask};

/// StreamWorld: the translation regime of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// NS-EL1: tagged with VMID and, unless global, ASID.
    #[default]
    El1,
    /// NS-EL2 without VHE: no tags.
    El2,
    /// NS-EL2 with VHE: ASID.
    El2E2h,
}

impl World {
    /// Whether an address is in the upper half, where there is one.
    #[inline]
    pub const fn upper(self, addr: u64) -> bool {
        !matches!(self, Self::El2) && addr >> 55 & 1 != 0
    }
}

/// Which input addresses an entry is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Virtual: stage 1, or both stages combined.
    #[default]
    Va,
    /// Intermediate: stage 2.
    Ipa,
}

/// What a lookup compares, apart from the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Virtual or intermediate addresses.
    pub kind: Kind,
    /// Regime.
    pub world: World,
    /// 0 where no VMID is in use.
    pub vmid: u16,
    /// 0 where no ASID is in use.
    pub asid: u16,
    /// Which set of global entries is meant.
    pub aset: bool,
}

/// Which entries an ASID selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsidMatch {
    /// All.
    Any,
    /// Non-global ones of this ASID.
    NonGlobal(u16),
    /// Those of this ASID, and global ones.
    OrGlobal(u16),
}

/// Which regimes and stages a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Virtual addresses of NS-EL1.
    El1Va,
    /// Intermediate addresses.
    El1Ipa,
    /// Both of these.
    El1Both,
    /// NS-EL2 without VHE.
    El2,
    /// NS-EL2 with VHE.
    El2E2h,
    /// Both of these.
    El2Both,
}

impl Regime {
    const fn covers(self, kind: Kind, world: World) -> bool {
        match self {
            Self::El1Va => matches!((kind, world), (Kind::Va, World::El1)),
            Self::El1Ipa => matches!(kind, Kind::Ipa),
            Self::El1Both => matches!(world, World::El1),
            Self::El2 => matches!(world, World::El2),
            Self::El2E2h => matches!(world, World::El2E2h),
            Self::El2Both => matches!(world, World::El2 | World::El2E2h),
        }
    }
}

/// A range of addresses, compared on bits `[55:0]`: the top byte is never part of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub first: u64,
    /// Last address, included.
    pub last: u64,
    /// Only entries made with this granule.
    pub granule: Option<Granule>,
    /// Only leaves of this level; 0 for all.
    pub ttl: u8,
}

/// Bits of an address that tags hold.
pub const TAG_BITS: u8 = 56;

impl Region {
    /// The entries that translate one address.
    pub const fn address(addr: u64) -> Self {
        let first = addr & low_mask(TAG_BITS);
        Self { first, last: first, granule: None, ttl: 0 }
    }

    fn of(command: &Command, addr: u64, ril: bool) -> Self {
        let Some(granule) = Granule::from_command(command.tg()).filter(|_| ril) else {
            return Self::address(addr);
        };
        let one = Self::address(addr);
        let ttl = match (granule, command.ttl() as u8) {
            (Granule::K16, 1) => 0,
            (_, ttl) => ttl,
        };
        let bytes = u128::from(command.num() + 1) << (command.scale() as u8 + granule.bits());
        let last = (u128::from(one.first) + bytes - 1).min(u128::from(low_mask(TAG_BITS)));
        Self { first: one.first, last: last as u64, granule: Some(granule), ttl }
    }

    /// Whether the 2^`bits` bytes around `addr` have an address in common with this range.
    pub const fn intersects(&self, addr: u64, bits: u8) -> bool {
        let base = addr & low_mask(TAG_BITS) & !low_mask(bits);
        base <= self.last && self.first <= base | low_mask(bits) & low_mask(TAG_BITS)
    }
}

/// What a TLBI command removes from TLBs and walk caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlbScope {
    /// Regimes and stages.
    pub regime: Regime,
    /// VMID and how many of its low bits are ignored; `None` for all.
    pub vmid: Option<(u16, u8)>,
    /// ASIDs.
    pub asid: AsidMatch,
    /// Addresses; `None` for all.
    pub region: Option<Region>,
    /// Table entries may stay.
    pub leaf_only: bool,
}

impl TlbScope {
    const fn all(regime: Regime) -> Self {
        Self { regime, vmid: None, asid: AsidMatch::Any, region: None, leaf_only: false }
    }

    /// Whether regime and VMID of a tag are meant.
    pub const fn covers_regime(&self, tag: &Tag) -> bool {
        self.regime.covers(tag.kind, tag.world)
            && match self.vmid {
                Some((vmid, ignored)) => (vmid ^ tag.vmid) >> ignored == 0,
                None => true,
            }
    }

    /// Whether a tag is meant, apart from the address. `global`: a leaf that belongs to every ASID.
    pub const fn covers_tag(&self, tag: &Tag, global: bool) -> bool {
        self.covers_regime(tag)
            && match self.asid {
                AsidMatch::Any => true,
                AsidMatch::NonGlobal(asid) => !global && tag.asid == asid,
                AsidMatch::OrGlobal(asid) => global || tag.asid == asid,
            }
    }
}

/// What an invalidation command removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything cached about the configuration of these streams.
    Streams {
        /// First StreamID.
        first: u32,
        /// Last StreamID, included.
        last: u32,
    },
    /// Context descriptors of one stream.
    Contexts {
        /// The stream.
        sid: u32,
        /// One descriptor, or all.
        ssid: Option<u32>,
    },
    /// Translations.
    Translations(TlbScope),
}

impl Scope {
    /// All configuration.
    pub const ALL_STREAMS: Self = Self::Streams { first: 0, last: u32::MAX };

    /// What `command` removes; `None` if it is not an invalidation of what an SMMU caches. Does not judge legality: an
    /// illegal command has no scope worth asking for.
    pub fn of(command: &Command, control: &Control) -> Option<Self> {
        let features = &control.features;
        let sid = command.sid() as u32;
        let vmid = features.s2p.then_some((command.vmid() as u16, control.vmid_wildcard()));
        let asid = command.asid() as u16;
        let el1 = TlbScope { vmid, ..TlbScope::all(Regime::El1Va) };
        let el2 = TlbScope::all(if control.e2h() { Regime::El2E2h } else { Regime::El2 });
        let at = |scope: TlbScope, addr| TlbScope {
            region: Some(Region::of(command, addr, features.ril)),
            leaf_only: command.leaf(),
            ..scope
        };
        let scope = match command.op() {
            Opcode::CFGI_STE => return Some(Self::Streams { first: sid, last: sid }),
            Opcode::CFGI_STE_RANGE if command.range() == command::RANGE_ALL => {
                return Some(Self::ALL_STREAMS);
            }
            Opcode::CFGI_STE_RANGE => {
                let low = low_mask(command.range() as u8 + 1) as u32;
                return Some(Self::Streams { first: sid & !low, last: sid | low });
            }
            Opcode::CFGI_CD => return Some(Self::Contexts { sid, ssid: Some(command.ssid() as u32) }),
            Opcode::CFGI_CD_ALL => return Some(Self::Contexts { sid, ssid: None }),
            Opcode::TLBI_NH_ALL => el1,
            Opcode::TLBI_NH_ASID => TlbScope { asid: AsidMatch::NonGlobal(asid), ..el1 },
            Opcode::TLBI_NH_VA => TlbScope { asid: AsidMatch::OrGlobal(asid), ..at(el1, command.va()) },
            Opcode::TLBI_NH_VAA => at(el1, command.va()),
            Opcode::TLBI_EL2_ALL => TlbScope::all(Regime::El2Both),
            Opcode::TLBI_EL2_ASID => {
                TlbScope { asid: AsidMatch::NonGlobal(asid), ..TlbScope::all(Regime::El2E2h) }
            }
            Opcode::TLBI_EL2_VA if control.e2h() => {
                TlbScope { asid: AsidMatch::OrGlobal(asid), ..at(el2, command.va()) }
            }
            Opcode::TLBI_EL2_VA | Opcode::TLBI_EL2_VAA => at(el2, command.va()),
            Opcode::TLBI_S12_VMALL => TlbScope { regime: Regime::El1Both, ..el1 },
            Opcode::TLBI_S2_IPA => at(TlbScope { regime: Regime::El1Ipa, ..el1 }, command.ipa()),
            Opcode::TLBI_NSNH_ALL => TlbScope::all(Regime::El1Both),
            _ => return None,
        };
        Some(Self::Translations(scope))
    }

    /// Whether configuration of this stream, or of this descriptor of it, goes.
    pub const fn covers_context(&self, sid: u32, ssid: u32) -> bool {
        match *self {
            Self::Streams { first, last } => first <= sid && sid <= last,
            Self::Contexts { sid: s, ssid: Some(one) } => s == sid && one == ssid,
            Self::Contexts { sid: s, ssid: None } => s == sid,
            Self::Translations(_) => false,
        }
    }

    /// Whether the STE of this stream goes.
    pub const fn covers_stream(&self, sid: u32) -> bool {
        matches!(*self, Self::Streams { first, last } if first <= sid && sid <= last)
    }
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::*;

    fn scope(command: Command) -> Option<Scope> {
        Scope::of(&command, &Control::new(Features::new(IdrProfile::STANDARD).unwrap()))
    }

    #[test]
    fn streams() {
        for (command, first, last) in [
            (Command::cfgi_ste(5, true), 5, 5),
            (Command::cfgi_ste_range(5, 0), 4, 5),
            (Command::cfgi_ste_range(0x123, 7), 0x100, 0x1ff),
            (Command::cfgi_ste_range(9, 30), 0, 0x7fff_ffff),
            (Command::cfgi_all(), 0, u32::MAX),
        ] {
            assert_eq!(scope(command), Some(Scope::Streams { first, last }), "{command:?}");
        }
        assert_eq!(scope(Command::cfgi_cd(3, 7, true)), Some(Scope::Contexts { sid: 3, ssid: Some(7) }));
        assert_eq!(scope(Command::sync()), None);
    }

    #[test]
    fn ranges() {
        let range = |tg: Granule, num, scale, ttl, va| {
            let c = Command::tlbi_nh_va(1, 0, va, true).with_tg(tg.command());
            let Some(Scope::Translations(t)) = scope(c.with_num(num).with_scale(scale).with_ttl(ttl)) else {
                panic!("a TLBI has a scope")
            };
            let r = t.region.unwrap();
            (r.first, r.last, r.ttl)
        };
        assert_eq!(range(Granule::K4, 3, 0, 0, 0x4000), (0x4000, 0x7fff, 0));
        assert_eq!(range(Granule::K64, 1, 2, 3, 0x10_0000), (0x10_0000, 0x17_ffff, 3));
        assert_eq!(range(Granule::K16, 0, 1, 1, 0x8000), (0x8000, 0xffff, 0));
        let top = 0xffff_ffff_ffff_f000;
        assert_eq!(range(Granule::K4, 7, 0, 3, top), (low_mask(56) & top, low_mask(56), 3));
        assert_eq!(range(Granule::K4, 31, 31, 0, 0), (0, low_mask(48), 0));
    }

    #[test]
    fn intersections() {
        let r = Region { last: 0x7fff, ..Region::address(0x4000) };
        for (addr, bits, want) in [
            (0x4000, 12, true),
            (0x7fff, 12, true),
            (0x8000, 12, false),
            (0x3000, 12, false),
            (0x1f_0000, 21, true),
        ] {
            assert_eq!(r.intersects(addr, bits), want, "{addr:#x}");
        }
        assert!(Region::address(0xffff_0000_0000_1000).intersects(0x00ff_0000_0000_1000, 12), "top byte");
    }
}
