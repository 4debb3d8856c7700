//! Layouts of NVM Express (NVM Express Base Specification 1.4): registers, queue entries, opcodes, status codes.

spec::registers! {
    /// Controller registers (3.1).
    pub enum Registers {
        /// Controller Capabilities.
        0x00 CAP: u64 ro = 0 {
            /// Entries of the largest queue, less one.
            mqes[15:0],
            /// Queues must be physically contiguous.
            cqr[16],
            ams[18:17],
            /// Longest wait for CSTS.RDY, in units of 500 ms.
            to[31:24],
            /// Doorbells are 4 << DSTRD bytes apart.
            dstrd[35:32],
            nssrs[36],
            /// Command sets; the lowest bit is the NVM command set.
            css[44:37],
            bps[45],
            /// The smallest page has 4096 << MPSMIN bytes.
            mpsmin[51:48],
            /// The largest page has 4096 << MPSMAX bytes.
            mpsmax[55:52],
            pmrs[56], cmbs[57],
        }
        /// Version.
        0x08 VS: u32 ro = 0x0001_0400 { ter[7:0], mnr[15:8], mjr[31:16] }
        /// Interrupt Mask Set: ones mask vectors.
        0x0c INTMS: u32 rw = 0 { ivms[31:0] }
        /// Interrupt Mask Clear: ones unmask vectors.
        0x10 INTMC: u32 rw = 0 { ivmc[31:0] }
        /// Controller Configuration.
        0x14 CC: u32 rw = 0 {
            en[0], css[6:4],
            /// A page has 4096 << MPS bytes.
            mps[10:7],
            ams[13:11], shn[15:14],
            /// log2 of the bytes of a submission queue entry.
            iosqes[19:16],
            /// log2 of the bytes of a completion queue entry.
            iocqes[23:20],
        }
        /// Controller Status.
        0x1c CSTS: u32 ro = 0 { rdy[0], cfs[1], shst[3:2], nssro[4], pp[5] }
        /// Admin Queue Attributes: sizes less one.
        0x24 AQA: u32 rw = 0 { asqs[11:0], acqs[27:16] }
        /// Admin Submission Queue Base Address.
        0x28 ASQ: u64 rw = 0 { asqb[63:12] addr }
        /// Admin Completion Queue Base Address.
        0x30 ACQ: u64 rw = 0 { acqb[63:12] addr }
    }
}

spec::layout! {
    /// A submission queue entry (4.2), with the names that commands give to dwords 10 to 15.
    pub struct Submission([u64; 8]) {
        opcode[7:0], fuse[9:8], psdt[15:14],
        /// Command identifier.
        cid[31:16],
        nsid[63:32],
        /// First page: any dword in it.
        prp1[255:192],
        /// Second page, or PRP list.
        prp2[319:256],
        cdw10[351:320], cdw11[383:352], cdw12[415:384], cdw13[447:416],

        /// Read, Write, Compare, Write Zeroes: the first block.
        slba[383:320],
        /// Number of blocks, less one.
        nlb[399:384],
        /// Force Unit Access.
        fua[414],
        /// Dataset Management: number of ranges, less one.
        nr[327:320],
        /// Dataset Management: deallocate.
        ad[354],

        /// Create and Delete Queue: which.
        qid[335:320],
        /// Create Queue: entries, less one.
        qsize[351:336],
        /// Create Queue: physically contiguous.
        pc[352],
        /// Create I/O Completion Queue: interrupts enabled.
        ien[353],
        /// Create I/O Completion Queue: interrupt vector.
        iv[383:368],
        /// Create I/O Submission Queue: where completions go.
        cqid[383:368],

        /// Identify: which structure.
        cns[327:320],
        /// Get and Set Features: which.
        fid[327:320],
        /// Get Features: current, default, saved, or capabilities.
        sel[330:328],
        /// Set Features: keep the value over resets.
        sv[351],
        /// Get Log Page: which.
        lid[327:320],
        /// Get Log Page: leave asynchronous events masked.
        rae[335],
        /// Get Log Page: dwords less one, lower half.
        numdl[351:336],
        /// Get Log Page: dwords less one, upper half.
        numdu[367:352],
        /// Get Log Page: offset in bytes.
        lpo[447:384],
        /// Abort: submission queue of the command.
        abort_sqid[335:320],
        /// Abort: identifier of the command.
        abort_cid[351:336],
    }
}

spec::layout! {
    /// A completion queue entry (4.6).
    pub struct Completion([u64; 2]) {
        /// Command specific.
        dw0[31:0],
        /// Entries up to here can be used again.
        sqhd[79:64],
        sqid[95:80], cid[111:96],
        /// Flips at every round of the queue; true in the first.
        phase[112],
        /// Status code type and status code; see [`Status`].
        status[123:113],
        /// More information is in the Error Information log.
        more[126],
        /// Do not retry.
        dnr[127],
    }
}

