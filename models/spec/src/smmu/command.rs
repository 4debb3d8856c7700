//! Command queue entries (IHI 0070, chapter 4).
//!
//! ```
//! use spec::smmu::Command;
//! let c = Command::tlbi_nh_va(0x42, 1, 0x1000, true);
//! assert_eq!(c.to_string(), "TLBI_NH_VA asid=0x42 vmid=1 va=0x1000 leaf");
//! assert_eq!(Command::build("TLBI_NH_VA", &[("asid", 0x42), ("vmid", 1), ("va", 0x1000), ("leaf", 1)]), Ok(c));
//! ```

use crate::layout::Layout;
use core::fmt;

crate::open_enum! {
    /// What a command does: bits 7:0.
    pub struct Opcode(u8) {
        0x01 PREFETCH_CONFIG,
        0x02 PREFETCH_ADDR,
        0x03 CFGI_STE,
        /// With `range` 31 it is CFGI_ALL.
        0x04 CFGI_STE_RANGE,
        0x05 CFGI_CD,
        0x06 CFGI_CD_ALL,
        0x07 CFGI_VMS_PIDM,
        0x10 TLBI_NH_ALL,
        0x11 TLBI_NH_ASID,
        0x12 TLBI_NH_VA,
        0x13 TLBI_NH_VAA,
        0x18 TLBI_EL3_ALL,
        0x1a TLBI_EL3_VA,
        0x20 TLBI_EL2_ALL,
        0x21 TLBI_EL2_ASID,
        0x22 TLBI_EL2_VA,
        0x23 TLBI_EL2_VAA,
        0x28 TLBI_S12_VMALL,
        0x2a TLBI_S2_IPA,
        0x30 TLBI_NSNH_ALL,
        0x40 ATC_INV,
        0x41 PRI_RESP,
        0x44 RESUME,
        0x45 STALL_TERM,
        0x46 SYNC,
        0x50 TLBI_S_EL2_ALL,
        0x51 TLBI_S_EL2_ASID,
        0x52 TLBI_S_EL2_VA,
        0x53 TLBI_S_EL2_VAA,
        0x58 TLBI_S_S12_VMALL,
        0x5a TLBI_S_S2_IPA,
        0x60 TLBI_SNH_ALL,
        0x70 DPTI_ALL,
        0x73 DPTI_PA,
    }
}

crate::layout! {
    /// One entry of a command queue. Which fields exist depends on the opcode, see [`Opcode::fields`].
    pub struct Command([u64; 2]) {
        /// What to do.
        opcode[7:0],
        /// ATC_INV: in every PASID.
        global[9],
        /// The stream is Secure.
        ssec[10],
        /// The SubstreamID is valid.
        ssv[11],
        /// SubstreamID.
        ssid[31:12],
        /// StreamID.
        sid[63:32],
        /// Range: one less than the number of units.
        num[16:12],
        /// Range: units are 2^SCALE pages.
        scale[24:20],
        /// VMID.
        vmid[47:32],
        /// ASID.
        asid[63:48],
        /// Only last-level entries need go.
        leaf[64],
        /// log2 of the number of StreamIDs, less one.
        range[68:64],
        /// Level of the leaf, 0 unknown.
        ttl[73:72],
        /// Granule of a range: 0 no range, 1 4KB, 2 16KB, 3 64KB.
        tg[75:74],
        /// Virtual address.
        va[127:76] addr,
        /// Intermediate address.
        ipa[115:76] addr,
        /// Address.
        addr[127:76] addr,
        /// ATC_INV: log2 of the span in 4KB pages; 52 is everything.
        size[69:64],
        /// PREFETCH_ADDR: log2 of the number of addresses.
        prefetch_size[68:64],
        /// PREFETCH_ADDR: log2 of the distance of addresses, in 4KB pages.
        stride[73:69],
        /// Page request group.
        prgindex[72:64],
        /// PRI_RESP: 0 failure, 1 invalid request, 2 success.
        resp[77:76],
        /// RESUME: retry.
        ac[12],
        /// RESUME: abort, rather than RAZ/WI.
        ab[13],
        /// Names the stalled transaction.
        stag[79:64],
        /// Completion signal of SYNC: 0 none, 1 interrupt, 2 event.
        cs[13:12],
        /// Shareability of the message.
        msh[23:22],
        /// Memory type of the message.
        msiattr[27:24],
        /// Payload of the message.
        msidata[63:32],
        /// Where the message goes; 0 sends none.
        msiaddress[115:66] addr,
    }
}

