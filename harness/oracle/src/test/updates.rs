//! Access flag and dirty state that the hardware records: what it must, what it may, what it must not.

use super::*;

/// One thing that happens to a page of the host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Software writes the leaf.
    Leaf(Leaf1),
    /// The hardware changes it, for a write or a read.
    Update(bool, Leaf1),
    /// A transaction goes on, a write or a read.
    Use(bool),
    Inv,
    Sync,
}

/// The host's CD says what it does unless a row changes it.
pub(super) fn updating(mut b: Bench, change: impl Fn(Cd) -> Cd) -> Bench {
    let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
    b.structure(HOST_CD, &change(cd.with_ha(true).with_hd(true)).0);
    for command in [Command::cfgi_all(), Command::tlbi_nsnh_all(), Command::sync()] {
        b.command(CMDQ0, command, None);
    }
    b
}

pub(super) fn play(b: &mut Bench, steps: &[Then]) {
    for step in steps {
        match *step {
            Then::Leaf(leaf) => b.map(HOST_S1, 0, 3, IOVA, leaf.0[0]),
            Then::Update(write, leaf) => {
                let addr = b.descriptors(IOVA)[3];
                let (before, after) = (b.words[&addr], leaf.with_page(true).0[0]);
                b.write(addr, after);
                let dma = Dma {
                    id: u64::MAX,
                    access: Access { write, ..Access::default() },
                    ..b.dma(0, HOST, IOVA)
                };
                b.see(Fact::Updated { dma, addr, before, after });
            }
            Then::Use(write) => {
                let dma = Dma { access: Access { write, ..Access::default() }, ..b.dma(0, HOST, IOVA) };
                b.see(Fact::Translated { dma, pa: A });
                b.see(Fact::Done { smmu: 0, id: dma.id });
            }
            Then::Inv => b.command(CMDQ0, PAGE, None),
            Then::Sync => b.command(CMDQ0, Command::sync(), None),
        }
    }
}

#[test]
fn stage_1() {
    use Then::{Inv, Leaf, Sync, Update, Use};
    let dirty = leaf1(A);
    let clean = dirty.with_ap(3).with_dbm(true);
    let written = dirty.with_dbm(true);
    let unused = clean.with_af(false);
    let read_only = dirty.with_ap(3);
    let (missing, wrong) = ([Kind::MissingUpdate], [Kind::WrongUpdate]);
    let (read, write) = (Use(false), Use(true));
    let keep: fn(Cd) -> Cd = |cd| cd;
    let off: fn(Cd) -> Cd = |cd| cd.with_ha(false).with_hd(false);
    let access: fn(Cd) -> Cd = |cd| cd.with_hd(false);
    for (name, cd, steps, want) in [
        ("nothing to do", keep, &[Leaf(dirty), read, write][..], &[][..]),
        ("a read of a clean page", keep, &[Leaf(clean), read], &[]),
        ("a write of one", keep, &[Leaf(clean), write], &missing),
        ("recorded first", keep, &[Leaf(clean), Update(true, written), write], &[]),
        ("recorded too late", keep, &[Leaf(clean), write, Update(true, written)], &missing),
        ("a read before any access", keep, &[Leaf(unused), read], &missing),
        ("access recorded", keep, &[Leaf(unused), Update(false, clean), read], &[]),
        ("access recorded, then a write", keep, &[Leaf(unused), Update(false, clean), read, write], &missing),
        ("both at once", keep, &[Leaf(unused), Update(true, written), write], &[]),
        (
            "one after the other",
            keep,
            &[Leaf(unused), Update(true, clean), Update(true, written), write],
            &[],
        ),
        (
            "dirty without accessed",
            keep,
            &[Leaf(unused), Update(true, written.with_af(false)), write],
            &missing,
        ),
        (
            "access of what a write may not reach",
            keep,
            &[Leaf(read_only.with_af(false)), Update(true, read_only)],
            &[],
        ),
        // A translation from before may be kept until it is invalidated.
        ("cleaned again", keep, &[Leaf(clean), Update(true, written), write, Leaf(clean), write], &[]),
        ("and invalidated", keep, &[Leaf(written), write, Leaf(clean), Inv, Sync, write], &[Kind::StaleUse]),
        (
            "and recorded again",
            keep,
            &[Leaf(written), Leaf(clean), Inv, Sync, Update(true, written), write],
            &[],
        ),
        ("aged again", keep, &[Leaf(dirty), read, Leaf(dirty.with_af(false)), read], &[]),
        ("dirty by a read", keep, &[Leaf(clean), Update(false, written)], &wrong),
        ("a read-only page", keep, &[Leaf(read_only), Update(true, dirty)], &wrong),
        ("another address", keep, &[Leaf(unused), Update(false, clean.with_oa(B))], &wrong),
        ("access taken away", keep, &[Leaf(dirty), Update(false, dirty.with_af(false))], &wrong),
        ("made clean", keep, &[Leaf(written), Update(true, clean)], &wrong),
        ("no change", keep, &[Leaf(written), Update(true, written)], &wrong),
        ("nobody asked for it", off, &[Leaf(dirty.with_af(false)), Update(false, dirty)], &wrong),
        ("nobody asked for dirty state", access, &[Leaf(clean), Update(true, written)], &wrong),
        ("software's own dirty state", access, &[Leaf(unused), Update(true, clean)], &[]),
    ] {
        for bench in [Bench::new(), Bench { reads_all: true, ..Bench::watching(Config::default()) }] {
            let mut b = updating(bench, cd);
            play(&mut b, steps);
            let found = b.finish();
            let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
            assert_eq!(kinds, want, "{name}: {found:#?}");
            assert!(found.iter().all(|f| !f.title.is_empty() && !f.story.is_empty()), "{name}");
        }
    }
}

