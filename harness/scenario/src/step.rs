//! Steps: what an actor can do. One declaration per kind of step, for reading, schema and reference alike.

use sim::Time;

use crate::command::{Block, Command, Queue, Register, Values, VsteSpec};
use crate::declare::{
    Bytes, Code, Cx, Field, Fields, Record, Table, Ty, choice, read_record, read_word, record,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::names::{
    Actor, AnyRef, DeviceRef, EndpointId, FaultId, HwptRef, IoasRef, LoadId, MappingRef, MemoryRef, Object,
    ObjectId, ObjectKind, PageTableRef, ProcessRef, Target, VeventqRef, ViommuRef, VmId, WindowRef,
};
use crate::platform::Granule;
use crate::suggest;
use crate::tree::{Node, Raw};
use crate::units::{Address, Size};

choice! {
    /// Errors of the Linux ABI.
    Errno {
        /// operation not permitted, 1
        Eperm = "EPERM",
        /// no such object, 2
        Enoent = "ENOENT",
        /// refused by the driver, 5
        Eio = "EIO",
        /// no such window, 6
        Enxio = "ENXIO",
        /// unknown bytes at the end of a structure, 7
        E2big = "E2BIG",
        /// out of memory, 12
        Enomem = "ENOMEM",
        /// bad address, 14
        Efault = "EFAULT",
        /// in use, 16
        Ebusy = "EBUSY",
        /// exists, 17
        Eexist = "EEXIST",
        /// no such device, 19
        Enodev = "ENODEV",
        /// invalid argument, 22
        Einval = "EINVAL",
        /// too many open files, 24
        Emfile = "EMFILE",
        /// no such ioctl, 25
        Enotty = "ENOTTY",
        /// nothing left to give, 28
        Enospc = "ENOSPC",
        /// not seekable, 29
        Espipe = "ESPIPE",
        /// out of range, 34
        Erange = "ERANGE",
        /// would never end, 35
        Edeadlk = "EDEADLK",
        /// does not fit, 75
        Eoverflow = "EOVERFLOW",
        /// wrong kind of descriptor, 77
        Ebadfd = "EBADFD",
        /// message too long, 90
        Emsgsize = "EMSGSIZE",
        /// not supported, 95
        Eopnotsupp = "EOPNOTSUPP",
        /// address in use, 98
        Eaddrinuse = "EADDRINUSE",
        /// timed out, 110
        Etimedout = "ETIMEDOUT",
    }
    /// Events of the SMMU (IHI 0070, 7.3).
    Event {
        /// 0x01
        FUut = "F_UUT",
        /// 0x02
        CBadStreamid = "C_BAD_STREAMID",
        /// 0x03
        FSteFetch = "F_STE_FETCH",
        /// 0x04
        CBadSte = "C_BAD_STE",
        /// 0x05
        FBadAtsTreq = "F_BAD_ATS_TREQ",
        /// 0x06
        FStreamDisabled = "F_STREAM_DISABLED",
        /// 0x07
        FTranslForbidden = "F_TRANSL_FORBIDDEN",
        /// 0x08
        CBadSubstreamid = "C_BAD_SUBSTREAMID",
        /// 0x09
        FCdFetch = "F_CD_FETCH",
        /// 0x0a
        CBadCd = "C_BAD_CD",
        /// 0x0b
        FWalkEabt = "F_WALK_EABT",
        /// 0x10
        FTranslation = "F_TRANSLATION",
        /// 0x11
        FAddrSize = "F_ADDR_SIZE",
        /// 0x12
        FAccess = "F_ACCESS",
        /// 0x13
        FPermission = "F_PERMISSION",
        /// 0x20
        FTlbConflict = "F_TLB_CONFLICT",
        /// 0x21
        FCfgConflict = "F_CFG_CONFLICT",
        /// 0x24
        EPageRequest = "E_PAGE_REQUEST",
    }
    /// Direction of a transfer.
    Direction {
        /// the device reads memory
        Read = "read",
        /// the device writes memory
        Write = "write",
    }
    /// Types of VIOMMU.
    ViommuType {
        /// 1: SMMUv3
        ArmSmmuv3 = "arm-smmuv3",
        /// 2: SMMUv3 with CMDQV
        Tegra241Cmdqv = "tegra241-cmdqv",
    }
    /// Types of HW_QUEUE.
    QueueType {
        /// 1: VCMDQ
        Tegra241Cmdqv = "tegra241-cmdqv",
    }
    /// Types of hardware information.
    InfoType {
        /// 0: the type of the device's IOMMU
        Default = "default",
        /// 2: SMMUv3 registers
        ArmSmmuv3 = "arm-smmuv3",
        /// 3: CMDQV sizes
        Tegra241Cmdqv = "tegra241-cmdqv",
    }
    /// How the values of several instances are joined.
    Combine {
        /// the first instance
        First = "first",
        /// any bit of any instance
        Or = "or",
    }
}

impl Errno {
    /// The number in the Linux ABI.
    pub const fn number(self) -> i32 {
        match self {
            Self::Eperm => 1,
            Self::Enoent => 2,
            Self::Eio => 5,
            Self::Enxio => 6,
            Self::E2big => 7,
            Self::Enomem => 12,
            Self::Efault => 14,
            Self::Ebusy => 16,
            Self::Eexist => 17,
            Self::Enodev => 19,
            Self::Einval => 22,
            Self::Emfile => 24,
            Self::Enotty => 25,
            Self::Enospc => 28,
            Self::Espipe => 29,
            Self::Erange => 34,
            Self::Edeadlk => 35,
            Self::Eoverflow => 75,
            Self::Ebadfd => 77,
            Self::Emsgsize => 90,
            Self::Eopnotsupp => 95,
            Self::Eaddrinuse => 98,
            Self::Etimedout => 110,
        }
    }
}

impl Event {
    /// The event number in the record.
    pub const fn number(self) -> u8 {
        match self {
            Self::FUut => 0x01,
            Self::CBadStreamid => 0x02,
            Self::FSteFetch => 0x03,
            Self::CBadSte => 0x04,
            Self::FBadAtsTreq => 0x05,
            Self::FStreamDisabled => 0x06,
            Self::FTranslForbidden => 0x07,
            Self::CBadSubstreamid => 0x08,
            Self::FCdFetch => 0x09,
            Self::CBadCd => 0x0a,
            Self::FWalkEabt => 0x0b,
            Self::FTranslation => 0x10,
            Self::FAddrSize => 0x11,
            Self::FAccess => 0x12,
            Self::FPermission => 0x13,
            Self::FTlbConflict => 0x20,
            Self::FCfgConflict => 0x21,
            Self::EPageRequest => 0x24,
        }
    }
}

/// What a step must end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Success.
    Ok,
    /// A system call fails with this error.
    Errno(Errno),
    /// A DMA ends with an abort, whatever event it raises.
    Abort,
    /// A DMA ends with an abort and this event is recorded.
    Event(Event),
}

