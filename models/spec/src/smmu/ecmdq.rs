//! Enhanced command queues (IHI 0070, 3.5.6): what page 0 says about each control page, and the registers of each queue.

crate::registers! {
    /// What page 0 says about one control page, from [`CONTROL_PAGES`] + [`CONTROL_PAGE_STRIDE`] × its number on.
    pub enum ControlPage {
        /// Where the page lies.
        0x00 CMDQ_CONTROL_PAGE_BASE: u64 ro = 0x3 {
            /// The queues of this page are registers of the device.
            cmdq_control_page_preset[0],
            /// 1: the page is 64KB.
            cmdqgs[2:1],
            /// From the first byte of page 0.
            addr[51:16] addr,
        }
        /// Enables the page; it always is.
        0x08 CMDQ_CONTROL_PAGE_CFG: u32 ro = 1 {
            /// Enable.
            en[0],
        }
        /// Whether the page is enabled.
        0x0c CMDQ_CONTROL_PAGE_STATUS: u32 ro = 1 {
            /// The page is enabled.
            enack[0],
        }
    }
}

crate::registers! {
    /// One enhanced command queue. Offsets are within its share of the control page.
    pub enum Ecmdq {
        /// Where the queue lies, and log2 of its entries.
        0x00 ECMDQ_BASE: u64 rw = 0 {
            log2size[4:0], addr[51:5] addr,
            /// Read-Allocate hint.
            ra[62],
        }
        /// Software's index, wrap bit included, its enable and its answer to the error flag.
        0x08 ECMDQ_PROD: u32 rw = 0 {
            wr[19:0],
            /// Software's answer to ECMDQ_CONS.ERR.
            errack[23],
            /// Enable; the device answers in ECMDQ_CONS.ENACK.
            en[31],
        }
        /// The device's index, why it stopped, and its answer to the enable.
        0x0c ECMDQ_CONS: u32 rw = 0 {
            rd[19:0],
            /// Differs from ERRACK while an error is active.
            err[23],
            /// A command error code.
            err_reason[26:24],
            /// The queue is enabled.
            enack[31],
        }
    }
}

/// Offset in page 0 of what it says about control page 0.
pub const CONTROL_PAGES: u32 = 0x4000;
/// From there to what it says about the next one.
pub const CONTROL_PAGE_STRIDE: u32 = 32;
/// log2 of the bytes of a control page.
pub const CONTROL_PAGE_LOG2: u32 = 16;
/// log2 of the most control pages, and of the most queues in one.
pub const LOG2_MAX: u64 = 8;

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, FieldDesc, check_table};

    #[test]
    fn tables_are_sound() {
        check_table::<ControlPage>();
        check_table::<Ecmdq>();
    }

    /// The drawings of IHI 0070, 6.3.49 to 6.3.51 and 6.3.107 to 6.3.109.
    #[test]
    fn agrees_with_the_drawings() {
        for (reg, field, want) in [
            (Ecmdq::ECMDQ_BASE, "ra", 1 << 62),
            (Ecmdq::ECMDQ_BASE, "log2size", 0x1f),
            (Ecmdq::ECMDQ_PROD, "en", 1 << 31),
            (Ecmdq::ECMDQ_PROD, "errack", 1 << 23),
            (Ecmdq::ECMDQ_PROD, "wr", 0xf_ffff),
            (Ecmdq::ECMDQ_CONS, "enack", 1 << 31),
            (Ecmdq::ECMDQ_CONS, "err_reason", 7 << 24),
            (Ecmdq::ECMDQ_CONS, "err", 1 << 23),
            (Ecmdq::ECMDQ_CONS, "rd", 0xf_ffff),
        ] {
            assert_eq!(reg.desc().field(field).map(FieldDesc::mask), Some(want), "{reg}.{field}");
        }
        for (reg, offset) in [(Ecmdq::ECMDQ_BASE, 0), (Ecmdq::ECMDQ_PROD, 8), (Ecmdq::ECMDQ_CONS, 0xc)] {
            assert_eq!(reg.offset(), offset);
        }
        let base = CMDQ_CONTROL_PAGE_BASE(ControlPage::CMDQ_CONTROL_PAGE_BASE.desc().reset);
        assert_eq!((base.cmdq_control_page_preset(), base.cmdqgs(), base.addr()), (true, 1, 0));
    }
}
