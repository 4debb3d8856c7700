//! The global bank at the start of the configuration page, and the entries of the CMDQ_ALLOC table behind it.

crate::registers! {
    /// Global bank.
    pub enum Config {
        /// Enable and batching.
        0x000 CONFIG: u32 rw = 0x0002_0083 {
            /// Enable.
            cmdqv_en[0],
            /// 1: sixteen bytes per command.
            per_cmd_offset[3:1],
            /// Most clocks that one queue is served without interruption.
            cmdq_max_clk_batch[11:4],
            /// Most commands that one queue is served without interruption.
            cmdq_max_cmd_batch[19:12],
            /// Queues write CONS to memory.
            cons_dram_en[20],
        }
        /// How much there is.
        0x004 PARAM: u32 ro = 0x0000_4671 {
            /// Version of the block.
            ver[3:0],
            /// log2 of the number of VCMDQs.
            num_vcmdq_log2[7:4],
            /// log2 of the number of VINTFs.
            num_vintf_log2[11:8],
            /// log2 of the StreamID slots of a VINTF.
            num_sid_per_vm_log2[15:12],
        }
        /// Enable as the block has applied it.
        0x008 STATUS: u32 ro = 1 {
            /// The block is enabled.
            cmdqv_enabled[0],
            /// 0 is no error.
            status[2:1],
        }
        /// Filter configuration; no effect known.
        0x00c GLB_FILT_CFG_0: u32 rw = 0 { value[31:0] }
        /// Filter data; no effect known.
        0x010 GLB_FILT_DATA_0: u32 rw = 0 { value[31:0] }
        /// VINTFs 0 to 31 that have an active error.
        0x014 VINTF_ERR_MAP_0: u32 ro = 0 { map[31:0] }
        /// VINTFs 32 to 63 that have an active error.
        0x018 VINTF_ERR_MAP_1: u32 ro = 0 { map[31:0] }
        /// VINTFs 0 to 31 that must not interrupt.
        0x01c VINTF_INT_MASK_0: u32 rw = 0 { mask[31:0] }
        /// VINTFs 32 to 63 that must not interrupt.
        0x020 VINTF_INT_MASK_1: u32 rw = 0 { mask[31:0] }
        /// VCMDQs 0 to 31 that have an active error.
        0x024 CMDQ_ERR_MAP_0: u32 ro = 0 { map[31:0] }
        /// VCMDQs 32 to 63 that have an active error.
        0x028 CMDQ_ERR_MAP_1: u32 ro = 0 { map[31:0] }
        /// VCMDQs 64 to 95 that have an active error.
        0x02c CMDQ_ERR_MAP_2: u32 ro = 0 { map[31:0] }
        /// VCMDQs 96 to 127 that have an active error.
        0x030 CMDQ_ERR_MAP_3: u32 ro = 0 { map[31:0] }
    }
}

crate::registers! {
    /// One entry of the table that gives VCMDQs to VINTFs.
    pub enum AllocEntry {
        /// Which VINTF and LVCMDQ this VCMDQ is.
        0x0 CMDQ_ALLOC: u32 rw = 0 {
            /// The queue belongs to a VINTF.
            allocated[0],
            /// Its number within the VINTF.
            lvcmdq[7:1],
            /// The VINTF.
            vintf[20:15],
        }
    }
}

impl PARAM {
    /// Number of VCMDQs.
    pub const fn vcmdqs(self) -> u64 {
        1 << self.num_vcmdq_log2()
    }

    /// Number of VINTFs.
    pub const fn vintfs(self) -> u64 {
        1 << self.num_vintf_log2()
    }

    /// StreamID slots of each VINTF.
    pub const fn sids(self) -> u64 {
        1 << self.num_sid_per_vm_log2()
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, RegFile, check_table};
    use crate::smmu::page0::Fact;

    /// Masks of the Linux driver and, for the rest, of the QEMU model.
    const MASKS: &[Fact] = &[
        ("CONFIG", "per_cmd_offset", 0xe),
        ("CONFIG", "cmdq_max_clk_batch", 0xff0),
        ("CONFIG", "cmdq_max_cmd_batch", 0xf_f000),
        ("CONFIG", "cons_dram_en", 1 << 20),
        ("PARAM", "ver", 0xf),
        ("PARAM", "num_sid_per_vm_log2", 0xf000),
        ("CONFIG", "cmdqv_en", 1),
        ("PARAM", "num_vintf_log2", 0xf00),
        ("PARAM", "num_vcmdq_log2", 0x0f0),
        ("STATUS", "cmdqv_enabled", 1),
    ];

    #[test]
    fn agrees_with_other_readers() {
        check_table::<Config>();
        check_table::<AllocEntry>();
        for &(reg, field, want) in MASKS {
            let desc = Config::by_name(reg).unwrap().desc();
            assert_eq!(desc.field(field).map(crate::regs::FieldDesc::mask), Some(want), "{reg}.{field}");
        }
        for (reg, want) in [
            ("CONFIG", 0),
            ("PARAM", 4),
            ("STATUS", 8),
            ("VINTF_ERR_MAP_0", 0x14),
            ("VINTF_INT_MASK_0", 0x1c),
            ("CMDQ_ERR_MAP_0", 0x24),
            ("CMDQ_ERR_MAP_3", 0x30),
        ] {
            assert_eq!(Config::by_name(reg).map(Block::offset), Some(want), "{reg}");
        }
        for (field, want) in [("vintf", 0x1f_8000), ("lvcmdq", 0xfe), ("allocated", 1)] {
            assert_eq!(AllocEntry::CMDQ_ALLOC.desc().field(field).unwrap().mask(), want, "{field}");
        }
    }

    #[test]
    fn worked_values() {
        let file = RegFile::<Config>::reset();
        let param = file.get::<PARAM>();
        assert_eq!((param.ver(), param.vcmdqs(), param.vintfs(), param.sids()), (1, 128, 64, 16));
        let guest = PARAM(0x4011);
        assert_eq!((guest.ver(), guest.vcmdqs(), guest.vintfs(), guest.sids()), (1, 2, 1, 16));
        let config = file.get::<CONFIG>();
        assert_eq!((config.cmdqv_en(), config.per_cmd_offset(), config.cons_dram_en()), (true, 1, false));
        assert_eq!((config.cmdq_max_clk_batch(), config.cmdq_max_cmd_batch()), (8, 0x20));
        let entry = CMDQ_ALLOC(0).with_vintf(5).with_lvcmdq(1);
        assert_eq!((entry.0, entry.with_allocated(true).0), (0x28002, 0x28003));
    }
}
