//! Cross-checks: what no single key can show to be wrong.

use std::collections::BTreeMap;

use models::smmu::pmcg;
use models::system::PMCG_OFFSET;

use crate::command::Block;
use crate::declare::Cx;
use crate::diagnostic::{Diagnostic, Span};
use crate::load::Item;
use crate::model::{Behind, Bounds, Endpoint, Node, Pair, Psmmu, Vm, Vsmmu};
use crate::names::{Actor, Kind, NodeId};
use crate::platform::{Abi, LoadKind, LoadSpec, Policy, VmSpec};
use crate::step::{Action, Expected, Step};
use crate::suggest;
use crate::tree::{self, Raw};
use crate::units::Size;

/// Checks the platform as far as it could be read.
#[allow(clippy::too_many_arguments)]
pub(crate) fn platform(
    items: &BTreeMap<Kind, Vec<Item<'_>>>,
    nodes: &[Option<Node>],
    psmmus: &[Option<Psmmu>],
    pairs: &[Option<Pair>],
    endpoints: &[Option<Endpoint>],
    vms: &[Option<Vm>],
    vsmmus: &[Option<Vsmmu>],
    cx: &mut Cx,
) {
    addresses(items, nodes, psmmus, pairs, cx);
    streams(items, endpoints, psmmus, cx);
    for (item, vsmmu) in items[&Kind::Vsmmu].iter().zip(vsmmus) {
        if let Some(vsmmu) = vsmmu {
            vsmmu_devices(item, vsmmu, psmmus, endpoints, cx);
            vsmmu_queues(item, vsmmu, psmmus, vms, cx);
        }
    }
    devices_once(items, vsmmus, cx);
    cpus_in_all(items, nodes, cx);
    node_memory(items, nodes, vms, cx);
}

/// Item and its n-th thing, for every thing of a kind.
fn members<'i, 'a>(items: &'i [Item<'a>]) -> impl Iterator<Item = &'i Item<'a>> {
    items.iter().flat_map(|i| i.members.iter().map(move |_| i))
}

fn addresses(
    items: &BTreeMap<Kind, Vec<Item<'_>>>,
    nodes: &[Option<Node>],
    psmmus: &[Option<Psmmu>],
    pairs: &[Option<Pair>],
    cx: &mut Cx,
) {
    let mut ranges: Vec<(u64, u64, String, Span)> = Vec::new();
    for (item, node) in members(&items[&Kind::Node]).zip(nodes) {
        if let Some(n) = node {
            ranges.push((n.base, n.memory, format!("memory of `{}`", n.name), item.key("base")));
        }
    }
    for (item, psmmu) in members(&items[&Kind::Psmmu]).zip(psmmus) {
        let Some(p) = psmmu else { continue };
        ranges.push((
            p.mmio,
            p.id.profile().window(),
            format!("registers of `{}`", p.name),
            item.key("mmio"),
        ));
        if let Some(c) = p.cmdqv {
            ranges.push((c.mmio, c.span(), format!("CMDQV registers of `{}`", p.name), item.key("mmio")));
        }
        if p.pmcg {
            let what = format!("performance monitors of `{}`", p.name);
            ranges.push((p.mmio.saturating_add(PMCG_OFFSET), pmcg::REGION, what, item.key("mmio")));
        }
    }
    for (item, pair) in members(&items[&Kind::Pair]).zip(pairs) {
        if let Some(p) = pair {
            ranges.push((p.mmio, 0x10_0000, format!("registers of `{}`", p.name), item.key("mmio")));
        }
    }
    ranges.sort_by_key(|r| (r.0, r.1));
    for pair in ranges.windows(2) {
        let [(a, a_len, a_what, a_span), (b, _, b_what, b_span)] = pair else {
            unreachable!("windows of two")
        };
        if a.checked_add(*a_len).is_none_or(|end| end > *b) {
            let mut diagnostic = Diagnostic::at(b_span.clone(), "two address ranges overlap")
                .label(format!("{b_what} from {b:#x}"))
                .help("leave addresses out to have them assigned without overlap");
            if a_span != b_span {
                let end = a.saturating_add(*a_len) - 1;
                diagnostic = diagnostic.also(a_span.clone(), format!("{a_what}: {a:#x} to {end:#x}"));
            }
            cx.diagnostics.push(diagnostic);
        }
    }
    let limit = 1u64 << 48;
    for (base, length, what, span) in &ranges {
        if base.checked_add(*length).is_none_or(|end| end > limit) {
            cx.diagnostics.push(
                Diagnostic::at(span.clone(), "beyond the 48-bit physical address space")
                    .label(format!("{what} from {base:#x}"))
                    .help(format!("addresses end at {limit:#x}")),
            );
        }
    }
}

