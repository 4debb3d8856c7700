//! Whether an STE or a CD may be used (IHI 0070, 5.2 and 5.4), and the sizes that follow from the ID registers.

use crate::witness::{Registers, Smmu};
use spec::smmu::ste::config;
use spec::smmu::{Cd, Ste};

/// Translation regime of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    El1,
    El2,
    El2E2h,
}

/// Page bits, if the value is a granule that the SMMU has.
fn granule(smmu: &Smmu, bits: Option<u32>) -> Option<u32> {
    let has = match bits? {
        12 => smmu.idr5.gran4k(),
        14 => smmu.idr5.gran16k(),
        _ => smmu.idr5.gran64k(),
    };
    bits.filter(|_| has)
}

/// Encoding of STE.S2TG and CD.TG0.
pub(crate) fn tg0(value: u64) -> Option<u32> {
    [Some(12), Some(16), Some(14), None][value as usize]
}

/// Encoding of CD.TG1.
pub(crate) fn tg1(value: u64) -> Option<u32> {
    [None, Some(14), Some(12), Some(16)][value as usize]
}

/// Address bits of an encoded physical size.
pub(crate) fn size_bits(value: u64) -> u32 {
    [32, 36, 40, 42, 44, 48, 52, 52][value as usize]
}

/// Output address size.
pub(crate) fn oas(smmu: &Smmu) -> u32 {
    size_bits(smmu.idr5.oas())
}

/// Intermediate address size.
pub(crate) fn ias(smmu: &Smmu) -> u32 {
    let a32 = if smmu.idr0.ttf() & 1 != 0 { 40 } else { 0 };
    if smmu.idr0.ttf() & 2 != 0 { oas(smmu).max(a32) } else { a32 }
}

/// Stage 2 output size in use.
pub(crate) fn s2_output(smmu: &Smmu, ste: Ste) -> u32 {
    size_bits(ste.s2ps()).min(oas(smmu))
}

/// Stage 1 output size in use.
pub(crate) fn s1_output(smmu: &Smmu, cd: Cd) -> u32 {
    size_bits(cd.ips()).min(oas(smmu))
}

/// STRW counts only for a stage-1 stream of an SMMU that has EL2.
pub(crate) fn world(smmu: &Smmu, registers: &Registers, ste: Ste) -> World {
    let used = smmu.idr0.s1p() && smmu.idr0.hyp() && ste.config() == config::S1;
    match (used, ste.strw(), registers.cr2.e2h()) {
        (true, 2, false) => World::El2,
        (true, 2, true) => World::El2E2h,
        _ => World::El1,
    }
}

/// First level of a stage-2 walk, if the encoding means one.
pub(crate) fn s2_start(smmu: &Smmu, ste: Ste) -> Option<u32> {
    let small = smmu.idr3.stt();
    match (tg0(ste.s2tg())?, ste.s2sl0()) {
        (12, 3) => small.then_some(3),
        (12, encoded) => Some(2 - encoded as u32),
        (_, encoded) => 3u32.checked_sub(encoded as u32).filter(|&level| level != 0),
    }
}

fn size_limits(smmu: &Smmu, granule: u32, min: u64) -> std::ops::RangeInclusive<u64> {
    let max = match (smmu.idr3.stt(), granule) {
        (false, _) => 39,
        (true, 16) => 47,
        (true, _) => 48,
    };
    min..=max
}

/// Whether a valid STE that does not abort may be used.
pub(crate) fn ste_is_legal(smmu: &Smmu, registers: &Registers, ste: Ste) -> bool {
    let (s1, s2) = (ste.config() & 1 != 0, ste.config() & 2 != 0);
    if (s1 && !smmu.idr0.s1p()) || (s2 && !smmu.idr0.s2p()) {
        return false;
    }
    if smmu.idr0.ats() && ste.config() != config::BYPASS {
        let split_ok = ste.config() == config::NESTED && !ste.s2s() && !smmu.idr0.ns1ats();
        if (ste.eats() == 2 && !split_ok) || (ste.eats() == 1 && s2 && ste.s2s()) {
            return false;
        }
    }
    let strw_used = smmu.idr0.s1p() && smmu.idr0.hyp() && ste.config() == config::S1;
    if strw_used && ste.strw() & 1 != 0 {
        return false;
    }
    if s1 && !stage1_of_ste_is_legal(smmu, ste, s2) {
        return false;
    }
    if s2 && !stage2_of_ste_is_legal(smmu, ste) {
        return false;
    }
    let vmid_used = s2 || (s1 && smmu.idr0.s2p() && world(smmu, registers, ste) == World::El1);
    !vmid_used || smmu.idr0.vmid16() || ste.s2vmid() >> 8 == 0
}