/// Which outcomes a kind of step can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It succeeds.
    Ok,
    /// It succeeds or fails with an errno.
    Errno,
    /// It succeeds, or aborts with or without a named event.
    Dma,
}

impl Ends {
    /// The type of the key `expect`.
    pub fn ty(self) -> Ty {
        let mut words = vec![("ok", "success")];
        let add = |words: &mut Vec<_>, ty| {
            if let Ty::Choice(more) = ty {
                words.extend(more);
            }
        };
        match self {
            Self::Ok => {}
            Self::Errno => add(&mut words, Errno::ty()),
            Self::Dma => {
                words.push(("abort", "the device is refused"));
                add(&mut words, Event::ty());
            }
        }
        Ty::Choice(words)
    }

    fn read(self, node: &Node, cx: &mut Cx) -> Option<Expected> {
        let word = read_word(node, &self.ty(), cx)?;
        let errno = || Errno::ALL.iter().find(|e| e.word() == word).map(|e| Expected::Errno(*e));
        let event = || Event::ALL.iter().find(|e| e.word() == word).map(|e| Expected::Event(*e));
        match word {
            "ok" => Some(Expected::Ok),
            "abort" => Some(Expected::Abort),
            _ => errno().or_else(event),
        }
    }
}

record! {
    /// VFIO_DEVICE_BIND_IOMMUFD: bring an endpoint into the actor's iommufd context.
    Bind {
        /// The endpoint.
        endpoint: EndpointId;
    }
    /// Close the device: detach and unbind it.
    Unbind {
        /// The device.
        device: DeviceRef;
    }
    /// Allocate a buffer in the actor's memory, to be mapped by `ioas-map`. Page `n` of it is filled with the byte `n`.
    Memory {
        /// Its size.
        size: Size [4096..=1 << 40];
        /// Size of the physical pages behind it.
        page: Size [4096..=1 << 30] = "4 KiB";
        /// The pages are physically consecutive.
        contiguous: bool = "true";
        /// Physical alignment of its start, if larger than a page.
        align: Option<Size>;
    }
    /// IOMMU_IOAS_ALLOC.
    IoasAlloc {}
    /// IOMMU_IOAS_MAP.
    IoasMap {
        /// The IOAS.
        ioas: IoasRef;
        /// The buffer.
        memory: MemoryRef;
        /// First byte of the buffer to map.
        offset: Address = "0";
        /// Bytes to map; by default the rest of the buffer.
        length: Option<Size>;
        /// Fixed address; by default the kernel chooses.
        iova: Option<Address>;
        /// READABLE.
        read: bool = "true";
        /// WRITEABLE.
        write: bool = "true";
    }
    /// IOMMU_IOAS_UNMAP.
    IoasUnmap {
        /// The IOAS.
        ioas: IoasRef;
        /// First address.
        iova: Address = "0";
        /// Bytes; by default everything.
        length: Option<Size>;
    }
    /// IOMMU_HWPT_ALLOC: a paging HWPT from an IOAS, or a nested one from a viommu with a guest's STE.
    HwptAlloc {
        /// The device whose psmmu counts.
        device: DeviceRef;
        /// What it is made from.
        parent: PageTableRef;
        /// NEST_PARENT.
        nest_parent: bool = "false";
        /// DIRTY_TRACKING.
        dirty_tracking: bool = "false";
        /// PASID.
        pasid: bool = "false";
        /// The guest's STE; with a viommu as parent.
        vste: Option<VsteSpec>;
        /// data_type, if it should differ from what `vste` implies.
        data_type: Option<u64>;
        /// data_len, if it should differ from what `vste` implies.
        data_len: Option<u64>;
    }
    /// IOMMU_HWPT_INVALIDATE.
    HwptInvalidate {
        /// The viommu (or, to try it, any other object).
        viommu: AnyRef;
        /// The commands of the array.
        commands: Vec<Command>;
        /// Repeats the commands until the array has this many entries.
        entries: Option<u64> [0..=0x10_0000];
        /// data_type.
        data_type: u64 = "1";
        /// entry_len.
        entry_len: u64 = "16";
        /// Expected entry_num on return.
        handled: Option<u64>;
    }
    /// VFIO_DEVICE_ATTACH_IOMMUFD_PT; replaces the page table if the device has one.
    Attach {
        /// The device.
        device: DeviceRef;
        /// The page table.
        hwpt: PageTableRef;
    }
    /// VFIO_DEVICE_DETACH_IOMMUFD_PT.
    Detach {
        /// The device.
        device: DeviceRef;
    }
    /// IOMMU_DESTROY.
    Destroy {
        /// Any object of the context.
        object: AnyRef;
    }
    /// IOMMU_GET_HW_INFO.
    GetHwInfo {
        /// The device.
        device: DeviceRef;
        /// Requested type.
        r#type: Code<InfoType> = "default";
        /// Expected values of the reply by field (`idr0`, `log2vcmdqs`, `log2vsids`, `version`, `out_type`, ...).
        want: Values = "{}";
    }
    /// IOMMU_VIOMMU_ALLOC.
    ViommuAlloc {
        /// The device that selects the psmmu.
        device: DeviceRef;
        /// The nesting parent.
        hwpt: PageTableRef;
        /// The type.
        r#type: Code<ViommuType> = "arm-smmuv3";
        /// data_len, if it should differ from what the type needs.
        data_len: Option<u64>;
    }
    /// IOMMU_VDEVICE_ALLOC.
    VdeviceAlloc {
        /// The viommu.
        viommu: ViommuRef;
        /// The device.
        device: DeviceRef;
        /// Its virtual StreamID.
        virt_id: u64;
    }
    /// IOMMU_HW_QUEUE_ALLOC.
    HwQueueAlloc {
        /// The viommu.
        viommu: ViommuRef;
        /// Index of the logical queue.
        index: u64;
        /// Address of the ring in the nesting parent's IOAS.
        iova: Address;
        /// Length of the ring in bytes.
        length: Address;
        /// The type.
        r#type: Code<QueueType> = "tegra241-cmdqv";
    }
    /// IOMMU_VEVENTQ_ALLOC.
    VeventqAlloc {
        /// The viommu.
        viommu: ViommuRef;
        /// The type.
        r#type: Code<ViommuType> = "arm-smmuv3";
        /// Depth.
        depth: u64 = "16";
    }
    /// Read the descriptor of a VEVENTQ.
    VeventqRead {
        /// The VEVENTQ.
        veventq: VeventqRef;
        /// Size of the reader's buffer.
        bytes: u64 [0..=0x10_0000] = "4096";
        /// Expected number of bytes read.
        read: Option<u64>;
        /// Expected records in order, each with any of `sequence`, `lost`, `event`, `vsid`, `map0`, `map1`.
        want: Vec<Values>;
    }
    /// Close the descriptor of a VEVENTQ.
    Close {
        /// The VEVENTQ.
        veventq: VeventqRef;
    }
    /// mmap of a viommu's register page.
    Mmap {
        /// The viommu whose window it is.
        viommu: ViommuRef;
        /// Length, if it should differ from the window's.
        length: Option<Size>;
        /// Bytes to add to the window's offset.
        shift: Address = "0";
        /// MAP_SHARED.
        shared: bool = "true";
        /// PROT_EXEC.
        exec: bool = "false";
        /// Also becomes guest memory of the acting VM (or of `vm`) at this address. What was there before is replaced.
        at: Option<Address>;
        /// The VM that gets the page at `at`.
        vm: Option<VmId>;
        /// The page is trapped instead: the VMM repeats every write on all windows at this address and answers reads of CONS with
        /// the least of them.
        trapped: bool = "false";
    }
    /// munmap.
    Munmap {
        /// The window.
        window: WindowRef;
    }
    /// fork: a second process with all mappings and descriptors.
    Fork {}
    /// A forked process ends.
    Exit {
        /// The process.
        process: ProcessRef;
    }
    /// The actor closes its iommufd descriptor.
    CloseContext {}
}

