//! Register page 0 (IHI 0070, 6.3). ID registers reset to the profile of a v3.3 implementation that has everything
//! this project models; a device with other abilities sets them after reset.

crate::registers! {
    /// SMMUv3 register page 0, Non-secure.
    pub enum Page0 {
        /// Stages, table formats, identifiers, queues and fault models that exist.
        0x0000 IDR0: u32 ro = 0x084f_769b {
            /// Stage 2 exists.
            s2p[0],
            /// Stage 1 exists.
            s1p[1],
            /// Bit 0: AArch32 tables; bit 1: AArch64 tables.
            ttf[3:2],
            /// Table, structure and queue accesses are coherent.
            cohacc[4],
            /// Broadcast TLB maintenance is received.
            btm[5],
            /// Hardware updates: 0 none, 1 Access flag, 2 also dirty state, 3 also table descriptors.
            httu[7:6],
            /// STATUSR.DORMANT exists.
            dormhint[8],
            /// EL2 translation regimes exist.
            hyp[9],
            /// PCIe ATS is supported.
            ats[10],
            /// Split-stage ATS is *not* supported.
            ns1ats[11],
            /// ASIDs have 16 bits, rather than 8.
            asid16[12],
            /// Interrupts may be messages.
            msi[13],
            /// A completed CMD_SYNC may wake WFE.
            sev[14],
            /// Address translation operations (GATOS) exist.
            atos[15],
            /// The PRI queue exists.
            pri[16],
            /// CR0.VMW exists.
            vmw[17],
            /// VMIDs have 16 bits, rather than 8.
            vmid16[18],
            /// 2-level CD tables.
            cd2l[19],
            /// The VATOS page exists.
            vatos[20],
            /// 0 mixed, 2 little, 3 big.
            ttendian[22:21],
            /// CR2.REC_CFG_ATS exists.
            atsrecerr[23],
            /// 0 stall and terminate, 1 terminate only, 2 stall only.
            stall_model[25:24],
            /// CD.A must be 1.
            term_model[26],
            /// 0 linear, 1 linear and 2-level.
            st_level[28:27],
            /// The Realm Management Extension exists.
            rme_impl[30],
        }
        /// Sizes of StreamID, SubstreamID and queues; overrides; presets.
        0x0004 IDR1: u32 ro = 0x0def_5510 {
            /// Bits of a StreamID.
            sidsize[5:0],
            /// Bits of a SubstreamID.
            ssidsize[10:6],
            /// log2 of the entries that the PRI queue may have.
            priqs[15:11],
            /// log2 of the entries that the Event queue may have.
            eventqs[20:16],
            /// log2 of the entries that the Command queue may have.
            cmdqs[25:21],
            /// Configuration may override permission attributes.
            attr_perms_ovr[26],
            /// Configuration may override memory types.
            attr_types_ovr[27],
            /// Preset bases are relative to the SMMU's own.
            rel[28],
            /// Bases of the queues are fixed.
            queues_preset[29],
            /// Base of the Stream table is fixed.
            tables_preset[30],
            /// Enhanced command queues exist.
            ecmdq[31],
        }
        /// Where the VATOS page lies.
        0x0008 IDR2: u32 ro = 0 {
            /// In 64KB units, beyond 0x20000.
            ba_vatos[9:0],
        }
        /// Translation features.
        0x000c IDR3: u32 ro = 0x0000_7514 {
            /// Hierarchical attributes can be disabled.
            had[2],
            /// Page-based hardware attributes.
            pbha[3],
            /// Stage-2 execute permission depends on privilege.
            xnx[4],
            /// Automatic PRI responses carry the PASID whatever STE.PPAR says.
            pps[5],
            /// Memory partitioning.
            mpam[7],
            /// STE.S2FWB: stage 2 forces memory types.
            fwb[8],
            /// Small translation tables.
            stt[9],
            /// Range invalidation and level hints.
            ril[10],
            /// Break-before-make level.
            bbml[12:11],
            /// CD.E0PD.
            e0pd[13],
            /// Without STE.S2PTW, stage-1 walks into Device memory are Normal Non-cacheable.
            ptwnnc[14],
            /// Device permission table.
            dpt[15],
            /// Translated transactions may carry a PASID.
            pasidtt[16],
            /// CD.EPAN.
            epan[17],
            /// Stage-1 permission indirection.
            s1pi[18],
            /// Stage-2 permission indirection.
            s2pi[19],
            /// Stage-2 permission overlays.
            s2po[20],
            /// Translation hardening.
            the[21],
            /// Allocation-tag permission.
            mteperm[22],
            /// Attribute index enhancement.
            aie[23],
        }
        /// Implementation defined.
        0x0010 IDR4: u32 ro = 0 { impdef[31:0] }
        /// Address sizes and granules.
        0x0014 IDR5: u32 ro = 0x0010_0075 {
            /// 0 32 bits, 1 36, 2 40, 3 42, 4 44, 5 48, 6 52.
            oas[2:0],
            /// 4KB granule.
            gran4k[4],
            /// 16KB granule.
            gran16k[5],
            /// 64KB granule.
            gran64k[6],
            /// 52-bit addresses with 4KB and 16KB granules.
            ds[7],
            /// 128-bit descriptors.
            d128[8],
            /// 0 48 bits, 1 52.
            vax[11:10],
            /// Most transactions that may be stalled.
            stall_max[31:16],
        }
        /// Who made it.
        0x0018 IIDR: u32 ro = 0 {
            /// JEP106 code; 0x43b is Arm.
            implementer[11:0],
            /// Minor revision.
            revision[15:12],
            /// Major revision.
            variant[19:16],
            productid[31:20],
        }
        /// Architecture version: minor 3 is SMMUv3.3.
        0x001c AIDR: u32 ro = 3 { archminorrev[3:0], archmajorrev[7:4] }
        /// Enables; the device answers in CR0ACK.
        0x0020 CR0: u32 rw = 0 {
            /// Translate, rather than apply GBPA.
            smmuen[0],
            /// Take page requests.
            priqen[1],
            /// Record events.
            eventqen[2],
            /// Take commands.
            cmdqen[3],
            /// Check ATS Translated transactions against STE.EATS.
            atschk[4],
            /// How many low VMID bits invalidation ignores, 0 to 4.
            vmw[8:6],
            /// Look into the device permission table.
            dpt_walk_en[10],
        }
        /// CR0 as the device has applied it.
        0x0024 CR0ACK: u32 ro = 0 {
            /// Transactions are translated.
            smmuen[0],
            /// Page requests are taken.
            priqen[1],
            /// Events are recorded.
            eventqen[2],
            /// Commands are taken.
            cmdqen[3],
            /// Translated transactions are checked.
            atschk[4],
            /// VMID wildcard in use.
            vmw[8:6],
            /// The device permission table is in use.
            dpt_walk_en[10],
        }
        /// Attributes of the device's accesses to queues and Stream tables.
        0x0028 CR1: u32 rw = 0 {
            /// Queues, inner: 0 Non-cacheable, 1 Write-Back, 2 Write-Through.
            queue_ic[1:0],
            /// Queues, outer.
            queue_oc[3:2],
            /// Queues: 0 Non-shareable, 2 Outer, 3 Inner Shareable.
            queue_sh[5:4],
            /// Tables, inner.
            table_ic[7:6],
            /// Tables, outer.
            table_oc[9:8],
            /// Tables, shareability.
            table_sh[11:10],
        }
        /// StreamWorld of EL2, recording of unknown StreamIDs, broadcast invalidation.
        0x002c CR2: u32 rw = 0 {
            /// StreamWorld EL2 has ASIDs (EL2-E2H).
            e2h[0],
            /// Record C_BAD_STREAMID.
            recinvsid[1],
            /// Ignore broadcast TLB maintenance.
            ptm[2],
            /// Record configuration errors of ATS requests.
            rec_cfg_ats[3],
        }
        /// Whether caches may hold anything.
        0x0040 STATUSR: u32 ro = 0 {
            /// The caches are empty.
            dormant[0],
        }
        /// What happens to traffic while SMMUEN is clear.
        0x0044 GBPA: u32 rw = 0x0000_1000 {
            /// Memory type, if MTCFG.
            memattr[3:0],
            /// Replace the memory type.
            mtcfg[4],
            /// Allocation hints.
            alloccfg[11:8],
            /// Shareability: 0 Non-shareable, 1 as it comes, 2 Outer, 3 Inner.
            shcfg[13:12],
            /// 0 as it comes, 2 unprivileged, 3 privileged.
            privcfg[17:16],
            /// 0 as it comes, 2 data, 3 instruction.
            instcfg[19:18],
            /// Abort, rather than bypass.
            abort[20],
            /// Set by software with the new values, cleared by the device when they hold.
            update[31],
        }
        /// Implementation-defined companion of GBPA.
        0x0048 AGBPA: u32 rw = 0 { impdef[31:0] }
        /// Interrupt enables; the device answers in IRQ_CTRLACK.
        0x0050 IRQ_CTRL: u32 rw = 0 {
            /// Global errors.
            gerror_irqen[0],
            /// PRI queue.
            priq_irqen[1],
            /// Event queue.
            eventq_irqen[2],
        }
        /// IRQ_CTRL as the device has applied it.
        0x0054 IRQ_CTRLACK: u32 ro = 0 {
            /// Global errors.
            gerror_irqen[0],
            /// PRI queue.
            priq_irqen[1],
            /// Event queue.
            eventq_irqen[2],
        }
        /// Global errors: a bit that differs from GERRORN is an active error.
        0x0060 GERROR: u32 ro = 0 {
            /// A command failed; CMDQ_CONS.ERR says why.
            cmdq_err[0],
            /// A write to the Event queue aborted.
            eventq_abt_err[2],
            /// A write to the PRI queue aborted.
            priq_abt_err[3],
            /// The message of a CMD_SYNC aborted.
            msi_cmdq_abt_err[4],
            /// The message of the Event queue aborted.
            msi_eventq_abt_err[5],
            /// The message of the PRI queue aborted.
            msi_priq_abt_err[6],
            /// The message of a global error aborted.
            msi_gerror_abt_err[7],
            /// Service failure mode.
            sfm_err[8],
            /// An enhanced command queue stopped.
            cmdqp_err[9],
            /// Device permission table error.
            dpt_err[10],
        }
        /// Software's acknowledgement of GERROR.
        0x0064 GERRORN: u32 rw = 0 {
            /// A command failed; CMDQ_CONS.ERR says why.
            cmdq_err[0],
            /// A write to the Event queue aborted.
            eventq_abt_err[2],
            /// A write to the PRI queue aborted.
            priq_abt_err[3],
            /// The message of a CMD_SYNC aborted.
            msi_cmdq_abt_err[4],
            /// The message of the Event queue aborted.
            msi_eventq_abt_err[5],
            /// The message of the PRI queue aborted.
            msi_priq_abt_err[6],
            /// The message of a global error aborted.
            msi_gerror_abt_err[7],
            /// Service failure mode.
            sfm_err[8],
            /// An enhanced command queue stopped.
            cmdqp_err[9],
            /// Device permission table error.
            dpt_err[10],
        }
        /// Address of the GERROR message; 0 sends none.
        0x0068 GERROR_IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the GERROR message.
        0x0070 GERROR_IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the GERROR message.
        0x0074 GERROR_IRQ_CFG2: u32 rw = 0 { memattr[3:0], sh[5:4] }
        /// Where the Stream table lies.
        0x0080 STRTAB_BASE: u64 rw = 0 {
            addr[51:6] addr,
            /// Read-Allocate hint.
            ra[62],
        }
        /// Shape of the Stream table.
        0x0088 STRTAB_BASE_CFG: u32 rw = 0 {
            /// log2 of the number of entries: bits of StreamID that are used.
            log2size[5:0],
            /// StreamID bits that the second level resolves: 6, 8 or 10.
            split[10:6],
            /// 0 linear, 1 2-level.
            fmt[17:16],
        }
        /// Where the Command queue lies, and log2 of its entries.
        0x0090 CMDQ_BASE: u64 rw = 0 {
            log2size[4:0], addr[51:5] addr,
            /// Read-Allocate hint.
            ra[62],
        }
        /// Software's index into the Command queue, wrap bit included.
        0x0098 CMDQ_PROD: u32 rw = 0 { wr[19:0] }
        /// The device's index into the Command queue, and why it stopped.
        0x009c CMDQ_CONS: u32 rw = 0 {
            rd[19:0],
            /// Why the queue stopped: 0 not, 1 CERROR_ILL, 2 CERROR_ABT, 3 CERROR_ATC_INV_SYNC.
            err[30:24],
        }
        /// Where the Event queue lies, and log2 of its entries.
        0x00a0 EVENTQ_BASE: u64 rw = 0 {
            log2size[4:0], addr[51:5] addr,
            /// Write-Allocate hint.
            wa[62],
        }
        /// Address of the Event queue message; 0 sends none.
        0x00b0 EVENTQ_IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the Event queue message.
        0x00b8 EVENTQ_IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the Event queue message.
        0x00bc EVENTQ_IRQ_CFG2: u32 rw = 0 { memattr[3:0], sh[5:4] }
        /// Where the PRI queue lies, and log2 of its entries.
        0x00c0 PRIQ_BASE: u64 rw = 0 {
            log2size[4:0], addr[51:5] addr,
            /// Write-Allocate hint.
            wa[62],
        }
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
        0x0100 GATOS_CTRL: u32 rw = 0 {
            /// Set by software, cleared by the device when GATOS_PAR holds the result.
            run[0],
        }
        /// Stream that the operation translates for.
        0x0108 GATOS_SID: u64 rw = 0 {
            streamid[31:0], substreamid[51:32],
            /// The SubstreamID is valid.
            ssid_valid[52],
        }
        /// Address and kind of the operation.
        0x0110 GATOS_ADDR: u64 rw = 0 {
            /// No hardware update of flags.
            httui[6],
            /// Instruction, rather than data.
            ind[7],
            /// Read, rather than write.
            rnw[8],
            /// Privileged.
            pnu[9],
            /// 1 stage 1, 2 stage 2, 3 both.
            type_[11:10],
            addr[63:12] addr,
        }
        /// Result of the operation: the bits mean different things when bit 0, FAULT, is set.
        0x0118 GATOS_PAR: u64 ro = 0 {
            /// The operation failed.
            fault[0],
            result[63:1],
        }
        /// Memory partitioning that exists.
        0x0130 MPAMIDR: u32 ro = 0 {
            /// Largest PARTID.
            partid_max[15:0],
            /// Largest PMG.
            pmg_max[23:16],
        }
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

    /// Offsets that the QEMU header names; those of Linux are in `tests/linux.rs`.
    const OFFSETS: &[(&str, u32)] = &[
        ("IDR2", 0x8),
        ("IDR4", 0x10),
        ("STATUSR", 0x40),
        ("PIDR4", 0xfd0),
        ("CIDR0", 0xff0),
        ("CIDR3", 0xffc),
    ];

    /// Masks that the QEMU header names.
    const MASKS: &[Fact] = &[("IDR0", "term_model", 1 << 26)];

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
