//! Register page 1 (IHI 0070, 6.2): indices of the queues that the device writes. Offsets are within the page.

crate::registers! {
    /// SMMUv3 register page 1, Non-secure.
    pub enum Page1 {
        /// The device's index into the Event queue, wrap bit included, and its overflow flag.
        0x00a8 EVENTQ_PROD: u32 rw = 0 { wr[19:0], ovflg[31] }
        /// Software's index into the Event queue, and its answer to the overflow flag.
        0x00ac EVENTQ_CONS: u32 rw = 0 { rd[19:0], ovackflg[31] }
        /// The device's index into the PRI queue, wrap bit included, and its overflow flag.
        0x00c8 PRIQ_PROD: u32 rw = 0 { wr[19:0], ovflg[31] }
        /// Software's index into the PRI queue, and its answer to the overflow flag.
        0x00cc PRIQ_CONS: u32 rw = 0 { rd[19:0], ovackflg[31] }
    }
}

/// Offset of page 1 from the base of the SMMU.
pub const BASE: u64 = 0x1_0000;

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, FieldDesc, check_table};

    #[test]
    fn agrees_with_other_readers() {
        check_table::<Page1>();
        for (name, offset, overflow) in [
            ("EVENTQ_PROD", 0xa8, "ovflg"),
            ("EVENTQ_CONS", 0xac, "ovackflg"),
            ("PRIQ_PROD", 0xc8, "ovflg"),
            ("PRIQ_CONS", 0xcc, "ovackflg"),
        ] {
            let reg = Page1::by_name(name).unwrap();
            assert_eq!(reg.offset(), offset, "{name}");
            assert_eq!(reg.desc().field(overflow).map(FieldDesc::mask), Some(1 << 31), "{name}");
        }
    }
}
