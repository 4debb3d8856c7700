//! Three streams over small tables: 1 is stage-1 only, 2 stage-2 only, 3 nested.

use models::dma::Grant;
use models::smmu::features::IdrProfile;
use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2, Space};
use models::smmu::{
    AtsAnswer, CacheShape, Caches, Control, Features, Outcome, Request, Scope, Translation,
    translate_at_once, translate_now,
};
use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::page0::{CR0, CR2, IDR0, IDR1};
use spec::smmu::{Cd, Command, Ste};

/// What is added to an intermediate address below 0x5000_0000 to find it in memory.
pub(super) const OFFSET: u64 = 0x4000_0000;

/// Where the nested stream's page is for stage 2.
pub(super) const NESTED_IPA: u64 = 0x2_0000_1000;

pub(super) struct Bench {
    pub b: Builder,
    pub control: Control,
    pub caches: Caches,
    /// Stream 1.
    pub s1: Space,
    /// Stream 2.
    pub s2: Space,
    /// Stream 3.
    pub n1: Space,
    pub n2: Space,
    /// Where the CDs of streams 1 and 3 are in memory.
    pub cds: [u64; 2],
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(IdrProfile::STANDARD, &CacheShape::default())
    }

    pub(super) fn uncached() -> Self {
        Self::with(IdrProfile::STANDARD, &CacheShape::NONE)
    }

    pub(super) fn with(profile: IdrProfile, shape: &CacheShape) -> Self {
        let mut b = Builder::new(0x8000_0000);
        let s1 = b.stage1(Granule::K4, 48, 0);
        b.map1(&s1, 0x1000, 0x9000_1000, 3, PAGE1);
        b.map1(&s1, 0x2000, 0x9000_2000, 3, PAGE1.with_ng(false));
        b.map1(&s1, 0x20_0000, 0x9020_0000, 2, PAGE1);
        b.map1(&s1, 0x4000_0000, 0x1_0000_0000, 1, PAGE1);
        let cd1 = b.context(&s1.cd(7), 0);
        let s2 = b.stage2(Granule::K4, 40, 1);
        b.map2(&s2, 0x1000, 0xa000_1000, 3, PAGE2);
        b.map2(&s2, 0x20_0000, 0xa020_0000, 2, PAGE2);
        let n2 = b.stage2(Granule::K4, 40, 1);
        let n1 = b.stage1(Granule::K4, 48, OFFSET);
        b.map1(&n1, 0x1000, NESTED_IPA, 3, PAGE1);
        b.map1(&n1, 0x20_0000, NESTED_IPA & !0x1f_ffff, 2, PAGE1);
        let cd3 = b.context(&n1.cd(9), OFFSET);
        for block in 0..8 {
            let ipa = 0x4000_0000 + (block << 21);
            b.map2(&n2, ipa, ipa + OFFSET, 2, PAGE2);
        }
        for page in 0..4 {
            b.map2(&n2, NESTED_IPA + (page << 12), 0xb000_1000 + (page << 12), 3, PAGE2);
        }
        b.linear_streams(4);
        b.set_ste(1, s1.ste(cd1));
        b.set_ste(2, s2.ste(0).with_s2vmid(5));
        b.set_ste(3, n2.nested(cd3).with_s2vmid(6));
        let mut control = Control::new(Features::new(profile).unwrap());
        control.cr0 = CR0(0).with_smmuen(true);
        control.cr2 = CR2(0).with_recinvsid(true);
        b.install(&mut control);
        Self { b, control, caches: Caches::new(shape), s1, s2, n1, n2, cds: [cd1, cd3 + OFFSET] }
    }

    /// Changes the features.
    pub(super) fn features(&mut self, change: impl Fn(IDR0, IDR1) -> (IDR0, IDR1)) {
        let idr = self.control.features.idr;
        let (idr0, idr1) = change(IDR0(idr.idr0.into()), IDR1(idr.idr1.into()));
        let idr = IdrProfile { idr0: idr0.0 as u32, idr1: idr1.0 as u32, ..idr };
        self.control.features = Features::new(idr).unwrap();
    }

    pub(super) fn ste(&mut self, sid: u32, change: impl Fn(Ste) -> Ste) {
        let addr = self.b.ste_addr(sid);
        let ste = Ste::from_bytes(self.b.read(addr, 64).unwrap().bytes());
        self.b.set_ste(sid, change(ste));
    }

    /// Changes the CD of stream 1 or 3.
    pub(super) fn cd(&mut self, sid: u32, change: impl Fn(Cd) -> Cd) {
        let addr = self.cds[usize::from(sid == 3)];
        let cd = Cd::from_bytes(self.b.read(addr, 64).unwrap().bytes());
        self.b.set_words(addr, &change(cd).0);
    }

    /// Changes the page at 0x1000 of stream 1.
    pub(super) fn page(&mut self, change: impl Fn(Leaf1) -> Leaf1) {
        let addr = self.b.descriptor(&self.s1, 0x1000, 3);
        let leaf = Leaf1([self.b.word(addr)]);
        self.b.set_words(addr, &change(leaf).0);
    }

    /// Changes a leaf of stage 2.
    pub(super) fn leaf2(&mut self, space: Space, ipa: u64, level: u8, change: impl Fn(Leaf2) -> Leaf2) {
        let addr = self.b.descriptor(&space, ipa, level);
        let leaf = Leaf2([self.b.word(addr)]);
        self.b.set_words(addr, &change(leaf).0);
    }

    /// Translates, and once more without the micro TLB and without consequences.
    pub(super) fn go(&mut self, request: Request) -> Outcome {
        let Self { b, control, caches, .. } = self;
        let outcome = both_ways(b, request, control, caches);
        let mut again = caches.clone();
        again.micro.clear();
        both_ways(b, request, control, &mut again);
        outcome
    }

    pub(super) fn say(&mut self, request: Request) -> String {
        say(&self.go(request))
    }

    /// Whether the translation comes from a TLB.
    pub(super) fn hits(&mut self, request: Request) -> bool {
        matches!(self.go(request), Outcome::Translated { tlb_hit: true, .. })
    }

    pub(super) fn invalidate(&mut self, command: Command) {
        let scope = Scope::of(&command, &self.control).expect("an invalidation");
        self.caches.invalidate(&scope);
    }
}

