//! The bank of one VINTF. Its StreamID slots and error map are arrays: see [`Place`](super::Place) for where they lie.

crate::registers! {
    /// Bank of one VINTF.
    pub enum Vintf {
        /// Enable and identity.
        0x00 CONFIG: u32 rw = 0 {
            /// Enable.
            en[0],
            /// Tag that replaces what guests write.
            vmid[16:1],
            /// The owner is trusted: any command, nothing rewritten.
            hyp_own[17],
        }
        /// Enable as the block has applied it, and whether a queue has an error.
        0x04 STATUS: u32 ro = 0 {
            /// The VINTF is enabled.
            enabled[0],
            /// 0 is no error.
            status[3:1],
            /// Queues that are allocated to it.
            vi_num_lvcmdq[23:16],
        }
    }
}

crate::registers! {
    /// One StreamID slot of a VINTF, before the array is laid out: its two registers lie 0x40 apart.
    pub enum SidSlot {
        /// The guest's StreamID.
        0x40 SID_MATCH: u32 rw = 0 {
            /// The slot is in use.
            enable[0],
            /// StreamID as the guest knows it.
            virt_sid[20:1],
        }
        /// What it becomes.
        0x80 SID_REPLACE: u32 rw = 0 {
            /// StreamID as the SMMU knows it.
            phys_sid[19:0],
        }
    }
}

/// Offset of the map of LVCMDQs with an active error, 128 bits, within the bank.
pub const LVCMDQ_ERR_MAP: u64 = 0xc0;

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, check_table};

    #[test]
    fn agrees_with_linux() {
        check_table::<Vintf>();
        check_table::<SidSlot>();
        for (reg, field, want) in [
            (Vintf::CONFIG, "hyp_own", 1 << 17),
            (Vintf::CONFIG, "vmid", 0x1_fffe),
            (Vintf::CONFIG, "en", 1),
            (Vintf::STATUS, "status", 0xe),
            (Vintf::STATUS, "enabled", 1),
        ] {
            assert_eq!(reg.desc().field(field).unwrap().mask(), want, "{reg}.{field}");
        }
        assert_eq!((Vintf::CONFIG.offset(), Vintf::STATUS.offset()), (0, 4));
    }

    /// Fields that only the QEMU model names.
    #[test]
    fn agrees_with_qemu() {
        assert_eq!(Vintf::STATUS.desc().field("vi_num_lvcmdq").unwrap().mask(), 0x00ff_0000);
        for (reg, offset, field, want) in [
            (SidSlot::SID_MATCH, 0x40, "enable", 1),
            (SidSlot::SID_MATCH, 0x40, "virt_sid", 0x1f_fffe),
            (SidSlot::SID_REPLACE, 0x80, "phys_sid", 0xf_ffff),
        ] {
            assert_eq!(
                (reg.offset(), reg.desc().field(field).unwrap().mask()),
                (offset, want),
                "{reg}.{field}"
            );
        }
        assert_eq!(LVCMDQ_ERR_MAP, 0xc0);
        assert_eq!(SID_MATCH(0).with_enable(true).with_virt_sid(0x10).0, 0x21);
    }
}
