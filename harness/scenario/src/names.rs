//! Names: what a file declares, how references to it are resolved, and the objects that steps make.

use std::collections::BTreeMap;
use std::fmt;

use crate::declare::{Cx, Field, Ty};
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest;
use crate::tree::{Node, Raw};

/// The kinds of named things in a file. All of them share one name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A NUMA node.
    Node,
    /// A connection of two nodes.
    Link,
    /// A physical SMMUv3.
    Psmmu,
    /// SMMU instances behind one register page.
    Pair,
    /// A DMA-capable device.
    Endpoint,
    /// A virtual machine.
    Vm,
    /// An SMMUv3 as a guest sees it.
    Vsmmu,
    /// A load generator.
    Load,
    /// A fault of the environment.
    Fault,
}

impl Kind {
    /// Every kind, in the order of the reference.
    pub const ALL: [Self; 9] = [
        Self::Node,
        Self::Link,
        Self::Psmmu,
        Self::Pair,
        Self::Endpoint,
        Self::Vm,
        Self::Vsmmu,
        Self::Load,
        Self::Fault,
    ];

    /// The word in a scenario file: the table `[word.name]`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Link => "link",
            Self::Psmmu => "psmmu",
            Self::Pair => "register_broadcast",
            Self::Endpoint => "endpoint",
            Self::Vm => "vm",
            Self::Vsmmu => "vsmmu",
            Self::Load => "load",
            Self::Fault => "fault",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $Id:ident = $Kind:ident;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Id(pub usize);
        impl Named for $Id {
            const KIND: Kind = Kind::$Kind;
            fn from_index(index: usize) -> Self {
                Self(index)
            }
            fn index(self) -> usize {
                self.0
            }
        }
        impl Field for $Id {
            fn ty() -> Ty {
                Ty::Name(Kind::$Kind.word())
            }
            fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
                cx.resolve(node, Kind::$Kind).map(Self)
            }
        }
    )*};
}

/// An index into the things of one kind.
pub trait Named: Copy + Ord + Field {
    /// The kind.
    const KIND: Kind;
    /// The id of the thing at an index.
    fn from_index(index: usize) -> Self;
    /// The index.
    fn index(self) -> usize;
}

ids! {
    /// Index of a node in [`crate::model::Scenario::nodes`].
    NodeId = Node;
    /// Index of a psmmu in [`crate::model::Scenario::psmmus`].
    PsmmuId = Psmmu;
    /// Index of a register_broadcast in [`crate::model::Scenario::pairs`].
    PairId = Pair;
    /// Index of an endpoint in [`crate::model::Scenario::endpoints`].
    EndpointId = Endpoint;
    /// Index of a VM in [`crate::model::Scenario::vms`].
    VmId = Vm;
    /// Index of a vSMMU in [`crate::model::Scenario::vsmmus`].
    VsmmuId = Vsmmu;
    /// Index of a load in [`crate::model::Scenario::loads`].
    LoadId = Load;
    /// Index of a fault in [`crate::model::Scenario::faults`].
    FaultId = Fault;
}

/// A named thing of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The kind.
    pub kind: Kind,
    /// The index among its kind.
    pub index: usize,
}

/// The kinds of objects that steps make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A DEVICE in an iommufd context.
    Device,
    /// An IOAS.
    Ioas,
    /// A HWPT, paging or nested.
    Hwpt,
    /// A VIOMMU.
    Viommu,
    /// A VDEVICE.
    Vdevice,
    /// A HW_QUEUE.
    HwQueue,
    /// A VEVENTQ and its descriptor.
    Veventq,
    /// A VQUEUE of RFCv1.
    Vqueue,
    /// A memory mapping of a hardware page.
    Window,
    /// A buffer in the actor's memory.
    Memory,
    /// Stage-1 tables built by a step.
    Table,
    /// A forked process.
    Process,
    /// An address range mapped by a DMA-API call.
    Mapping,
}

impl ObjectKind {
    /// The word in messages and in the reference.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Ioas => "ioas",
            Self::Hwpt => "hwpt",
            Self::Viommu => "viommu",
            Self::Vdevice => "vdevice",
            Self::HwQueue => "hw-queue",
            Self::Veventq => "veventq",
            Self::Vqueue => "vqueue",
            Self::Window => "window",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Process => "process",
            Self::Mapping => "mapping",
        }
    }
}

/// Index of an object in [`crate::model::Scenario::objects`]: what one step's `as` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub usize);

