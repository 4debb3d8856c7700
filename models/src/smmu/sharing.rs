//! Structures that must be alike, because what is cached of one may be used for the other: STEs of one VMID (IHI 0070, 5.2.1) or of
//! one span of CONT (5.2), CDs of one address space (5.4.1).
//!
//! *Invariant:* only what two structures both make use of is compared.

use spec::smmu::ste::config;
use spec::smmu::{Cd, Ste};

use super::features::Features;
use super::scope::World;

/// The translations that two CDs have in common, if this is equal: the tags of TLB entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    world: World,
    vmid: u16,
    asid: u16,
}

impl Space {
    /// Of a CD that a stream of this regime and VMID uses.
    pub const fn new(cd: Cd, world: World, vmid: u16) -> Self {
        let asid = if matches!(world, World::El2) { 0 } else { cd.asid() as u16 };
        Self { world, vmid, asid }
    }

    /// Whether two CDs of this space may insert different TLB entries. A half counts if both walk it: to disable walks first is how
    /// a space is taken down while it is in use.
    pub fn differs(&self, one: Cd, other: Cd) -> bool {
        let both = |walks: fn(Cd) -> bool| walks(one) && walks(other);
        let upper = self.world != World::El2 && both(|cd| !cd.epd1());
        let lower = self.world == World::El2 || both(|cd| !cd.epd0());
        whole(one) != whole(other)
            || lower && lower_half(one) != lower_half(other)
            || upper && upper_half(one) != upper_half(other)
    }
}

/// The fields of a CD that TLB entries may hold, apart from those of the halves.
fn whole(cd: Cd) -> Cd {
    let cd = cd.with_a(false).with_r(false).with_s(false).with_asid(0).with_partid(0).with_pmg(0);
    let cd = cd.with_e0pd0(false).with_e0pd1(false).with_epd0(false).with_epd1(false);
    let cd = cd.with_t0sz(0).with_tg0(0).with_ir0(0).with_or0(0).with_sh0(0).with_tbi0(false);
    let cd = cd.with_had0(false).with_ttb0(0).with_hwu0(0).with_nscfg0(false);
    let cd = cd.with_t1sz(0).with_tg1(0).with_ir1(0).with_or1(0).with_sh1(0).with_tbi1(false);
    cd.with_had1(false).with_ttb1(0).with_hwu1(0).with_nscfg1(false)
}

fn lower_half(cd: Cd) -> Cd {
    let half = Cd::default().with_t0sz(cd.t0sz()).with_tg0(cd.tg0()).with_ir0(cd.ir0()).with_or0(cd.or0());
    half.with_sh0(cd.sh0()).with_tbi0(cd.tbi0()).with_had0(cd.had0()).with_ttb0(cd.ttb0())
}

fn upper_half(cd: Cd) -> Cd {
    let half = Cd::default().with_t1sz(cd.t1sz()).with_tg1(cd.tg1()).with_ir1(cd.ir1()).with_or1(cd.or1());
    half.with_sh1(cd.sh1()).with_tbi1(cd.tbi1()).with_had1(cd.had1()).with_ttb1(cd.ttb1())
}

/// The VMID of a legal STE, if translations of the stream have one.
pub fn vmid(ste: Ste, features: &Features) -> Option<u64> {
    let el2 = features.hyp && ste.config() == config::S1 && ste.strw() == 2;
    (features.s2p && ste.config() > config::BYPASS && !el2).then(|| ste.s2vmid())
}

/// Whether two legal STEs of one VMID may insert different TLB entries by stage 2.
pub fn differ_in_stage2(one: Ste, other: Ste) -> bool {
    one.config() & other.config() & 2 != 0 && stage2(one) != stage2(other)
}

/// The fields of an STE that TLB entries may hold.
fn stage2(ste: Ste) -> Ste {
    let two = Ste::default().with_s2ttb(ste.s2ttb()).with_s2ptw(ste.s2ptw()).with_s2t0sz(ste.s2t0sz());
    let two =
        two.with_s2ir0(ste.s2ir0()).with_s2or0(ste.s2or0()).with_s2sh0(ste.s2sh0()).with_s2sl0(ste.s2sl0());
    let two = two.with_s2tg(ste.s2tg()).with_s2ps(ste.s2ps()).with_s2affd(ste.s2affd()).with_s2ha(ste.s2ha());
    two.with_s2hd(ste.s2hd()).with_s2endi(ste.s2endi()).with_s2aa64(ste.s2aa64()).with_s2fwb(ste.s2fwb())
}

/// Whether one of two legal STEs of one VMID is of stage 1 only, and the other nested.
pub const fn mix_stages(one: Ste, other: Ste) -> bool {
    matches!((one.config(), other.config()), (config::S1, config::NESTED) | (config::NESTED, config::S1))
}

/// Whether two STEs are not what CONT of one of them says.
pub fn differ_in_span(one: (u32, Ste), other: (u32, Ste)) -> bool {
    let span = |ste: Ste| if ste.v() { ste.cont() } else { 0 };
    let together = u64::from(one.0 ^ other.0) >> span(one.1).max(span(other.1)) == 0;
    together && one.1.with_cont(0).with_sw(0) != other.1.with_cont(0).with_sw(0)
}