/// Values of [`Command::cs`].
pub mod cs {
    /// Completion shows in CONS only.
    pub const SIG_NONE: u64 = 0;
    /// Wired pulse and, with an address, a message.
    pub const SIG_IRQ: u64 = 1;
    /// Wake-up event for WFE.
    pub const SIG_SEV: u64 = 2;
}

/// Values of [`Command::resp`].
pub mod resp {
    /// The device must stop.
    pub const FAILURE: u64 = 0;
    /// The request was not valid.
    pub const INVALID: u64 = 1;
    /// The page may be used.
    pub const SUCCESS: u64 = 2;
}

/// Values of [`Command::tg`].
pub mod tg {
    /// No range and no hint.
    pub const NONE: u64 = 0;
    /// 4KB.
    pub const K4: u64 = 1;
    /// 16KB.
    pub const K16: u64 = 2;
    /// 64KB.
    pub const K64: u64 = 3;
}

/// [`Command::size`] of an ATC_INV that covers the whole address space.
pub const ATC_INV_ALL: u64 = 52;

/// The `range` that makes CFGI_STE_RANGE a CFGI_ALL.
pub const RANGE_ALL: u64 = 31;

/// How a field prints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Always, in hexadecimal.
    Hex,
    /// Always, in decimal.
    Dec,
    /// In hexadecimal, if not zero.
    MaybeHex,
    /// In decimal, if not zero.
    Maybe,
    /// The name alone, if set.
    Flag,
}

type Params = &'static [(&'static str, Show)];

impl Opcode {
    /// The other name of [`Opcode::SYNC`].
    pub const CMD_SYNC: Self = Self::SYNC;

    const fn params(self) -> Params {
        use Show::{Dec, Flag, Hex, Maybe, MaybeHex};
        match self {
            Self::PREFETCH_CONFIG => &[("sid", Hex), ("ssv", Flag), ("ssid", Maybe), ("ssec", Flag)],
            Self::PREFETCH_ADDR => &[
                ("sid", Hex),
                ("ssv", Flag),
                ("ssid", Maybe),
                ("addr", Hex),
                ("prefetch_size", Maybe),
                ("stride", Maybe),
                ("ssec", Flag),
            ],
            Self::CFGI_STE => &[("sid", Hex), ("leaf", Flag), ("ssec", Flag)],
            Self::CFGI_STE_RANGE => &[("sid", Hex), ("range", Dec), ("ssec", Flag)],
            Self::CFGI_CD => &[("sid", Hex), ("ssid", Dec), ("leaf", Flag), ("ssec", Flag)],
            Self::CFGI_CD_ALL | Self::STALL_TERM => &[("sid", Hex), ("ssec", Flag)],
            Self::CFGI_VMS_PIDM | Self::TLBI_NH_ALL | Self::TLBI_S12_VMALL => &[("vmid", Dec)],
            Self::TLBI_NH_ASID => &[("asid", Hex), ("vmid", Dec)],
            Self::TLBI_NH_VA => &[
                ("asid", Hex),
                ("vmid", Dec),
                ("va", Hex),
                ("tg", Maybe),
                ("num", Maybe),
                ("scale", Maybe),
                ("ttl", Maybe),
                ("leaf", Flag),
            ],
            Self::TLBI_NH_VAA => &[
                ("vmid", Dec),
                ("va", Hex),
                ("tg", Maybe),
                ("num", Maybe),
                ("scale", Maybe),
                ("ttl", Maybe),
                ("leaf", Flag),
            ],
            Self::TLBI_EL2_ASID => &[("asid", Hex)],
            Self::TLBI_EL2_VA => &[
                ("asid", Hex),
                ("va", Hex),
                ("tg", Maybe),
                ("num", Maybe),
                ("scale", Maybe),
                ("ttl", Maybe),
                ("leaf", Flag),
            ],
            Self::TLBI_EL2_VAA => &[
                ("va", Hex),
                ("tg", Maybe),
                ("num", Maybe),
                ("scale", Maybe),
                ("ttl", Maybe),
                ("leaf", Flag),
            ],
            Self::TLBI_S2_IPA => &[
                ("vmid", Dec),
                ("ipa", Hex),
                ("tg", Maybe),
                ("num", Maybe),
                ("scale", Maybe),
                ("ttl", Maybe),
                ("leaf", Flag),
            ],
            Self::ATC_INV => &[
                ("sid", Hex),
                ("ssv", Flag),
                ("ssid", Maybe),
                ("global", Flag),
                ("addr", Hex),
                ("size", Dec),
            ],
            Self::PRI_RESP => {
                &[("sid", Hex), ("ssv", Flag), ("ssid", Maybe), ("prgindex", Dec), ("resp", Dec)]
            }
            Self::RESUME => &[("sid", Hex), ("stag", Dec), ("ac", Flag), ("ab", Flag), ("ssec", Flag)],
            Self::SYNC => &[
                ("cs", Maybe),
                ("msh", Maybe),
                ("msiattr", Maybe),
                ("msidata", MaybeHex),
                ("msiaddress", MaybeHex),
            ],
            _ => &[],
        }
    }