/// An object that a step makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The name given by `as`.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Index of the step that makes it.
    pub step: usize,
    /// The name's place.
    pub span: Span,
    /// The endpoint, if this is a DEVICE made by `bind`.
    pub endpoint: Option<EndpointId>,
}

/// An argument that names an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRef {
    /// An object made by an earlier step.
    Object(ObjectId),
    /// The DEVICE of an endpoint that an earlier step bound in the actor's context.
    Bound(EndpointId),
    /// A raw id, to try ids that do not exist.
    Raw(u64),
}

/// One declared name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// All names of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    things: BTreeMap<Kind, Vec<Declared>>,
    index: BTreeMap<String, Target>,
    groups: BTreeMap<String, (Kind, Vec<usize>)>,
    /// Objects made by steps so far.
    pub objects: Vec<Object>,
    object_index: BTreeMap<String, ObjectId>,
    /// Named steps so far, with their index.
    pub steps: BTreeMap<String, usize>,
}

/// Words that cannot be names because they mean something where names stand.
const RESERVED: &[&str] = &["host", "all", "total", "sim", "ok"];

impl Names {
    /// Declares a thing. The error says why it cannot have that name.
    pub fn declare(&mut self, kind: Kind, name: &str, span: Span) -> Result<usize, Diagnostic> {
        self.check(name, &span)?;
        let list = self.things.entry(kind).or_default();
        let index = list.len();
        list.push(Declared { name: name.to_owned(), span });
        self.index.insert(name.to_owned(), Target { kind, index });
        Ok(index)
    }

    /// Declares a name for several things of a kind.
    pub fn declare_group(&mut self, kind: Kind, name: &str, members: Vec<usize>) {
        self.groups.insert(name.to_owned(), (kind, members));
    }

    /// Declares an object.
    pub fn declare_object(&mut self, object: Object) -> Result<ObjectId, Diagnostic> {
        self.check(&object.name, &object.span)?;
        let id = ObjectId(self.objects.len());
        self.object_index.insert(object.name.clone(), id);
        self.objects.push(object);
        Ok(id)
    }

    fn check(&self, name: &str, span: &Span) -> Result<(), Diagnostic> {
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !well_formed {
            return Err(Diagnostic::at(span.clone(), format!("`{}` is not a name", name.escape_debug()))
                .label("not a name")
                .help("a name is a letter and then letters, digits, `_` or `-`; at most 64 of them"));
        }
        if RESERVED.contains(&name) {
            return Err(Diagnostic::at(span.clone(), format!("`{name}` cannot be a name"))
                .label("this word has a meaning of its own")
                .help(format!("reserved words: {}", suggest::list(RESERVED.iter().copied(), 9))));
        }
        let first = self
            .index
            .get(name)
            .map(|t| (self.things[&t.kind][t.index].span.clone(), t.kind.word()))
            .or_else(|| {
                self.object_index
                    .get(name)
                    .map(|id| &self.objects[id.0])
                    .map(|o| (o.span.clone(), o.kind.word()))
            })
            .or_else(|| {
                let (kind, members) = self.groups.get(name)?;
                Some((self.things[kind][*members.first()?].span.clone(), kind.word()))
            });
        match first {
            Some((first, what)) => {
                Err(Diagnostic::at(span.clone(), format!("the name `{name}` is used twice"))
                    .label("again here")
                    .also(first, format!("first the name of {} {what}", suggest::article(what)))
                    .help("all things of a file share one name space; rename one of the two"))
            }
            None => Ok(()),
        }
    }

