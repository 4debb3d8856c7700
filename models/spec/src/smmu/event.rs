//! Event queue records (IHI 0070, 7.3).

use core::fmt;

crate::open_enum! {
    /// Which event a record reports: bits 7:0.
    pub struct EventNumber(u8) {
        0x01 F_UUT,
        0x02 C_BAD_STREAMID,
        0x03 F_STE_FETCH,
        0x04 C_BAD_STE,
        0x05 F_BAD_ATS_TREQ,
        0x06 F_STREAM_DISABLED,
        0x07 F_TRANSL_FORBIDDEN,
        0x08 C_BAD_SUBSTREAMID,
        0x09 F_CD_FETCH,
        0x0a C_BAD_CD,
        0x0b F_WALK_EABT,
        0x10 F_TRANSLATION,
        0x11 F_ADDR_SIZE,
        0x12 F_ACCESS,
        0x13 F_PERMISSION,
        0x20 F_TLB_CONFLICT,
        0x21 F_CFG_CONFLICT,
        0x24 E_PAGE_REQUEST,
        0x25 F_VMS_FETCH,
    }
}

crate::layout! {
    /// One record of the Event queue. Which fields exist depends on the number.
    pub struct EventRecord([u64; 4]) {
        /// Which event.
        number[7:0],
        /// The SubstreamID is valid.
        ssv[11],
        /// SubstreamID.
        ssid[31:12],
        /// StreamID.
        sid[63:32],
        /// Implementation defined.
        reason[79:64],
        /// Names the stalled transaction.
        stag[79:64],
        /// Granule protection check fault.
        gpcf[80],
        /// The transaction waits for a RESUME.
        stall[95],
        /// Privileged.
        pnu[97],
        /// Instruction.
        ind[98],
        /// Read.
        rnw[99],
        /// The intermediate address is Non-secure.
        nsipa[102],
        /// Stage 2 faulted.
        s2[103],
        /// What was being accessed: 0 a CD, 1 a table descriptor, 2 the transaction's own address.
        class[105:104],
        /// With CLASS 1: the descriptor was read, not written.
        ttrnw[108],
        /// Address of the transaction.
        inputaddr[191:128],
        /// Intermediate address that did not translate.
        ipa[243:204] addr,
        /// Address of the structure or descriptor.
        fetchaddr[243:195] addr,
        /// F_BAD_ATS_TREQ and E_PAGE_REQUEST: number of pages.
        span[115:108],
        /// F_BAD_ATS_TREQ: read requested.
        r[103],
        /// F_BAD_ATS_TREQ: write requested.
        w[102],
        /// F_BAD_ATS_TREQ: execute requested.
        x[101],
        /// F_BAD_ATS_TREQ: privileged.
        priv_[100],
        /// E_PAGE_REQUEST: privileged read.
        pr[103],
        /// E_PAGE_REQUEST: privileged write.
        pw[102],
        /// E_PAGE_REQUEST: privileged execute.
        px[101],
        /// E_PAGE_REQUEST: unprivileged read.
        ur[100],
        /// E_PAGE_REQUEST: unprivileged write.
        uw[99],
        /// E_PAGE_REQUEST: unprivileged execute.
        ux[98],
        /// F_BAD_ATS_TREQ and E_PAGE_REQUEST: page of the input address.
        inputpage[191:140] addr,
    }
}

/// What was being accessed when a translation fault arose: values of [`EventRecord::class`].
pub mod class {
    /// A context descriptor.
    pub const CD: u64 = 0;
    /// A translation table descriptor.
    pub const TT: u64 = 1;
    /// The transaction's own address.
    pub const IN: u64 = 2;
}

impl EventNumber {
    /// One of the four events that CD.A/R/S and STE.S2R/S2S govern.
    pub const fn is_translation_related(self) -> bool {
        matches!(self, Self::F_TRANSLATION | Self::F_ADDR_SIZE | Self::F_ACCESS | Self::F_PERMISSION)
    }

    /// Its record carries the address of a structure or descriptor.
    pub const fn has_fetchaddr(self) -> bool {
        matches!(self, Self::F_STE_FETCH | Self::F_CD_FETCH | Self::F_WALK_EABT | Self::F_VMS_FETCH)
    }

    /// Its record carries the input address and the attributes of the transaction.
    pub const fn has_transaction(self) -> bool {
        self.is_translation_related()
            || matches!(self, Self::F_UUT | Self::F_WALK_EABT | Self::F_TLB_CONFLICT)
    }
}

impl EventRecord {
    /// What it reports.
    pub const fn event(self) -> EventNumber {
        EventNumber(self.number() as u8)
    }

    /// A record of this number and StreamID with every other field 0.
    pub const fn new(number: EventNumber, sid: u32) -> Self {
        Self([0; 4]).with_number(number.0 as u64).with_sid(sid as u64)
    }

    /// The same with the SubstreamID, if there is one.
    #[must_use]
    pub const fn with_substream(self, ssid: Option<u32>) -> Self {
        match ssid {
            Some(ssid) => self.with_ssv(true).with_ssid(ssid as u64),
            None => self.with_ssv(false).with_ssid(0),
        }
    }

    /// A record about a stream's configuration (C_BAD_STE, C_BAD_CD and the like).
    pub const fn configuration(number: EventNumber, sid: u32, ssid: Option<u32>) -> Self {
        Self::new(number, sid).with_substream(ssid)
    }