    /// Names of the fields that this command has, in the order in which they print. The layout of commands that the
    /// Non-secure queue always refuses is not described.
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        self.params().iter().map(|(name, _)| *name)
    }
}

impl Command {
    /// The opcode.
    pub const fn op(self) -> Opcode {
        Opcode(self.opcode() as u8)
    }

    /// A command of this opcode with every other field 0.
    pub const fn new(op: Opcode) -> Self {
        Self([op.0 as u64, 0])
    }

    /// From names, as scenario files write them: `CFGI_ALL` and a `CMD_` prefix are understood, addresses are given whole.
    ///
    /// # Errors
    /// An unknown operation or field, or a value that does not fit; the message names what there is.
    pub fn build(name: &str, fields: &[(&str, u64)]) -> Result<Self, String> {
        let bare = name.strip_prefix("CMD_").unwrap_or(name);
        if bare == "CFGI_ALL" {
            return match fields {
                [] => Ok(Self::cfgi_all()),
                [(field, _), ..] => Err(format!("CFGI_ALL has no field `{field}`; it has none")),
            };
        }
        let Some(op) = Opcode::by_name(bare) else {
            let names: Vec<_> = Opcode::ALL.iter().filter_map(|op| op.name()).collect();
            return Err(format!("there is no command `{name}`; there are CFGI_ALL, {}", names.join(", ")));
        };
        let mut command = Self::new(op);
        for &(field, value) in fields {
            if !op.fields().any(|f| f == field) {
                let names: Vec<_> = op.fields().collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(format!("{bare} has no field `{field}`; it has {names}"));
            }
            command = command.with_field(field, value)?;
        }
        Ok(command)
    }

    const fn with_substream(self, ssid: Option<u32>) -> Self {
        match ssid {
            Some(ssid) => self.with_ssv(true).with_ssid(ssid as u64),
            None => self,
        }
    }

    /// Hint: fetch the configuration of a stream.
    pub const fn prefetch_config(sid: u32, ssid: Option<u32>) -> Self {
        Self::new(Opcode::PREFETCH_CONFIG).with_sid(sid as u64).with_substream(ssid)
    }

    /// Hint: translate 2^`log2_count` addresses, 2^(12+`stride`) bytes apart.
    pub const fn prefetch_addr(sid: u32, ssid: Option<u32>, addr: u64, log2_count: u64, stride: u64) -> Self {
        let c = Self::new(Opcode::PREFETCH_ADDR).with_sid(sid as u64).with_substream(ssid);
        c.with_addr(addr).with_prefetch_size(log2_count).with_stride(stride)
    }

    /// Forget the STE of `sid` and all under it.
    pub const fn cfgi_ste(sid: u32, leaf: bool) -> Self {
        Self::new(Opcode::CFGI_STE).with_sid(sid as u64).with_leaf(leaf)
    }

