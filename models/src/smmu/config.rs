//! Configuration structures: what they mean, and whether they are legal (IHI 0070, 5.2 and 5.4).

use spec::smmu::ste::config;
use spec::smmu::{Cd, Ste};

use super::control::Control;
use super::features::{Endian, Features, StallModel, Updates};
use super::granule::{Granule, low_mask};
use super::scope::World;

/// STE.EATS: full ATS.
pub const EATS_FULL: u64 = 1;
/// STE.EATS: split-stage ATS.
pub const EATS_SPLIT: u64 = 2;

/// Tables of one stage, or of one half of stage 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Granule.
    pub granule: Granule,
    /// Bits of an input address.
    pub input_bits: u8,
    /// Bits of an output address.
    pub output_bits: u8,
    /// Level of the first lookup.
    pub level: u8,
    /// First table, aligned.
    pub table: u64,
    /// Descriptors are big-endian.
    pub big_endian: bool,
}

impl Tables {
    fn new(granule: Granule, input_bits: u8, output_bits: u8, level: u8, ttb: u64) -> Option<Self> {
        // 52-bit addresses need 64KB tables.
        let reach = if granule == Granule::K64 { output_bits } else { output_bits.min(48) };
        let align = granule.first_table_bits(level, input_bits).max(if output_bits == 52 { 6 } else { 0 });
        (ttb >> reach == 0).then_some(Self {
            granule,
            input_bits,
            output_bits: reach,
            level,
            table: ttb & !low_mask(align),
            big_endian: false,
        })
    }

    /// Stage 2 of a stream, if its geometry is legal.
    pub fn stage2(ste: Ste, features: &Features) -> Option<Self> {
        let granule = Granule::from_tg0(ste.s2tg()).filter(|&g| features.has(g))?;
        let size = ste.s2t0sz() as u8;
        let largest = if granule == Granule::K64 { 12 } else { 16 };
        let smallest = smallest_space(granule, features);
        if size < (64 - features.ias()).max(largest) || size > smallest {
            return None;
        }
        let level = granule.start_level_2(ste.s2sl0(), features.stt)?;
        if !granule.start_fits_2(level, 64 - size) {
            return None;
        }
        let output_bits = features.capped_bits(ste.s2ps());
        let tables = Self::new(granule, 64 - size, output_bits, level, ste.s2ttb())?;
        Some(Self { big_endian: ste.s2endi(), ..tables })
    }

    /// One half of stage 1, if its geometry is legal. Whether walks are disabled is not looked at.
    pub fn stage1(cd: Cd, upper: bool, features: &Features) -> Option<Self> {
        let (granule, size, ttb) = if upper {
            (Granule::from_tg1(cd.tg1()), cd.t1sz() as u8, cd.ttb1())
        } else {
            (Granule::from_tg0(cd.tg0()), cd.t0sz() as u8, cd.ttb0())
        };
        let granule = granule.filter(|&g| features.has(g))?;
        let largest = if granule == Granule::K64 && features.vas == 52 { 12 } else { 16 };
        if size < largest || size > smallest_space(granule, features) {
            return None;
        }
        let output_bits = features.capped_bits(cd.ips());
        let tables = Self::new(granule, 64 - size, output_bits, granule.start_level(64 - size), ttb)?;
        Some(Self { big_endian: cd.endi(), ..tables })
    }

    /// Address of the descriptor for `input` at `level` of a walk, in `table`.
    #[inline]
    pub const fn descriptor(&self, table: u64, level: u8, input: u64) -> u64 {
        let index = (input & low_mask(self.input_bits)) >> self.granule.shift(level);
        let index = if level == self.level { index } else { index & low_mask(self.granule.stride()) };
        table | index << 3
    }
}

/// The largest TxSZ.
fn smallest_space(granule: Granule, features: &Features) -> u8 {
    match granule {
        _ if !features.stt => 39,
        Granule::K64 => 47,
        _ => 48,
    }
}

/// StreamWorld of a stream.
pub const fn world(ste: Ste, control: &Control) -> World {
    let used = control.features.s1p && control.features.hyp && ste.config() == config::S1;
    match ste.strw() {
        2 if used && control.e2h() => World::El2E2h,
        2 if used => World::El2,
        _ => World::El1,
    }
}

/// The VMID that tags a stream's translations.
pub const fn vmid(ste: Ste, world: World, features: &Features) -> u16 {
    match world {
        World::El1 if features.s2p => ste.s2vmid() as u16,
        _ => 0,
    }
}

/// STE.EATS as it takes effect.
pub const fn effective_eats(ste: Ste, control: &Control) -> u64 {
    match ste.eats() {
        _ if !control.features.ats || ste.config() == config::BYPASS => 0,
        EATS_SPLIT if !control.atschk() => 0,
        3 => 0,
        eats => eats,
    }
}

const fn endian_fits(big: bool, features: &Features) -> bool {
    match features.endian {
        Endian::Mixed => true,
        Endian::Little => !big,
        Endian::Big => big,
    }
}

/// Whether the hardware can update what it is told to.
fn updates_exist(access: bool, dirty: bool, features: &Features) -> bool {
    match features.updates {
        Updates::None => !access && !dirty,
        Updates::Access => !dirty,
        Updates::AccessAndDirty => true,
    }
}