    /// A record about a failed read of a structure at physical address `fetchaddr`.
    pub const fn fetch(number: EventNumber, sid: u32, ssid: Option<u32>, fetchaddr: u64) -> Self {
        Self::new(number, sid).with_substream(ssid).with_fetchaddr(fetchaddr)
    }

    /// A record about the translation of a data access, stage 1; see [`with_stage2`](Self::with_stage2).
    pub const fn translation(
        number: EventNumber,
        sid: u32,
        ssid: Option<u32>,
        inputaddr: u64,
        write: bool,
    ) -> Self {
        let record = Self::new(number, sid).with_substream(ssid).with_inputaddr(inputaddr).with_rnw(!write);
        record.with_class(class::IN)
    }

    /// The same, laid to stage 2: what was accessed, and the intermediate address that did not translate.
    #[must_use]
    pub const fn with_stage2(self, class: u64, ipa: u64) -> Self {
        self.with_s2(true).with_class(class).with_ipa(ipa)
    }
}

impl fmt::Display for EventRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event();
        write!(f, "{event} sid={:#x}", self.sid())?;
        if self.ssv() || event == EventNumber::C_BAD_SUBSTREAMID {
            write!(f, " ssid={}", self.ssid())?;
        }
        if event.has_transaction() {
            write!(f, " addr={:#x}", self.inputaddr())?;
            f.write_str(if self.rnw() { " read" } else { " write" })?;
            for (set, name) in [(self.ind(), " instruction"), (self.pnu(), " privileged")] {
                f.write_str(if set { name } else { "" })?;
            }
        }
        if event == EventNumber::F_TRANSL_FORBIDDEN {
            write!(f, " addr={:#x} {}", self.inputaddr(), if self.rnw() { "read" } else { "write" })?;
        }
        if matches!(event, EventNumber::F_BAD_ATS_TREQ | EventNumber::E_PAGE_REQUEST) {
            write!(f, " addr={:#x} span={}", self.inputpage(), self.span())?;
        }
        if event.is_translation_related() {
            match self.class() {
                class::CD => f.write_str(" class=CD")?,
                class::TT if event == EventNumber::F_PERMISSION && !self.ttrnw() => {
                    f.write_str(" class=TT update")?;
                }
                class::TT => f.write_str(" class=TT")?,
                class::IN => f.write_str(" class=IN")?,
                other => write!(f, " class={other}")?,
            }
            if self.s2() {
                write!(f, " s2 ipa={:#x}", self.ipa())?;
            }
            if self.stall() {
                write!(f, " stall stag={}", self.stag())?;
            }
        }
        if event.has_fetchaddr() {
            write!(f, " fetch={:#x}", self.fetchaddr())?;
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
        check_layout::<EventRecord>(&[
            "stag",
            "span",
            "r",
            "w",
            "x",
            "priv_",
            "pr",
            "pw",
            "px",
            "ur",
            "uw",
            "ux",
            "inputpage",
            "fetchaddr",
        ]);
    }

    #[test]
    fn worked_encodings() {
        use EventNumber as E;
        let stalled = EventRecord::translation(E::F_TRANSLATION, 1, None, 0x2000, false);
        let stalled = stalled.with_stage2(class::TT, 0x4000_1000).with_stall(true).with_stag(7);
        let update = EventRecord::translation(E::F_PERMISSION, 1, None, 0x2000, false);
        let rows = [
            (
                EventRecord::translation(E::F_TRANSLATION, 1, None, 0x2000, false),
                [0x1_0000_0010, 0x0208_0000_0000, 0x2000, 0],
                "F_TRANSLATION sid=0x1 addr=0x2000 read class=IN",
            ),
            (
                EventRecord::translation(E::F_PERMISSION, 1, Some(5), 0xffff_0000_1234_5678, true)
                    .with_pnu(true),
                [0x1_0000_5813, 0x0202_0000_0000, 0xffff_0000_1234_5678, 0],
                "F_PERMISSION sid=0x1 ssid=5 addr=0xffff000012345678 write privileged class=IN",
            ),
            (
                stalled,
                [0x1_0000_0010, 0x0188_8000_0007, 0x2000, 0x4000_1000],
                "F_TRANSLATION sid=0x1 addr=0x2000 read class=TT s2 ipa=0x40001000 stall stag=7",
            ),
            (
                update.with_stage2(class::TT, 0x4000_2000),
                [0x1_0000_0013, 0x0188_0000_0000, 0x2000, 0x4000_2000],
                "F_PERMISSION sid=0x1 addr=0x2000 read class=TT update s2 ipa=0x40002000",
            ),
            (
                EventRecord::configuration(E::C_BAD_STE, 1, None),
                [0x1_0000_0004, 0, 0, 0],
                "C_BAD_STE sid=0x1",
            ),
            (
                EventRecord::fetch(E::F_STE_FETCH, 1, None, 0x8000_0040),
                [0x1_0000_0003, 0, 0, 0x8000_0040],
                "F_STE_FETCH sid=0x1 fetch=0x80000040",
            ),
        ];
        for (record, want, text) in rows {
            assert_eq!(record.words(), want, "{text}");
            assert_eq!(EventRecord::from_words(want).to_string(), text);
            assert_eq!(EventRecord::from_bytes(&record.to_bytes()), record);
        }
        assert_eq!(EventRecord([0xe3, 0, 0, 0]).to_string(), "0xe3 sid=0x0");
    }
}