    /// Forget the aligned block of 2^(`range`+1) STEs that contains `sid`.
    pub const fn cfgi_ste_range(sid: u32, range: u64) -> Self {
        Self::new(Opcode::CFGI_STE_RANGE).with_sid(sid as u64).with_range(range)
    }

    /// Forget all configuration.
    pub const fn cfgi_all() -> Self {
        Self::new(Opcode::CFGI_STE_RANGE).with_range(RANGE_ALL)
    }

    /// Forget one CD.
    pub const fn cfgi_cd(sid: u32, ssid: u32, leaf: bool) -> Self {
        Self::new(Opcode::CFGI_CD).with_sid(sid as u64).with_ssid(ssid as u64).with_leaf(leaf)
    }

    /// Forget all CDs of a stream.
    pub const fn cfgi_cd_all(sid: u32) -> Self {
        Self::new(Opcode::CFGI_CD_ALL).with_sid(sid as u64)
    }

    /// Forget all stage-1 translations of a VMID.
    pub const fn tlbi_nh_all(vmid: u16) -> Self {
        Self::new(Opcode::TLBI_NH_ALL).with_vmid(vmid as u64)
    }

    /// Forget the non-global translations of an ASID.
    pub const fn tlbi_nh_asid(asid: u16, vmid: u16) -> Self {
        Self::new(Opcode::TLBI_NH_ASID).with_asid(asid as u64).with_vmid(vmid as u64)
    }

    /// Forget the translation of one address of an ASID. For a range add `with_tg`, `with_num`, `with_scale`.
    pub const fn tlbi_nh_va(asid: u16, vmid: u16, va: u64, leaf: bool) -> Self {
        let c = Self::new(Opcode::TLBI_NH_VA).with_asid(asid as u64).with_vmid(vmid as u64);
        c.with_va(va).with_leaf(leaf)
    }

    /// Forget the translation of one address in every ASID.
    pub const fn tlbi_nh_vaa(vmid: u16, va: u64, leaf: bool) -> Self {
        Self::new(Opcode::TLBI_NH_VAA).with_vmid(vmid as u64).with_va(va).with_leaf(leaf)
    }

    /// Forget all EL2 translations.
    pub const fn tlbi_el2_all() -> Self {
        Self::new(Opcode::TLBI_EL2_ALL)
    }

    /// Forget the non-global EL2-E2H translations of an ASID.
    pub const fn tlbi_el2_asid(asid: u16) -> Self {
        Self::new(Opcode::TLBI_EL2_ASID).with_asid(asid as u64)
    }

    /// Forget the EL2 translation of one address.
    pub const fn tlbi_el2_va(asid: u16, va: u64, leaf: bool) -> Self {
        Self::new(Opcode::TLBI_EL2_VA).with_asid(asid as u64).with_va(va).with_leaf(leaf)
    }

    /// Forget the EL2 translation of one address in every ASID.
    pub const fn tlbi_el2_vaa(va: u64, leaf: bool) -> Self {
        Self::new(Opcode::TLBI_EL2_VAA).with_va(va).with_leaf(leaf)
    }

    /// Forget everything of a VMID, both stages.
    pub const fn tlbi_s12_vmall(vmid: u16) -> Self {
        Self::new(Opcode::TLBI_S12_VMALL).with_vmid(vmid as u64)
    }

    /// Forget the stage-2 translation of one intermediate address.
    pub const fn tlbi_s2_ipa(vmid: u16, ipa: u64, leaf: bool) -> Self {
        Self::new(Opcode::TLBI_S2_IPA).with_vmid(vmid as u64).with_ipa(ipa).with_leaf(leaf)
    }

    /// Forget everything but EL2.
    pub const fn tlbi_nsnh_all() -> Self {
        Self::new(Opcode::TLBI_NSNH_ALL)
    }

    /// Tell an endpoint to forget 2^(12+`size`) bytes; [`ATC_INV_ALL`] is everything.
    pub const fn atc_inv(sid: u32, ssid: Option<u32>, addr: u64, size: u64) -> Self {
        Self::new(Opcode::ATC_INV).with_sid(sid as u64).with_substream(ssid).with_addr(addr).with_size(size)
    }

