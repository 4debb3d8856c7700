//! Register page 0 (IHI 0070, 6.3). ID registers reset to the profile of a v3.3 implementation that has everything
//! this project models; a device with other abilities sets them after reset.

crate::registers! {
    /// SMMUv3 register page 0, Non-secure.
    pub enum Page0 {
        /// Stages, table formats, identifiers, queues and fault models that exist.
        0x0000 IDR0: u32 ro = 0x084f_769b {
            s2p[0], s1p[1],
            /// Bit 0: AArch32 tables; bit 1: AArch64 tables.
            ttf[3:2],
            cohacc[4], btm[5], httu[7:6], dormhint[8], hyp[9], ats[10],
            /// Split-stage ATS is *not* supported.
            ns1ats[11],
            asid16[12], msi[13], sev[14], atos[15], pri[16], vmw[17], vmid16[18], cd2l[19], vatos[20],
            /// 0 mixed, 2 little, 3 big.
            ttendian[22:21],
            atsrecerr[23],
            /// 0 stall and terminate, 1 terminate only, 2 stall only.
            stall_model[25:24],
            /// CD.A must be 1.
            term_model[26],
            /// 0 linear, 1 linear and 2-level.
            st_level[28:27],
            rme_impl[30],
        }
        /// Sizes of StreamID, SubstreamID and queues; overrides; presets.
        0x0004 IDR1: u32 ro = 0x0def_5510 {
            sidsize[5:0], ssidsize[10:6], priqs[15:11], eventqs[20:16], cmdqs[25:21], attr_perms_ovr[26],
            attr_types_ovr[27], rel[28], queues_preset[29], tables_preset[30], ecmdq[31],
        }
        /// Where the VATOS page lies.
        0x0008 IDR2: u32 ro = 0 { ba_vatos[9:0] }
        /// Translation features.
        0x000c IDR3: u32 ro = 0x0000_7514 {
            had[2], pbha[3], xnx[4], pps[5], mpam[7], fwb[8], stt[9],
            /// Range invalidation and level hints.
            ril[10],
            bbml[12:11], e0pd[13], ptwnnc[14], dpt[15], pasidtt[16], epan[17], s1pi[18], s2pi[19], s2po[20], the[21],
            mteperm[22], aie[23],
        }
        /// Implementation defined.
        0x0010 IDR4: u32 ro = 0 { impdef[31:0] }
        /// Address sizes and granules.
        0x0014 IDR5: u32 ro = 0x0010_0075 {
            /// 0 32 bits, 1 36, 2 40, 3 42, 4 44, 5 48, 6 52.
            oas[2:0],
            gran4k[4], gran16k[5], gran64k[6], ds[7], d128[8],
            /// 0 48 bits, 1 52.
            vax[11:10],
            stall_max[31:16],
        }
        /// Who made it.
        0x0018 IIDR: u32 ro = 0 { implementer[11:0], revision[15:12], variant[19:16], productid[31:20] }
        /// Architecture version: minor 3 is SMMUv3.3.
        0x001c AIDR: u32 ro = 3 { archminorrev[3:0], archmajorrev[7:4] }
        /// Enables; the device answers in CR0ACK.
        0x0020 CR0: u32 rw = 0 {
            /// Translate, rather than apply GBPA.
            smmuen[0],
            priqen[1], eventqen[2], cmdqen[3],
            /// Check ATS Translated transactions against STE.EATS.
            atschk[4],
            /// How many low VMID bits invalidation ignores, 0 to 4.
            vmw[8:6],
            dpt_walk_en[10],
        }
        /// CR0 as the device has applied it.
        0x0024 CR0ACK: u32 ro = 0 {
            smmuen[0], priqen[1], eventqen[2], cmdqen[3], atschk[4], vmw[8:6], dpt_walk_en[10],
        }
        /// Attributes of the device's accesses to queues and Stream tables.
        0x0028 CR1: u32 rw = 0 {
            queue_ic[1:0], queue_oc[3:2], queue_sh[5:4], table_ic[7:6], table_oc[9:8], table_sh[11:10],
        }
        /// StreamWorld of EL2, recording of unknown StreamIDs, broadcast invalidation.
        0x002c CR2: u32 rw = 0 {
            e2h[0],
            /// Record C_BAD_STREAMID.
            recinvsid[1],
            ptm[2], rec_cfg_ats[3],
        }
        /// Whether caches may hold anything.
        0x0040 STATUSR: u32 ro = 0 { dormant[0] }
        /// What happens to traffic while SMMUEN is clear.
        0x0044 GBPA: u32 rw = 0x0000_1000 {
            memattr[3:0], mtcfg[4], alloccfg[11:8], shcfg[13:12], privcfg[17:16], instcfg[19:18],
            /// Abort, rather than bypass.
            abort[20],
            /// Set by software with the new values, cleared by the device when they hold.
            update[31],
        }
        /// Implementation-defined companion of GBPA.
        0x0048 AGBPA: u32 rw = 0 { impdef[31:0] }
        /// Interrupt enables; the device answers in IRQ_CTRLACK.
        0x0050 IRQ_CTRL: u32 rw = 0 { gerror_irqen[0], priq_irqen[1], eventq_irqen[2] }
        /// IRQ_CTRL as the device has applied it.
        0x0054 IRQ_CTRLACK: u32 ro = 0 { gerror_irqen[0], priq_irqen[1], eventq_irqen[2] }
        /// Global errors: a bit that differs from GERRORN is an active error.
        0x0060 GERROR: u32 ro = 0 {
            cmdq_err[0], eventq_abt_err[2], priq_abt_err[3], msi_cmdq_abt_err[4], msi_eventq_abt_err[5],
            msi_priq_abt_err[6], msi_gerror_abt_err[7], sfm_err[8], cmdqp_err[9], dpt_err[10],
        }
        /// Software's acknowledgement of GERROR.
        0x0064 GERRORN: u32 rw = 0 {
            cmdq_err[0], eventq_abt_err[2], priq_abt_err[3], msi_cmdq_abt_err[4], msi_eventq_abt_err[5],
            msi_priq_abt_err[6], msi_gerror_abt_err[7], sfm_err[8], cmdqp_err[9], dpt_err[10],
        }
        /// Address of the GERROR message; 0 sends none.
        0x0068 GERROR_IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the GERROR message.
        0x0070 GERROR_IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the GERROR message.
        0x0074 GERROR_IRQ_CFG2: u32 rw = 0 { memattr[3:0], sh[5:4] }
        /// Where the Stream table lies.
        0x0080 STRTAB_BASE: u64 rw = 0 { addr[51:6] addr, ra[62] }
        /// Shape of the Stream table.
        0x0088 STRTAB_BASE_CFG: u32 rw = 0 {
            log2size[5:0],
            /// StreamID bits that the second level resolves: 6, 8 or 10.
            split[10:6],
            /// 0 linear, 1 2-level.
            fmt[17:16],
        }
        /// Where the Command queue lies, and log2 of its entries.
        0x0090 CMDQ_BASE: u64 rw = 0 { log2size[4:0], addr[51:5] addr, ra[62] }
        /// Software's index into the Command queue, wrap bit included.
        0x0098 CMDQ_PROD: u32 rw = 0 { wr[19:0] }
        /// The device's index into the Command queue, and why it stopped.
        0x009c CMDQ_CONS: u32 rw = 0 { rd[19:0], err[30:24] }
        /// Where the Event queue lies, and log2 of its entries.
        0x00a0 EVENTQ_BASE: u64 rw = 0 { log2size[4:0], addr[51:5] addr, wa[62] }
        /// Address of the Event queue message; 0 sends none.
        0x00b0 EVENTQ_IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the Event queue message.
        0x00b8 EVENTQ_IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the Event queue message.
        0x00bc EVENTQ_IRQ_CFG2: u32 rw = 0 { memattr[3:0], sh[5:4] }
        /// Where the PRI queue lies, and log2 of its entries.
        0x00c0 PRIQ_BASE: u64 rw = 0 { log2size[4:0], addr[51:5] addr, wa[62] }
        /// Address of the PRI queue message; 0 sends none.
        0x00d0 PRIQ_IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the PRI queue message.
        0x00d8 PRIQ_IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the PRI queue message.
        0x00dc PRIQ_IRQ_CFG2: u32 rw = 0 {
            memattr[3:0], sh[5:4],
            /// Interrupt on Last rather than on non-empty.
            lo[31],
        }
        /// Start of an address translation operation.
        0x0100 GATOS_CTRL: u32 rw = 0 { run[0] }
        /// Stream that the operation translates for.
        0x0108 GATOS_SID: u64 rw = 0 { streamid[31:0], substreamid[51:32], ssid_valid[52] }
        /// Address and kind of the operation.
        0x0110 GATOS_ADDR: u64 rw = 0 {
            httui[6], ind[7], rnw[8], pnu[9],
            /// 1 stage 1, 2 stage 2, 3 both.
            type_[11:10],
            addr[63:12] addr,
        }
        /// Result of the operation: the bits mean different things when bit 0, FAULT, is set.
        0x0118 GATOS_PAR: u64 ro = 0 { fault[0], result[63:1] }
        /// Memory partitioning that exists.
        0x0130 MPAMIDR: u32 ro = 0 { partid_max[15:0], pmg_max[23:16] }
        /// Partition of the device's own accesses.
        0x0138 GMPAM: u32 rw = 0 { partid[15:0], pmg[23:16], update[31] }
        /// Partition of bypassing traffic.
        0x013c GBPMPAM: u32 rw = 0 { partid[15:0], pmg[23:16], update[31] }
        /// VMID that the VATOS page serves.
        0x0180 VATOS_SEL: u32 rw = 0 { vmid[15:0] }
        /// Enhanced command queues that exist.
        0x0190 IDR6: u32 ro = 0 { cmdq_control_page_log2numq[19:16], cmdq_control_page_log2nump[27:24] }
        /// Peripheral identification 4.
        0x0fd0 PIDR4: u32 ro = 0 { des_2[3:0], size[7:4] }
        /// Peripheral identification 5.
        0x0fd4 PIDR5: u32 ro = 0 {}
        /// Peripheral identification 6.
        0x0fd8 PIDR6: u32 ro = 0 {}
        /// Peripheral identification 7.
        0x0fdc PIDR7: u32 ro = 0 {}
        /// Peripheral identification 0.
        0x0fe0 PIDR0: u32 ro = 0 { part_0[7:0] }
        /// Peripheral identification 1.
        0x0fe4 PIDR1: u32 ro = 0 { part_1[3:0], des_0[7:4] }
        /// Peripheral identification 2.
        0x0fe8 PIDR2: u32 ro = 0x8 { des_1[2:0], jedec[3], revision[7:4] }
        /// Peripheral identification 3.
        0x0fec PIDR3: u32 ro = 0 { cmod[3:0], revand[7:4] }
        /// Component identification 0.
        0x0ff0 CIDR0: u32 ro = 0x0d { prmbl_0[7:0] }
        /// Component identification 1.
        0x0ff4 CIDR1: u32 ro = 0xf0 { prmbl_1[3:0], class[7:4] }
        /// Component identification 2.
        0x0ff8 CIDR2: u32 ro = 0x05 { prmbl_2[7:0] }
        /// Component identification 3.
        0x0ffc CIDR3: u32 ro = 0xb1 { prmbl_3[7:0] }
    }
}

