//! Whole sequences of drivers.

use models::cmdqv::provenance::Source::{GpuDriver as U, Linux as L, Qemu as Q};
use models::record::CommandQueue;
use spec::smmu::{Command, Opcode};

use super::enable::host_reset;
use super::vmid;
use crate::rig::{Rig, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C49",
        &[L],
        "probe, reset and setup of VINTF 0 take 8 CMD_SYNCs of the SMMU's own queue, 4 queue resets and no timeout",
        host_setup,
    ),
    Row::cmdqv(
        "C50",
        &[L, Q],
        "a virtual machine's life: traffic touches no register of the config page; in the end its LVCMDQs are hidden",
        guest_life,
    ),
    Row::cmdqv(
        "C51",
        &[U],
        "a client of the direct aperture and the host's queues work side by side",
        direct_client,
    ),
];

fn host_setup(r: &mut Rig) -> Check {
    r.boot()?;
    r.get("CONFIG");
    r.reads("PARAM", 0x4671)?;
    let main = |r: &Rig| {
        let sync = |(from, command): &&(CommandQueue, Command)| {
            *from == CommandQueue::Main && command.op() == Opcode::SYNC
        };
        r.world.executed.iter().filter(sync).count()
    };
    let before = main(r);
    let mut queues = host_reset(r)?;
    same("CMD_SYNCs of the SMMU's own queue", main(r) - before, 8)?;
    for q in 2..128_u32 {
        r.reads(0x200 + 4 * u64::from(q), (q / 2) << 15 | (q % 2) << 1)?;
    }
    for queue in &mut queues {
        let command = Command::cfgi_ste(1, true);
        r.give(queue, &[command, Command::sync()]);
        r.ran(queue, &[command, Command::sync()])?;
    }
    r.flagged(0)?;
    r.edged(0)
}

fn guest_life(r: &mut Rig) -> Check {
    r.boot()?;
    host_reset(r)?;
    // The host creates a VINTF; the guest resets LVCMDQs that are not there yet.
    r.reset_vintf(7, &[])?;
    r.vintf(7, false, vmid(7))?;
    for l in [1, 0_u64] {
        let page0 = 0x3_0000 + 0x2_0000 * 7 + 0x80 * l;
        r.set(page0 + 8, 0);
        r.reads(page0 + 0xc, 0)?;
        r.set(page0 + 4, 0);
        r.set(page0, 0);
        same("GERRORN, GERROR", [0x14, 0x10].map(|at| r.get(page0 + at)), [0, 0])?;
    }
    // The host gives it both, and a stream; the VMM copies what it has remembered; the guest enables them.
    let mut queues = Vec::new();
    for l in [0, 1] {
        let queue = r.allocated(7, l, 14 + u16::from(l), 4);
        r.reset(&queue)?;
        r.set64(queue.at("BASE"), queue.ring | 4);
        for register in ["CONS", "PROD", "CONFIG", "GERRORN"] {
            r.set(queue.at(register), 0);
        }
        r.set(queue.at("CONFIG"), 1);
        r.poll(queue.at("STATUS"), 1)?;
        queues.push(queue);
    }
    r.sid(7, 0, 0x10, 1);
    // Traffic.
    let before = r.config_page_accesses();
    for round in 0..20 {
        for queue in &mut queues {
            let batch =
                [Command::tlbi_nh_asid(round, 0), Command::atc_inv(0x10, None, 0, 52), Command::sync()];
            r.give(queue, &batch);
            r.finishes(queue)?;
        }
    }
    same("accesses to the config page", r.config_page_accesses(), before)?;
    let executed = r.executed(14);
    let expected = [Command::tlbi_nh_asid(19, vmid(7)), Command::atc_inv(1, None, 0, 52), Command::sync()];
    holds("commands carry the guest's VMID and the physical StreamID", executed[57..] == expected)?;
    // An error: the host sees it in the maps; the guest repairs its queue.
    let at = queues[1].prod;
    let queue = &mut queues[1];
    r.give(queue, &[Command::cfgi_all(), Command::sync()]);
    r.edged(1)?;
    same("VINTF 7's map", r.get64(0x17c0_u64), 2)?;
    r.store(queue.slot(at), Command::sync());
    r.acknowledge(queue);
    r.finishes(queue)?;
    // Teardown.
    r.reset_vintf(7, &queues)?;
    for queue in &queues {
        r.set(queue.at("PROD"), 5);
        r.set(queue.at("CONFIG"), 1);
        let state = ["CONS", "PROD", "CONFIG", "STATUS"].map(|register| r.get(queue.at(register)));
        same("CONS, PROD, CONFIG, STATUS", state, [0; 4])?;
    }
    r.flagged(0)
}

fn direct_client(r: &mut Rig) -> Check {
    r.boot()?;
    let [mut own, _] = host_reset(r)?;
    let mut client = r.allocated(63, 0, 127, 4);
    r.set("VINTF63.CONFIG", 1 << 17 | 1);
    r.poll("VINTF63.STATUS", 1)?;
    r.set(client.direct("BASE"), client.ring as u32 | 4);
    r.set(client.direct("BASE_H"), (client.ring >> 32) as u32);
    for (register, value) in [("CONS", 0), ("PROD", 0), ("CONFIG", 1)] {
        r.set(client.direct(register), value);
    }
    r.poll(client.direct("STATUS"), 1)?;
    let mut sent = Vec::new();
    for round in 0..10_u64 {
        let batch = [Command::tlbi_el2_va(1, round << 12, true), Command::sync()];
        r.fill(&mut client, &batch);
        sent.extend(batch);
        r.set(client.direct("PROD"), client.prod);
        r.send(&mut own, &[Command::cfgi_all(), Command::sync()]);
        let prod = client.prod;
        r.until("the client's CONS reaches its PROD", |r| r.get(client.direct("CONS")) & 0xf_ffff == prod)?;
        r.finishes(&own)?;
    }
    r.ran(&client, &sent)?;
    same("the host's commands", r.executed(own.q).len(), 20)?;
    r.set(client.direct("CONFIG"), 0);
    r.set(client.entry(), 0);
    r.set("VINTF63.CONFIG", 0);
    r.poll("VINTF63.STATUS", 0)?;
    r.edged(0)
}