fn streams(
    items: &BTreeMap<Kind, Vec<Item<'_>>>,
    endpoints: &[Option<Endpoint>],
    psmmus: &[Option<Psmmu>],
    cx: &mut Cx,
) {
    let mut seen: BTreeMap<(Behind, u32), (String, Span)> = BTreeMap::new();
    for (item, endpoint) in members(&items[&Kind::Endpoint]).zip(endpoints) {
        let Some(endpoint) = endpoint else { continue };
        for stream in &endpoint.streams {
            if let Some((other, first)) = seen.get(&(endpoint.behind, *stream)) {
                let mut diagnostic = Diagnostic::at(
                    item.key("stream"),
                    format!("two endpoints have the StreamID {stream:#x}"),
                )
                .label(format!("`{}`", endpoint.name))
                .help("StreamIDs are unique behind one psmmu; leave the key out to have one assigned");
                if *first != item.key("stream") {
                    diagnostic = diagnostic.also(first.clone(), format!("`{other}`"));
                }
                cx.diagnostics.push(diagnostic);
                break;
            }
            seen.insert((endpoint.behind, *stream), (endpoint.name.clone(), item.key("stream")));
            let Behind::Psmmu(id) = endpoint.behind else { continue };
            let Some(Some(psmmu)) = psmmus.get(id.0) else { continue };
            let bits = psmmu.id.idr1 & 0x3f;
            if bits < 32 && u64::from(*stream) >> bits != 0 {
                cx.diagnostics.push(
                    Diagnostic::at(
                        item.key("stream"),
                        format!("`{}` knows no StreamID {stream:#x}", psmmu.name),
                    )
                    .label(format!("its StreamIDs have {bits} bits (IDR1.SIDSIZE)"))
                    .help(format!("use a value below {:#x}, or set idr1 of the psmmu", 1u64 << bits)),
                );
                break;
            }
        }
    }
}

