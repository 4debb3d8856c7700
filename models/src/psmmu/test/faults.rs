//! Faults of the environment do the damage that they promise, and no other.

use spec::smmu::GlobalError;

use super::*;
use crate::psmmu::{PsmmuFaults, Which};

fn broken(faults: PsmmuFaults) -> Bench {
    Bench::booted_with(|c| {
        c.faults = faults;
        c.timing.atc_timeout = Time::us(10);
    })
}

/// The boot sequence holds one TLBI, so the second is the first after it.
#[test]
fn a_dropped_tlbi_leaves_the_entry() {
    for (which, stale) in
        [(Which::Never, false), (Which::Nth(2), true), (Which::Nth(3), false), (Which::From(2), true)]
    {
        let mut b = broken(PsmmuFaults { drop_tlbi: which.into(), ..Default::default() });
        b.read_page(1);
        b.unmap(1);
        b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
        assert_eq!(b.cons(), (6, 0), "consumed as if nothing were wrong");
        assert_eq!(matches!(b.read_page(1), DmaResult::Ok(_)), stale, "{which:?}");
    }
}

#[test]
fn an_early_sync_does_not_wait() {
    for (which, early) in [(Which::Never, false), (Which::Nth(3), true)] {
        let mut b = broken(PsmmuFaults { early_sync: which, ..Default::default() });
        b.data_delay = Time::us(50);
        let tag = b.dma(STREAM, 0x1000, Op::Read { len: 8 });
        b.submit(&[Command::sync()]);
        let synced = b.consumed(Opcode::SYNC).unwrap();
        assert_eq!(synced + Time::us(10) < b.completion(tag).unwrap().0, early);
        assert_eq!(b.cons(), (5, 0));
    }
}

#[test]
fn a_lost_event_and_a_lost_interrupt() {
    let mut b = broken(PsmmuFaults {
        lose_event: Which::Nth(1),
        lose_interrupt: Which::Nth(1),
        ..Default::default()
    });
    for (events, interrupts) in [(0, 0), (1, 0), (2, 0)] {
        b.dma(BROKEN, 0, Op::Read { len: 8 });
        b.run();
        assert_eq!((b.events().len(), b.interrupts.len()), (events, interrupts));
    }
    assert_eq!((b.metric("events_lost"), b.metric("interrupts_lost")), (1, 1));
}

#[test]
fn an_aborted_fetch_and_a_lost_atc_invalidation() {
    let mut b = broken(PsmmuFaults { abort_command_fetch: Which::Nth(3), ..Default::default() });
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (4, 2));
    let mut b = broken(PsmmuFaults { lose_atc_invalidation: Which::Nth(1), ..Default::default() });
    b.submit(&[Command::atc_inv(STREAM, None, 0, 52), Command::sync()]);
    assert_eq!(b.cons(), (5, 3));
}

/// The boot sequence holds four commands. IHI 0070, 12.3.
#[test]
fn service_failure_ends_everything_but_the_registers() {
    let mut b = broken(PsmmuFaults { fail: Which::Nth(6), ..Default::default() });
    b.submit(&[Command::sync()]);
    assert!(matches!(b.read_page(1), DmaResult::Ok(_)), "not yet");
    b.submit(&[Command::sync(), Command::sync()]);
    assert_eq!(b.cons(), (5, 0), "the sixth is not executed, and none after it");
    assert_eq!(b.read32(GERROR), GlobalError::SFM_ERR.mask() as u32);
    assert_eq!(b.interrupts, [77]);
    b.write32(GERRORN, GlobalError::SFM_ERR.mask() as u32);
    for smmuen in [true, false] {
        if !smmuen {
            b.write32(CR0, 0);
        }
        assert!(matches!(b.read_page(1), DmaResult::Aborted(_)), "SMMUEN {smmuen}");
    }
    assert!(b.events().is_empty());
}

/// Transactions that have begun before, one that walks and one whose event is on its way, end like those that come later.
#[test]
fn service_failure_ends_what_is_under_way() {
    let mut b = broken(PsmmuFaults { fail: Which::Nth(5), ..Default::default() });
    b.latency = Time::us(5);
    let tags = [b.dma(STREAM, 0x3000, Op::Read { len: 8 }), b.dma(STREAM, 0x7000_0000, Op::Read { len: 8 })];
    b.submit(&[Command::sync()]);
    for tag in tags {
        assert!(matches!(b.completion(tag).unwrap().1, DmaResult::Aborted(_)));
    }
    assert!(b.events().is_empty());
    assert_eq!(b.read32(GERROR), GlobalError::SFM_ERR.mask() as u32);
}
