//! Every combination against a second reading of the architecture, property by property.

use super::*;

/// A level of cache: 0 not cached, 1 Write-Through, 2 Write-Back; hints, if cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    cached: u8,
    read: bool,
    write: bool,
    transient: bool,
}

const NOT_CACHED: Level = Level { cached: 0, read: false, write: false, transient: false };
const CACHED: [Level; 3] = [
    NOT_CACHED,
    Level { cached: 1, read: true, write: true, transient: false },
    Level { cached: 2, read: true, write: true, transient: false },
];

/// Attributes as a list of properties. `device`: gathering, reordering, early acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain {
    device: Option<[bool; 3]>,
    inner: Level,
    outer: Level,
    /// 0 Non-, 1 Inner, 2 Outer Shareable.
    share: u8,
}

const KINDS: [[bool; 3]; 4] =
    [[false, false, false], [false, false, true], [false, true, true], [true, true, true]];

fn device(kind: usize) -> Plain {
    Plain { device: Some(KINDS[kind]), inner: NOT_CACHED, outer: NOT_CACHED, share: 2 }
}

fn sh(field: u8) -> u8 {
    [0, 0, 2, 1][usize::from(field)]
}

impl Plain {
    /// IHI 0070, 13.1.7.
    fn consistent(mut self) -> Self {
        for level in [&mut self.inner, &mut self.outer] {
            level.transient &= level.read | level.write;
            if level.cached == 0 || self.device.is_some() {
                *level = NOT_CACHED;
            }
        }
        if self.inner.cached == 0 && self.outer.cached == 0 {
            self.share = 2;
        }
        self
    }

    /// DDI 0487, MAIR_ELx, with what IHI 0070, 5.4 makes of its UNPREDICTABLE values.
    fn of_mair(byte: u8, field: u8) -> Self {
        let half = |bits: u8| {
            let (read, write) = (bits & 2 != 0, bits & 1 != 0);
            match bits {
                0 => Level { cached: 1, read: true, write: true, transient: true },
                1..=3 => Level { cached: 1, read, write, transient: true },
                4 => NOT_CACHED,
                5..=7 => Level { cached: 2, read, write, transient: true },
                8..=11 => Level { cached: 1, read, write, transient: false },
                _ => Level { cached: 2, read, write, transient: false },
            }
        };
        if byte < 0x10 {
            return device(usize::from(byte / 4));
        }
        Self { device: None, inner: half(byte % 16), outer: half(byte / 16), share: sh(field) }.consistent()
    }

    /// DDI 0487, table D8-96; reserved values as Device-nGnRnE.
    fn of_memattr(memattr: u8, field: u8) -> Self {
        let normal = |outer: usize, inner: usize| {
            Self { device: None, inner: CACHED[inner], outer: CACHED[outer], share: sh(field) }.consistent()
        };
        match memattr {
            0..=3 => device(memattr.into()),
            5..=7 => normal(0, usize::from(memattr) - 5),
            9..=11 => normal(1, usize::from(memattr) - 9),
            13..=15 => normal(2, usize::from(memattr) - 13),
            _ => device(0),
        }
    }

    /// DDI 0487, tables D8-97, D8-98 and D8-103; the hints are those of `self`.
    fn and(self, other: Self) -> Self {
        let weaker = |a: Level, b: Level| Level { cached: a.cached.min(b.cached), ..a };
        let device = match (self.device, other.device) {
            (Some(a), Some(b)) => Some([a[0] & b[0], a[1] & b[1], a[2] & b[2]]),
            (a, b) => a.or(b),
        };
        let (inner, outer) = (weaker(self.inner, other.inner), weaker(self.outer, other.outer));
        Self { device, inner, outer, share: self.share.max(other.share) }.consistent()
    }

    /// DDI 0487, tables D8-100 and D8-101.
    fn and_fwb(self, memattr: u8, field: u8) -> Self {
        let share = self.share.max(sh(field));
        let forced = |level: Level| if level.cached == 0 { CACHED[2] } else { Level { cached: 2, ..level } };
        match memattr & 7 {
            kind @ 0..=3 => self.and(device(kind.into())),
            5 if self.device.is_some() => self,
            5 => Self { device: None, inner: NOT_CACHED, outer: NOT_CACHED, share: 2 },
            6 => Self { device: None, inner: forced(self.inner), outer: forced(self.outer), share }
                .consistent(),
            7 => Self { share, ..self }.consistent(),
            _ => device(0),
        }
    }