fn vsmmu_devices(
    item: &Item<'_>,
    vsmmu: &Vsmmu,
    psmmus: &[Option<Psmmu>],
    endpoints: &[Option<Endpoint>],
    cx: &mut Cx,
) {
    if vsmmu.devices.is_empty() {
        cx.diagnostics.push(
            Diagnostic::at(item.key("devices"), format!("`{}` has no devices", vsmmu.name))
                .label("which endpoints are behind it?")
                .help("devices = [\"nic0\"], or { nic0 = 0x10 } to choose virtual StreamIDs"),
        );
    }
    for (index, _) in &vsmmu.devices {
        if let Some(Some(Endpoint { behind: Behind::Pair(_), name, .. })) = endpoints.get(index.0) {
            cx.diagnostics.push(
                Diagnostic::at(item.key("devices"), format!("`{name}` cannot be given to a guest"))
                    .label("it is behind a register_broadcast")
                    .help("only devices behind an SMMUv3 have a viommu"),
            );
        }
    }
    if vsmmu.policy != Policy::Passthrough {
        if vsmmu.window.is_some() {
            cx.diagnostics.push(
                Diagnostic::at(item.key("window"), "a trapped vSMMU has no window")
                    .label("only passthrough has one")
                    .help("remove `window`, or set policy = \"passthrough\""),
            );
        }
        return;
    }
    let name = |id: &crate::names::PsmmuId| {
        psmmus.get(id.0).and_then(Option::as_ref).map_or("", |p| p.name.as_str())
    };
    if vsmmu.psmmus.len() > 1 && vsmmu.window.is_none() {
        cx.diagnostics.push(
            Diagnostic::at(item.key("policy"), format!("`{}` cannot be passed through", vsmmu.name))
                .label(format!(
                    "its devices are behind {}; one guest page cannot be several hardware pages",
                    suggest::list(vsmmu.psmmus.iter().map(name), 8)
                ))
                .help("use one vSMMU per psmmu, or policy = \"trapped\"")
                .help("to see what goes wrong, name the page that the guest gets: window = \"...\""),
        );
    }
    if let Some(window) = &vsmmu.window
        && !vsmmu.psmmus.contains(window)
    {
        cx.diagnostics.push(
            Diagnostic::at(
                item.key("window"),
                format!("no device of `{}` is behind `{}`", vsmmu.name, name(window)),
            )
            .label("not one of its psmmus")
            .help(format!("its psmmus: {}", suggest::list(vsmmu.psmmus.iter().map(name), 8))),
        );
    }
    for id in &vsmmu.psmmus {
        let Some(Some(psmmu)) = psmmus.get(id.0) else { continue };
        let devices = vsmmu
            .devices
            .iter()
            .filter(|(e, _)| matches!(endpoints.get(e.0), Some(Some(e)) if e.behind == Behind::Psmmu(*id)))
            .count();
        match psmmu.cmdqv {
            None => cx.diagnostics.push(
                Diagnostic::at(item.key("policy"), format!("`{}` has no CMDQV to pass through", psmmu.name))
                    .label("passthrough needs hardware queues")
                    .help(format!(
                        "add `cmdqv = true` to [psmmu.{}], or use policy = \"trapped\"",
                        psmmu.name
                    )),
            ),
            Some(cmdqv) if cmdqv.vintfs < 2 => cx.diagnostics.push(
                Diagnostic::at(item.key("policy"), format!("`{}` has no VINTF to give away", psmmu.name))
                    .label("its only VINTF is the host's")
                    .help("set `cmdqv.vintfs` to 2 or more"),
            ),
            Some(cmdqv) if devices as u64 > cmdqv.sid_slots => cx.diagnostics.push(
                Diagnostic::at(
                    item.key("devices"),
                    format!("more devices than StreamID slots on `{}`", psmmu.name),
                )
                .label(format!("{devices} devices, {} slots", cmdqv.sid_slots))
                .help("give some of them to another vSMMU, or raise `cmdqv.sid_slots` (16 at most)"),
            ),
            Some(_) => {}
        }
    }
}

/// A hostile guest is a guest, and only it attacks.
pub(crate) fn load(spec: &LoadSpec, item: &Item<'_>, cx: &mut Cx) {
    let hostile = spec.kind == LoadKind::HostileGuest;
    if hostile && spec.actor == Actor::Host {
        cx.diagnostics.push(
            Diagnostic::at(item.key("kind"), "a hostile guest needs a VM")
                .label("the actor of this load is the host")
                .help("name the VM: actor = \"vm0\""),
        );
    }
    if !hostile && !spec.attacks.is_empty() {
        cx.diagnostics.push(
            Diagnostic::at(item.key("attacks"), format!("a load of kind `{}` attacks nobody", spec.kind))
                .label("only a hostile guest does")
                .help("kind = \"hostile-guest\""),
        );
    }
}

fn vsmmu_queues(item: &Item<'_>, vsmmu: &Vsmmu, psmmus: &[Option<Psmmu>], vms: &[Option<Vm>], cx: &mut Cx) {
    if vsmmu.policy != Policy::Passthrough {
        return;
    }
    for id in &vsmmu.psmmus {
        let Some(Some(Psmmu { cmdqv: Some(cmdqv), name, .. })) = psmmus.get(id.0) else { continue };
        let most = cmdqv.queues_per_vintf();
        if cmdqv.vintfs > 1 && vsmmu.lvcmdqs > most {
            cx.diagnostics.push(
                Diagnostic::at(item.key("lvcmdqs"), format!("`{name}` has fewer queues per VINTF"))
                    .label(format!(
                        "{} wanted, {most} there ({} queues, {} VINTFs)",
                        vsmmu.lvcmdqs, cmdqv.vcmdqs, cmdqv.vintfs
                    ))
                    .help(format!("set lvcmdqs = {most}, or change the sizes of the CMDQV")),
            );
        }
    }
    let Some(Some(vm)) = vms.get(vsmmu.vm.0) else { return };
    let ring = 16u64 << vsmmu.cmdq_log2;
    if !vm.contiguous && ring > vm.page {
        cx.diagnostics.push(
            Diagnostic::at(item.key("cmdq_log2"), "the guest's queue does not fit in one backing page")
                .label(format!("{} of ring, {} of page", Size(ring), Size(vm.page)))
                .help(format!("set cmdq_log2 to {} or less", vm.page.ilog2() - 4)),
        );
    }
}

