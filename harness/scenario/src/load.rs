//! From text to [`Scenario`]: declares all names, reads all tables, resolves and assigns, then hands over to the
//! cross-checks. Nothing stops at the first mistake.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use models::smmu::Features;

use crate::check;
use crate::command::Op;
use crate::declare::{Cx, Fields, Record, Ty, read_record};
use crate::diagnostic::{Addition, Diagnostic, Rejected, Span, line_of};
use crate::model::{
    Behind, Bounds, CmdqvSizes, Endpoint, ExpectSpec, Expectation, Fault, Finding, HeadSpec, Link, Load,
    Node, Pair, Psmmu, Scenario, Subject, Vm, Vsmmu,
};
use crate::names::{Kind, NodeId, PsmmuId};
use crate::platform::{
    self, Cmdqv, EndpointSpec, FaultKind, FaultSpec, LinkSpec, LoadSpec, NodeSpec, PSMMUS_MAX, PairSpec,
    PsmmuSpec, VintfKey, VmSpec, VsmmuSpec,
};
use crate::preset::{self, Library, Preset};
use crate::step::{self, Step};
use crate::suggest;
use crate::tree::{self, Entry, Raw};

/// Largest scenario file.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Most steps of a script.
const STEPS_MAX: usize = 100_000;

/// One table `[kind.name]` and the things it declares.
pub(crate) struct Item<'a> {
    pub(crate) entry: &'a Entry,
    /// Indices of the things: one, or several with `count`.
    pub(crate) members: Vec<usize>,
}

impl Item<'_> {
    fn what(&self, kind: Kind) -> String {
        format!("[{kind}.{}]", self.entry.name)
    }
    /// The place of one of its keys, or of its name.
    pub(crate) fn key(&self, key: &str) -> Span {
        self.entry.node.get(key).map_or_else(|| self.entry.key.clone(), |e| e.node.span.clone())
    }
}

/// Reads a scenario from a file.
pub fn read_file(path: &Path) -> Result<Scenario, Rejected> {
    let shown = path.display().to_string();
    let text = read_text(path)?;
    parse(&shown, &text, &Folder(path.parent().unwrap_or(Path::new("."))))
}

/// Reads a scenario from a file, with `more` added to it; also hands over the preset files that it names by path, as
/// (path, text), so that it can be read again without them.
///
/// # Errors
/// As [`read_file`].
pub fn read_file_with_presets(
    path: &Path,
    more: &[Addition],
) -> Result<(Scenario, Vec<(String, String)>), Rejected> {
    let mut text = read_text(path)?;
    let mut added = Vec::new();
    for Addition { origin, head, keys } in more {
        let start = text.len();
        text.push_str(&format!("\n[{head}]\n{keys}\n"));
        added.push((start..text.len(), origin.clone()));
    }
    let library =
        Remembering { folder: Folder(path.parent().unwrap_or(Path::new("."))), read: RefCell::default() };
    let parsed = parse(&path.display().to_string(), &text, &library);
    let scenario = parsed.map_err(|rejected| of_additions(rejected, more, added))?;
    Ok((scenario, library.read.into_inner()))
}

/// The same, in words that say where the additions come from and do not name their tables.
fn of_additions(mut rejected: Rejected, more: &[Addition], added: Vec<(Span, String)>) -> Rejected {
    let renamed = |text: &mut String| {
        for Addition { origin, head, .. } in more {
            *text = text.replace(&format!("[{head}]"), &format!("`{origin}`"));
        }
    };
    for diagnostic in &mut rejected.diagnostics {
        renamed(&mut diagnostic.title);
        renamed(&mut diagnostic.label);
        diagnostic.help.iter_mut().for_each(renamed);
    }
    Rejected { added, ..rejected }
}

/// Reads the text of a scenario or preset file.
pub fn read_text(path: &Path) -> Result<String, Rejected> {
    let reject = |diagnostic| Rejected {
        path: path.display().to_string(),
        text: String::new(),
        diagnostics: vec![diagnostic],
        added: Vec::new(),
    };
    let bytes =
        std::fs::read(path).map_err(|e| reject(Diagnostic::of_file(format!("cannot be read: {e}"))))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(reject(
            Diagnostic::of_file(format!("is too large: {} bytes", bytes.len()))
                .help(format!("a scenario has at most {FILE_BYTES_MAX} bytes")),
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        reject(
            Diagnostic::of_file(format!("is not text: byte {at} is not valid UTF-8"))
                .help("a scenario is a TOML file in UTF-8"),
        )
    })
}

/// Presets relative to a folder.
struct Folder<'a>(&'a Path);

impl Library for Folder<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(path)).map_err(|e| e.to_string())
    }
}

/// Presets relative to a folder, remembered.
struct Remembering<'a> {
    folder: Folder<'a>,
    read: RefCell<Vec<(String, String)>>,
}

impl Library for Remembering<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let text = self.folder.read(path)?;
        self.read.borrow_mut().push((path.to_owned(), text.clone()));
        Ok(text)
    }
}