/// A register field as another reader of the architecture gives it: register, field, mask in the register.
#[cfg(test)]
pub(crate) type Fact = (&'static str, &'static str, u64);

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{Block, RegFile, check_table};

    #[test]
    fn table_is_sound() {
        check_table::<Page0>();
    }

    /// Offsets that the Linux and QEMU headers name.
    const OFFSETS: &[(&str, u32)] = &[
        ("IDR0", 0x0),
        ("IDR1", 0x4),
        ("IDR2", 0x8),
        ("IDR3", 0xc),
        ("IDR4", 0x10),
        ("IDR5", 0x14),
        ("IIDR", 0x18),
        ("CR0", 0x20),
        ("CR0ACK", 0x24),
        ("CR1", 0x28),
        ("CR2", 0x2c),
        ("STATUSR", 0x40),
        ("GBPA", 0x44),
        ("IRQ_CTRL", 0x50),
        ("IRQ_CTRLACK", 0x54),
        ("GERROR", 0x60),
        ("GERRORN", 0x64),
        ("GERROR_IRQ_CFG0", 0x68),
        ("GERROR_IRQ_CFG1", 0x70),
        ("GERROR_IRQ_CFG2", 0x74),
        ("STRTAB_BASE", 0x80),
        ("STRTAB_BASE_CFG", 0x88),
        ("CMDQ_BASE", 0x90),
        ("CMDQ_PROD", 0x98),
        ("CMDQ_CONS", 0x9c),
        ("EVENTQ_BASE", 0xa0),
        ("EVENTQ_IRQ_CFG0", 0xb0),
        ("EVENTQ_IRQ_CFG1", 0xb8),
        ("EVENTQ_IRQ_CFG2", 0xbc),
        ("PRIQ_BASE", 0xc0),
        ("PRIQ_IRQ_CFG0", 0xd0),
        ("PRIQ_IRQ_CFG1", 0xd8),
        ("PRIQ_IRQ_CFG2", 0xdc),
        ("PIDR4", 0xfd0),
        ("CIDR0", 0xff0),
        ("CIDR3", 0xffc),
    ];

    /// Masks that the Linux and QEMU headers name.
    const MASKS: &[Fact] = &[
        ("IDR0", "st_level", 3 << 27),
        ("IDR0", "term_model", 1 << 26),
        ("IDR0", "stall_model", 3 << 24),
        ("IDR0", "ttendian", 3 << 21),
        ("IDR0", "cd2l", 1 << 19),
        ("IDR0", "vmid16", 1 << 18),
        ("IDR0", "pri", 1 << 16),
        ("IDR0", "sev", 1 << 14),
        ("IDR0", "msi", 1 << 13),
        ("IDR0", "asid16", 1 << 12),
        ("IDR0", "ats", 1 << 10),
        ("IDR0", "hyp", 1 << 9),
        ("IDR0", "httu", 0xc0),
        ("IDR0", "cohacc", 1 << 4),
        ("IDR0", "ttf", 0xc),
        ("IDR0", "s1p", 2),
        ("IDR0", "s2p", 1),
        ("IDR1", "tables_preset", 1 << 30),
        ("IDR1", "queues_preset", 1 << 29),
        ("IDR1", "rel", 1 << 28),
        ("IDR1", "attr_types_ovr", 1 << 27),
        ("IDR1", "cmdqs", 0x03e0_0000),
        ("IDR1", "eventqs", 0x001f_0000),
        ("IDR1", "priqs", 0xf800),
        ("IDR1", "ssidsize", 0x07c0),
        ("IDR1", "sidsize", 0x3f),
        ("IDR3", "ril", 1 << 10),
        ("IDR3", "fwb", 1 << 8),
        ("IDR5", "stall_max", 0xffff_0000),
        ("IDR5", "gran64k", 1 << 6),
        ("IDR5", "gran16k", 1 << 5),
        ("IDR5", "gran4k", 1 << 4),
        ("IDR5", "oas", 7),
        ("IDR5", "vax", 0xc00),
        ("IIDR", "productid", 0xfff0_0000),
        ("IIDR", "variant", 0x000f_0000),
        ("IIDR", "revision", 0xf000),
        ("IIDR", "implementer", 0x0fff),
        ("CR0", "atschk", 1 << 4),
        ("CR0", "cmdqen", 1 << 3),
        ("CR0", "eventqen", 1 << 2),
        ("CR0", "priqen", 1 << 1),
        ("CR0", "smmuen", 1),
        ("CR1", "table_sh", 0xc00),
        ("CR1", "table_oc", 0x300),
        ("CR1", "table_ic", 0xc0),
        ("CR1", "queue_sh", 0x30),
        ("CR1", "queue_oc", 0xc),
        ("CR1", "queue_ic", 3),
        ("CR2", "ptm", 4),
        ("CR2", "recinvsid", 2),
        ("CR2", "e2h", 1),
        ("GBPA", "update", 1 << 31),
        ("GBPA", "abort", 1 << 20),
        ("IRQ_CTRL", "eventq_irqen", 4),
        ("IRQ_CTRL", "priq_irqen", 2),
        ("IRQ_CTRL", "gerror_irqen", 1),
        ("GERROR", "sfm_err", 1 << 8),
        ("GERROR", "msi_gerror_abt_err", 1 << 7),
        ("GERROR", "msi_priq_abt_err", 1 << 6),
        ("GERROR", "msi_eventq_abt_err", 1 << 5),
        ("GERROR", "msi_cmdq_abt_err", 1 << 4),
        ("GERROR", "priq_abt_err", 1 << 3),
        ("GERROR", "eventq_abt_err", 1 << 2),
        ("GERROR", "cmdq_err", 1),
        ("STRTAB_BASE", "ra", 1 << 62),
        ("STRTAB_BASE", "addr", 0x000f_ffff_ffff_ffc0),
        ("STRTAB_BASE_CFG", "fmt", 0x3_0000),
        ("STRTAB_BASE_CFG", "split", 0x7c0),
        ("STRTAB_BASE_CFG", "log2size", 0x3f),
        ("CMDQ_BASE", "ra", 1 << 62),
        ("CMDQ_BASE", "addr", 0x000f_ffff_ffff_ffe0),
        ("CMDQ_BASE", "log2size", 0x1f),
        ("EVENTQ_BASE", "wa", 1 << 62),
        ("EVENTQ_BASE", "addr", 0x000f_ffff_ffff_ffe0),
        ("CMDQ_CONS", "err", 0x7f00_0000),
        ("EVENTQ_IRQ_CFG0", "addr", 0x000f_ffff_ffff_fffc),
        ("EVENTQ_IRQ_CFG2", "sh", 0x30),
        ("EVENTQ_IRQ_CFG2", "memattr", 0xf),
    ];

    #[test]
    fn agrees_with_other_readers() {
        for &(name, offset) in OFFSETS {
            assert_eq!(Page0::by_name(name).map(Block::offset), Some(offset), "{name}");
        }
        for &(reg, field, want) in MASKS {
            let desc = Page0::by_name(reg).unwrap().desc();
            assert_eq!(desc.field(field).map(crate::regs::FieldDesc::mask), Some(want), "{reg}.{field}");
        }
    }

    #[test]
    fn reset_is_the_profile() {
        let file = RegFile::<Page0>::reset();
        let (idr0, idr1, idr5) = (file.get::<IDR0>(), file.get::<IDR1>(), file.get::<IDR5>());
        assert!(
            idr0.s1p() && idr0.s2p() && idr0.ats() && idr0.pri() && idr0.msi() && idr0.sev() && idr0.hyp()
        );
        assert_eq!((idr0.ttf(), idr0.httu(), idr0.ttendian(), idr0.st_level()), (2, 2, 2, 1));
        assert!(!idr0.btm() && !idr0.atos() && idr0.vmw() && idr0.cd2l());
        assert_eq!((idr1.sidsize(), idr1.ssidsize()), (16, 20));
        assert_eq!((idr1.priqs(), idr1.eventqs(), idr1.cmdqs()), (10, 15, 15));
        assert_eq!(
            (idr5.oas(), idr5.gran4k(), idr5.gran16k(), idr5.gran64k(), idr5.stall_max()),
            (5, true, true, true, 16)
        );
    }
}