fn devices_once(items: &BTreeMap<Kind, Vec<Item<'_>>>, vsmmus: &[Option<Vsmmu>], cx: &mut Cx) {
    let mut owner: BTreeMap<usize, (String, Span)> = BTreeMap::new();
    for (item, vsmmu) in items[&Kind::Vsmmu].iter().zip(vsmmus) {
        let Some(vsmmu) = vsmmu else { continue };
        for (endpoint, _) in &vsmmu.devices {
            let span = item.key("devices");
            let name = cx.names.name(Kind::Endpoint, endpoint.0).to_owned();
            match owner.get(&endpoint.0) {
                Some((other, first)) => {
                    let mut diagnostic =
                        Diagnostic::at(span.clone(), format!("`{name}` is behind two vSMMUs"))
                            .label(format!("`{}`", vsmmu.name))
                            .help("a device belongs to one vSMMU");
                    if *first != span {
                        diagnostic = diagnostic.also(first.clone(), format!("`{other}`"));
                    }
                    cx.diagnostics.push(diagnostic);
                }
                None => {
                    owner.insert(endpoint.0, (vsmmu.name.clone(), span));
                }
            }
        }
    }
}

/// The directory of cache lines tells a bounded number of CPUs apart.
fn cpus_in_all(items: &BTreeMap<Kind, Vec<Item<'_>>>, nodes: &[Option<Node>], cx: &mut Cx) {
    let most = u64::from(models::memory::CPUS_MAX);
    let mut all = 0;
    for (item, node) in members(&items[&Kind::Node]).zip(nodes) {
        let before = all;
        all += node.as_ref().map_or(0, |n| n.cpus);
        if before <= most && all > most {
            cx.diagnostics.push(
                Diagnostic::at(item.key("cpus"), "more CPUs than can be simulated")
                    .label(format!("{all} up to here"))
                    .help(format!("a scenario has at most {most} CPUs in all")),
            );
        }
    }
}

/// Guest RAM comes from its node; a quarter of the node is left for tables and queues.
fn node_memory(
    items: &BTreeMap<Kind, Vec<Item<'_>>>,
    nodes: &[Option<Node>],
    vms: &[Option<Vm>],
    cx: &mut Cx,
) {
    for (index, node) in nodes.iter().enumerate() {
        let Some(node) = node else { continue };
        let mut wanted = 0u64;
        for (item, vm) in members(&items[&Kind::Vm]).zip(vms) {
            let Some(vm) = vm.as_ref().filter(|v| v.node == NodeId(index)) else { continue };
            wanted = wanted.saturating_add(vm.memory);
            if wanted > node.memory / 4 * 3 {
                cx.diagnostics.push(
                    Diagnostic::at(
                        item.key("memory"),
                        format!("the VMs on `{}` want more memory than there is", node.name),
                    )
                    .label(format!(
                        "{} for guests up to here, {} in the node",
                        Size(wanted),
                        Size(node.memory)
                    ))
                    .help("guests get at most three quarters of a node; give the node more `memory`"),
                );
                break;
            }
        }
    }
}

