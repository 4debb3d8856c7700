//! Faults of the environment do the damage that they promise, and no other.

use spec::smmu::GlobalError;

use super::*;
use crate::psmmu::{PsmmuFaults, Which};

fn broken(faults: PsmmuFaults) -> Bench {
    Bench::booted_with(|c| c.faults = faults)
}

/// The boot sequence holds one TLBI and one CFGI, so the second is the first after it.
#[test]
fn dropped_invalidations_leave_the_entry() {
    for (which, stale) in
        [(Which::Never, false), (Which::Nth(2), true), (Which::Nth(3), false), (Which::From(2), true)]
    {
        let mut b = broken(PsmmuFaults { drop_tlbi: which.into(), ..Default::default() });
        b.read_page(1).expect("mapped");
        b.unmap(1);
        b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
        assert_eq!(b.cons(), (6, 0), "consumed as if nothing were wrong");
        assert_eq!(b.read_page(1).is_ok(), stale, "{which:?}");

        let mut b = broken(PsmmuFaults { drop_cfgi: which.into(), ..Default::default() });
        b.read_page(1).expect("mapped");
        b.ste(|ste| ste.with_config(ste::config::ABORT));
        b.submit(&[Command::cfgi_ste(STREAM, true), Command::sync()]);
        assert_eq!(b.read_page(2).is_ok(), stale, "{which:?}");
    }
}

/// Steps of software behind a bad CMD_SYNC, and whether the page that it invalidated is still there afterwards.
#[test]
fn an_early_sync_leaves_invalidations_for_later() {
    let (sync, other) = (Command::sync(), Command::tlbi_s2_ipa(VMID, 0x9000, true));
    let batch = [
        Command::tlbi_s2_ipa(VMID, 0x1000, true),
        Command::cfgi_ste(STREAM, true),
        Command::atc_inv(STREAM, None, 0x1000, 0),
        sync,
    ];
    // The boot sequence holds two CMD_SYNCs.
    let (early, late) = (Which::Nth(3), Which::Nth(4));
    for (name, which, next, stale) in [
        ("no fault", Which::Never, &[][..], false),
        ("a good one, though another will be bad", late, &[], false),
        ("too early", early, &[], true),
        ("made good by a CMD_SYNC", early, &[sync], false),
        ("made good by any command", early, &[other], false),
        ("all are bad: by any command", Which::From(3), &[other], false),
        ("all are bad: not by a CMD_SYNC", Which::From(3), &[sync], true),
        ("sent once more, and good", early, &batch, false),
        ("sent once more, and bad", Which::Range(3, 2), &batch, true),
        ("sent twice more, and good", Which::Range(3, 2), &[batch, batch].concat(), false),
    ] {
        let mut b = broken(PsmmuFaults { early_sync: which, ..Default::default() });
        b.read_page(1).expect("mapped");
        b.read_page(2).expect("mapped");
        b.unmap(1);
        b.ste(|ste| ste.with_config(ste::config::ABORT));
        b.submit(&batch);
        assert_eq!(b.cons(), (8, 0), "{name}: consumed as if nothing were wrong");
        for command in next {
            b.submit(&[*command]);
        }
        assert_eq!(b.world.invalidations.is_empty(), stale, "{name}: ATC_INV");
        assert_eq!(b.read_page(1).is_ok(), stale, "{name}: TLBI");
        assert_eq!(b.read_page(2).is_ok(), stale, "{name}: CFGI");
    }
}

#[test]
fn what_is_held_back_is_done_when_the_fault_is_gone() {
    let mut b = broken(PsmmuFaults { early_sync: Which::From(3), ..Default::default() });
    b.read_page(1).expect("mapped");
    b.unmap(1);
    b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true)]);
    b.read_page(1).expect("held back");
    b.smmu.set_faults(&PsmmuFaults::default());
    b.submit(&[Command::sync()]);
    assert_eq!(b.read_page(1), Err(ABORTED));
}

/// However many invalidations come without a CMD_SYNC, only so many are held back.
#[test]
fn a_queue_without_sync_does_not_fill_memory() {
    let mut b = broken(PsmmuFaults { early_sync: Which::Nth(100), ..Default::default() });
    b.world.atc_answers = true;
    for _ in 0..1000 {
        b.submit(&[Command::atc_inv(STREAM, None, 0, 52); 8]);
    }
    assert_eq!(b.world.invalidations.len(), 8000 - 4096);
    b.submit(&[Command::sync()]);
    assert_eq!(b.world.invalidations.len(), 8000);
}

/// An early CMD_SYNC does not see that an ATC invalidation before it will time out.
#[test]
fn an_early_sync_does_not_wait() {
    let mut b = broken(PsmmuFaults { early_sync: Which::Nth(3), ..Default::default() });
    b.world.atc_answers = false;
    b.submit(&[Command::atc_inv(STREAM, None, 0, 52), Command::sync()]);
    assert_eq!(b.cons(), (6, 0));
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (6, 3), "the next one hears of it");
}

#[test]
fn a_lost_event_and_a_lost_interrupt() {
    let mut b = broken(PsmmuFaults {
        lose_event: Which::Nth(1),
        lose_interrupt: Which::Nth(1),
        ..Default::default()
    });
    for (events, interrupts) in [(0, 0), (1, 0), (2, 0)] {
        b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
        assert_eq!((b.events().len(), b.world.interrupts.len()), (events, interrupts));
    }
    assert_eq!((b.metric("events_lost"), b.metric("interrupts_lost")), (1, 1));
}

#[test]
fn aborted_reads_and_a_lost_atc_invalidation() {
    let mut b = broken(PsmmuFaults { abort_command_fetch: Which::Nth(3), ..Default::default() });
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (4, 2));
    let mut b = broken(PsmmuFaults { lose_atc_invalidation: Which::Nth(1), ..Default::default() });
    b.submit(&[Command::atc_inv(STREAM, None, 0, 52), Command::sync()]);
    assert_eq!((b.cons(), b.world.invalidations.len()), ((5, 3), 0));
    let mut b = broken(PsmmuFaults { abort_read: Which::Nth(4), ..Default::default() });
    assert_eq!(b.read_page(1), Err(ABORTED));
    assert_eq!(b.events()[0].event(), spec::smmu::EventNumber::F_WALK_EABT);
    assert_eq!(b.read_page(1), Ok(0));
}

#[test]
fn a_stalled_engine_goes_on_with_the_next_doorbell() {
    let mut b = broken(PsmmuFaults::default());
    b.smmu.set_faults(&PsmmuFaults { stalled: true, ..Default::default() });
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (4, 0));
    b.smmu.set_faults(&PsmmuFaults::default());
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (6, 0));
}

/// The boot sequence holds four commands. IHI 0070, 12.3.
#[test]
fn service_failure_ends_everything_but_the_registers() {
    let mut b = broken(PsmmuFaults { fail: Which::Nth(6), ..Default::default() });
    b.submit(&[Command::sync()]);
    assert!(b.read_page(1).is_ok(), "not yet");
    b.submit(&[Command::sync(), Command::sync()]);
    assert_eq!(b.cons(), (5, 0), "the sixth is not executed, and none after it");
    assert_eq!(b.read32(GERROR), GlobalError::SFM_ERR.mask() as u32);
    assert_eq!(b.world.interrupts, [77]);
    b.write32(GERRORN, GlobalError::SFM_ERR.mask() as u32);
    for smmuen in [true, false] {
        if !smmuen {
            b.write32(CR0, 0);
        }
        assert!(b.read_page(1) == Err(ABORTED), "SMMUEN {smmuen}");
    }
    assert!(b.events().is_empty());
}
