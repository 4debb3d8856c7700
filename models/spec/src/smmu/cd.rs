//! Context descriptors and their level-1 descriptor (IHI 0070, 5.3 and 5.4).

crate::layout! {
    /// Context Descriptor: stage-1 tables of one address space.
    pub struct Cd([u64; 8]) {
        /// Input size of TTB0 is 64 minus this.
        t0sz[5:0],
        /// Granule of TTB0: 0 4KB, 1 64KB, 2 16KB.
        tg0[7:6],
        ir0[9:8], or0[11:10], sh0[13:12],
        /// No walks through TTB0.
        epd0[14],
        endi[15], t1sz[21:16],
        /// Granule of TTB1: 1 16KB, 2 4KB, 3 64KB.
        tg1[23:22],
        ir1[25:24], or1[27:26], sh1[29:28],
        /// No walks through TTB1.
        epd1[30],
        /// The descriptor is valid.
        v[31],
        /// Output size, encoded as IDR5.OAS.
        ips[34:32],
        /// No Access flag faults.
        affd[35],
        wxn[36], uwxn[37], tbi0[38], tbi1[39], pan[40], aa64[41], hd[42], ha[43],
        /// Stall on a fault.
        s[44],
        /// Record a fault.
        r[45],
        /// Abort, rather than RAZ/WI.
        a[46],
        /// Not shared with processing elements.
        aset[47],
        asid[63:48], nscfg0[64], had0[65], e0pd0[66], haft[67],
        /// Table of the lower half.
        ttb0[115:68] addr,
        pnch[122], epan[123], hwu0[127:124], nscfg1[128], had1[129], e0pd1[130], aie[131],
        /// Table of the upper half.
        ttb1[179:132] addr,
        ds[186], pie[187], hwu1[191:188],
        /// Memory attributes, one byte per AttrIndx.
        mair[255:192],
        amair[319:256], partid[367:352], pmg[375:368], piiu[447:384], piip[511:448],
    }
}

crate::layout! {
    /// Level-1 Context Descriptor: an array of CDs.
    pub struct L1Cd([u64; 1]) {
        v[0],
        l2ptr[51:12] addr,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::{Layout, check_layout};

    /// Field, word and mask as the Linux driver's header gives them.
    const LINUX: &[(&str, usize, u64)] = &[
        ("t0sz", 0, 0x3f),
        ("tg0", 0, 0xc0),
        ("ir0", 0, 0x300),
        ("or0", 0, 0xc00),
        ("sh0", 0, 0x3000),
        ("epd0", 0, 1 << 14),
        ("epd1", 0, 1 << 30),
        ("endi", 0, 1 << 15),
        ("v", 0, 1 << 31),
        ("ips", 0, 7 << 32),
        ("tbi0", 0, 1 << 38),
        ("ha", 0, 1 << 43),
        ("hd", 0, 1 << 42),
        ("aa64", 0, 1 << 41),
        ("s", 0, 1 << 44),
        ("r", 0, 1 << 45),
        ("a", 0, 1 << 46),
        ("aset", 0, 1 << 47),
        ("asid", 0, 0xffff << 48),
        ("ttb0", 1, 0x000f_ffff_ffff_fff0),
    ];

    #[test]
    fn agrees_with_linux() {
        check_layout::<Cd>(&[]);
        check_layout::<L1Cd>(&[]);
        for &(name, word, want) in LINUX {
            let f = Cd::field(name).unwrap();
            assert_eq!((f.word(), f.mask()), (word, want), "{name}");
        }
        assert_eq!(L1Cd::field("l2ptr").unwrap().mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(L1Cd::field("v").unwrap().mask(), 1);
    }

    #[test]
    fn worked_encodings() {
        let cd = Cd::default().with_v(true).with_t0sz(16).with_ir0(1).with_or0(1).with_sh0(3).with_epd1(true);
        let cd = cd.with_ips(5).with_aa64(true).with_r(true).with_a(true).with_aset(true).with_asid(0x42);
        let cd = cd.with_ttb0(0x9000_0000).with_mair(0xf404_ff44);
        assert_eq!(cd.words(), [0x0042_e205_c000_3510, 0x9000_0000, 0, 0xf404_ff44, 0, 0, 0, 0]);
        let back = Cd::from_bytes(&cd.to_bytes());
        assert_eq!((back.asid(), back.t0sz(), back.ips(), back.ttb0()), (0x42, 16, 5, 0x9000_0000));
        assert!(back.epd1() && !back.epd0() && back.r() && back.a() && !back.s());
        let l1 = L1Cd::default().with_v(true).with_l2ptr(0xb001_0000);
        assert_eq!(l1.words(), [0xb001_0001]);
    }
}
