//! Stream table: the Stream Table Entry and the level-1 descriptor (IHI 0070, 5.1 and 5.2).

crate::layout! {
    /// Stream Table Entry: how a stream is translated.
    pub struct Ste([u64; 8]) {
        /// The entry is valid.
        v[0],
        /// 0 to 3 abort, 4 bypass, 5 stage 1, 6 stage 2, 7 both.
        config[3:1],
        /// Shape of the CD table: 0 linear, 1 2-level with 4KB leaves, 2 2-level with 64KB leaves.
        s1fmt[5:4],
        /// The CD or CD table; an IPA when stage 2 is on.
        s1contextptr[51:6] addr,
        /// log2 of the number of CDs.
        s1cdmax[63:59],
        /// Traffic without a SubstreamID: 0 terminate, 1 bypass stage 1, 2 use CD 0.
        s1dss[65:64],
        /// CD fetches, inner: 0 Non-cacheable, 1 Write-Back, 2 Write-Through, 3 Write-Back without allocation.
        s1cir[67:66],
        /// CD fetches, outer.
        s1cor[69:68],
        /// CD fetches: 0 Non-shareable, 2 Outer, 3 Inner Shareable.
        s1csh[71:70],
        /// Stage-2 descriptor bits 62:59 are hardware's.
        s2hwu[75:72],
        /// Destructive reads are allowed.
        dre[76],
        /// log2 of the number of neighbouring STEs that are alike.
        cont[80:77],
        /// Directed cache prefetch is allowed.
        dcp[81],
        /// Automatic PRI responses carry the PASID.
        ppar[82],
        /// Event records may be merged.
        mev[83],
        /// For software.
        sw[87:84],
        /// Stage-1 permission indirection.
        s1pie[88],
        /// Stage 2 forces the memory type.
        s2fwb[89],
        /// CDs give PARTID and PMG.
        s1mpam[90],
        /// Stage 1 must not stall.
        s1stalld[91],
        /// ATS: 0 off, 1 full, 2 split-stage, 3 through the DPT.
        eats[93:92],
        /// StreamWorld of a stage-1-only stream: 0 EL1, 2 EL2.
        strw[95:94],
        /// Memory type, if MTCFG.
        memattr[99:96],
        /// Replace the memory type.
        mtcfg[100],
        /// Allocation hints.
        alloccfg[104:101],
        /// Shareability: 0 Non-shareable, 1 as it comes, 2 Outer, 3 Inner.
        shcfg[109:108],
        /// NS attribute of a Secure stream: 0 as it comes, 2 Secure, 3 Non-secure.
        nscfg[111:110],
        /// 0 as it comes, 2 unprivileged, 3 privileged.
        privcfg[113:112],
        /// 0 as it comes, 2 data, 3 instruction.
        instcfg[115:114],
        /// Tag of the stage-2 translations, and of stage 1 above them.
        s2vmid[143:128],
        /// Stage-2 input size is 64 minus this.
        s2t0sz[165:160],
        /// Stage-2 start level, encoded per granule.
        s2sl0[167:166],
        /// Stage-2 walks, inner cacheability.
        s2ir0[169:168],
        /// Stage-2 walks, outer cacheability.
        s2or0[171:170],
        /// Stage-2 walks, shareability.
        s2sh0[173:172],
        /// Stage-2 granule: 0 4KB, 1 64KB, 2 16KB.
        s2tg[175:174],
        /// Stage-2 output size, encoded as IDR5.OAS.
        s2ps[178:176],
        /// Stage-2 tables are AArch64's.
        s2aa64[179],
        /// Stage-2 tables are big-endian.
        s2endi[180],
        /// Stage 2 has no Access flag faults.
        s2affd[181],
        /// A stage-1 walk or CD fetch into Device memory is a stage-2 permission fault.
        s2ptw[182],
        /// Hardware manages the stage-2 dirty state.
        s2hd[183],
        /// Hardware sets the stage-2 Access flag.
        s2ha[184],
        /// Stage-2 faults stall.
        s2s[185],
        /// Stage-2 faults are recorded.
        s2r[186],
        /// Hardware sets the Access flag of stage-2 table descriptors.
        s2haft[187],
        /// Stage-2 permission indirection.
        s2pie[188],
        /// Stage-2 permission overlays.
        s2poe[189],
        /// Which VMIDs the device permission table compares.
        dpt_vmatch[191:190],
        /// NS of the walks of a Secure stream's Non-secure intermediate space.
        s2nsw[192],
        /// NS of the output of a Secure stream's Non-secure intermediate space.
        s2nsa[193],
        /// Third bit of S2SL0, with S2DS.
        s2sl0_2[194],
        /// 52-bit addresses with 4KB and 16KB granules.
        s2ds[195],
        /// Stage-2 table.
        s2ttb[243:196] addr,
        /// Levels that a walk skips at its start, with 128-bit descriptors.
        s2skl[254:253],
        /// MPAM partition.
        partid[287:272],
        /// S2T0SZ of the Secure intermediate space.
        s_s2t0sz[293:288],
        /// S2SL0 of the Secure intermediate space.
        s_s2sl0[295:294],
        /// S2TG of the Secure intermediate space.
        s_s2tg[303:302],
        /// Memory encryption context.
        mecid[319:304],
        /// MPAM performance group.
        pmg[327:320],
        /// MPAM space of a Secure stream.
        mpam_ns[328],
        /// AssuredOnly permission checks of stage 2.
        assuredonly[329],
        /// TopLevel 0 check of stage 2 (translation hardening).
        tl0[330],
        /// TopLevel 1 check of stage 2 (translation hardening).
        tl1[331],
        /// Virtual Machine Structure.
        vmsptr[371:332] addr,
        /// NS of the walks of the Secure intermediate space.
        s2sw[384],
        /// NS of the output of the Secure intermediate space.
        s2sa[385],
        /// Stage-2 table of the Secure intermediate space.
        s_s2ttb[435:388] addr,
        /// Stage-2 overlay permissions.
        s2poi[511:448],
    }
}