/// Both stages: the guest's leaf, what stage 2 says of the guest's tables, and of the page itself.
#[test]
fn nested() {
    let ste = |ste: Ste| ste.with_s2ha(true).with_s2hd(true);
    let guest_cd = GUEST_PA + (GUEST_CD - GUEST_IPA);
    let page = GUEST_IPA + 0x40_1000;
    let block = |af, clean| {
        let leaf = leaf2(GUEST_PA).with_page(false).with_af(af);
        if clean { leaf.with_s2ap(1).with_dbm(true) } else { leaf }
    };
    // What is written to the descriptors: 0 the guest's leaf, 1 its block of tables, 2 the block of its page.
    for (name, updates, want) in [
        ("all", &[1usize, 0, 2][..], &[][..]),
        ("not the guest's", &[1, 2], &[Kind::MissingUpdate]),
        // Once the guest's leaf is as it should be, nothing says any more that its table has been written.
        ("not of the tables", &[0, 2], &[]),
        // It was dirty before it was invalidated: what is used may be a translation of then.
        ("not of the page", &[1, 0], &[Kind::StaleUse]),
    ] {
        let mut b = Bench::new();
        let nested = Ste(std::array::from_fn(|i| b.words[&(STRTAB + u64::from(NESTED) * 64 + 8 * i as u64)]));
        b.structure(STRTAB + u64::from(NESTED) * 64, &ste(nested).0);
        let cd = Cd(std::array::from_fn(|i| b.words[&(guest_cd + 8 * i as u64)]));
        b.structure(guest_cd, &cd.with_ha(true).with_hd(true).0);
        let clean = leaf1(page).with_af(false).with_ap(3).with_dbm(true);
        b.map(GUEST_S1, 0, 3, IOVA, clean.0[0]);
        b.map(GUEST_S2, 1, 2, GUEST_IPA, block(true, true).0[0]);
        let data = leaf2(GUEST_PA + 0x40_0000).with_page(false).with_s2ap(1).with_dbm(true).with_af(false);
        b.map(GUEST_S2, 1, 2, GUEST_IPA + 0x40_0000, data.0[0]);
        for command in [Command::cfgi_all(), Command::tlbi_nsnh_all(), Command::sync()] {
            b.command(CMDQ0, command, None);
        }
        let find = |b: &Bench, word: u64| *b.words.iter().find(|(_, w)| **w == word).expect("it is there").0;
        let places = [
            (find(&b, clean.with_page(true).0[0]), clean.with_page(true).with_af(true).with_ap(1).0[0]),
            (find(&b, block(true, true).0[0]), block(true, false).with_dbm(true).0[0]),
            (find(&b, data.0[0]), data.with_af(true).with_s2ap(3).0[0]),
        ];
        for &i in updates {
            let (addr, after) = places[i];
            let before = b.words[&addr];
            b.write(addr, after);
            let dma = b.dma(0, NESTED, IOVA);
            b.see(Fact::Updated { dma, addr, before, after });
        }
        let dma = b.dma(0, NESTED, IOVA);
        b.see(Fact::Translated { dma, pa: GUEST_PA + 0x40_1000 });
        b.see(Fact::Done { smmu: 0, id: dma.id });
        let found = b.finish();
        let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}: {found:#?}");
    }
}