    /// Answer a page request group; see [`resp`].
    pub const fn pri_resp(sid: u32, ssid: Option<u32>, prgindex: u64, resp: u64) -> Self {
        let c = Self::new(Opcode::PRI_RESP).with_sid(sid as u64).with_substream(ssid);
        c.with_prgindex(prgindex).with_resp(resp)
    }

    /// Let a stalled transaction go: retry if `ac`, otherwise abort if `ab`, otherwise RAZ/WI.
    pub const fn resume(sid: u32, stag: u16, ac: bool, ab: bool) -> Self {
        Self::new(Opcode::RESUME).with_sid(sid as u64).with_stag(stag as u64).with_ac(ac).with_ab(ab)
    }

    /// Abort every stalled transaction of a stream.
    pub const fn stall_term(sid: u32) -> Self {
        Self::new(Opcode::STALL_TERM).with_sid(sid as u64)
    }

    /// Complete all before; no signal.
    pub const fn sync() -> Self {
        Self::new(Opcode::SYNC)
    }

    /// Complete all before; wake WFE.
    pub const fn sync_sev() -> Self {
        Self::sync().with_cs(cs::SIG_SEV)
    }

    /// Complete all before; write `data` to `addr` (Inner shareable, Write-Back).
    pub const fn sync_msi(addr: u64, data: u32) -> Self {
        let c = Self::sync().with_cs(cs::SIG_IRQ).with_msh(3).with_msiattr(0xf);
        c.with_msiaddress(addr).with_msidata(data as u64)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.op();
        if op == Opcode::CFGI_STE_RANGE && self.range() == RANGE_ALL {
            return f.write_str("CFGI_ALL");
        }
        match op.name() {
            None => return write!(f, "UNKNOWN[{:#018x} {:#018x}]", self.0[0], self.0[1]),
            Some("SYNC") => f.write_str("CMD_SYNC")?,
            Some(name) => f.write_str(name)?,
        }
        for &(name, show) in op.params() {
            let value = self.get_field(name).expect("the parameter table names fields of the layout");
            match show {
                Show::MaybeHex | Show::Maybe | Show::Flag if value == 0 => {}
                Show::Hex | Show::MaybeHex => write!(f, " {name}={value:#x}")?,
                Show::Dec | Show::Maybe => write!(f, " {name}={value}")?,
                Show::Flag => write!(f, " {name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::check_layout;

    #[test]
    fn table_is_sound() {
        let all: Vec<_> = Command::FIELDS.iter().map(|f| f.name).collect();
        check_layout::<Command>(&all);
    }

    /// Fields of one command do not overlap and every one is in the layout.
    #[test]
    fn fields_of_each_command_are_disjoint() {
        for &op in Opcode::ALL {
            let mut seen = [0xff, 0];
            for name in op.fields() {
                let f = Command::field(name).unwrap_or_else(|| panic!("{op}.{name}"));
                assert_eq!(seen[f.word()] & f.mask(), 0, "{op}.{name} overlaps");
                seen[f.word()] |= f.mask();
            }
        }
    }

    #[test]
    fn worked_encodings() {
        let range = Command::tlbi_nh_va(0x42, 0, 0x1000_0000, true).with_tg(tg::K4).with_num(15).with_ttl(3);
        let rows: &[(Command, u64, u64, &str)] = &[
            (Command::cfgi_ste(0x10, true), 0x0000_0010_0000_0003, 1, "CFGI_STE sid=0x10 leaf"),
            (Command::cfgi_all(), 0x4, 0x1f, "CFGI_ALL"),
            (Command::cfgi_cd(0x10, 7, true), 0x0000_0010_0000_7005, 1, "CFGI_CD sid=0x10 ssid=7 leaf"),
            (Command::tlbi_nh_asid(0x42, 0), 0x0042_0000_0000_0011, 0, "TLBI_NH_ASID asid=0x42 vmid=0"),
            (
                range,
                0x0042_0000_0000_f012,
                0x1000_0701,
                "TLBI_NH_VA asid=0x42 vmid=0 va=0x10000000 tg=1 num=15 ttl=3 leaf",
            ),
            (
                Command::tlbi_s2_ipa(5, 0x4000_0000, true),
                0x0000_0005_0000_002a,
                0x4000_0001,
                "TLBI_S2_IPA vmid=5 ipa=0x40000000 leaf",
            ),
            (Command::tlbi_nsnh_all(), 0x30, 0, "TLBI_NSNH_ALL"),
            (Command::sync(), 0x46, 0, "CMD_SYNC"),
            (Command::sync_sev(), 0x2046, 0, "CMD_SYNC cs=2"),
            (
                Command::sync_msi(0x8000_2010, 0),
                0x0fc0_1046,
                0x8000_2010,
                "CMD_SYNC cs=1 msh=3 msiattr=15 msiaddress=0x80002010",
            ),
            (
                Command::atc_inv(0x100, None, 0, ATC_INV_ALL),
                0x0000_0100_0000_0040,
                0x34,
                "ATC_INV sid=0x100 addr=0x0 size=52",
            ),
            (
                Command::atc_inv(0x100, Some(3), 0x7f00_0000_0000, 0),
                0x0000_0100_0000_3840,
                0x7f00_0000_0000,
                "ATC_INV sid=0x100 ssv ssid=3 addr=0x7f0000000000 size=0",
            ),
            (
                Command::pri_resp(0x100, Some(3), 5, resp::SUCCESS),
                0x0000_0100_0000_3841,
                0x2005,
                "PRI_RESP sid=0x100 ssv ssid=3 prgindex=5 resp=2",
            ),
            (Command::resume(0x10, 7, true, false), 0x0000_0010_0000_1044, 7, "RESUME sid=0x10 stag=7 ac"),
            (Command::resume(0x10, 7, false, true), 0x0000_0010_0000_2044, 7, "RESUME sid=0x10 stag=7 ab"),
            (
                Command::prefetch_addr(0x10, None, 0x1000_0000, 2, 0),
                0x0000_0010_0000_0002,
                0x1000_0002,
                "PREFETCH_ADDR sid=0x10 addr=0x10000000 prefetch_size=2",
            ),
        ];
        for &(command, dw0, dw1, text) in rows {
            assert_eq!(command.words(), [dw0, dw1], "{text}");
            let decoded = Command::from_words([dw0, dw1]);
            assert_eq!(decoded.to_string(), text);
            assert_eq!(Command::from_bytes(&command.to_bytes()), command);
            let mut words = text.split(' ');
            let name = words.next().unwrap();
            let fields: Vec<_> = words.map(parse_field).collect();
            assert_eq!(Command::build(name, &fields), Ok(command), "{text}");
        }
    }

    fn parse_field(word: &str) -> (&str, u64) {
        let Some((name, value)) = word.split_once('=') else { return (word, 1) };
        let value =
            value.strip_prefix("0x").map_or_else(|| value.parse(), |hex| u64::from_str_radix(hex, 16));
        (name, value.unwrap())
    }

    #[test]
    fn build_says_what_there_is() {
        type Row<'a> = (&'a str, &'a [(&'a str, u64)], &'a str);
        let rows: &[Row<'_>] = &[
            ("TLBI_NH", &[], "there is no command `TLBI_NH`; there are CFGI_ALL, PREFETCH_CONFIG"),
            ("TLBI_NH_ASID", &[("va", 0)], "TLBI_NH_ASID has no field `va`; it has asid, vmid"),
            ("TLBI_NSNH_ALL", &[("vmid", 0)], "TLBI_NSNH_ALL has no field `vmid`; it has none"),
            ("CFGI_ALL", &[("sid", 0)], "CFGI_ALL has no field `sid`"),
            ("TLBI_NH_ASID", &[("asid", 0x10000)], "0x10000 does not fit Command.asid[63:48]"),
        ];
        for &(name, fields, want) in rows {
            let err = Command::build(name, fields).unwrap_err();
            assert!(err.starts_with(want), "{err}");
        }
        assert_eq!(Command::build("CMD_SYNC", &[]), Ok(Command::sync()));
        assert_eq!(Command([0xff, 1]).to_string(), "UNKNOWN[0x00000000000000ff 0x0000000000000001]");
    }
}
