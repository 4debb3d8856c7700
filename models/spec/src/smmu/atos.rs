//! Address translation operations (IHI 0070, chapter 9): the registers of the VATOS page, and the two faces of PAR.
//! The registers of GATOS are in page 0 and have the same fields.

crate::registers! {
    /// The VATOS page. Offsets are within the page.
    pub enum Vatos {
        /// Start of an operation.
        0x0a00 VATOS_CTRL: u32 rw = 0 {
            /// Set by software, cleared by the device when VATOS_PAR holds the result.
            run[0],
        }
        /// Stream that the operation translates for.
        0x0a08 VATOS_SID: u64 rw = 0 {
            streamid[31:0], substreamid[51:32],
            /// The SubstreamID is valid.
            ssid_valid[52],
        }
        /// Address and kind of the operation.
        0x0a10 VATOS_ADDR: u64 rw = 0 {
            /// No hardware update of flags.
            httui[6],
            /// Instruction, rather than data.
            ind[7],
            /// Read, rather than write.
            rnw[8],
            /// Privileged.
            pnu[9],
            /// 1 stage 1; nothing else is permitted here.
            type_[11:10],
            addr[63:12] addr,
        }
        /// Result of the operation.
        0x0a18 VATOS_PAR: u64 ro = 0 {
            /// The operation failed.
            fault[0],
            result[63:1],
        }
    }
}

crate::layout! {
    /// PAR of an operation that found an address.
    pub struct Found([u64; 1]) {
        fault[0],
        /// As in a stage-1 descriptor.
        sh[9:8],
        /// The lowest bit set in `addr` tells the size: it is bit n of 2^(n+1) bytes. Else 4KB.
        size[11],
        addr[51:12] addr,
        /// As in MAIR.
        attr[63:56],
    }
}

crate::layout! {
    /// PAR of an operation that did not.
    pub struct Failed([u64; 1]) {
        fault[0],
        /// See [`reason`].
        reason[2:1],
        /// An event number, or one of [`code`].
        faultcode[11:4],
        /// Intermediate address that faulted at stage 2.
        faddr[51:12] addr,
    }
}

/// Values of ATOS_ADDR.TYPE.
pub mod kind {
    /// Virtual to intermediate address.
    pub const STAGE1: u64 = 1;
    /// Intermediate to physical address.
    pub const STAGE2: u64 = 2;
    /// Virtual to physical address.
    pub const BOTH: u64 = 3;
}

/// Values of PAR.REASON.
pub mod reason {
    /// Stage 1, or nothing that a stage did.
    pub const STAGE1: u64 = 0;
    /// Stage 2, for the fetch of a context descriptor.
    pub const CD: u64 = 1;
    /// Stage 2, for a stage-1 table.
    pub const TT: u64 = 2;
    /// Stage 2, for the address asked about.
    pub const IN: u64 = 3;
}

/// Values of PAR.FAULTCODE that are no event numbers.
pub mod code {
    /// Terminated.
    pub const INTERNAL_ERR: u64 = 0xfd;
    /// The stream is not translated by what was asked about.
    pub const INV_STAGE: u64 = 0xfe;
    /// Malformed.
    pub const INV_REQ: u64 = 0xff;
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::Layout;
    use crate::regs::{Block, FieldDesc, check_table};
    use crate::smmu::Page0;

    #[test]
    fn both_groups_have_the_same_fields() {
        check_table::<Vatos>();
        for (virt, global) in [
            (Vatos::VATOS_CTRL, Page0::GATOS_CTRL),
            (Vatos::VATOS_SID, Page0::GATOS_SID),
            (Vatos::VATOS_ADDR, Page0::GATOS_ADDR),
            (Vatos::VATOS_PAR, Page0::GATOS_PAR),
        ] {
            let masks = |fields: &[FieldDesc]| fields.iter().map(|f| (f.name, f.mask())).collect::<Vec<_>>();
            assert_eq!(masks(virt.desc().fields), masks(global.desc().fields), "{virt}");
            assert_eq!(virt.offset() - 0xa00, global.offset() - 0x100, "{virt}");
        }
    }

    /// The drawings of IHI 0070, 6.3.40.
    #[test]
    fn agrees_with_the_drawings() {
        let found = |name| Found::field(name).map(FieldDesc::mask);
        assert_eq!(["fault", "sh", "size"].map(found), [1, 3 << 8, 1 << 11].map(Some));
        assert_eq!(["addr", "attr"].map(found), [0x000f_ffff_ffff_f000, 0xff << 56].map(Some));
        let failed = |name| Failed::field(name).map(FieldDesc::mask);
        assert_eq!(["fault", "reason", "faultcode"].map(failed), [1, 6, 0xff0].map(Some));
        assert_eq!(failed("faddr"), Some(0x000f_ffff_ffff_f000));
    }
}