fn stage1_of_ste_is_legal(smmu: &Smmu, ste: Ste, s2: bool) -> bool {
    if ste.s1stalld() && smmu.idr0.stall_model() != 0 {
        return false;
    }
    if smmu.idr1.ssidsize() != 0 {
        let two_level = matches!(ste.s1fmt(), 1 | 2);
        if ste.s1cdmax() > smmu.idr1.ssidsize() || (ste.s1cdmax() != 0 && !smmu.idr0.cd2l() && two_level) {
            return false;
        }
    }
    ste.s1contextptr() >> if s2 { ias(smmu) } else { oas(smmu) } == 0
}

fn stage2_of_ste_is_legal(smmu: &Smmu, ste: Ste) -> bool {
    let idr0 = &smmu.idr0;
    if (ste.s2s() && idr0.stall_model() == 1) || (!ste.s2s() && idr0.stall_model() == 2) {
        return false;
    }
    if idr0.ttf() & if ste.s2aa64() { 2 } else { 1 } == 0 {
        return false;
    }
    if (ste.s2ha() || ste.s2hd()) && (idr0.httu() == 0 || !ste.s2aa64()) || (ste.s2hd() && idr0.httu() == 1) {
        return false;
    }
    if (ste.s2endi() && idr0.ttendian() == 2) || (!ste.s2endi() && idr0.ttendian() == 3) {
        return false;
    }
    if !ste.s2aa64() {
        return !(smmu.idr3.fwb() && ste.s2fwb());
    }
    let Some(g) = granule(smmu, tg0(ste.s2tg())) else { return false };
    let reach = s2_output(smmu, ste);
    if ste.s2ttb() >> reach != 0 || (g < 16 && ste.s2ttb() >> 48 != 0) {
        return false;
    }
    let min = (64 - u64::from(ias(smmu))).max(if g == 16 { 12 } else { 16 });
    if !size_limits(smmu, g, min).contains(&ste.s2t0sz()) {
        return false;
    }
    let Some(start) = s2_start(smmu, ste) else { return false };
    let (ia, s) = (64 - ste.s2t0sz() as u32, g - 3);
    let lowest = s * (3 - start) + g + 1;
    (lowest..lowest + s + 4).contains(&ia) && (start != 0 || ia <= 48)
}

/// Whether a CD of this stream may be used.
pub(crate) fn cd_is_legal(smmu: &Smmu, world: World, ste: Ste, cd: Cd) -> bool {
    let idr0 = &smmu.idr0;
    let upper = world != World::El2;
    let (epd0, epd1) = if upper { (cd.epd0(), cd.epd1()) } else { (false, true) };
    let stall_ok = match idr0.stall_model() {
        1 => !cd.s(),
        2 => cd.s(),
        _ => true,
    };
    if !cd.v() || !stall_ok || (ste.s1stalld() && cd.s()) || (idr0.term_model() && !cd.a()) {
        return false;
    }
    let walks = !(epd0 && epd1);
    if walks && ((cd.endi() && idr0.ttendian() == 2) || (!cd.endi() && idr0.ttendian() == 3)) {
        return false;
    }
    if !cd.aa64() {
        return idr0.ttf() & 1 != 0 && world != World::El2E2h;
    }
    if idr0.ttf() & 2 == 0 || (ste.config() & 2 != 0 && !ste.s2aa64()) {
        return false;
    }
    if ((cd.ha() || cd.hd()) && idr0.httu() == 0) || (cd.hd() && idr0.httu() == 1) {
        return false;
    }
    if world != World::El2 && !idr0.asid16() && cd.asid() >> 8 != 0 {
        return false;
    }
    let half = |epd: bool, tg: Option<u32>, size: u64, table: u64| {
        if epd {
            return true;
        }
        let Some(g) = granule(smmu, tg) else { return false };
        let min = if g == 16 && smmu.idr5.vax() == 1 { 12 } else { 16 };
        let fits = table >> s1_output(smmu, cd) == 0 && (g == 16 || table >> 48 == 0);
        size_limits(smmu, g, min).contains(&size) && fits
    };
    half(epd0, tg0(cd.tg0()), cd.t0sz(), cd.ttb0()) && half(epd1, tg1(cd.tg1()), cd.t1sz(), cd.ttb1())
}