/// Checks the memory of a VM.
pub(crate) fn vm_memory(spec: &VmSpec, item: &Item<'_>, cx: &mut Cx) {
    if !spec.page.0.is_power_of_two() {
        cx.diagnostics.push(
            Diagnostic::at(item.key("page"), "a page size is a power of two")
                .label(format!("{} is not", spec.page))
                .help("4 KiB, 64 KiB, 2 MiB and 1 GiB are common"),
        );
    }
    let msi = 0x0800_0000..0x0810_0000u64;
    if spec.base.0 < msi.end && spec.base.0.saturating_add(spec.memory.0) > msi.start {
        cx.diagnostics.push(
            Diagnostic::at(item.key("base"), "guest RAM covers the software MSI window")
                .label(format!("RAM from {:#x}, {}", spec.base.0, spec.memory))
                .help("keep 0x800_0000 to 0x80f_ffff free; the default base is 0x4000_0000"),
        );
    }
}

/// Checks the bounds of an expectation.
pub(crate) fn bounds(bounds: &Bounds, item: &tree::Node, cx: &mut Cx) {
    let contradiction = match (bounds.equals, bounds.min, bounds.max) {
        (Some(_), None, None) | (None, _, None) | (None, None, _) => false,
        (None, Some(low), Some(high)) => low > high,
        (Some(_), ..) => true,
    };
    if contradiction {
        cx.diagnostics.push(
            Diagnostic::at(item.span.clone(), "these bounds cannot all hold")
                .label(bounds.to_string())
                .help("give `equals`, or `min` not above `max`"),
        );
    }
}

/// Checks the form of a metric's name: something declared, a dot, and what is measured.
pub(crate) fn metric(node: &tree::Node, cx: &mut Cx) {
    let Raw::Str(text) = &node.value else { return };
    let (owner, rest) = text.split_once('.').unwrap_or((text, ""));
    let well_formed =
        !rest.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !well_formed {
        cx.diagnostics.push(
            Diagnostic::at(
                node.span.clone(),
                format!("`{}` is not the name of a metric", text.escape_debug()),
            )
            .label("not a metric")
            .help(
                "a metric is `<name>.<what>`, like `vm0.exits`; `sim.` and `total.` stand for the whole run",
            ),
        );
        return;
    }
    if matches!(owner, "sim" | "total" | "host") || cx.names.find(owner).is_some() || cx.partial {
        return;
    }
    let known: Vec<String> = Kind::ALL.iter().flat_map(|k| cx.names.of(*k)).map(|d| d.name.clone()).collect();
    let label = suggest::nearest(owner, known.iter().map(String::as_str))
        .map_or_else(|| "nothing has this name".to_owned(), |near| format!("did you mean `{near}`?"));
    cx.diagnostics.push(
        Diagnostic::at(node.span.clone(), format!("nothing is called `{owner}`")).label(label).help(format!(
            "a metric is `<name>.<what>`; declared: {}",
            suggest::list(known.iter().map(String::as_str), 40)
        )),
    );
}

/// Checks the steps that could be read.
pub(crate) fn steps(steps: &[Option<Step>], abi: Option<Abi>, cx: &mut Cx) {
    for step in steps.iter().flatten() {
        if let Some(abi) = abi {
            step_abi(abi, step, cx);
        }
        step_arguments(step, cx);
    }
}

fn step_abi(abi: Abi, step: &Step, cx: &mut Cx) {
    let word = step.action.word();
    let rfc = word.starts_with("rfc-");
    let only_final = matches!(
        step.action,
        Action::ViommuAlloc(_)
            | Action::VdeviceAlloc(_)
            | Action::HwQueueAlloc(_)
            | Action::VeventqAlloc(_)
            | Action::VeventqRead(_)
            | Action::Close(_)
            | Action::Mmap(_)
    );
    let wrong = match abi {
        Abi::Final => rfc,
        Abi::Rfcv1 => only_final,
    };
    if wrong {
        let other = if rfc { Abi::Rfcv1 } else { Abi::Final };
        cx.diagnostics.push(
            Diagnostic::at(step.span.clone(), format!("the kernel of this scenario has no `{word}`"))
                .label(format!("abi = \"{abi}\""))
                .help(format!("write `abi = \"{other}\"` at the top of the file")),
        );
    }
}