record! {
    /// RFCv1: IOMMU_VIOMMU_ALLOC.
    RfcViommuAlloc {
        /// The device that selects the psmmu.
        device: DeviceRef;
        /// The nesting parent.
        hwpt: HwptRef;
        /// The type number.
        r#type: u64 = "0";
    }
    /// RFCv1: IOMMU_VIOMMU_SET_DEV_ID.
    RfcSetDevId {
        /// The viommu.
        viommu: ViommuRef;
        /// The device.
        device: DeviceRef;
        /// The virtual id.
        id: u64;
    }
    /// RFCv1: IOMMU_VQUEUE_ALLOC.
    RfcVqueueAlloc {
        /// The viommu.
        viommu: ViommuRef;
        /// Index of the logical queue.
        index: u64;
        /// log2 of the entries.
        log2size: u64;
        /// Address of the ring in the guest.
        base: Address;
    }
    /// RFCv1: mmap with the viommu's id as page offset.
    RfcMmap {
        /// The viommu.
        viommu: ViommuRef;
        /// Length; by default one page.
        length: Option<Size>;
    }
    /// RFCv1: look at both arrays, the device's `viommus` and the viommu's `idevs`.
    RfcArrays {
        /// The device to look at.
        device: Option<DeviceRef>;
        /// Expected number of entries in the device's array.
        device_entries: Option<u64>;
        /// Expected number of those that name a viommu which no longer exists.
        dangling: Option<u64>;
        /// The viommu to look at.
        viommu: Option<ViommuRef>;
        /// Expected number of entries in the viommu's array.
        viommu_entries: Option<u64>;
    }
}