spec::layout! {
    /// A range of Dataset Management (6.7).
    pub struct Range([u64; 2]) {
        cattr[31:0],
        /// Number of blocks.
        nlb[63:32],
        slba[127:64],
    }
}

spec::open_enum! {
    /// Admin commands (5).
    pub struct AdminOpcode(u8) {
        0x00 DELETE_SQ, 0x01 CREATE_SQ, 0x02 GET_LOG_PAGE, 0x04 DELETE_CQ, 0x05 CREATE_CQ, 0x06 IDENTIFY, 0x08 ABORT,
        0x09 SET_FEATURES, 0x0a GET_FEATURES, 0x0c ASYNC_EVENT_REQUEST,
    }
}

spec::open_enum! {
    /// NVM commands (6).
    pub struct Opcode(u8) {
        0x00 FLUSH, 0x01 WRITE, 0x02 READ, 0x05 COMPARE, 0x08 WRITE_ZEROES, 0x09 DATASET_MANAGEMENT,
    }
}

spec::open_enum! {
    /// How a command ended (4.6.1): status code type\[10:8\] and status code\[7:0\].
    pub struct Status(u16) {
        0x000 SUCCESS, 0x001 INVALID_OPCODE, 0x002 INVALID_FIELD,
        /// Memory could not be read or written.
        0x004 DATA_TRANSFER_ERROR,
        0x006 INTERNAL_ERROR, 0x007 ABORT_REQUESTED,
        0x00b INVALID_NAMESPACE,
        /// Commands came in an order that makes no sense.
        0x00c SEQUENCE_ERROR,
        /// A PRP entry does not begin where it must.
        0x013 PRP_OFFSET_INVALID,
        0x080 LBA_OUT_OF_RANGE,
        0x100 COMPLETION_QUEUE_INVALID, 0x101 INVALID_QUEUE_IDENTIFIER, 0x102 INVALID_QUEUE_SIZE,
        0x105 ASYNC_EVENT_LIMIT_EXCEEDED, 0x108 INVALID_INTERRUPT_VECTOR, 0x109 INVALID_LOG_PAGE,
        /// The completion queue still has submission queues.
        0x10c INVALID_QUEUE_DELETION,
        0x10d FEATURE_NOT_SAVEABLE,
        0x280 WRITE_FAULT, 0x281 UNRECOVERED_READ_ERROR, 0x285 COMPARE_FAILURE,
    }
}

impl Status {
    /// Whether the same command would end the same way again, so that DNR is set: everything but what depends on
    /// memory, media or the moment.
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::SUCCESS
                | Self::DATA_TRANSFER_ERROR
                | Self::INTERNAL_ERROR
                | Self::ABORT_REQUESTED
                | Self::ASYNC_EVENT_LIMIT_EXCEEDED
                | Self::WRITE_FAULT
                | Self::UNRECOVERED_READ_ERROR
        )
    }
}

spec::open_enum! {
    /// Structures of Identify (5.15.1).
    pub struct Cns(u8) { 0x00 NAMESPACE, 0x01 CONTROLLER, 0x02 ACTIVE_NAMESPACES, 0x03 NAMESPACE_DESCRIPTORS }
}

spec::open_enum! {
    /// Features (5.21.1).
    pub struct FeatureId(u8) {
        0x01 ARBITRATION, 0x02 POWER_MANAGEMENT, 0x04 TEMPERATURE_THRESHOLD, 0x05 ERROR_RECOVERY,
        0x06 VOLATILE_WRITE_CACHE, 0x07 NUMBER_OF_QUEUES, 0x08 INTERRUPT_COALESCING, 0x09 INTERRUPT_VECTOR,
        0x0a WRITE_ATOMICITY, 0x0b ASYNC_EVENT_CONFIGURATION,
    }
}

spec::open_enum! {
    /// Log pages (5.14.1).
    pub struct LogId(u8) { 0x01 ERROR_INFORMATION, 0x02 SMART, 0x03 FIRMWARE_SLOT, 0x05 COMMAND_EFFECTS }
}

/// Bytes of a submission queue entry.
pub const SQE: usize = Submission::BYTES;
/// Bytes of a completion queue entry.
pub const CQE: usize = Completion::BYTES;
/// Offset of the first doorbell (3.1.24).
pub const DOORBELLS: u64 = 0x1000;

