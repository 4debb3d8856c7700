//! The two register pages of one VCMDQ.

crate::registers! {
    /// Control and status: the page that may be given to a guest.
    pub enum QueuePage0 {
        /// The device's index, wrap bit included, and why it stopped.
        0x00 CONS: u32 rw = 0 {
            /// Index of the next command.
            rd[19:0],
            /// Why the queue stopped: 0 not, 1 CERROR_ILL, 2 CERROR_ABT, 3 CERROR_ATC_INV_SYNC, 4 CERROR_ILL_ACCESS.
            err[30:24],
        }
        /// Software's index, wrap bit included.
        0x04 PROD: u32 rw = 0 {
            /// Index behind the last command.
            wr[19:0],
        }
        /// Enable.
        0x08 CONFIG: u32 rw = 0 {
            /// Enable.
            cmdq_en[0],
        }
        /// Enable as the block has applied it.
        0x0c STATUS: u32 ro = 0 {
            /// The queue is enabled.
            cmdq_enabled[0],
        }
        /// Errors: a bit that differs from GERRORN is an active error.
        0x10 GERROR: u32 ro = 0 {
            /// A command failed; CONS.ERR says why.
            cmdq_err[0],
            /// The write of CONS to memory aborted.
            cons_dram_wr_abt_err[1],
            /// The queue could not be enabled.
            cmdq_init_err[2],
        }
        /// Software's acknowledgement of GERROR.
        0x14 GERRORN: u32 rw = 0 {
            /// A command failed; CONS.ERR says why.
            cmdq_err[0],
            /// The write of CONS to memory aborted.
            cons_dram_wr_abt_err[1],
            /// The queue could not be enabled.
            cmdq_init_err[2],
        }
    }
}

crate::registers! {
    /// Where the ring lies: the page that only the owner of the block may touch.
    pub enum QueuePage1 {
        /// Physical base of the ring, and log2 of its entries.
        0x00 BASE: u64 rw = 0 {
            /// log2 of the number of entries.
            log2size[4:0],
            /// Where the ring lies.
            addr[47:5] addr,
        }
        /// Where CONS is also written, if CONFIG.CONS_DRAM_EN.
        0x08 CONS_INDX_BASE: u64 rw = 0 { addr[47:0] addr }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, check_table};

    #[test]
    fn agrees_with_linux() {
        check_table::<QueuePage0>();
        check_table::<QueuePage1>();
        for (reg, offset) in
            [("CONS", 0), ("PROD", 4), ("CONFIG", 8), ("STATUS", 0xc), ("GERROR", 0x10), ("GERRORN", 0x14)]
        {
            assert_eq!(QueuePage0::by_name(reg).map(Block::offset), Some(offset), "{reg}");
        }
        for (reg, offset) in [("BASE", 0), ("CONS_INDX_BASE", 8)] {
            assert_eq!(QueuePage1::by_name(reg).map(Block::offset), Some(offset), "{reg}");
        }
        for (reg, field, want) in [
            (QueuePage0::CONS, "err", 0x7f00_0000),
            (QueuePage0::CONFIG, "cmdq_en", 1),
            (QueuePage0::STATUS, "cmdq_enabled", 1),
        ] {
            assert_eq!(reg.desc().field(field).unwrap().mask(), want, "{reg}.{field}");
        }
        for (field, want) in [("addr", 0x0000_ffff_ffff_ffe0), ("log2size", 0x1f)] {
            assert_eq!(QueuePage1::BASE.desc().field(field).unwrap().mask(), want, "BASE.{field}");
        }
    }
}
