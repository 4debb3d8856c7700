//! What a run on a board has shown, for people and for machines.

use std::fmt::Write as _;

use models::nvme::layout::Opcode;
use serde_json::{Value, json};

use crate::board::Board;

/// Findings that people are told in full.
const TOLD: usize = 3;

/// For people: each pSMMU, each endpoint, the oracle. Times are since the board was switched on.
pub fn text(board: &Board) -> String {
    let mut out = String::new();
    for (name, smmu) in board.smmu_names().iter().zip(&board.tally().smmus) {
        out.push_str(&smmu.text(name));
    }
    for device in board.devices() {
        let Some(nvme) = device.nvme() else { continue };
        writeln!(
            out,
            "{:<9} {} commands: {} bytes read, {} written, {} flushes; {} errors, {} interrupts",
            device.name(),
            nvme.commands(),
            nvme.bytes_read,
            nvme.bytes_written,
            nvme.io(Opcode::FLUSH),
            nvme.errors,
            nvme.interrupts,
        )
        .expect("a string takes it");
    }
    if let Some(now) = board.simulated() {
        writeln!(out, "simulated time {now}").expect("a string takes it");
    }
    let findings = board.findings();
    let judged: u64 = board.tally().smmus.iter().map(|s| s.translated + s.aborted).sum();
    if findings.is_empty() {
        writeln!(out, "oracle    clean: {judged} DMAs judged").expect("a string takes it");
    } else {
        writeln!(out, "oracle    {} findings in {judged} DMAs judged", findings.len())
            .expect("a string takes it");
        for finding in findings.iter().take(TOLD) {
            writeln!(out, "  {}", finding.to_string().replace('\n', "\n  ")).expect("a string takes it");
        }
        if findings.len() > TOLD {
            writeln!(out, "  and {} more; --json has them all", findings.len() - TOLD)
                .expect("a string takes it");
        }
    }
    out
}

/// For machines.
pub fn json(board: &Board) -> Value {
    let smmus = board.smmu_names().iter().zip(&board.tally().smmus);
    let disks = board.devices().iter().filter_map(|device| {
        let nvme = device.nvme()?;
        let counts = json!({
            "commands": nvme.commands(),
            "bytes_read": nvme.bytes_read,
            "bytes_written": nvme.bytes_written,
            "errors": nvme.errors,
            "interrupts": nvme.interrupts,
        });
        Some((device.name().to_owned(), counts))
    });
    let findings = board.findings().iter().map(|f| {
        let smmu = &board.smmu_names()[usize::from(f.smmu)];
        json!({ "kind": f.kind.name(), "smmu": smmu, "sid": f.sid, "title": f.title, "story": f.story })
    });
    json!({
        "smmus": Value::Object(smmus.map(|(name, smmu)| (name.clone(), smmu.json())).collect()),
        "endpoints": Value::Object(disks.collect()),
        "oracle": findings.collect::<Vec<_>>(),
        "simulated_ps": board.simulated().map(sim::Time::as_ps),
    })
}