/// Reads a scenario from text. `path` is used in messages and for the name.
pub fn parse(path: &str, text: &str, library: &dyn Library) -> Result<Scenario, Rejected> {
    let tree = tree::parse(text);
    let cx = Cx { partial: !tree.errors.is_empty(), diagnostics: tree.errors, ..Cx::default() };
    let mut reader = Reader { cx, text, library, presets: BTreeMap::new() };
    let scenario = reader.read(path, &tree.root);
    let mut diagnostics = reader.cx.diagnostics;
    match scenario {
        Some(scenario) if diagnostics.is_empty() => Ok(scenario),
        _ => {
            assert!(!diagnostics.is_empty(), "a scenario is refused for a reason");
            diagnostics.sort_by_key(|d| d.span.as_ref().map_or(0, |s| s.start));
            diagnostics.dedup();
            Err(Rejected { path: path.to_owned(), text: text.to_owned(), diagnostics, added: Vec::new() })
        }
    }
}

struct Reader<'a> {
    cx: Cx,
    text: &'a str,
    library: &'a dyn Library,
    presets: BTreeMap<String, Option<Preset>>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, path: &str, root: &'a tree::Node) -> Option<Scenario> {
        if root.entries().is_empty() && !self.cx.partial {
            return self.cx.reject(Diagnostic::of_file("the file is empty").help(
                "a scenario has at least: title = \"...\", a table [psmmu.smmu0] and a table [endpoint.nic0]",
            ));
        }
        if preset::looks_like_preset(root) {
            return self.cx.reject(
                Diagnostic::of_file("this is a preset, not a scenario")
                    .help("name it in a scenario: [psmmu.smmu0] preset = \"./<file>\""),
            );
        }
        let head = self.head(root);
        let items: BTreeMap<Kind, Vec<Item<'a>>> =
            Kind::ALL.iter().map(|k| (*k, self.declare(root, *k))).collect();
        if self.cx.names.of(Kind::Node).is_empty() {
            let declared = self.cx.names.declare(Kind::Node, "node0", 0..0);
            if let Err(diagnostic) = declared {
                self.cx.diagnostics.push(diagnostic);
            }
        }
        let default_preset = head.as_ref().map_or_else(|| preset::DEFAULT.to_owned(), |h| h.preset.clone());
        let preset_span = root.get("preset").map_or(0..0, |e| e.node.span.clone());
        let host = self.preset(&default_preset, preset_span.clone()).map(|p| p.host);

        let mut nodes = self.nodes(&items[&Kind::Node]);
        let links = self.links(&items[&Kind::Link]);
        let psmmus = self.psmmus(&items[&Kind::Psmmu], &default_preset, &preset_span);
        let pairs = self.pairs(&items[&Kind::Pair]);
        let endpoints = self.endpoints(&items[&Kind::Endpoint], &psmmus);
        let vms = self.vms(&items[&Kind::Vm]);
        let vsmmus = self.vsmmus(&items[&Kind::Vsmmu], &endpoints);
        let loads = self.loads(&items[&Kind::Load]);
        let faults = self.faults(&items[&Kind::Fault], &psmmus);
        if nodes.is_empty() {
            nodes.push(Some(default_node()));
        }
        let steps = self.steps(root);
        let expects = self.expects(root);
        check::steps(&steps, head.as_ref().map(|h| h.abi), &mut self.cx);
        check::platform(&items, &nodes, &psmmus, &pairs, &endpoints, &vms, &vsmmus, &mut self.cx);
        let head = head?;
        if self.cx.names.of(Kind::Endpoint).is_empty() && self.cx.diagnostics.is_empty() {
            return self.cx.reject(
                Diagnostic::of_file("nothing can happen: there is no endpoint")
                    .help("add a table, for example [endpoint.nic0]"),
            );
        }
        Some(Scenario {
            path: path.to_owned(),
            name: Path::new(path).file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned()),
            text: self.text.to_owned(),
            title: head.title,
            statement: head.statement,
            seed: head.seed,
            time_limit: head.time_limit,
            abi: head.abi,
            host: host?,
            nodes: all(nodes)?,
            links: all(links)?,
            psmmus: all(psmmus)?,
            pairs: all(pairs)?,
            endpoints: all(endpoints)?,
            vms: all(vms)?,
            vsmmus: all(vsmmus)?,
            loads: all(loads)?,
            faults: all(faults)?,
            objects: self.cx.names.objects.clone(),
            steps: all(steps)?,
            expects: all(expects)?,
            names: self.cx.names.clone(),
        })
    }

    fn head(&mut self, root: &tree::Node) -> Option<HeadSpec> {
        let mut table = HeadSpec::table();
        let first_line = 0..self.text.find('\n').unwrap_or(self.text.len());
        let fields =
            Fields { node: root, table: table.clone(), what: "this scenario", header: first_line.clone() };
        let head = HeadSpec::read(&fields, &mut self.cx);
        for key in TOP_TABLES {
            let key = crate::declare::Key {
                name: key,
                doc: vec![],
                ty: Ty::Text,
                range: None,
                default: None,
                required: false,
            };
            table.keys.push(key);
        }
        Fields { node: root, table, what: "this scenario", header: first_line }.check_keys(&mut self.cx);
        head
    }

    /// Declares the names of all tables of a kind.
    fn declare(&mut self, root: &'a tree::Node, kind: Kind) -> Vec<Item<'a>> {
        let Some(section) = root.get(kind.word()) else { return Vec::new() };
        if !matches!(section.node.value, Raw::Table(_)) {
            let ty = Ty::Form("one table per thing, with its name");
            let _: Option<()> = self.cx.wrong_type(&section.node, &ty);
            return Vec::new();
        }
        let mut items = Vec::new();
        for entry in section.node.entries() {
            if !matches!(entry.node.value, Raw::Table(_)) {
                self.cx.diagnostics.push(
                    Diagnostic::at(entry.key.clone(), format!("a {kind} needs a name: `[{kind}.<name>]`"))
                        .label(format!(
                            "`{}` would be the name of a {kind}, but it is {}",
                            entry.name,
                            entry.node.what()
                        ))
                        .help(format!("write `[{kind}.{kind}0]` above these keys")),
                );
                continue;
            }
            let counted = matches!(kind, Kind::Psmmu | Kind::Endpoint | Kind::Vm);
            let count = match entry.node.get("count").map(|e| &e.node.value) {
                Some(Raw::Int(n)) if counted && (1..=platform::ENDPOINTS_MAX as i64).contains(n) => {
                    Some(*n as usize)
                }
                _ => None,
            };
            items.push(Item { entry, members: self.declare_members(kind, entry, count) });
        }
        items
    }

    fn declare_members(&mut self, kind: Kind, entry: &Entry, count: Option<usize>) -> Vec<usize> {
        let mut members = Vec::new();
        for n in 0..count.unwrap_or(1) {
            let name = if count.is_some() { format!("{}{n}", entry.name) } else { entry.name.clone() };
            match self.cx.names.declare(kind, &name, entry.key.clone()) {
                Ok(index) => members.push(index),
                Err(diagnostic) => {
                    self.cx.diagnostics.push(diagnostic);
                    break;
                }
            }
        }
        if count.is_some() {
            self.cx.names.declare_group(kind, &entry.name, members.clone());
        }
        members
    }

    fn record<R: Record>(&mut self, kind: Kind, item: &Item<'_>) -> Option<R> {
        read_record(&item.entry.node, &item.what(kind), item.entry.key.clone(), &mut self.cx)
    }

    fn preset(&mut self, name: &str, span: Span) -> Option<Preset> {
        if let Some(known) = self.presets.get(name) {
            return known.clone();
        }
        let loaded = match preset::load(name, &span, self.library) {
            Ok(preset) => Some(preset),
            Err(diagnostic) => self.cx.reject(diagnostic),
        };
        self.presets.insert(name.to_owned(), loaded.clone());
        loaded
    }

    fn nodes(&mut self, items: &[Item<'_>]) -> Vec<Option<Node>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<NodeSpec> = self.record(Kind::Node, item);
            for index in &item.members {
                out.push(spec.clone().map(|s| Node {
                    name: self.cx.names.name(Kind::Node, *index).to_owned(),
                    cpus: s.cpus,
                    memory: s.memory.0,
                    base: s.base.map_or_else(|| node_base(*index) + MEMORY_OFFSET, |a| a.0),
                }));
            }
        }
        out
    }

    fn links(&mut self, items: &[Item<'_>]) -> Vec<Option<Link>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<LinkSpec> = self.record(Kind::Link, item);
            let link = spec.and_then(|s| match <[NodeId; 2]>::try_from(s.between.as_slice()) {
                Ok(between) if between[0] != between[1] => Some(Link {
                    name: item.entry.name.clone(),
                    between,
                    latency: s.latency,
                    bandwidth: s.bandwidth.0,
                }),
                _ => self.cx.reject(
                    Diagnostic::at(item.key("between"), "a link connects two different nodes")
                        .label(format!("{} given", s.between.len()))
                        .help("between = [\"node0\", \"node1\"]"),
                ),
            });
            out.push(link);
        }
        out
    }

    fn psmmus(&mut self, items: &[Item<'_>], default: &str, default_span: &Span) -> Vec<Option<Psmmu>> {
        let mut out: Vec<Option<Psmmu>> = Vec::new();
        for item in items {
            let spec: Option<PsmmuSpec> = self.record(Kind::Psmmu, item);
            self.powers_of_two(item);
            let built = spec.and_then(|spec| self.psmmu(&spec, item, default, default_span));
            for (nth, index) in item.members.iter().enumerate() {
                let mut psmmu = built.clone();
                if let Some((psmmu, explicit)) = &mut psmmu {
                    self.cx.names.name(Kind::Psmmu, *index).clone_into(&mut psmmu.name);
                    if *explicit {
                        psmmu.mmio += nth as u64 * PSMMU_STRIDE;
                    } else {
                        psmmu.mmio = node_base(psmmu.node.0) + MMIO_OFFSET + *index as u64 * PSMMU_STRIDE;
                    }
                    if let Some(cmdqv) = &mut psmmu.cmdqv {
                        if cmdqv.mmio == 0 {
                            cmdqv.mmio = psmmu.mmio + CMDQV_OFFSET;
                        } else {
                            cmdqv.mmio += nth as u64 * PSMMU_STRIDE;
                        }
                    }
                }
                out.push(psmmu.map(|(p, _)| p));
            }
        }
        if out.len() as u64 > PSMMUS_MAX {
            self.cx.diagnostics.push(
                Diagnostic::at(items.last().expect("some").entry.key.clone(), "too many psmmus")
                    .label(format!("{} in all", out.len()))
                    .help(format!("a scenario has at most {PSMMUS_MAX}")),
            );
        }
        out
    }

    /// Whether there is such an SMMU.
    fn id_registers(&mut self, id: &preset::IdRegisters, item: &Item<'_>) {
        let Err(why) = Features::new(id.profile()) else { return };
        let keys = ["idr0", "idr1", "idr2", "idr3", "idr5", "idr6", "aidr"];
        let named = keys.into_iter().find(|key| why.contains(&key.to_uppercase()));
        self.cx.diagnostics.push(
            Diagnostic::at(item.key(named.unwrap_or("idr0")), "there can be no SMMU with these ID registers")
                .label(why)
                .help("clear what is named, or leave the key out to have what the preset has"),
        );
    }

    /// A psmmu without name and assigned addresses, and whether `mmio` was given.
    fn psmmu(
        &mut self,
        spec: &PsmmuSpec,
        item: &Item<'_>,
        default: &str,
        default_span: &Span,
    ) -> Option<(Psmmu, bool)> {
        let preset = match &spec.preset {
            Some(name) => self.preset(name, item.key("preset"))?,
            None => self.preset(default, default_span.clone())?,
        };
        let sizes = match &spec.cmdqv {
            Some(Cmdqv::Absent) => None,
            Some(Cmdqv::Sizes(sizes)) => {
                let knobs = preset.cmdqv.as_ref().map(|base| sizes.knobs.over(&base.knobs));
                Some(platform::CmdqvSpec {
                    knobs: knobs.unwrap_or_else(|| sizes.knobs.clone()),
                    ..sizes.clone()
                })
            }
            None => preset.cmdqv.clone(),
            Some(Cmdqv::Preset) if preset.cmdqv.is_some() => preset.cmdqv.clone(),
            Some(Cmdqv::Preset) => {
                return self.cx.reject(
                    Diagnostic::at(item.key("cmdqv"), format!("the preset `{}` has no CMDQV", preset.name))
                        .label("`true` takes the sizes of the preset")
                        .help("give the sizes: cmdqv = { vintfs = 4, vcmdqs = 8, sid_slots = 16 }"),
                );
            }
        };
        if let Some(sizes) = &sizes {
            self.cmdqv_sizes(sizes, item);
        }
        let id = preset::IdRegisters {
            idr0: spec.idr0.unwrap_or(preset.id.idr0),
            idr1: spec.idr1.unwrap_or(preset.id.idr1),
            idr2: spec.idr2.unwrap_or(preset.id.idr2),
            idr3: spec.idr3.unwrap_or(preset.id.idr3),
            idr5: spec.idr5.unwrap_or(preset.id.idr5),
            idr6: spec.idr6.unwrap_or(preset.id.idr6),
            iidr: spec.iidr.unwrap_or(preset.id.iidr),
            aidr: spec.aidr.unwrap_or(preset.id.aidr),
        };
        self.id_registers(&id, item);
        let timing = spec.timing.over(&preset.smmu).complete().expect("presets are complete");
        let cmdqv = sizes.map(|s| CmdqvSizes {
            vintfs: s.vintfs,
            vcmdqs: s.vcmdqs,
            sid_slots: s.sid_slots,
            mmio: s.mmio.map_or(0, |a| a.0),
            arbitration: s.arbitration,
            cmd_batch: s.cmd_batch,
            clk_batch: s.clk_batch,
            knobs: s.knobs.knobs(),
        });
        let mmio = spec.mmio.map_or(0, |a| a.0);
        for (key, address) in [("mmio", mmio), ("cmdqv", cmdqv.map_or(0, |c| c.mmio))] {
            if address % 0x1_0000 != 0 {
                self.cx.diagnostics.push(
                    Diagnostic::at(item.key(key), "a register page begins at a multiple of 64 KiB")
                        .label(format!("{address:#x} is not"))
                        .help("leave the key out to have an address assigned"),
                );
            }
        }
        let node = spec.node.unwrap_or(NodeId(0));
        if spec.pmcg_msi && !spec.pmcg {
            self.cx.diagnostics.push(
                Diagnostic::at(
                    item.key("pmcg_msi"),
                    "there are no performance monitors that could send messages",
                )
                .help("add: pmcg = true"),
            );
        }
        let psmmu = Psmmu {
            name: String::new(),
            node,
            preset: preset.name,
            id,
            cmdqv,
            pmcg: spec.pmcg,
            pmcg_msi: spec.pmcg_msi,
            mmio,
            timing,
        };
        Some((psmmu, spec.mmio.is_some()))
    }

    /// Looks at the file's own numbers, so that each is judged even when another one is out of range.
    fn powers_of_two(&mut self, item: &Item<'_>) {
        let Some(sizes) = item.entry.node.get("cmdqv") else { return };
        for key in ["vintfs", "vcmdqs", "sid_slots"] {
            let Some(entry) = sizes.node.get(key) else { continue };
            let Raw::Int(n) = entry.node.value else { continue };
            if n > 0 && !(n as u64).is_power_of_two() {
                self.cx.diagnostics.push(
                    Diagnostic::at(entry.node.span.clone(), format!("`{key}` is a power of two"))
                        .label(format!("{n} is not"))
                        .help("the hardware reports log2 of it"),
                );
            }
        }
    }

    fn cmdqv_sizes(&mut self, sizes: &platform::CmdqvSpec, item: &Item<'_>) {
        if sizes.vcmdqs < sizes.vintfs {
            let entry = item
                .entry
                .node
                .get("cmdqv")
                .and_then(|e| e.node.get("vcmdqs").or_else(|| e.node.get("vintfs")));
            let span = entry.map_or_else(|| item.key("cmdqv"), |e| e.node.span.clone());
            self.cx.diagnostics.push(
                Diagnostic::at(span, "fewer queues than virtual interfaces")
                    .label(format!("{} queues for {} interfaces", sizes.vcmdqs, sizes.vintfs))
                    .help("every virtual interface has at least one queue"),
            );
        }
    }

    fn pairs(&mut self, items: &[Item<'_>]) -> Vec<Option<Pair>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<PairSpec> = self.record(Kind::Pair, item);
            let index = out.len();
            out.push(spec.map(|s| {
                let node = s.node.unwrap_or(NodeId(0));
                let assigned = node_base(node.0) + PAIR_OFFSET + index as u64 * PSMMU_STRIDE;
                let last = s.sync_latency.last().copied().unwrap_or(sim::Time::ns(200));
                Pair {
                    name: item.entry.name.clone(),
                    node,
                    architecture: s.architecture,
                    instances: s.instances,
                    interleave: s.interleave.0,
                    sync_latency: (0..s.instances as usize)
                        .map(|n| s.sync_latency.get(n).copied().unwrap_or(last))
                        .collect(),
                    mmio: s.mmio.map_or(assigned, |a| a.0),
                }
            }));
        }
        out
    }

    fn endpoints(&mut self, items: &[Item<'_>], psmmus: &[Option<Psmmu>]) -> Vec<Option<Endpoint>> {
        let mut out: Vec<Option<Endpoint>> = Vec::new();
        for item in items {
            let spec: Option<EndpointSpec> = self.record(Kind::Endpoint, item);
            let behind = spec.as_ref().and_then(|s| self.behind(s, item, psmmus.len()));
            if spec.as_ref().is_some_and(|s| s.pri && !s.ats) {
                self.cx.diagnostics.push(
                    Diagnostic::at(item.key("pri"), "page requests need a translation cache")
                        .label("`ats` is false")
                        .help("add `ats = true`"),
                );
            }
            for (nth, index) in item.members.iter().enumerate() {
                let (Some(s), Some(behind)) = (&spec, &behind) else {
                    out.push(None);
                    continue;
                };
                let first = s.stream.map(|n| n.saturating_add(nth as u64));
                let streams: Vec<u64> = first.into_iter().chain(s.extra_streams.iter().copied()).collect();
                out.push(Some(Endpoint {
                    name: self.cx.names.name(Kind::Endpoint, *index).to_owned(),
                    behind: behind[nth % behind.len()],
                    kind: s.kind,
                    streams: streams.iter().map(|n| u32::try_from(*n).unwrap_or(u32::MAX)).collect(),
                    ats: s.ats,
                    page_requests: s.pri.then_some(s.page_requests),
                    page_group: s.page_group,
                    pasid_bits: s.pasid_bits,
                    canwbs: s.canwbs,
                    outstanding: s.outstanding,
                    bandwidth: s.bandwidth.0,
                }));
            }
        }
        if out.len() as u64 > platform::ENDPOINTS_MAX {
            self.cx.diagnostics.push(
                Diagnostic::at(items.last().expect("some").entry.key.clone(), "too many endpoints")
                    .label(format!("{} in all", out.len()))
                    .help(format!("a scenario has at most {}", platform::ENDPOINTS_MAX)),
            );
        }
        assign_streams(&mut out, items);
        out
    }

    fn behind(&mut self, spec: &EndpointSpec, item: &Item<'_>, psmmus: usize) -> Option<Vec<Behind>> {
        let named: Vec<Behind> = spec.psmmu.0.iter().map(|id| Behind::Psmmu(*id)).collect();
        match (named.is_empty(), spec.behind) {
            (false, None) => Some(named),
            (true, Some(pair)) => Some(vec![Behind::Pair(pair)]),
            (true, None) if psmmus == 1 => Some(vec![Behind::Psmmu(PsmmuId(0))]),
            (true, None) => {
                if self.cx.partial || (item.entry.node.get("psmmu").is_some() && psmmus == 0) {
                    return None;
                }
                let known: Vec<String> =
                    self.cx.names.of(Kind::Psmmu).iter().map(|d| d.name.clone()).collect();
                let mut diagnostic = Diagnostic::at(
                    item.entry.key.clone(),
                    format!("which psmmu is in front of `{}`?", item.entry.name),
                )
                .label("neither `psmmu` nor `behind`");
                diagnostic = if known.is_empty() {
                    diagnostic.help("this file declares no psmmu; add a table `[psmmu.smmu0]`")
                } else {
                    diagnostic.help(format!(
                        "write `psmmu = \"...\"`; declared: {}",
                        suggest::list(known.iter().map(String::as_str), 20)
                    ))
                };
                self.cx.reject(diagnostic)
            }
            (false, Some(_)) => self.cx.reject(
                Diagnostic::at(item.key("behind"), "an endpoint is behind one thing")
                    .label("both `psmmu` and `behind`")
                    .help("remove one of the two"),
            ),
        }
    }

    fn vms(&mut self, items: &[Item<'_>]) -> Vec<Option<Vm>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<VmSpec> = self.record(Kind::Vm, item);
            if let Some(s) = &spec {
                check::vm_memory(s, item, &mut self.cx);
            }
            for index in &item.members {
                out.push(spec.clone().map(|s| Vm {
                    name: self.cx.names.name(Kind::Vm, *index).to_owned(),
                    node: s.node.unwrap_or(NodeId(0)),
                    vcpus: s.vcpus,
                    memory: s.memory.0,
                    page: s.page.0,
                    contiguous: s.contiguous,
                    base: s.base.0,
                    boot: s.boot,
                }));
            }
        }
        out
    }

    fn vsmmus(&mut self, items: &[Item<'_>], endpoints: &[Option<Endpoint>]) -> Vec<Option<Vsmmu>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<VsmmuSpec> = self.record(Kind::Vsmmu, item);
            out.push(spec.map(|s| {
                let mut psmmus = Vec::new();
                for (endpoint, _) in &s.devices.0 {
                    if let Some(Some(Endpoint { behind: Behind::Psmmu(id), .. })) = endpoints.get(endpoint.0)
                        && !psmmus.contains(id)
                    {
                        psmmus.push(*id);
                    }
                }
                Vsmmu {
                    name: item.entry.name.clone(),
                    vm: s.vm,
                    policy: s.policy,
                    routing: s.routing,
                    psmmus,
                    window: s.window,
                    devices: s
                        .devices
                        .0
                        .iter()
                        .map(|(e, v)| (*e, u32::try_from(*v).unwrap_or(u32::MAX)))
                        .collect(),
                    lvcmdqs: s.lvcmdqs,
                    cmdq_log2: s.cmdq_log2,
                    eventq_log2: s.eventq_log2,
                    batch: s.batch,
                    share_parent: s.share_parent,
                    repeat_invalidations: s.repeat_invalidations,
                }
            }));
        }
        out
    }

    fn loads(&mut self, items: &[Item<'_>]) -> Vec<Option<Load>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<LoadSpec> = self.record(Kind::Load, item);
            if spec.as_ref().is_some_and(|s| s.endpoint.0.is_empty()) {
                self.cx.diagnostics.push(
                    Diagnostic::at(
                        item.entry.key.clone(),
                        format!("{} has no endpoint", item.what(Kind::Load)),
                    )
                    .label("which device moves the data?")
                    .help("endpoint = \"nic0\", or a list of names"),
                );
            }
            if let Some(s) = &spec {
                check::load(s, item, &mut self.cx);
            }
            out.push(spec.map(|s| Load {
                name: item.entry.name.clone(),
                actor: s.actor,
                endpoints: s.endpoint.0,
                kind: s.kind,
                threads: s.threads,
                granule: s.granule,
                pages: s.pages,
                count: s.count,
                rate: s.rate.map(|r| r.0),
                bytes: s.bytes.0,
                attacks: s.attacks,
                start: s.start,
            }));
        }
        out
    }

    fn faults(&mut self, items: &[Item<'_>], psmmus: &[Option<Psmmu>]) -> Vec<Option<Fault>> {
        let mut out = Vec::new();
        for item in items {
            let spec: Option<FaultSpec> = self.record(Kind::Fault, item);
            let fault = spec.and_then(|s| {
                if !s.kind.targets().contains(&s.at.kind) {
                    let targets = suggest::list(s.kind.targets().iter().map(|k| k.word()), 4);
                    return self.cx.reject(
                        Diagnostic::at(item.key("at"), format!("`{}` cannot happen there", s.kind))
                            .label(format!("this is {} {}", suggest::article(s.at.kind.word()), s.at.kind))
                            .help(format!("`{}` happens at: {targets}", s.kind)),
                    );
                }
                let vintf = self.fault_vintf(&s, item, psmmus)?;
                if let Some(command) = s.command.filter(|command| !s.kind.takes(*command)) {
                    let taken = Op::ALL.iter().filter(|op| s.kind.takes(**op)).map(|op| op.word());
                    let taken: Vec<_> = taken.collect();
                    let (title, help) = match taken.is_empty() {
                        true => (
                            format!("`command` means nothing for `{}`", s.kind),
                            "`drop-tlbi`, `drop-cfgi` and `corrupt-command` take `command`".to_owned(),
                        ),
                        false => (
                            format!("`{}` does not concern {command}", s.kind),
                            format!("`{}` is about {}", s.kind, suggest::list(taken, 16)),
                        ),
                    };
                    return self.cx.reject(
                        Diagnostic::at(item.key("command"), title)
                            .label("no such command goes wrong")
                            .help(help),
                    );
                }
                let Ok(slots) = <[u64; 2]>::try_from(s.slots.as_slice()) else {
                    return self.cx.reject(
                        Diagnostic::at(item.key("slots"), "two slots are exchanged")
                            .label(format!("{} given", s.slots.len()))
                            .help("slots = [0, 1]"),
                    );
                };
                Some(Fault {
                    name: item.entry.name.clone(),
                    kind: s.kind,
                    at: s.at,
                    nth: s.nth,
                    times: s.times,
                    armed: s.armed,
                    vintf,
                    command: s.command,
                    slots,
                })
            });
            out.push(fault);
        }
        out
    }

    /// The VINTF of a fault; `None` if it means nothing there, or is not there.
    fn fault_vintf(
        &mut self,
        spec: &FaultSpec,
        item: &Item<'_>,
        psmmus: &[Option<Psmmu>],
    ) -> Option<Option<u64>> {
        let vintf = match (spec.kind.vintf(), spec.vintf) {
            (VintfKey::Nothing, Some(_)) => {
                let takers = FaultKind::ALL.iter().filter(|k| k.vintf() != VintfKey::Nothing);
                return self.cx.reject(
                    Diagnostic::at(item.key("vintf"), format!("`vintf` means nothing for `{}`", spec.kind))
                        .label("no fault of a single VINTF")
                        .help(format!("these take `vintf`: {}", suggest::list(takers.map(|k| k.word()), 16))),
                );
            }
            (VintfKey::Subject, None) => Some(1),
            (_, given) => given,
        };
        if vintf.is_none() && !spec.kind.needs_cmdqv() {
            return Some(None);
        }
        let psmmu = psmmus.get(spec.at.index)?.as_ref()?;
        let Some(cmdqv) = &psmmu.cmdqv else {
            return self.cx.reject(
                Diagnostic::at(item.key("at"), format!("`{}` has no CMDQV", psmmu.name))
                    .label("no VINTF can have the fault")
                    .help("the key `cmdqv` of a psmmu gives it one"),
            );
        };
        match vintf {
            Some(n) if n >= cmdqv.vintfs => self.cx.reject(
                Diagnostic::at(item.key("vintf"), format!("`{}` has no VINTF {n}", psmmu.name))
                    .label(format!("{} there, from 0", cmdqv.vintfs))
                    .help("VINTF 0 is the host's; guests get the others in turn"),
            ),
            given => Some(given),
        }
    }

    /// The list `step` or `expect`, at the top or in `[script]`.
    fn list(&mut self, root: &'a tree::Node, name: &str) -> &'a [tree::Node] {
        let top = root.get(name);
        let script = root.get("script").and_then(|e| e.node.get(name));
        if let (Some(top), Some(script)) = (top, script) {
            self.cx.diagnostics.push(
                Diagnostic::at(script.key.clone(), format!("`{name}` is given in two places"))
                    .label("again here")
                    .also(top.key.clone(), "first here")
                    .help(format!("use either [[{name}]] tables or `{name} = [ ... ]` in [script]")),
            );
        }
        let Some(entry) = top.or(script) else { return &[] };
        match &entry.node.value {
            Raw::Array(items) => items,
            _ => {
                let ty = Ty::Form("a list of tables");
                let _: Option<()> = self.cx.wrong_type(&entry.node, &ty);
                &[]
            }
        }
    }

    fn steps(&mut self, root: &'a tree::Node) -> Vec<Option<Step>> {
        if let Some(script) = root.get("script") {
            let table = crate::schema::script_table();
            let fields = Fields { node: &script.node, table, what: "[script]", header: script.key.clone() };
            fields.check_keys(&mut self.cx);
        }
        let items = self.list(root, "step");
        if items.len() > STEPS_MAX {
            self.cx.diagnostics.push(
                Diagnostic::at(items[STEPS_MAX].span.clone(), "too many steps")
                    .label(format!("{} in all", items.len()))
                    .help(format!("a script has at most {STEPS_MAX}; use a load for repeated work")),
            );
            return Vec::new();
        }
        let kinds = step::kinds();
        items
            .iter()
            .enumerate()
            .map(|(n, item)| step::read_step(item, n, &kinds, self.text, &mut self.cx))
            .collect()
    }

    fn expects(&mut self, root: &'a tree::Node) -> Vec<Option<Expectation>> {
        let items = self.list(root, "expect");
        items.iter().map(|item| self.expect(item)).collect()
    }

    fn expect(&mut self, item: &tree::Node) -> Option<Expectation> {
        let spec: ExpectSpec = step::read_item(item, "this expectation", &mut self.cx)?;
        let bounds = Bounds { equals: spec.equals, min: spec.min, max: spec.max };
        let place = |key: &str| item.get(key).map_or(item.span.clone(), |e| e.key.clone());
        let mut subjects = Vec::new();
        if let Some(metric) = &spec.metric {
            subjects.push(("metric", Subject::Metric { metric: metric.clone(), per: spec.per.clone() }));
        }
        if let Some(finding) = spec.oracle {
            subjects.push(("oracle", Subject::Oracle { finding, endpoint: spec.endpoint, at: spec.at }));
        }
        if let Some(event) = spec.event {
            subjects.push(("event", Subject::Event { event, endpoint: spec.endpoint, at: spec.at }));
        }
        if !spec.order.is_empty() {
            subjects.push(("order", Subject::Order(spec.order.clone())));
        }
        if subjects.len() != 1 {
            let label = if subjects.is_empty() {
                "none given".to_owned()
            } else {
                format!("given: {}", suggest::list(subjects.iter().map(|(k, _)| *k), 4))
            };
            return self.cx.reject(
                Diagnostic::at(item.span.clone(), "an expectation is about one thing")
                    .label(label)
                    .help("exactly one of `metric`, `oracle`, `event` and `order`; write several expectations for several things"),
            );
        }
        let (key, subject) = subjects.remove(0);
        let needs_bounds = matches!(subject, Subject::Metric { .. });
        if needs_bounds && bounds.is_empty() {
            return self.cx.reject(
                Diagnostic::at(place(key), "this metric is compared with nothing")
                    .label("what should it be?")
                    .help("add at least one of `equals`, `min` and `max`"),
            );
        }
        if !bounds.is_empty()
            && matches!(subject, Subject::Order(_) | Subject::Oracle { finding: Finding::Clean, .. })
        {
            return self.cx.reject(
                Diagnostic::at(place(key), format!("`{key}` has nothing to count here"))
                    .label("`equals`, `min` and `max` mean nothing")
                    .help("remove them"),
            );
        }
        check::bounds(&bounds, item, &mut self.cx);
        for key in ["metric", "per"] {
            if let Some(entry) = item.get(key) {
                check::metric(&entry.node, &mut self.cx);
            }
        }
        let name = spec.name.clone().unwrap_or_else(|| describe(&subject, &bounds, &self.cx));
        Some(Expectation {
            name,
            why: spec.why,
            subject,
            bounds,
            span: item.span.clone(),
            line: line_of(self.text, item.entries().first().map_or(item.span.start, |e| e.key.start)),
        })
    }
}

/// A sentence for an expectation without a name.
fn describe(subject: &Subject, bounds: &Bounds, cx: &Cx) -> String {
    let place = |endpoint: &Option<crate::names::EndpointId>, at: &Option<crate::names::Target>| {
        let mut out = String::new();
        if let Some(id) = endpoint {
            out.push_str(&format!(" of {}", cx.names.name(Kind::Endpoint, id.0)));
        }
        if let Some(at) = at {
            out.push_str(&format!(" at {}", cx.names.name(at.kind, at.index)));
        }
        out
    };
    match subject {
        Subject::Metric { metric, per: None } => format!("{metric} is {bounds}"),
        Subject::Metric { metric, per: Some(per) } => format!("{metric} per {per} is {bounds}"),
        Subject::Oracle { finding: Finding::Clean, endpoint, at } => {
            format!("the oracle finds nothing{}", place(endpoint, at))
        }
        Subject::Oracle { finding, endpoint, at } => {
            format!("the oracle finds {finding}{}, {bounds}", place(endpoint, at))
        }
        Subject::Event { event, endpoint, at } => format!("event {event}{}, {bounds}", place(endpoint, at)),
        Subject::Order(steps) => {
            let name = |n: usize| cx.names.steps.iter().find(|(_, i)| **i == n).map_or("", |(name, _)| name);
            let names: Vec<&str> = steps.iter().map(|s| name(s.0)).collect();
            format!("order: {}", names.join(", "))
        }
    }
}

/// Keys of the top level that hold tables.
pub(crate) const TOP_TABLES: [&str; 12] = [
    "node",
    "link",
    "psmmu",
    "register_broadcast",
    "endpoint",
    "vm",
    "vsmmu",
    "load",
    "fault",
    "step",
    "expect",
    "script",
];

/// Address space of one node.
const NODE_STRIDE: u64 = 1 << 42;
/// Where a node's psmmus begin.
const MMIO_OFFSET: u64 = 0x1000_0000;
/// Where a node's register_broadcasts begin.
const PAIR_OFFSET: u64 = 0x7000_0000;
/// Where a node's memory begins.
const MEMORY_OFFSET: u64 = 0x8000_0000;
/// From one psmmu to the next.
const PSMMU_STRIDE: u64 = 0x100_0000;
/// From a psmmu to its CMDQV.
const CMDQV_OFFSET: u64 = 0x20_0000;

const fn node_base(index: usize) -> u64 {
    index as u64 * NODE_STRIDE
}

fn default_node() -> Node {
    let cpus =
        NodeSpec::table().keys.iter().find(|k| k.name == "cpus").and_then(|k| k.default).expect("has one");
    Node {
        name: "node0".to_owned(),
        cpus: crate::units::parse_integer(cpus).expect("an integer"),
        memory: 4 << 30,
        base: MEMORY_OFFSET,
    }
}

/// Gives every endpoint without a StreamID the next free one of its psmmu.
fn assign_streams(endpoints: &mut [Option<Endpoint>], items: &[Item<'_>]) {
    let given: Vec<bool> =
        items.iter().flat_map(|i| i.members.iter().map(|_| i.entry.node.get("stream").is_some())).collect();
    let mut used: std::collections::BTreeSet<(Behind, u32)> =
        endpoints.iter().flatten().flat_map(|e| e.streams.iter().map(|s| (e.behind, *s))).collect();
    let mut next: BTreeMap<Behind, u32> = BTreeMap::new();
    for (endpoint, given) in endpoints.iter_mut().zip(given) {
        let Some(endpoint) = endpoint.as_mut().filter(|_| !given) else { continue };
        let next = next.entry(endpoint.behind).or_insert(platform::FIRST_VSID as u32);
        while !used.insert((endpoint.behind, *next)) {
            *next += 1;
        }
        endpoint.streams.insert(0, *next);
        *next += 1;
    }
}

fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}