record! {
    /// Build stage-1 tables (a CD and an empty page table) in a buffer that is mapped one to one at its IPA.
    TableStep {
        /// The buffer; its first 64 KiB are used.
        memory: MemoryRef;
        /// The IPA at which the buffer is mapped.
        ipa: Address;
        /// ASID in the CD.
        asid: u64 [0..=0xffff] = "1";
        /// Granule.
        granule: Granule = "4 KiB";
    }
    /// Write a leaf of stage-1 tables, in place of what was there. Nothing is invalidated.
    TableMap {
        /// The tables.
        table: crate::names::TableRef;
        /// Virtual address.
        iova: Address;
        /// Intermediate physical address it maps to.
        ipa: Address;
        /// Bytes.
        length: Size = "4 KiB";
        /// Writable.
        write: bool = "true";
    }
    /// Clear leaves of stage-1 tables. Nothing is invalidated.
    TableUnmap {
        /// The tables.
        table: crate::names::TableRef;
        /// Virtual address.
        iova: Address;
        /// Bytes.
        length: Size = "4 KiB";
    }
    /// The actor takes an old mapping for gone on all devices: whoever uses it from here on makes a stale use.
    Retire {
        /// The tables.
        table: crate::names::TableRef;
        /// Virtual address.
        iova: Address;
        /// Bytes.
        length: Size = "4 KiB";
    }
    /// Map memory for DMA through the driver of the actor (dma_map).
    Map {
        /// The endpoint.
        endpoint: EndpointId;
        /// Virtual address; by default the driver chooses.
        iova: Option<Address>;
        /// Bytes.
        length: Size = "4 KiB";
        /// The device may write.
        write: bool = "true";
        /// The host maps each page only when the endpoint asks for it (PRI).
        demand: bool = "false";
        /// For transfers with this PASID, which has an address space of its own; the host's only.
        pasid: Option<u64> [1..=1023];
    }
    /// Unmap memory through the driver of the actor (dma_unmap).
    Unmap {
        /// The mapping.
        mapping: MappingRef;
        /// Also invalidate and wait, as a correct driver does.
        invalidate: bool = "true";
    }
    /// One transfer of an endpoint.
    Dma {
        /// The endpoint.
        endpoint: EndpointId;
        /// Its direction.
        direction: Direction = "read";
        /// Virtual address.
        iova: Option<Address>;
        /// In place of an address: a mapping made by `map`.
        mapping: Option<MappingRef>;
        /// Bytes to add to the address.
        offset: Address = "0";
        /// Bytes.
        length: Size [1..=1 << 20] = "8 B";
        /// PASID; by default that of the mapping.
        pasid: Option<u64> [0..=0xf_ffff];
        /// Its transactions are privileged. On PCIe only those with a PASID can be.
        privileged: bool = "false";
        /// Its reads fetch instructions. On PCIe only those with a PASID can.
        instruction: bool = "false";
        /// The PASID ends with this transfer: an endpoint that sends page requests (PRI) sends a stop marker.
        stop: bool = "false";
        /// Data of a write, or expected data of a read.
        data: Option<Bytes>;
        /// The buffer it must reach.
        lands_in: Option<MemoryRef>;
        /// Where in that buffer.
        lands_at: Address = "0";
        /// Do not wait for its end, and expect nothing of it: other steps happen while it is under way.
        background: bool = "false";
    }
    /// Read memory with a CPU.
    MemRead {
        /// The buffer.
        memory: MemoryRef;
        /// Where in the buffer.
        offset: Address = "0";
        /// Expected data.
        data: Bytes;
    }
    /// Write memory with a CPU.
    MemWrite {
        /// The buffer.
        memory: MemoryRef;
        /// Where in the buffer.
        offset: Address = "0";
        /// The data.
        data: Bytes;
    }
}

