//! Errors at awkward moments, and injected defects.

use spec::smmu::Command;

use crate::cmdqv::config::{SwappedSlots, Vintfs};
use crate::cmdqv::functional::{Lvcmdq, Rig};

fn guest(rig: &mut Rig, v: u8) -> Lvcmdq {
    rig.vintf(v, false, v.into());
    rig.queue(v, 0, 4)
}

#[test]
fn an_error_under_a_difference_is_not_lost() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.halt = true;
    rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1)]);
    rig.block.take(10).unwrap();
    rig.w(queue.reg("GERRORN"), 1);
    rig.block.retire(10, Err(spec::smmu::error::CommandError::CERROR_ILL));
    rig.settle();
    assert_eq!((rig.cons(&queue), rig.r(queue.reg("GERROR")), rig.edges), ((0, 1), 0, 0));
    rig.store(queue.ring, Command::cfgi_all());
    rig.halt = false;
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue), rig.r(queue.reg("GERROR")), rig.edges), ((0, 1), 1, 1));
}

#[test]
fn prefetched_entries_do_not_survive_an_error() {
    for (keep, executed) in [(false, Command::sync()), (true, Command::tlbi_nh_asid(2, 5))] {
        let mut rig = Rig::with(|c| c.faults.keep_prefetched = keep);
        let mut queue = guest(&mut rig, 5);
        rig.sid(5, 0, 0x10, 0x77);
        rig.atc_timeouts.insert(0x77);
        rig.push(
            &mut queue,
            &[Command::atc_inv(0x10, None, 0, 52), Command::sync(), Command::tlbi_nh_asid(2, 5)],
        );
        assert_eq!(rig.cons(&queue), (1, 3));
        rig.store(queue.ring + 32, Command::sync());
        rig.acknowledge(&queue);
        assert_eq!((rig.cons(&queue).0, rig.log_of(10)[2]), (3, executed));
    }
    // An aborted fetch is repeated even so.
    let mut rig = Rig::with(|c| c.faults.keep_prefetched = true);
    let mut queue = guest(&mut rig, 5);
    rig.abort_once.insert(queue.ring);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!(rig.cons(&queue), (0, 2));
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.edges), (1, 1));
}

#[test]
fn lost_edges() {
    let mut rig = Rig::with(|c| c.faults.lose_edge_every = Some(2));
    let mut queue = guest(&mut rig, 5);
    rig.push(&mut queue, &[Command::cfgi_all()]);
    for _ in 0..3 {
        rig.acknowledge(&queue);
    }
    assert_eq!((rig.edges, rig.block.metrics().edges_lost), (2, 2));
}

#[test]
fn injected_defects_show() {
    let run = |change: &dyn Fn(&mut crate::cmdqv::Faults), command| {
        let mut rig = Rig::with(|c| change(&mut c.faults));
        let mut queue = guest(&mut rig, 5);
        rig.sid(5, 0, 0x10, 0x1000);
        rig.sid(5, 1, 0x11, 0x1001);
        rig.sid(5, 2, 0x12, 0x1002);
        rig.w("VINTF5.SID_MATCH2", 0);
        assert_eq!(rig.r("VINTF5.SID_MATCH2"), 0);
        rig.push(&mut queue, &[command]);
        rig.log_of(10).pop()
    };
    let atc = |sid| Command::atc_inv(sid, None, 0, 52);
    let swap = |vintf| Some(SwappedSlots { vintf, slots: (0, 1) });
    assert_eq!(run(&|f| f.swapped_sid_slots = swap(5), atc(0x10)), Some(atc(0x1001)));
    assert_eq!(run(&|f| f.swapped_sid_slots = swap(5), atc(0x11)), Some(atc(0x1000)));
    assert_eq!(run(&|f| f.swapped_sid_slots = swap(4), atc(0x10)), Some(atc(0x1000)));
    assert_eq!(run(&|f| f.sid_match_sticks = true, atc(0x12)), Some(atc(0x1002)));
    assert_eq!(run(&|_| {}, atc(0x12)), None);
    let tlbi = |vmid| Command::tlbi_nh_asid(1, vmid);
    let own = run(&|_| {}, tlbi(7)).unwrap().vmid() as u16;
    assert_ne!(own, 7);
    for (kept, here) in
        [(Vintfs::None, false), (Vintfs::All, true), (Vintfs::One(5), true), (Vintfs::One(4), false)]
    {
        let (vmid, sid) = if here { (7, 0x11) } else { (own, 0x1001) };
        assert_eq!(run(&|f| f.keep_guest_vmid = kept, tlbi(7)), Some(tlbi(vmid)), "{kept:?}");
        assert_eq!(run(&|f| f.keep_guest_sid = kept, atc(0x11)), Some(atc(sid)), "{kept:?}");
        assert_eq!(run(&|f| f.keep_guest_sid = kept, atc(0x12)), None, "no slot matches: illegal, {kept:?}");
    }
    assert_eq!(run(&|f| f.admit_everything = true, Command::cfgi_all()), Some(Command::cfgi_all()));
}