crate::layout! {
    /// Level-1 Stream Table Descriptor: an array of STEs.
    pub struct L1Std([u64; 1]) {
        /// 0 invalid; otherwise the array has 2^(span-1) entries.
        span[4:0],
        /// Where the array lies.
        l2ptr[51:6] addr,
    }
}

/// Values of [`Ste::config`]; any value below 4 is [`config::ABORT`].
pub mod config {
    /// Abort without a record.
    pub const ABORT: u64 = 0;
    /// Neither stage.
    pub const BYPASS: u64 = 4;
    /// Stage 1 only.
    pub const S1: u64 = 5;
    /// Stage 2 only.
    pub const S2: u64 = 6;
    /// Stage 1, then stage 2.
    pub const NESTED: u64 = 7;
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::check_layout;

    #[test]
    fn tables_are_sound() {
        check_layout::<Ste>(&[]);
        check_layout::<L1Std>(&[]);
    }

    #[test]
    fn worked_encodings() {
        let s1 = Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(0x8000_0000);
        let s1 = s1.with_s1cir(1).with_s1cor(1).with_s1csh(3).with_s1stalld(true);
        let s2 =
            Ste::default().with_v(true).with_config(config::S2).with_s2vmid(5).with_s2t0sz(24).with_s2sl0(1);
        let s2 = s2.with_s2ir0(1).with_s2or0(1).with_s2sh0(3).with_s2ps(5).with_s2aa64(true).with_s2ptw(true);
        let s2 = s2.with_s2r(true).with_s2ttb(0x8800_0000);
        let nested = Ste::default().with_v(true).with_config(config::NESTED).with_s1contextptr(0x4000_0000);
        let rows = [
            (s1, [0x8000_000b, 0x0800_00d4, 0, 0]),
            (s2, [0xd, 0, 0x044d_3558_0000_0005, 0x8800_0000]),
            (nested.with_s1cdmax(10), [0x5000_0000_4000_000f, 0, 0, 0]),
            (
                Ste::default().with_v(true).with_config(config::BYPASS).with_shcfg(1),
                [9, 0x1000_0000_0000, 0, 0],
            ),
            (Ste::default().with_v(true), [1, 0, 0, 0]),
        ];
        for (ste, want) in rows {
            assert_eq!(ste.words()[..4], want, "{ste:?}");
            assert_eq!(ste.words()[4..], [0; 4]);
            assert_eq!(Ste::from_bytes(&ste.to_bytes()), ste);
        }
        let decoded = Ste::from_words([0xd, 0, 0x044d_3558_0000_0005, 0x8800_0000, 0, 0, 0, 0]);
        assert_eq!(
            (decoded.config(), decoded.s2vmid(), decoded.s2t0sz(), decoded.s2ttb()),
            (6, 5, 24, 0x8800_0000)
        );
        assert!(decoded.v() && decoded.s2aa64() && decoded.s2ptw() && decoded.s2r() && !decoded.s2s());
        let l1 = L1Std::default().with_span(9).with_l2ptr(0xa000_0000);
        assert_eq!(l1.words(), [0xa000_0009]);
        assert_eq!((l1.span(), l1.l2ptr()), (9, 0xa000_0000));
    }
}