record! {
    /// Read a register.
    RegRead {
        /// The block.
        block: Block;
        /// The register.
        reg: Register;
        /// Access width in bits.
        width: Option<u64> [8..=64];
        /// Expected value, under `mask`.
        value: Option<u64>;
        /// Bits that count.
        mask: Option<u64>;
        /// Expected to differ from this value, under `mask`.
        not: Option<u64>;
    }
    /// Write a register.
    RegWrite {
        /// The block.
        block: Block;
        /// The register.
        reg: Register;
        /// The value.
        value: u64;
        /// Access width in bits.
        width: Option<u64> [8..=64];
    }
    /// Read a register again and again until it has a value.
    Poll {
        /// The block.
        block: Block;
        /// The register.
        reg: Register;
        /// The value waited for, under `mask`.
        value: u64;
        /// Bits that count.
        mask: Option<u64>;
        /// How the values of several instances are joined.
        combine: Combine = "first";
        /// Pause between two reads.
        every: Time [1_000..=1_000_000_000_000] = "1 us";
        /// Give up (and fail) after this time.
        limit: Time [1_000..=10_000_000_000_000] = "1 ms";
    }
    /// Read all registers of a block, by name or in their order. With `same_as` none may have changed since that earlier step of
    /// this kind.
    Registers {
        /// The block.
        block: Block;
        /// The earlier step.
        same_as: Option<StepName>;
    }
    /// Put commands into a queue and ring its doorbell.
    CommandStep {
        /// The queue.
        queue: Queue;
        /// The commands.
        commands: Vec<Command>;
        /// Add a CMD_SYNC and wait until it is consumed.
        sync: bool = "true";
        /// Expected CERROR code, if the queue must stop.
        cerror: Option<u64> [0..=127];
    }
    /// Wait.
    Wait {
        /// This long.
        time: Option<Time>;
        /// Until this load has finished.
        load: Option<LoadId>;
        /// Until nothing is in flight any more.
        idle: bool = "false";
    }
    /// Wait for an event record and take it.
    WaitEvent {
        /// Whose queue: a psmmu, or a vsmmu for the guest's queue.
        at: Target;
        /// Which event.
        event: Event;
        /// Of which endpoint.
        endpoint: Option<EndpointId>;
        /// Give up (and fail) after this time.
        within: Time [1_000..=10_000_000_000_000] = "1 ms";
    }
    /// Begin a load that does not start by itself.
    StartLoad {
        /// The load.
        load: LoadId;
    }
    /// Arm a fault.
    ArmFault {
        /// The fault.
        fault: FaultId;
    }
    /// Disarm a fault.
    ClearFault {
        /// The fault.
        fault: FaultId;
    }
    /// Compare a metric at this moment.
    Check {
        /// The metric.
        metric: String;
        /// Count from the end of this named step.
        since: Option<StepName>;
        /// Exactly this.
        equals: Option<f64>;
        /// At least this.
        min: Option<f64>;
        /// At most this.
        max: Option<f64>;
    }
    /// How fast a metric grew in a span of the script, per microsecond. If the step has a name, the numbers become metrics:
    /// `<name>.per_us`, `<name>.of` and `<name>.fair`.
    Rate {
        /// The metric.
        metric: String;
        /// The span begins at the end of this named step.
        since: StepName;
        /// It ends at the end of this one; by default now.
        until: Option<StepName>;
        /// Two named steps, between which the metric grew too: `min` and `max` are for the quotient of the two rates.
        of: Vec<StepName>;
        /// A VINTF, like `"smmu0.vintf1"`: the quotient must not be less than its fair share, the part that its queues are of
        /// all queues of the psmmu which executed commands in the span.
        fair: Option<Block>;
        /// At least this.
        min: Option<f64>;
        /// At most this.
        max: Option<f64>;
    }
    /// Say something in the report.
    Note {
        /// The text.
        text: String;
    }
}