    /// The things of a kind, in file order.
    pub fn of(&self, kind: Kind) -> &[Declared] {
        self.things.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The name of a thing.
    pub fn name(&self, kind: Kind, index: usize) -> &str {
        &self.things[&kind][index].name
    }

    /// The place where a thing is declared.
    pub fn span(&self, kind: Kind, index: usize) -> Span {
        self.things[&kind][index].span.clone()
    }

    /// What a name stands for.
    pub fn find(&self, name: &str) -> Option<Target> {
        self.index.get(name).copied()
    }

    /// The object of a name.
    pub fn object(&self, name: &str) -> Option<ObjectId> {
        self.object_index.get(name).copied()
    }

    fn group(&self, name: &str, kind: Kind) -> Option<Vec<usize>> {
        if let Some((_, members)) = self.groups.get(name).filter(|(k, _)| *k == kind) {
            return Some(members.clone());
        }
        let (first, last) = name.split_once("..")?;
        let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
        let low: usize = first[stem.len()..].parse().ok()?;
        let high: usize = last.strip_prefix(stem).unwrap_or(last).parse().ok()?;
        if low > high || high - low > 65_536 {
            return None;
        }
        (low..=high)
            .map(|n| self.find(&format!("{stem}{n}")).filter(|t| t.kind == kind).map(|t| t.index))
            .collect()
    }
}

impl Cx {
    /// The index of the thing that a string names.
    pub fn resolve(&mut self, node: &Node, kind: Kind) -> Option<usize> {
        let Raw::Str(name) = &node.value else { return self.wrong_type(node, &Ty::Name(kind.word())) };
        match self.names.find(name) {
            Some(target) if target.kind == kind => Some(target.index),
            _ => self.dangling(node, name, kind),
        }
    }

    fn dangling<T>(&mut self, node: &Node, name: &str, kind: Kind) -> Option<T> {
        if self.partial {
            return None;
        }
        let known: Vec<String> = self.names.of(kind).iter().map(|d| d.name.clone()).collect();
        let known = || known.iter().map(String::as_str);
        let label = match (self.names.find(name), suggest::nearest(name, known())) {
            (Some(other), _) => format!("`{name}` is {} {}", suggest::article(other.kind.word()), other.kind),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "nothing has this name".to_owned(),
        };
        let mut diagnostic =
            Diagnostic::at(node.span.clone(), format!("there is no {kind} `{name}`")).label(label);
        diagnostic = if known().next().is_none() {
            diagnostic.help(format!("this file declares no {kind}; add a table `[{kind}.{name}]`"))
        } else {
            diagnostic.help(format!("declared: {}", suggest::list(known(), 40)))
        };
        self.reject(diagnostic)
    }
}

/// Several things of one kind: a list of names, of groups (`nvme` for all that `count` made) and of ranges
/// (`nvme0..nvme3`, both ends included). One string stands for a list of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Many<I>(pub Vec<I>);

impl<I: Named> Field for Many<I> {
    fn ty() -> Ty {
        Ty::Any(vec![Ty::List(Box::new(I::ty())), I::ty()])
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let items = match &node.value {
            Raw::Array(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut out = Vec::new();
        let mut good = true;
        for item in items {
            let Raw::Str(name) = &item.value else {
                good = false;
                cx.wrong_type::<()>(item, &I::ty());
                continue;
            };
            match cx.names.group(name, I::KIND) {
                Some(members) => out.extend(members.into_iter().map(I::from_index)),
                None => match I::read(item, cx) {
                    Some(id) => out.push(id),
                    None => good = false,
                },
            }
        }
        good.then_some(Self(out))
    }
    fn missing() -> Option<Self> {
        Some(Self(Vec::new()))
    }
}

impl Field for Target {
    fn ty() -> Ty {
        Ty::Form("the name of anything the file declares")
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Str(name) = &node.value else { return cx.wrong_type(node, &Self::ty()) };
        if let Some(target) = cx.names.find(name) {
            return Some(target);
        }
        if cx.partial {
            return None;
        }
        // Nothing happens at a fault.
        let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::Fault);
        let known: Vec<String> = kinds.flat_map(|k| cx.names.of(*k)).map(|d| d.name.clone()).collect();
        let known = || known.iter().map(String::as_str);
        let label = suggest::nearest(name, known())
            .map_or_else(|| "nothing has this name".to_owned(), |near| format!("did you mean `{near}`?"));
        cx.reject(
            Diagnostic::at(node.span.clone(), format!("nothing is called `{name}`"))
                .label(label)
                .help(format!("declared: {}", suggest::list(known(), 40))),
        )
    }
}

/// Who acts: the host, or the software of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The host: its drivers, or a user process with an iommufd context of its own.
    Host,
    /// A VM: its guest software, or (for iommufd calls) its VMM.
    Vm(VmId),
}

impl Field for Actor {
    fn ty() -> Ty {
        Ty::Form("\"host\" or the name of a vm")
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Raw::Str(name) if name == "host" => Some(Self::Host),
            _ => VmId::read(node, cx).map(Self::Vm),
        }
    }
}