/// Offset of Submission Queue y Tail Doorbell, with CAP.DSTRD = 0.
pub const fn sq_tail_doorbell(queue: u16) -> u64 {
    DOORBELLS + 8 * queue as u64
}
/// Offset of Completion Queue y Head Doorbell, with CAP.DSTRD = 0.
pub const fn cq_head_doorbell(queue: u16) -> u64 {
    DOORBELLS + 8 * queue as u64 + 4
}

#[cfg(test)]
mod test {
    use spec::layout::{Layout, check_layout};
    use spec::regs::{Block, check_table};

    use super::*;

    #[test]
    fn tables_are_sound() {
        check_table::<Registers>();
        let common =
            ["opcode", "fuse", "psdt", "cid", "nsid", "prp1", "prp2", "cdw10", "cdw11", "cdw12", "cdw13"];
        let named: Vec<&str> =
            Submission::FIELDS.iter().map(|f| f.name).filter(|name| !common.contains(name)).collect();
        check_layout::<Submission>(&named);
        check_layout::<Completion>(&[]);
        check_layout::<Range>(&[]);
    }

    /// Offsets of the Linux driver's `NVME_REG_*`.
    #[test]
    fn registers_are_where_drivers_expect_them() {
        for (register, offset) in [
            (Registers::CAP, 0x00),
            (Registers::VS, 0x08),
            (Registers::INTMS, 0x0c),
            (Registers::INTMC, 0x10),
            (Registers::CC, 0x14),
            (Registers::CSTS, 0x1c),
            (Registers::AQA, 0x24),
            (Registers::ASQ, 0x28),
            (Registers::ACQ, 0x30),
        ] {
            assert_eq!(register.offset(), offset, "{register}");
        }
        assert_eq!([sq_tail_doorbell(0), cq_head_doorbell(0), sq_tail_doorbell(2)], [0x1000, 0x1004, 0x1010]);
        // NVME_CC_IOSQES and NVME_CC_IOCQES, NVME_CC_SHN_NORMAL, NVME_CSTS_SHST_CMPLT.
        assert_eq!(CC(0).with_iosqes(6).with_iocqes(4).with_shn(1).bits(), (6 << 16) | (4 << 20) | (1 << 14));
        assert_eq!(CSTS(0).with_shst(2).with_cfs(true).bits(), (2 << 2) | 2);
    }

    /// Word by word, as the Linux driver's structures lay them out.
    #[test]
    fn entries_are_where_drivers_put_them() {
        let common = Submission::default().with_opcode(1).with_cid(0x1234).with_nsid(1);
        let io = common
            .with_prp1(0x1_2000_0040)
            .with_prp2(0x1_3000_0000)
            .with_slba(0x5_0000_0006)
            .with_nlb(7)
            .with_fua(true);
        let rw = [(6, 0x2000_0040), (7, 1), (8, 0x3000_0000), (9, 1), (10, 6), (11, 5), (12, 0x4000_0007)];
        let cq = common.with_qid(3).with_qsize(1023).with_pc(true).with_ien(true).with_iv(9);
        let sq = common.with_qid(3).with_qsize(1023).with_pc(true).with_cqid(4);
        let log = common.with_lid(2).with_rae(true).with_numdl(0x7f).with_numdu(1).with_lpo(0x2_0000_0010);
        for (entry, dwords) in [
            (io, &rw[..]),
            (cq, &[(10, 0x03ff_0003), (11, 0x0009_0003)]),
            (sq, &[(10, 0x03ff_0003), (11, 0x0004_0001)]),
            (log, &[(10, 0x007f_8002), (11, 1), (12, 0x10), (13, 2)]),
            (common.with_fid(7).with_sv(true).with_cdw11(5), &[(10, 0x8000_0007), (11, 5)]),
            (common.with_nr(2).with_ad(true), &[(10, 2), (11, 4)]),
            (common.with_abort_sqid(1).with_abort_cid(2), &[(10, 0x2_0001)]),
        ] {
            let mut want = [0_u32; 16];
            (want[0], want[1]) = (0x1234_0001, 1);
            for (at, dword) in dwords {
                want[*at] = *dword;
            }
            let raw = entry.to_bytes();
            let got: Vec<u32> = raw.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)).collect();
            assert_eq!(got, want, "{entry:?}");
        }
        let entry = Completion::default()
            .with_dw0(5)
            .with_sqhd(3)
            .with_sqid(2)
            .with_cid(0x1234)
            .with_phase(true)
            .with_status(Status::COMPARE_FAILURE.0.into())
            .with_dnr(true);
        assert_eq!(entry.to_bytes(), [5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0, 0x34, 0x12, 0x0b, 0x85]);
        let range = Range::default().with_slba(8).with_nlb(3).with_cattr(1);
        assert_eq!(range.to_bytes(), [1, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    }
}