    /// IHI 0070, 13.4.2: what stage 1 says, with the hints of both.
    fn hinted(self, incoming: Self) -> Self {
        let both = |mine: Level, theirs: Level| match theirs.cached {
            0 => mine,
            _ => Level {
                read: mine.read & theirs.read,
                write: mine.write & theirs.write,
                transient: mine.transient | theirs.transient,
                ..mine
            },
        };
        let (inner, outer) = (both(self.inner, incoming.inner), both(self.outer, incoming.outer));
        Self { inner, outer, ..self }.consistent()
    }

    /// IHI 0070, 13.1.4.
    fn overridden(self, memattr: Option<u8>, shcfg: u8, alloccfg: u8) -> Self {
        let mut new = self;
        if let Some(memattr) = memattr {
            new = Self::of_memattr(memattr, 0);
            for (level, old) in [(&mut new.inner, self.inner), (&mut new.outer, self.outer)] {
                if level.cached != 0 && old.cached != 0 {
                    *level = Level { cached: level.cached, ..old };
                }
            }
        }
        if alloccfg >= 8 {
            for level in [&mut new.inner, &mut new.outer] {
                level.read = alloccfg & 4 != 0;
                level.write = alloccfg & 2 != 0;
                level.transient = alloccfg & 1 != 0;
            }
        }
        new.share = if shcfg == 1 { self.share } else { sh(shcfg) };
        new.consistent()
    }
}

/// As the accessors tell it.
fn plain(attributes: Attributes) -> Plain {
    let level = |level: Cacheability| {
        let cached = match level {
            Cacheability::NonCacheable => return NOT_CACHED,
            Cacheability::WriteThrough(_) => 1,
            Cacheability::WriteBack(_) => 2,
        };
        let Hints { read, write, transient } = level.hints().expect("a cached level has hints");
        Level { cached, read, write, transient }
    };
    let share = match attributes.shareability() {
        Shareability::Non => 0,
        Shareability::Inner => 1,
        Shareability::Outer => 2,
    };
    match attributes.memory() {
        Memory::Device(kind) => {
            let kind = match kind {
                Device::NGnRnE => 0,
                Device::NGnRE => 1,
                Device::NGRE => 2,
                Device::GRE => 3,
            };
            Plain { share, ..device(kind) }
        }
        Memory::Normal { inner, outer } => {
            Plain { device: None, inner: level(inner), outer: level(outer), share }
        }
    }
}

fn stage1(byte: u8, field: u8) -> Attributes {
    // The byte is the last of eight, all different.
    let mair = u64::from(byte) << 56 | u64::from(!byte) << 48;
    Attributes::stage1(Leaf1::default().with_attrindx(7).with_sh(field.into()), mair)
}

fn stage2(memattr: u8, field: u8, fwb: bool) -> Stage2 {
    Stage2::new(Leaf2::default().with_memattr(memattr.into()).with_sh(field.into()), fwb)
}

#[test]
fn stage_1_says() {
    for byte in 0..=255 {
        for field in 0..4 {
            assert_eq!(plain(stage1(byte, field)), Plain::of_mair(byte, field), "{byte:#x} {field}");
        }
    }
}

#[test]
fn both_stages_say() {
    for byte in 0..=255 {
        for (field1, memattr) in (0..4).flat_map(|f| (0..16).map(move |m| (f, m))) {
            for (field2, fwb) in (0..4).flat_map(|f| [(f, false), (f, true)]) {
                let (one, two) = (stage1(byte, field1), stage2(memattr, field2, fwb));
                let entry = LeafAttributes::Stage1(one).and(LeafAttributes::Stage2(two));
                let first = Plain::of_mair(byte, field1);
                let want = match fwb {
                    false => first.and(Plain::of_memattr(memattr, field2)),
                    true => first.and_fwb(memattr, field2),
                };
                let got = plain(entry.output(Attributes::COHERENT));
                assert_eq!(got, want, "{byte:#x} {field1}, {memattr:#x} {field2} {fwb}");
                // Without stage 1, the same attributes come from the transaction.
                let got = plain(LeafAttributes::Stage2(two).output(one));
                assert_eq!(got, want, "{byte:#x} {field1}, then {memattr:#x} {field2} {fwb}");
            }
        }
    }
}

