//! C26 to C33: what an owner may send, and what is rewritten.

use spec::smmu::{Command, Opcode};

use crate::cmdqv::config::{SwappedSlots, Vintfs};
use crate::cmdqv::functional::{IMPLEMENTED, Lvcmdq, Rig};
use crate::cmdqv::knobs::{GuestNhAll, Refusal, SyncSignal};

fn guest(rig: &mut Rig) -> Lvcmdq {
    rig.vintf(5, false, 0x42);
    rig.queue(5, 0, 4)
}

#[test]
fn c26_vmid_is_replaced_for_guests() {
    let rows = [
        (Command::tlbi_nh_asid(9, 7), Command::tlbi_nh_asid(9, 0x42)),
        (Command::tlbi_nh_va(9, 0xffff, 0x1_2000, true), Command::tlbi_nh_va(9, 0x42, 0x1_2000, true)),
        (Command::tlbi_s12_vmall(0), Command::tlbi_s12_vmall(0x42)),
        (Command::tlbi_s2_ipa(7, 0x8000, false), Command::tlbi_s2_ipa(0x42, 0x8000, false)),
    ];
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig);
    rig.push(&mut queue, &rows.map(|(sent, _)| sent));
    assert_eq!(rig.log_of(10), rows.map(|(_, executed)| executed));
}

#[test]
fn c27_vmid_passes_for_the_hypervisor() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 4);
    rig.push(&mut queue, &[Command::tlbi_s2_ipa(0x42, 0x8000, false)]);
    assert_eq!(rig.log_of(0), [Command::tlbi_s2_ipa(0x42, 0x8000, false)]);
}

#[test]
fn c28_stream_id_is_replaced_for_guests() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig);
    rig.sid(5, 3, 0x100, 0x2345);
    rig.sid(5, 15, 0xf_ffff, 0xf_fffe);
    rig.push(
        &mut queue,
        &[Command::atc_inv(0x100, Some(7), 0x1_2000, 3), Command::atc_inv(0xf_ffff, None, 0, 52)],
    );
    let expect = [Command::atc_inv(0x2345, Some(7), 0x1_2000, 3), Command::atc_inv(0xf_fffe, None, 0, 52)];
    assert_eq!(rig.log_of(10), expect);
}

#[test]
fn c29_unknown_stream_ids_are_errors() {
    // 0x10_0100 has the low 20 bits of a match; slot 4 is written but not enabled.
    for sid in [0, 0x101, 0x200, 0x10_0100, 0x2345, u32::MAX] {
        let mut rig = Rig::new();
        let mut queue = guest(&mut rig);
        rig.sid(5, 3, 0x100, 0x2345);
        rig.sid(6, 0, 0x101, 0x2346);
        rig.w("VINTF5.SID_MATCH4", 0x200 << 1);
        rig.push(&mut queue, &[Command::sync(), Command::atc_inv(sid, None, 0, 52), Command::sync()]);
        assert_eq!((rig.cons(&queue), rig.edges, rig.log.len()), ((1, 1), 1, 1), "{sid:#x}");
    }
}

#[test]
fn c30_slots_come_and_go_at_the_match_write() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig);
    rig.sid(5, 3, 0x100, 0x2345);
    rig.push(&mut queue, &[Command::atc_inv(0x100, None, 0, 52)]);
    rig.w("VINTF5.SID_MATCH3", 0);
    rig.push(&mut queue, &[Command::atc_inv(0x100, None, 0x1000, 0)]);
    assert_eq!((rig.cons(&queue), rig.log.len()), ((1, 1), 1));
    rig.sid(5, 3, 0x100, 0x777);
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.log_of(10)[1]), (2, Command::atc_inv(0x777, None, 0x1000, 0)));
}

#[test]
fn c31_opcodes_of_guests() {
    let legal = [
        Opcode::TLBI_NH_ASID,
        Opcode::TLBI_NH_VA,
        Opcode::TLBI_S12_VMALL,
        Opcode::TLBI_S2_IPA,
        Opcode::ATC_INV,
        Opcode::SYNC,
    ];
    for code in 0..=255_u8 {
        let op = Opcode(code);
        let mut rig = Rig::new();
        let mut queue = guest(&mut rig);
        rig.sid(5, 0, 0, 0);
        rig.push(&mut queue, &[Command::new(op)]);
        let expect = if legal.contains(&op) { ((1, 0), 0, 1) } else { ((0, 1), 1, 0) };
        assert_eq!((rig.cons(&queue), rig.edges, rig.log.len()), expect, "{op}");
    }
}