/// The index of an earlier step that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName(pub usize);

impl Field for StepName {
    fn ty() -> Ty {
        Ty::Form("the `name` of an earlier step")
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Str(name) = &node.value else { return cx.wrong_type(node, &Self::ty()) };
        if let Some(index) = cx.names.steps.get(name) {
            return Some(Self(*index));
        }
        if cx.partial {
            return None;
        }
        let known: Vec<String> = cx.names.steps.keys().cloned().collect();
        let known = || known.iter().map(String::as_str);
        let label = suggest::nearest(name, known()).map_or_else(
            || "no earlier step has this name".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let mut diagnostic =
            Diagnostic::at(node.span.clone(), format!("there is no step `{name}`")).label(label);
        diagnostic = if known().next().is_none() {
            diagnostic.help("give the step a name: { name = \"...\", do = ... }")
        } else {
            diagnostic.help(format!("named steps: {}", suggest::list(known(), 40)))
        };
        cx.reject(diagnostic)
    }
}

/// What the reference says about one kind of step.
pub struct StepKind {
    /// The word for `do`.
    pub word: &'static str,
    /// The group in the reference.
    pub group: &'static str,
    /// What `as` names.
    pub makes: Option<ObjectKind>,
    /// What `expect` can say.
    pub ends: Ends,
    /// The arguments.
    pub table: Table,
}

macro_rules! steps {
    ($( $group:literal: $ends:ident { $( $Variant:ident($Args:ident) = $word:literal $(=> $makes:ident)? ; )* } )*) => {
        /// What a step does, with its arguments.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Action {
            $($( #[doc = concat!("`", $word, "`")] $Variant(Box<$Args>), )*)*
        }
        impl Action {
            /// The word for `do`.
            pub fn word(&self) -> &'static str {
                match self { $($( Self::$Variant(_) => $word, )*)* }
            }
            fn read(word: &str, fields: &Fields<'_>, cx: &mut Cx) -> Option<Self> {
                match word {
                    $($( $word => <$Args as Record>::read(fields, cx).map(|args| Self::$Variant(Box::new(args))), )*)*
                    _ => unreachable!("checked against the table"),
                }
            }
        }
        /// Every kind of step, in the order of the reference.
        pub fn kinds() -> Vec<StepKind> {
            vec![$($( StepKind {
                word: $word,
                group: $group,
                makes: [$(ObjectKind::$makes)?].first().copied(),
                ends: Ends::$ends,
                table: <$Args as Record>::table(),
            }, )*)*]
        }
    };
}

steps! {
    "iommufd calls": Errno {
        Bind(Bind) = "bind" => Device;
        Unbind(Unbind) = "unbind";
        IoasAlloc(IoasAlloc) = "ioas-alloc" => Ioas;
        IoasMap(IoasMap) = "ioas-map";
        IoasUnmap(IoasUnmap) = "ioas-unmap";
        HwptAlloc(HwptAlloc) = "hwpt-alloc" => Hwpt;
        HwptInvalidate(HwptInvalidate) = "hwpt-invalidate";
        Attach(Attach) = "attach";
        Detach(Detach) = "detach";
        Destroy(Destroy) = "destroy";
        GetHwInfo(GetHwInfo) = "get-hw-info";
        ViommuAlloc(ViommuAlloc) = "viommu-alloc" => Viommu;
        VdeviceAlloc(VdeviceAlloc) = "vdevice-alloc" => Vdevice;
        HwQueueAlloc(HwQueueAlloc) = "hw-queue-alloc" => HwQueue;
        VeventqAlloc(VeventqAlloc) = "veventq-alloc" => Veventq;
        VeventqRead(VeventqRead) = "veventq-read";
        Close(Close) = "close";
        Mmap(Mmap) = "mmap" => Window;
        Munmap(Munmap) = "munmap";
        Fork(Fork) = "fork" => Process;
        Exit(Exit) = "exit";
        CloseContext(CloseContext) = "close-context";
    }
    "iommufd calls of RFCv1 (abi = \"rfcv1\")": Errno {
        RfcViommuAlloc(RfcViommuAlloc) = "rfc-viommu-alloc" => Viommu;
        RfcSetDevId(RfcSetDevId) = "rfc-set-dev-id";
        RfcVqueueAlloc(RfcVqueueAlloc) = "rfc-vqueue-alloc" => Vqueue;
        RfcMmap(RfcMmap) = "rfc-mmap" => Window;
        RfcArrays(RfcArrays) = "rfc-arrays";
    }
    "Memory and tables": Ok {
        Memory(Memory) = "memory" => Memory;
        Table(TableStep) = "table" => Table;
        TableMap(TableMap) = "table-map";
        TableUnmap(TableUnmap) = "table-unmap";
        Retire(Retire) = "retire";
        MemRead(MemRead) = "mem-read";
        MemWrite(MemWrite) = "mem-write";
    }
    "Drivers": Errno {
        Map(Map) = "map" => Mapping;
        Unmap(Unmap) = "unmap";
    }
    "DMA": Dma {
        Dma(Dma) = "dma";
    }
    "Registers and queues": Ok {
        RegRead(RegRead) = "reg-read";
        RegWrite(RegWrite) = "reg-write";
        Registers(Registers) = "registers";
        Poll(Poll) = "poll";
        Command(CommandStep) = "command";
    }
    "Time, loads and faults": Ok {
        Wait(Wait) = "wait";
        WaitEvent(WaitEvent) = "wait-event";
        StartLoad(StartLoad) = "start-load";
        ArmFault(ArmFault) = "arm-fault";
        ClearFault(ClearFault) = "clear-fault";
        Check(Check) = "check";
        Rate(Rate) = "rate";
        Note(Note) = "note";
    }
}

/// Keys that every step has.
pub fn common_keys() -> Vec<crate::declare::Key> {
    StepHead::table().keys
}

record! {
    /// Keys that every step has.
    StepHead {
        /// Who acts. For iommufd calls: whose context.
        actor: Actor = "host";
        /// A name for reports, for `since` and for `order`.
        name: Option<String>;
        /// Why the step is there; shown in the report.
        why: Option<String>;
        /// A name for what the step makes.
        r#as: Option<String>;
    }
}

/// One step of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Who acts.
    pub actor: Actor,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why it is there.
    pub why: Option<String>,
    /// What it does.
    pub action: Action,
    /// The object it makes.
    pub makes: Option<ObjectId>,
    /// How it must end.
    pub expect: Expected,
    /// Its bytes in the file.
    pub span: Span,
    /// Its line in the file, from 1.
    pub line: u32,
}