#[test]
fn transactions_bring_hints() {
    for (byte, incoming) in (0..=255).flat_map(|b| (0..=255).map(move |i| (b, i))) {
        let got = LeafAttributes::Stage1(stage1(byte, 3)).output(stage1(incoming, 0));
        let want = Plain::of_mair(byte, 3).hinted(Plain::of_mair(incoming, 0));
        assert_eq!(plain(got), want, "{byte:#x} {incoming:#x}");
    }
}

#[test]
fn overrides_replace() {
    for (byte, shcfg) in (0..=255).flat_map(|b| (0..4).map(move |s| (b, s))) {
        for (memattr, alloccfg) in (0..17).flat_map(|m| (0..16).map(move |a| (m, a))) {
            let memattr = (memattr < 16).then_some(memattr);
            let (mtcfg, field) = (memattr.is_some(), memattr.unwrap_or(2).into());
            let (sh, alloc) = (u64::from(shcfg), u64::from(alloccfg));
            let ste =
                Ste::default().with_mtcfg(mtcfg).with_memattr(field).with_shcfg(sh).with_alloccfg(alloc);
            let gbpa = GBPA(0).with_mtcfg(mtcfg).with_memattr(field).with_shcfg(sh).with_alloccfg(alloc);
            let want = Plain::of_mair(byte, 3).overridden(memattr, shcfg, alloccfg);
            for overrides in [Overrides::of_stream(ste), Overrides::of_bypass(gbpa)] {
                let got = plain(overrides.of(stage1(byte, 3)));
                assert_eq!(got, want, "{byte:#x} {memattr:?} {shcfg} {alloccfg}");
            }
        }
    }
}

/// A byte of MAIR and an SH field come back as they were, where they are consistent; ATTR and SH of GATOS_PAR.
#[test]
fn as_fields() {
    for (byte, field, mair, sh) in [
        (0xff, 3, 0xff, 3),
        (0xff, 0, 0xff, 0),
        (0xff, 1, 0xff, 0),
        (0xbb, 2, 0xbb, 2),
        (0x77, 3, 0x77, 3),
        (0x4f, 3, 0x4f, 3),
        // Not cached: Outer Shareable.
        (0x44, 3, 0x44, 2),
        (0x00, 0, 0x00, 2),
        (0x0c, 3, 0x0c, 2),
        // Reserved.
        (0x05, 3, 0x04, 2),
        (0xf0, 3, 0xf3, 3),
    ] {
        let got = stage1(byte, field);
        assert_eq!((got.mair(), got.sh()), (mair, sh), "{byte:#x} {field}");
    }
}

/// The examples of IHI 0070, 13.1.5.1, as far as stage 2 can say them.
#[test]
fn examples() {
    // Normal-iWB/RAWAnTR-oNC-ISH.
    let one = stage1(0x4f, 3);
    for (two, want) in [
        // Device-nGnRE.
        (stage2(1, 0, false), (0x04, 2)),
        // Normal-iWT-oWT-OSH: iWT-oNC-OSH.
        (stage2(0xa, 2, false), (0x4b, 2)),
    ] {
        let got = two.of(one);
        assert_eq!((got.mair(), got.sh()), want, "{two:?}");
    }
    let stronger = stage2(0, 0, false).of(stage1(0x04, 0));
    assert_eq!(stronger.memory(), Memory::Device(Device::NGnRnE));
}

#[test]
fn stage_2_is_device() {
    for (memattr, fwb, want) in [
        (0, false, true),
        (3, false, true),
        (4, false, true),
        (5, false, false),
        (15, false, false),
        (1, true, true),
        (5, true, false),
        (6, true, false),
        (7, true, false),
    ] {
        assert_eq!(stage2(memattr, 3, fwb).is_device(), want, "{memattr} {fwb}");
    }
}