/// Whether an STE may be used. One that is valid and says "abort" always may.
pub fn ste_legal(ste: Ste, features: &Features) -> bool {
    if !ste.v() {
        return false;
    }
    let config = ste.config();
    if config < config::BYPASS {
        return true;
    }
    let (one, two) = (config & 1 != 0, config & 2 != 0);
    let strw_used = features.s1p && features.hyp && config == config::S1;
    let el1 = !(strw_used && ste.strw() == 2);
    let vmid_used = two || one && el1 && features.s2p;
    let split = config == config::NESTED && !ste.s2s() && !features.ns1ats;
    let flaws = [
        one && !features.s1p,
        two && !features.s2p,
        features.ats && config != config::BYPASS && ste.eats() == EATS_SPLIT && !split,
        features.ats && two && ste.eats() == EATS_FULL && ste.s2s(),
        strw_used && ste.strw() & 1 != 0,
        vmid_used && !features.vmid16 && ste.s2vmid() > 0xff,
    ];
    !flaws.contains(&true)
        && (!one || stage1_config_legal(ste, features))
        && (!two || stage2_config_legal(ste, features))
}

fn stage1_config_legal(ste: Ste, features: &Features) -> bool {
    let substreams = features.ssidsize != 0;
    let flaws = [
        ste.s1stalld() && features.stall_model != StallModel::Both,
        substreams && ste.s1cdmax() > features.ssidsize.into(),
        substreams && ste.s1cdmax() != 0 && !features.cd2l && matches!(ste.s1fmt(), 1 | 2),
        !features.reaches(ste.s1contextptr()),
    ];
    !flaws.contains(&true)
}

fn stage2_config_legal(ste: Ste, features: &Features) -> bool {
    let flaws = [
        ste.s2s() && features.stall_model == StallModel::Terminate,
        !ste.s2s() && features.stall_model == StallModel::Stall,
        !ste.s2aa64(),
        !updates_exist(ste.s2ha(), ste.s2hd(), features),
        !endian_fits(ste.s2endi(), features),
        Tables::stage2(ste, features).is_none(),
    ];
    !flaws.contains(&true)
}

/// Whether walks through one half are disabled.
pub const fn walks_disabled(cd: Cd, upper: bool, world: World) -> bool {
    match world {
        World::El2 => false,
        _ if upper => cd.epd1(),
        _ => cd.epd0(),
    }
}

/// Whether a CD may be used, for any access to either half.
pub fn cd_legal(cd: Cd, ste: Ste, world: World, features: &Features) -> bool {
    if !cd.v() {
        return false;
    }
    let halves: &[bool] = if world == World::El2 { &[false] } else { &[false, true] };
    let mut walked = halves.iter().filter(|&&upper| !walks_disabled(cd, upper, world)).peekable();
    let flaws = [
        ste.s1stalld() && cd.s(),
        features.abort_only && !cd.a(),
        features.stall_model == StallModel::Terminate && cd.s(),
        features.stall_model == StallModel::Stall && !cd.s(),
        walked.peek().is_some() && !endian_fits(cd.endi(), features),
        !cd.aa64(),
        !updates_exist(cd.ha(), cd.hd(), features),
        world != World::El2 && !features.asid16 && cd.asid() > 0xff,
    ];
    !flaws.contains(&true) && walked.all(|&upper| Tables::stage1(cd, upper, features).is_some())
}

/// log2 of the number of CDs of a stream.
pub const fn context_bits(ste: Ste, features: &Features) -> u8 {
    if features.ssidsize == 0 { 0 } else { ste.s1cdmax() as u8 }
}

/// Why no CD is in charge of a transaction that has a SubstreamID or should have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubstreamed {
    /// STE.S1DSS does not permit it.
    Disabled,
    /// There is no such substream.
    Unknown,
}

/// Which CD is in charge of a transaction; none if stage 1 is bypassed. `stage1`: the STE enables stage 1.
///
/// # Errors
/// The transaction ends here.
#[inline]
pub fn context_index(
    ste: Ste,
    ssid: Option<u32>,
    stage1: bool,
    features: &Features,
) -> Result<Option<u32>, Unsubstreamed> {
    let bits = context_bits(ste, features);
    match ssid {
        Some(ssid) if !stage1 || bits == 0 || ssid >> bits != 0 => Err(Unsubstreamed::Unknown),
        Some(0) if ste.s1dss() == 2 => Err(Unsubstreamed::Disabled),
        Some(ssid) => Ok(Some(ssid)),
        None if !stage1 => Ok(None),
        None if bits == 0 => Ok(Some(0)),
        None => match ste.s1dss() {
            1 => Ok(None),
            2 => Ok(Some(0)),
            _ => Err(Unsubstreamed::Disabled),
        },
    }
}

/// Where a CD is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextPlace {
    /// The CD is here.
    Cd(u64),
    /// A level-1 descriptor is here.
    L1Cd(u64),
}

/// log2 of the CDs in a leaf of a 2-level table, if this is one.
pub const fn context_split(ste: Ste, features: &Features) -> Option<u8> {
    match ste.s1fmt() {
        _ if context_bits(ste, features) == 0 => None,
        1 => Some(6),
        2 => Some(10),
        _ => None,
    }
}

/// Where the CD `context` of a stream, or the level-1 descriptor that leads to it, is to be found.
pub fn context_place(ste: Ste, context: u32, features: &Features) -> ContextPlace {
    let bits = context_bits(ste, features);
    let pointer = ste.s1contextptr();
    match context_split(ste, features) {
        None => ContextPlace::Cd((pointer & !low_mask(bits + 6)) + u64::from(context) * 64),
        Some(split) => {
            let table = pointer & !low_mask((bits.saturating_sub(split) + 3).max(6));
            ContextPlace::L1Cd(table + u64::from(context >> split) * 8)
        }
    }
}
