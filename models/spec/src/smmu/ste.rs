//! Stream table: the Stream Table Entry and the level-1 descriptor (IHI 0070, 5.1 and 5.2).

crate::layout! {
    /// Stream Table Entry: how a stream is translated.
    pub struct Ste([u64; 8]) {
        /// The entry is valid.
        v[0],
        /// See [`config`].
        config[3:1],
        /// Shape of the CD table: 0 linear, 1 2-level with 4KB leaves, 2 2-level with 64KB leaves.
        s1fmt[5:4],
        /// The CD or CD table; an IPA when stage 2 is on.
        s1contextptr[51:6] addr,
        /// log2 of the number of CDs.
        s1cdmax[63:59],
        /// Traffic without a SubstreamID: 0 terminate, 1 bypass stage 1, 2 use CD 0.
        s1dss[65:64],
        s1cir[67:66], s1cor[69:68], s1csh[71:70], s2hwu[75:72], dre[76], cont[80:77], dcp[81], ppar[82],
        /// Event records may be merged.
        mev[83],
        sw[87:84], s1pie[88], s2fwb[89], s1mpam[90],
        /// Stage 1 must not stall.
        s1stalld[91],
        /// ATS: 0 off, 1 full, 2 split-stage, 3 through the DPT.
        eats[93:92],
        /// StreamWorld of a stage-1-only stream: 0 EL1, 2 EL2.
        strw[95:94],
        memattr[99:96], mtcfg[100], alloccfg[104:101], shcfg[109:108], nscfg[111:110], privcfg[113:112],
        instcfg[115:114], s2vmid[143:128],
        /// Stage-2 input size is 64 minus this.
        s2t0sz[165:160],
        /// Stage-2 start level, encoded per granule.
        s2sl0[167:166],
        s2ir0[169:168], s2or0[171:170], s2sh0[173:172],
        /// Stage-2 granule: 0 4KB, 1 64KB, 2 16KB.
        s2tg[175:174],
        /// Stage-2 output size, encoded as IDR5.OAS.
        s2ps[178:176],
        s2aa64[179], s2endi[180],
        /// Stage 2 has no Access flag faults.
        s2affd[181],
        s2ptw[182], s2hd[183], s2ha[184], s2s[185], s2r[186], s2haft[187], s2pie[188], s2poe[189],
        dpt_vmatch[191:190], s2nsw[192], s2nsa[193], s2sl0_2[194], s2ds[195],
        /// Stage-2 table.
        s2ttb[243:196] addr,
        s2skl[254:253], partid[287:272], s_s2t0sz[293:288], s_s2sl0[295:294], s_s2tg[303:302], mecid[319:304],
        pmg[327:320], mpam_ns[328], assuredonly[329], tl0[330], tl1[331],
        vmsptr[371:332] addr,
        s2sw[384], s2sa[385],
        s_s2ttb[435:388] addr,
        s2poi[511:448],
    }
}

crate::layout! {
    /// Level-1 Stream Table Descriptor: an array of STEs.
    pub struct L1Std([u64; 1]) {
        /// 0 invalid; otherwise the array has 2^(span-1) entries.
        span[4:0],
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
    use crate::layout::{Layout, check_layout};
    use crate::regs::mask;

    /// Field, word and mask as the Linux driver's header gives them (v3.3 layout).
    const LINUX: &[(&str, usize, u64)] = &[
        ("v", 0, 1),
        ("config", 0, 0xe),
        ("s1fmt", 0, 0x30),
        ("s1contextptr", 0, 0x000f_ffff_ffff_ffc0),
        ("s1cdmax", 0, 0xf800_0000_0000_0000),
        ("s1dss", 1, 0x3),
        ("s1cir", 1, 0xc),
        ("s1cor", 1, 0x30),
        ("s1csh", 1, 0xc0),
        ("mev", 1, 1 << 19),
        ("s2fwb", 1, 1 << 25),
        ("s1stalld", 1, 1 << 27),
        ("eats", 1, 3 << 28),
        ("strw", 1, 3 << 30),
        ("shcfg", 1, 3 << 44),
        ("s2vmid", 2, 0xffff),
        ("s2t0sz", 2, 0x3f << 32),
        ("s2sl0", 2, 3 << 38),
        ("s2ir0", 2, 3 << 40),
        ("s2or0", 2, 3 << 42),
        ("s2sh0", 2, 3 << 44),
        ("s2tg", 2, 3 << 46),
        ("s2ps", 2, 7 << 48),
        ("s2aa64", 2, 1 << 51),
        ("s2endi", 2, 1 << 52),
        ("s2ptw", 2, 1 << 54),
        ("s2s", 2, 1 << 57),
        ("s2r", 2, 1 << 58),
        ("s2ttb", 3, 0x000f_ffff_ffff_fff0),
    ];

    #[test]
    fn agrees_with_linux() {
        check_layout::<Ste>(&[]);
        check_layout::<L1Std>(&[]);
        for &(name, word, want) in LINUX {
            let f = Ste::field(name).unwrap();
            assert_eq!((f.word(), f.mask()), (word, want), "{name}");
        }
        assert_eq!(L1Std::field("span").unwrap().mask(), mask(4, 0));
        assert_eq!(L1Std::field("l2ptr").unwrap().mask(), mask(51, 6));
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
