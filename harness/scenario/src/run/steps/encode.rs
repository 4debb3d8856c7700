//! Commands of a scenario as the sixteen bytes of the architecture.

use spec::smmu::{Command as Raw, Opcode};

use crate::command::{Command, CommandSpec, Op, Sid, SyncSignal};
use crate::names::EndpointId;
use crate::run::world::World;

/// A command in memory format. In a guest's view an endpoint stands for its virtual StreamID, else, or when it has none, for
/// its physical one.
pub(super) fn encode(world: &World, command: &Command, guest_view: bool) -> Raw {
    match command {
        Command::Words(words) => Raw(*words),
        Command::Op(op, spec) => {
            let sid = spec.sid.map_or(0, |sid| match sid {
                Sid::Raw(n) => n,
                Sid::Of(endpoint) => stream_id(world, endpoint, guest_view),
            });
            fields(*op, spec, sid)
        }
    }
}

fn stream_id(world: &World, endpoint: EndpointId, guest_view: bool) -> u64 {
    let physical = || world.scenario.endpoints[endpoint.0].streams[0].into();
    let virt = if guest_view { world.virtual_id(endpoint) } else { None };
    virt.unwrap_or_else(physical)
}

/// Only the fields that the operation has: some share bits.
fn fields(op: Op, spec: &CommandSpec, sid: u64) -> Raw {
    let opcode = Opcode(op.code());
    let mut raw = if op == Op::CfgiAll { Raw::cfgi_all() } else { Raw::new(opcode) };
    let given = op.fields();
    let addr = spec.addr.map_or(0, |addr| addr.0);
    for field in opcode.fields() {
        raw = match field {
            "sid" if given.contains(&"sid") => raw.with_sid(sid),
            "ssid" => raw.with_ssid(spec.ssid.unwrap_or(0)),
            "ssv" => raw.with_ssv(spec.ssid.is_some()),
            "vmid" => raw.with_vmid(spec.vmid),
            "asid" => raw.with_asid(spec.asid),
            "va" => raw.with_va(addr),
            "ipa" => raw.with_ipa(addr),
            "addr" => raw.with_addr(addr),
            "leaf" => raw.with_leaf(spec.leaf),
            "num" => raw.with_num(spec.num),
            "scale" => raw.with_scale(spec.scale),
            "ttl" => raw.with_ttl(spec.ttl),
            "tg" => raw.with_tg(spec.tg),
            "size" => raw.with_size(spec.size),
            "prefetch_size" => raw.with_prefetch_size(spec.size),
            "global" => raw.with_global(spec.global),
            "range" if op == Op::CfgiSteRange => raw.with_range(spec.range),
            "ac" => raw.with_ac(spec.retry),
            "ab" => raw.with_ab(spec.abort),
            "stag" => raw.with_stag(spec.stag),
            "prgindex" => raw.with_prgindex(spec.prg_index),
            "resp" => raw.with_resp(spec.resp),
            "cs" => raw.with_cs(match spec.signal {
                SyncSignal::None => spec::smmu::command::cs::SIG_NONE,
                SyncSignal::Irq => spec::smmu::command::cs::SIG_IRQ,
                SyncSignal::Sev => spec::smmu::command::cs::SIG_SEV,
            }),
            // Security state, stride and message attributes cannot be given.
            _ => raw,
        };
    }
    raw
}