/// Translates step by step. The short cuts of a translation that nobody looks at change nothing.
fn both_ways(b: &Builder, request: Request, control: &Control, caches: &mut Caches) -> Outcome {
    let mut others = caches.clone();
    let (at_once, _) = translate_at_once(&request, control, &mut others, |addr, len| b.read(addr, len));
    let outcome =
        translate_now(&mut Translation::new(request), control, caches, |addr, len| b.read(addr, len));
    assert_eq!((at_once, others.stats), (outcome, caches.stats), "{request:?}");
    assert!(others == *caches, "{request:?} leaves other entries");
    outcome
}

pub(super) fn say(outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Translated { pa, .. } => format!("{pa:#x}"),
        Outcome::Abort { .. } => "abort".into(),
        Outcome::ReadZeroWriteIgnored { .. } => "raz/wi".into(),
        Outcome::Stall { .. } => "stall".into(),
        Outcome::Operation(answer) => format!("{answer:x?}"),
        Outcome::Ats { answer: AtsAnswer::Translation(grant), .. } => {
            let Grant { pa, size_log2, read, write, execute, privileged, untranslated_only, no_snoop } =
                *grant;
            assert!(!untranslated_only && !no_snoop, "nothing asks for these");
            let r = if read { "r" } else { "-" };
            let w = if write { "w" } else { "-" };
            let x = if execute { "x" } else { "" };
            let p = if privileged { " privileged" } else { "" };
            format!("success {r}{w}{x}{p} {pa:#x}/{size_log2}")
        }
        Outcome::Ats { answer: AtsAnswer::Unsupported, .. } => "UR".into(),
        Outcome::Ats { answer: AtsAnswer::Abort, .. } => "CA".into(),
        Outcome::Ppar { ppar: Some(ppar), .. } => format!("PPAR {}", u8::from(*ppar)),
        Outcome::Ppar { ppar: None, .. } => "no STE".into(),
    };
    match outcome.event() {
        Some(event) => format!("{text}; {event}"),
        None => text,
    }
}