#[test]
fn c32_opcodes_of_the_hypervisor() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 6);
    let commands = IMPLEMENTED.map(|op| Command::new(op).with_sid(if op == Opcode::SYNC { 0 } else { 0x77 }));
    rig.push(&mut queue, &commands);
    assert_eq!((rig.log_of(0), rig.edges), (commands.to_vec(), 0));
}

#[test]
fn secure_commands_are_refused_for_everybody() {
    for hyp_own in [false, true] {
        let mut rig = Rig::new();
        rig.vintf(5, hyp_own, 0);
        let mut queue = rig.queue(5, 0, 4);
        rig.push(&mut queue, &[Command::sync().with_ssec(true)]);
        assert_eq!((rig.cons(&queue), rig.log.len()), ((0, 1), 0), "{hyp_own}");
    }
}

#[test]
fn c33_an_error_stays_in_its_queue() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut bad = guest(&mut rig);
    let mut others = [rig.queue(5, 1, 4), rig.queue(0, 0, 4)];
    rig.push(&mut bad, &[Command::cfgi_all(), Command::sync()]);
    for queue in &mut others {
        rig.push(queue, &[Command::sync(); 5]);
        assert_eq!(rig.cons(queue), (5, 0));
        assert_eq!(rig.r(queue.reg("GERROR")), 0);
    }
    assert_eq!((rig.cons(&bad), rig.r(bad.reg("STATUS"))), ((0, 1), 1), "an error is not a disable");
}

#[test]
fn k1_k2_codes_of_refused_commands() {
    for (opcode, sid) in
        [(Refusal::Illegal, Refusal::IllegalAccess), (Refusal::IllegalAccess, Refusal::Illegal)]
    {
        let code = |r| if r == Refusal::Illegal { 1 } else { 4 };
        for (command, expect) in
            [(Command::cfgi_all(), code(opcode)), (Command::atc_inv(1, None, 0, 0), code(sid))]
        {
            let mut rig = Rig::with(|c| (c.knobs.forbidden_opcode, c.knobs.unmatched_sid) = (opcode, sid));
            let mut queue = guest(&mut rig);
            rig.push(&mut queue, &[command]);
            assert_eq!(rig.cons(&queue), (0, expect), "{command}");
        }
    }
}

#[test]
fn k3_sync_with_a_signal() {
    let sync = Command::sync;
    // (option, CS, command executed, lints)
    let rows = [
        (SyncSignal::AsNone, 0, Some(sync()), 0),
        (SyncSignal::AsNone, 1, Some(sync()), 1),
        (SyncSignal::AsNone, 2, Some(sync()), 1),
        (SyncSignal::AsNone, 3, None, 0),
        (SyncSignal::Illegal, 0, Some(sync()), 0),
        (SyncSignal::Illegal, 1, None, 0),
        (SyncSignal::Signal, 2, Some(sync().with_cs(2)), 0),
        (SyncSignal::Signal, 3, None, 0),
    ];
    for (option, cs, executed, lints) in rows {
        let mut rig = Rig::with(|c| c.knobs.sync_signal = option);
        let mut queue = guest(&mut rig);
        rig.push(&mut queue, &[sync().with_cs(cs)]);
        assert_eq!((rig.log_of(10).pop(), rig.lints.len()), (executed, lints), "{option:?} {cs}");
    }
}

#[test]
fn k4_guest_nh_all() {
    for (option, legal) in [(GuestNhAll::Illegal, false), (GuestNhAll::Legal, true)] {
        for (command, executed) in [
            (Command::tlbi_nh_all(7), Command::tlbi_nh_all(0x42)),
            (Command::tlbi_nh_vaa(7, 0x1000, false), Command::tlbi_nh_vaa(0x42, 0x1000, false)),
        ] {
            let mut rig = Rig::with(|c| c.knobs.guest_nh_all = option);
            let mut queue = guest(&mut rig);
            rig.push(&mut queue, &[command]);
            assert_eq!(rig.log_of(10).pop(), legal.then_some(executed), "{option:?} {command}");
        }
    }
}

#[test]
fn one_stream_id_in_two_slots() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig);
    rig.sid(5, 9, 0x100, 9);
    rig.sid(5, 2, 0x100, 2);
    rig.push(&mut queue, &[Command::atc_inv(0x100, None, 0, 52)]);
    assert_eq!((rig.log_of(10)[0].sid(), rig.lints.len()), (2, 1));
}

#[test]
fn injected_defects_show() {
    let run = |change: &dyn Fn(&mut crate::cmdqv::Faults), command| {
        let mut rig = Rig::with(|c| change(&mut c.faults));
        let mut queue = guest(&mut rig);
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
