//! Random software on a toy pair of SMMUs whose translation caches are honest, or not.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
enum Op {
    Map { page: u64, target: u64 },
    Unmap { page: u64 },
    Dma { smmu: u16, page: u64 },
    Invalidate { page: u64 },
    InvalidateAll,
    Sync,
}

fn op() -> impl Strategy<Value = Op> {
    let page = || 0u64..3;
    prop_oneof![
        (page(), 0u64..3).prop_map(|(page, target)| Op::Map { page, target }),
        page().prop_map(|page| Op::Unmap { page }),
        (0u16..2, page()).prop_map(|(smmu, page)| Op::Dma { smmu, page }),
        (0u16..2, page()).prop_map(|(smmu, page)| Op::Dma { smmu, page }),
        page().prop_map(|page| Op::Invalidate { page }),
        Just(Op::InvalidateAll),
        Just(Op::Sync),
    ]
}

fn iova(page: u64) -> u64 {
    IOVA + page * 0x1000
}

fn offset(target: u64) -> u64 {
    0x40_0000 + target * 0x1000
}

/// What one page of the guest has been through.
#[derive(Clone, Default)]
struct Page {
    mapped: Option<u64>,
    /// For each target, the step at which it was last replaced.
    replaced: BTreeMap<u64, usize>,
    /// Steps at which it was invalidated, and whether a CMD_SYNC followed.
    invalidated: Vec<(usize, bool)>,
}

/// Plays the operations. An SMMU that is deaf does not hear invalidations. Returns the findings as (kind, SMMU, page),
/// and the stale uses that there were by the toy's own reckoning.
fn play(mut b: Bench, ops: &[Op], deaf: Option<u16>) -> (Vec<Finding>, BTreeSet<(u16, u64)>) {
    let mut pages: [Page; 3] = Default::default();
    let mut tlbs: [BTreeMap<u64, u64>; 2] = Default::default();
    let mut stale = BTreeSet::new();
    for (step, &op) in ops.iter().enumerate() {
        b.step(Do::Wait(20));
        match op {
            Op::Map { page, target } => {
                b.step(Do::GuestMap(iova(page), GUEST_IPA + offset(target)));
                replace(&mut pages[page as usize], Some(target), step);
            }
            Op::Unmap { page } => {
                b.step(Do::GuestUnmap(iova(page)));
                replace(&mut pages[page as usize], None, step);
            }
            Op::Dma { smmu, page } => {
                let p = &pages[page as usize];
                let cached = tlbs[usize::from(smmu)].get(&page).copied();
                let Some(target) = cached.or(p.mapped) else {
                    fault(&mut b, smmu, iova(page));
                    continue;
                };
                tlbs[usize::from(smmu)].insert(page, target);
                let gone = p.replaced.get(&target).copied().unwrap_or(0);
                if p.mapped != Some(target) && p.invalidated.iter().any(|&(at, synced)| synced && at > gone) {
                    stale.insert((smmu, page));
                }
                b.step(Do::Use(smmu, NESTED, iova(page), GUEST_PA + offset(target)));
            }
            Op::Invalidate { page } => {
                b.step(Do::Inv(GUEST, Command::tlbi_nh_va(7, 0, iova(page), true)));
                forget(&mut tlbs, deaf, |p| p == page);
                pages[page as usize].invalidated.push((step, false));
            }
            Op::InvalidateAll => {
                b.step(Do::Inv(GUEST, Command::tlbi_nh_asid(7, 0)));
                forget(&mut tlbs, deaf, |_| true);
                pages.iter_mut().for_each(|p| p.invalidated.push((step, false)));
            }
            Op::Sync => {
                b.step(Do::Sync(GUEST));
                for (_, synced) in pages.iter_mut().flat_map(|p| &mut p.invalidated) {
                    *synced = true;
                }
            }
        }
    }
    (b.finish(), stale)
}

fn replace(page: &mut Page, with: Option<u64>, step: usize) {
    if let Some(old) = page.mapped.filter(|_| page.mapped != with) {
        page.replaced.insert(old, step);
    }
    page.mapped = with;
}

fn forget(tlbs: &mut [BTreeMap<u64, u64>; 2], deaf: Option<u16>, covers: impl Fn(u64) -> bool) {
    for (smmu, tlb) in tlbs.iter_mut().enumerate() {
        if deaf != Some(smmu as u16) {
            tlb.retain(|&page, _| !covers(page));
        }
    }
}

fn fault(b: &mut Bench, smmu: u16, iova: u64) {
    let dma = b.dma(smmu, NESTED, iova);
    b.see(Fact::Aborted { dma, event: Some(EventNumber::F_TRANSLATION.0) });
    let record = EventRecord::translation(EventNumber::F_TRANSLATION, NESTED, None, iova, true);
    b.see(Fact::EventWritten { smmu, record: record.0, was_empty: true });
    b.see(Fact::EventInterrupt { smmu });
}

fn looking() -> Bench {
    Bench::watching(Config::default())
}

#[test]
fn the_toy_can_be_deaf() {
    let ops = [
        Op::Map { page: 1, target: 2 },
        Op::Dma { smmu: 1, page: 1 },
        Op::Unmap { page: 1 },
        Op::InvalidateAll,
        Op::Sync,
        Op::Dma { smmu: 1, page: 1 },
    ];
    let (findings, stale) = play(Bench::new(), &ops, Some(1));
    assert_eq!((findings.len(), stale), (1, BTreeSet::from([(1, 1)])));
    assert!(play(Bench::new(), &ops, Some(0)).1.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn honest_hardware_is_never_accused(ops in prop::collection::vec(op(), 1..60)) {
        for bench in [Bench::new(), looking()] {
            let (findings, stale) = play(bench, &ops, None);
            prop_assert!(stale.is_empty());
            prop_assert!(findings.is_empty(), "{findings:#?}");
        }
    }

    #[test]
    fn a_deaf_smmu_is_always_found(ops in prop::collection::vec(op(), 1..60)) {
        let (findings, stale) = play(Bench::new(), &ops, Some(1));
        prop_assert_eq!(findings.len(), stale.len(), "{:?} {:#?}", stale, findings);
        for (f, _) in findings.iter().zip(&stale) {
            prop_assert_eq!(f.kind, Kind::StaleUse);
            prop_assert!(f.title.contains("nic1"), "{}", f.title);
            prop_assert!(f.story.iter().any(|line| line.contains("smmu1 itself consumed no invalidation")), "{f}");
        }
    }
    /// It may find more: the toy forgives a use of what came back for a moment, which nobody looked at.
    #[test]
    fn a_deaf_smmu_is_always_found_by_looking(ops in prop::collection::vec(op(), 1..60)) {
        let (findings, stale) = play(looking(), &ops, Some(1));
        for (smmu, page) in stale {
            let title = format!("iova {:#x} ", iova(page));
            let found = |f: &Finding| f.kind == Kind::StaleUse && f.smmu == smmu && f.title.contains(&title);
            prop_assert!(findings.iter().any(found), "{page}: {findings:#?}");
        }
        prop_assert!(findings.iter().all(|f| f.kind == Kind::StaleUse && f.smmu == 1), "{findings:#?}");
    }
}