/// Reads one step. Declares its name and its object even when its arguments are wrong, to spare follow-up errors.
pub fn read_step(node: &Node, index: usize, kinds: &[StepKind], text: &str, cx: &mut Cx) -> Option<Step> {
    if !matches!(node.value, Raw::Table(_)) {
        return cx.wrong_type(node, &Ty::Form("a table like { do = \"bind\", endpoint = \"nic0\" }"));
    }
    let kind = read_kind(node, kinds, cx);
    let head_fields = Fields { node, table: StepHead::table(), what: "this step", header: node.span.clone() };
    let head = <StepHead as Record>::read(&head_fields, cx);
    if let Some((head, name)) = head.as_ref().zip(head.as_ref().and_then(|h| h.name.clone())) {
        let _ = head;
        let span = node.get("name").expect("given").node.span.clone();
        if cx.names.steps.insert(name.clone(), index).is_some() {
            cx.diagnostics.push(
                Diagnostic::at(span, format!("two steps are called `{name}`"))
                    .label("again here")
                    .help("names of steps are unique"),
            );
        }
    }
    let kind = kind?;
    let what = format!("the step `{}`", kind.word);
    let mut table = kind.table.clone();
    table.keys.insert(0, do_key(kinds));
    table.keys.extend(StepHead::table().keys);
    table.keys.push(expect_key(kind.ends));
    let header = node.get("do").map_or(node.span.clone(), |e| e.key.start..e.node.span.end);
    let fields = Fields { node, table, what: &what, header };
    fields.check_keys(cx);
    let expect = match node.get("expect") {
        Some(entry) => kind.ends.read(&entry.node, cx),
        None => Some(Expected::Ok),
    };
    let action = Action::read(kind.word, &fields, cx);
    if let Some(action) = &action {
        known_register(node, action, cx);
    }
    let pardoned = std::mem::take(&mut cx.pardonable);
    if expect == Some(Expected::Ok) {
        cx.diagnostics.extend(pardoned);
    }
    let makes = declare_object(node, kind, index, action.as_ref(), expect, cx);
    let head = head?;
    Some(Step {
        actor: head.actor,
        name: head.name,
        why: head.why,
        action: action?,
        makes,
        expect: expect?,
        span: node.span.clone(),
        line: crate::diagnostic::line_of(text, node.get("do").map_or(node.span.start, |e| e.key.start)),
    })
}