#[cfg(test)]
mod test {
    use super::*;
    use spec::smmu::page0::{IDR0, IDR1, IDR3, IDR5};

    fn s2() -> Ste {
        Ste::default()
            .with_v(true)
            .with_config(config::S2)
            .with_s2aa64(true)
            .with_s2ps(5)
            .with_s2t0sz(24)
            .with_s2sl0(1)
    }

    fn s1() -> Ste {
        Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(0x8000)
    }

    #[test]
    fn stream_table_entries() {
        let default = Smmu::new("smmu0");
        let small_vmid = Smmu { idr0: default.idr0.with_vmid16(false), ..default.clone() };
        let no_stall = Smmu { idr0: default.idr0.with_stall_model(1), ..default.clone() };
        let no_s2 = Smmu { idr0: IDR0(default.idr0.0 & !1), ..default.clone() };
        let few_ssids = Smmu { idr1: IDR1(default.idr1.0).with_ssidsize(4), ..default.clone() };
        let only_4k =
            Smmu { idr5: IDR5(default.idr5.0).with_gran16k(false).with_gran64k(false), ..default.clone() };
        let rows = [
            ("stage 2", &default, s2(), true),
            ("stage 1", &default, s1(), true),
            ("T12 reserved granule", &default, s2().with_s2tg(3), false),
            ("T13 input too small", &default, s2().with_s2t0sz(40), false),
            ("T14 start level does not fit", &default, s2().with_s2t0sz(20), false),
            ("T15 table out of reach", &default, s2().with_s2ps(0).with_s2ttb(1 << 32), false),
            ("T16 16-bit VMID", &small_vmid, s2().with_s2vmid(0x100), false),
            ("16-bit VMID in stage 1 too", &small_vmid, s1().with_s2vmid(0x100), false),
            ("T17 too many CDs", &few_ssids, s1().with_s1cdmax(5), false),
            ("just enough CDs", &few_ssids, s1().with_s1cdmax(4), true),
            ("T18 no stall model", &no_stall, s1().with_s1stalld(true), false),
            ("T19 reserved StreamWorld", &default, s1().with_strw(1), false),
            ("T20 split-stage without nesting", &default, s2().with_eats(2), false),
            ("stage 2 absent", &no_s2, s2(), false),
            ("granule absent", &only_4k, s2().with_s2tg(1).with_s2sl0(1), false),
            ("40 bits, two tables", &default, s2(), true),
            ("48 bits at level 0", &default, s2().with_s2t0sz(16).with_s2sl0(2), true),
            ("stall with ATS", &default, s2().with_eats(1).with_s2s(true), false),
        ];
        for (name, smmu, ste, want) in rows {
            assert_eq!(ste_is_legal(smmu, &Registers::default(), ste), want, "{name}");
        }
    }

    #[test]
    fn context_descriptors() {
        let default = Smmu::new("smmu0");
        let small_asid = Smmu { idr0: default.idr0.with_asid16(false), ..default.clone() };
        let no_16k = Smmu { idr5: default.idr5.with_gran16k(false), ..default.clone() };
        let stt = Smmu { idr3: IDR3(default.idr3.0).with_stt(true), ..default.clone() };
        let cd =
            Cd::default().with_v(true).with_aa64(true).with_t0sz(16).with_ips(5).with_epd1(true).with_a(true);
        let rows = [
            ("usual", &default, s1(), cd, true),
            ("C07 not valid", &default, s1(), cd.with_v(false), false),
            ("C08 input too small", &default, s1(), cd.with_t0sz(40), false),
            ("small tables", &stt, s1(), cd.with_t0sz(40), true),
            ("C09 unused half", &default, s1(), cd.with_t0sz(40).with_epd0(true), true),
            ("C10 stall forbidden", &default, s1().with_s1stalld(true), cd.with_s(true), false),
            ("C13 16-bit ASID", &small_asid, s1(), cd.with_asid(0x100), false),
            ("C14 granule absent", &no_16k, s1(), cd.with_tg0(2), false),
            ("C15 table out of reach", &default, s1(), cd.with_ips(0).with_ttb0(1 << 32), false),
            ("AArch32 only", &default, s1(), cd.with_aa64(false), false),
            ("big-endian", &default, s1(), cd.with_endi(true), false),
        ];
        for (name, smmu, ste, cd, want) in rows {
            assert_eq!(cd_is_legal(smmu, World::El1, ste, cd), want, "{name}");
        }
    }
}