fn step_arguments(step: &Step, cx: &mut Cx) {
    let mut refuse = |title: &str, label: &str, help: &str| {
        cx.diagnostics.push(Diagnostic::at(step.span.clone(), title).label(label).help(help));
    };
    match &step.action {
        Action::Rate(args) => {
            if !matches!(args.of.len(), 0 | 2) {
                refuse(
                    "a rate is compared with that of one span",
                    &format!("`of` has {} names", args.of.len()),
                    "of = [\"begin\", \"end\"], two named steps",
                );
            }
            if let Some(block) = args.fair
                && (args.of.is_empty() || !matches!(block, Block::Vintf(..)))
            {
                refuse(
                    "a fair share is a VINTF's, of what it had alone",
                    "`fair`",
                    "fair = \"smmu0.vintf1\", of = [\"begin\", \"end\"]",
                );
            }
        }
        Action::Dma(args) if args.stop && args.pasid.is_none() && args.mapping.is_none() => {
            refuse("nothing stops", "a stop marker is about a PASID", "add `pasid = 1`");
        }
        Action::Dma(args) => {
            if args.iova.is_some() == args.mapping.is_some() {
                refuse(
                    "a transfer has one address",
                    "`iova` and `mapping`: exactly one",
                    "iova = 0x1000 for an address, mapping = \"m0\" for the result of a `map` step",
                );
            }
            if let Some(data) = &args.data
                && data.0.len() as u64 > args.length.0
            {
                refuse(
                    "more data than the transfer is long",
                    &format!("{} bytes of data, {} of transfer", data.0.len(), args.length),
                    "raise `length`",
                );
            }
            if step.expect != Expected::Ok && (args.lands_in.is_some()) {
                refuse("a refused transfer lands nowhere", "`lands_in` means nothing", "remove `lands_in`");
            }
        }
        Action::Wait(args) => {
            let given =
                usize::from(args.time.is_some()) + usize::from(args.load.is_some()) + usize::from(args.idle);
            if given != 1 {
                refuse(
                    "wait for what?",
                    "`time`, `load` and `idle`: exactly one",
                    "{ do = \"wait\", time = \"10 us\" }",
                );
            }
        }
        Action::Command(args) if args.commands.is_empty() && !args.sync => {
            refuse(
                "nothing to put into the queue",
                "no commands, no sync",
                "commands = [{ op = \"TLBI_NH_ASID\", asid = 1 }]",
            );
        }
        Action::Check(args) => {
            let bounds = Bounds { equals: args.equals, min: args.min, max: args.max };
            if bounds.is_empty() {
                refuse(
                    "this metric is compared with nothing",
                    "what should it be?",
                    "add `equals`, `min` or `max`",
                );
            }
        }
        Action::HwptAlloc(args) => {
            if let Some(vste) = &args.vste
                && !matches!(vste.words.len(), 0 | 2)
            {
                refuse(
                    "an STE is given by two words",
                    &format!("{} given", vste.words.len()),
                    "words = [0x1, 0x0]",
                );
            }
        }
        Action::Map(args) if !matches!(step.actor, Actor::Host | Actor::Vm(_)) || args.length.0 == 0 => {
            refuse("nothing to map", "the length is zero", "length = \"4 KiB\"");
        }
        Action::Map(args) if args.demand && step.actor != Actor::Host => {
            refuse(
                "guests map on demand for nobody",
                "only the host has a PRI queue",
                "remove `demand` or the `actor`",
            );
        }
        Action::Map(args) if args.pasid.is_some() && step.actor != Actor::Host => {
            refuse("guests have no PASIDs", "only the host's driver has", "remove `pasid` or the `actor`");
        }
        Action::RegRead(args) if args.width.is_some_and(|w| !w.is_power_of_two()) => {
            refuse(
                "no such access width",
                "8, 16, 32 or 64 bits",
                "leave `width` out to use the register's own",
            );
        }
        Action::RegWrite(args) if args.width.is_some_and(|w| !w.is_power_of_two()) => {
            refuse(
                "no such access width",
                "8, 16, 32 or 64 bits",
                "leave `width` out to use the register's own",
            );
        }
        _ => {}
    }
}