macro_rules! object_refs {
    ($($(#[doc = $doc:literal])+ $Ref:ident = $form:literal, [$($Kind:ident),*], $raw:literal;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Ref(pub ObjectRef);
        impl Field for $Ref {
            fn ty() -> Ty {
                Ty::Form($form)
            }
            fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
                read_object(node, &[$(ObjectKind::$Kind),*], $raw, &Self::ty(), cx).map(Self)
            }
        }
    )*};
}

object_refs! {
    /// A DEVICE: an object made by `bind`, the endpoint's own name, or a raw id.
    DeviceRef = "a bound endpoint, a device made by `bind`, or a raw id", [Device], true;
    /// An IOAS, or a raw id.
    IoasRef = "an object made by `ioas-alloc`, or a raw id", [Ioas], true;
    /// A HWPT, or a raw id.
    HwptRef = "an object made by `hwpt-alloc`, or a raw id", [Hwpt], true;
    /// What a HWPT is made from, or a device is attached to.
    PageTableRef = "an ioas, hwpt or viommu made by an earlier step, or a raw id", [Ioas, Hwpt, Viommu], true;
    /// A VIOMMU, or a raw id.
    ViommuRef = "an object made by `viommu-alloc`, or a raw id", [Viommu], true;
    /// A VEVENTQ.
    VeventqRef = "an object made by `veventq-alloc`", [Veventq], false;
    /// Anything that an iommufd context holds, or a raw id.
    AnyRef = "any iommufd object made by an earlier step, or a raw id",
        [Device, Ioas, Hwpt, Viommu, Vdevice, HwQueue, Veventq, Vqueue], true;
    /// A memory buffer.
    MemoryRef = "an object made by `memory`", [Memory], false;
    /// Stage-1 tables.
    TableRef = "an object made by `table`", [Table], false;
    /// A mapped hardware page.
    WindowRef = "an object made by `mmap`", [Window], false;
    /// A forked process.
    ProcessRef = "an object made by `fork`", [Process], false;
    /// A DMA-API mapping.
    MappingRef = "an object made by `map`", [Mapping], false;
}

fn read_object(node: &Node, kinds: &[ObjectKind], raw: bool, ty: &Ty, cx: &mut Cx) -> Option<ObjectRef> {
    let name = match &node.value {
        Raw::Int(_) if raw => return u64::read(node, cx).map(ObjectRef::Raw),
        Raw::Str(name) => name,
        _ => return cx.wrong_type(node, ty),
    };
    if let Some(id) = cx.names.object(name) {
        let object = &cx.names.objects[id.0];
        if !kinds.contains(&object.kind) {
            let diagnostic = Diagnostic::at(
                node.span.clone(),
                format!("`{name}` is {} {}", suggest::article(object.kind.word()), object.kind.word()),
            )
            .label(format!("expected {}", ty.describe()))
            .also(object.span.clone(), "made here")
            .help("a step that passes the wrong object on purpose says which errno it expects");
            if !raw {
                return cx.reject(diagnostic);
            }
            cx.pardonable.push(diagnostic);
        }
        return Some(ObjectRef::Object(id));
    }
    if kinds.contains(&ObjectKind::Device)
        && let Some(target) = cx.names.find(name).filter(|t| t.kind == Kind::Endpoint)
    {
        let endpoint = EndpointId(target.index);
        if !cx.names.objects.iter().any(|o| o.endpoint == Some(endpoint)) {
            cx.diagnostics.push(
                Diagnostic::at(node.span.clone(), format!("`{name}` is not bound to iommufd"))
                    .label("no earlier step binds it")
                    .help(format!("add a step before this one: {{ do = \"bind\", endpoint = \"{name}\" }}")),
            );
        }
        return Some(ObjectRef::Bound(endpoint));
    }
    if cx.partial {
        return None;
    }
    let known: Vec<String> =
        cx.names.objects.iter().filter(|o| kinds.contains(&o.kind)).map(|o| o.name.clone()).collect();
    let known = || known.iter().map(String::as_str).filter(|n| !n.is_empty());
    let label = suggest::nearest(name, known())
        .map_or_else(|| "no earlier step makes it".to_owned(), |near| format!("did you mean `{near}`?"));
    let mut diagnostic =
        Diagnostic::at(node.span.clone(), format!("there is no object `{name}` at this step")).label(label);
    diagnostic = diagnostic.help(format!("expected {}", ty.describe()));
    if known().next().is_some() {
        diagnostic = diagnostic.help(format!("made so far: {}", suggest::list(known(), 40)));
    }
    cx.reject(diagnostic)
}