/// Rejects the name of a register that its block does not have.
fn known_register(node: &Node, action: &Action, cx: &mut Cx) {
    let (block, reg) = match action {
        Action::RegRead(args) => (args.block, &args.reg),
        Action::RegWrite(args) => (args.block, &args.reg),
        Action::Poll(args) => (args.block, &args.reg),
        _ => return,
    };
    let Err(names) = crate::register::locate(block, reg) else { return };
    let Register::Name(name, _) = reg else { unreachable!("offsets are always found") };
    let span = node.get("reg").map_or(node.span.clone(), |e| e.node.span.clone());
    let names = || names.iter().map(String::as_str);
    let label = suggest::nearest(name, names())
        .map_or_else(|| "unknown register".to_owned(), |near| format!("did you mean `{near}`?"));
    let diagnostic = Diagnostic::at(span, format!("this block has no register `{name}`")).label(label);
    cx.diagnostics.push(if names().next().is_none() {
        diagnostic.help("registers of this block are given by offset, like reg = 0x84")
    } else {
        diagnostic.help(format!("its registers: {}", suggest::list(names(), 80)))
    });
}

fn read_kind<'k>(node: &Node, kinds: &'k [StepKind], cx: &mut Cx) -> Option<&'k StepKind> {
    let Some(entry) = node.get("do") else {
        return cx.reject(
            Diagnostic::at(node.span.clone(), "this step lacks the key `do`")
                .label("what should it do?")
                .help(format!("valid values: {}", suggest::list(kinds.iter().map(|k| k.word), 80))),
        );
    };
    let word = read_word(&entry.node, &do_key(kinds).ty, cx)?;
    kinds.iter().find(|k| k.word == word)
}

fn declare_object(
    node: &Node,
    kind: &StepKind,
    index: usize,
    action: Option<&Action>,
    expect: Option<Expected>,
    cx: &mut Cx,
) -> Option<ObjectId> {
    let endpoint = match action {
        Some(Action::Bind(args)) => Some(args.endpoint),
        _ => None,
    };
    let entry = node.get("as");
    if let Some(entry) = entry
        && kind.makes.is_none()
    {
        return cx.reject(
            Diagnostic::at(entry.key.clone(), format!("`{}` makes nothing that `as` could name", kind.word))
                .label("no object")
                .help(format!(
                    "steps that make an object: {}",
                    suggest::list(kinds().iter().filter(|k| k.makes.is_some()).map(|k| k.word), 40)
                )),
        );
    }
    if let Some(entry) = entry
        && expect.is_some_and(|e| e != Expected::Ok)
    {
        return cx.reject(
            Diagnostic::at(entry.key.clone(), "a step that must fail makes no object")
                .label("`as` names nothing")
                .help("remove `as`, or expect \"ok\""),
        );
    }
    let name = match entry.map(|e| &e.node.value) {
        Some(Raw::Str(name)) => name.clone(),
        // A device needs no name of its own: it is found by its endpoint.
        None if endpoint.is_some() && expect == Some(Expected::Ok) => String::new(),
        _ => return None,
    };
    let span = entry.map_or(node.span.clone(), |e| e.node.span.clone());
    let object = Object { name, kind: kind.makes?, step: index, span, endpoint };
    if object.name.is_empty() {
        cx.names.objects.push(object);
        return Some(ObjectId(cx.names.objects.len() - 1));
    }
    match cx.names.declare_object(object) {
        Ok(id) => Some(id),
        Err(diagnostic) => cx.reject(diagnostic),
    }
}

fn do_key(kinds: &[StepKind]) -> crate::declare::Key {
    crate::declare::Key {
        name: "do",
        doc: vec!["What the step does."],
        ty: Ty::Choice(kinds.iter().map(|k| (k.word, k.table.doc[0])).collect()),
        range: None,
        default: None,
        required: true,
    }
}

/// The key `expect` of a kind of step.
pub fn expect_key(ends: Ends) -> crate::declare::Key {
    crate::declare::Key {
        name: "expect",
        doc: vec!["How the step must end."],
        ty: ends.ty(),
        range: None,
        default: Some("ok"),
        required: false,
    }
}

/// Reads a record that stands in a list of tables.
pub fn read_item<R: Record>(node: &Node, what: &str, cx: &mut Cx) -> Option<R> {
    read_record(node, what, node.span.clone(), cx)
}
