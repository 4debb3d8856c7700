//! HW_QUEUE: a queue in guest memory that a VCMDQ of the viommu's VINTF consumes.

use std::sync::Arc;

use models::bus::PhysAddr;
use models::cpu::Cpu;

use super::context::{Context, State};
use super::host::HostSmmu;
use super::kinds::{HwQueue, Kind};
use super::object::Id;
use crate::errno::Errno;

/// The one queue type that hardware here has.
const HW_QUEUE_TEGRA241_CMDQV: u32 = 1;

/// Arguments of HW_QUEUE_ALLOC.
#[derive(Clone, Copy, Debug, Default)]
pub struct HwQueueAlloc {
    /// Must be zero.
    pub flags: u32,
    /// The viommu.
    pub viommu: u32,
    /// 1: a Tegra241 VCMDQ.
    pub kind: u32,
    /// Logical index within the VINTF.
    pub index: u32,
    /// First byte, as an address of the nesting parent.
    pub iova: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Context {
    /// IOMMU_HW_QUEUE_ALLOC. Pins the queue's memory against unmapping.
    ///
    /// # Errors
    /// EOPNOTSUPP, EINVAL, EOVERFLOW: bad arguments, in the kernel's order (memory before index). ENOENT: no such
    /// viommu, or a hole in the range. EPERM: not readable. EFAULT: not physically contiguous. EEXIST: index taken.
    /// EIO: index out of order.
    pub async fn hw_queue_alloc(&self, cpu: &Cpu, cmd: &HwQueueAlloc) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_hw_queue(cpu, cmd).await;
        self.leave(cpu, "HW_QUEUE_ALLOC", cmd, result)
    }

    async fn alloc_hw_queue(&self, cpu: &Cpu, cmd: &HwQueueAlloc) -> Result<Id, Errno> {
        let made = self.state().prepare_queue(cmd, self.page_size)?;
        let cmdqv = made.smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
        // An index beyond eight bits is beyond every CMDQV.
        let result = match u8::try_from(cmd.index) {
            Ok(index) => cmdqv.lvcmdq_alloc(cpu, made.vintf, index, made.base, cmd.length).await,
            Err(_) => Err(Errno::EINVAL),
        };
        let mut state = self.state();
        if let Err(errno) = result {
            state.unpin(made.ioas, &made.areas, made.access);
            state.objects.abandon(made.id);
            return Err(errno);
        }
        let queues = &mut state.viommu_mut(Id(cmd.viommu))?.vintf.as_mut().expect("it has a CMDQV").queues;
        let previous = cmd.index.checked_sub(1).and_then(|before| queues.get(&before).copied());
        queues.insert(cmd.index, made.id);
        state.objects.hold(Id(cmd.viommu));
        if let Some(previous) = previous {
            state.objects.hold(previous);
        }
        let queue = HwQueue {
            viommu: Id(cmd.viommu),
            index: cmd.index,
            access: made.access,
            ioas: made.ioas,
            areas: made.areas,
            previous,
            length: cmd.length,
        };
        state.objects.publish(made.id, Kind::HwQueue(queue));
        Ok(made.id)
    }

    /// Bytes of the ring at a logical index of a viommu, if a HW_QUEUE is there.
    pub fn hw_queue_length(&self, viommu: Id, index: u32) -> Option<u64> {
        let state = self.state();
        let id = *state.viommu(viommu).ok()?.vintf.as_ref()?.queues.get(&index)?;
        match state.objects.get(id).map(|o| &o.kind) {
            Some(Kind::HwQueue(queue)) => Some(queue.length),
            _ => None,
        }
    }

    pub(super) async fn hw_queue_gone(&self, cpu: &Cpu, queue: HwQueue) {
        let (smmu, vintf) = {
            let state = self.state();
            let viommu = state.viommu(queue.viommu).expect("a queue holds its viommu");
            (Arc::clone(&viommu.smmu), viommu.vintf.as_ref().expect("it has queues").index)
        };
        let cmdqv = smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
        let freed = cmdqv.lvcmdq_free(cpu, vintf, queue.index as u8).await;
        assert!(freed.is_ok(), "queues are destroyed last first");
        let mut state = self.state();
        let viommu = state.viommu_mut(queue.viommu).expect("a queue holds its viommu");
        viommu.vintf.as_mut().expect("it has queues").queues.remove(&queue.index);
        if let Some(previous) = queue.previous {
            state.objects.release(previous);
        }
        state.unpin(queue.ioas, &queue.areas, queue.access);
        state.objects.release(queue.viommu);
    }
}

/// What the core has done before the driver is asked.
struct Prepared {
    id: Id,
    access: Id,
    ioas: Id,
    areas: Vec<u64>,
    smmu: Arc<HostSmmu>,
    vintf: u8,
    base: PhysAddr,
}

impl State {
    /// The core's checks in the kernel's order; on success the number is reserved and the memory locked.
    fn prepare_queue(&mut self, cmd: &HwQueueAlloc, page_size: u64) -> Result<Prepared, Errno> {
        if cmd.flags != 0 || cmd.kind == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if cmd.length == 0 {
            return Err(Errno::EINVAL);
        }
        let last = cmd.iova.checked_add(cmd.length - 1).ok_or(Errno::EOVERFLOW)?;
        let viommu = self.viommu(Id(cmd.viommu))?;
        let smmu = Arc::clone(&viommu.smmu);
        let Some(vintf) = viommu.vintf.as_ref().map(|v| v.index) else {
            let why = format!("viommu {} has no CMDQV: its type carries no queues", cmd.viommu);
            return Err(self.refusal.because(Errno::EOPNOTSUPP, why));
        };
        if cmd.kind != HW_QUEUE_TEGRA241_CMDQV {
            return Err(Errno::EOPNOTSUPP);
        }
        let ioas = self.paging(viommu.parent)?.ioas;
        let first = cmd.iova / page_size * page_size;
        let end = last
            .checked_add(1)
            .and_then(|end| end.checked_next_multiple_of(page_size))
            .ok_or(Errno::ERANGE)?;
        let (base, areas) = self.find_pages(ioas, first, end - first, page_size)?;
        let id = self.objects.reserve();
        let access = self.objects.insert(Kind::Access);
        // The queue is the pin's creator: nobody else can destroy it.
        self.objects.hold(access);
        self.objects.hold(ioas);
        for start in &areas {
            self.ioas_mut(ioas)?.areas.get_mut(start).expect("found just now").locks += 1;
        }
        Ok(Prepared { id, access, ioas, areas, smmu, vintf, base: base + (cmd.iova - first) })
    }

    fn unpin(&mut self, ioas: Id, areas: &[u64], access: Id) {
        let entry = self.ioas_mut(ioas).expect("a pin holds its IOAS");
        for start in areas {
            entry.areas.get_mut(start).expect("a locked area stays").locks -= 1;
        }
        self.objects.release(access);
        self.objects.remove(access).expect("only its creator held it");
        self.objects.release(ioas);
    }

    /// The physical address of a range and the areas it lies in.
    fn find_pages(
        &self,
        ioas: Id,
        iova: u64,
        len: u64,
        page_size: u64,
    ) -> Result<(PhysAddr, Vec<u64>), Errno> {
        let ioas = self.ioas(ioas)?;
        if ioas.areas.iter().any(|(s, a)| (s | a.len | a.offset) % page_size != 0) {
            return Err(Errno::EADDRINUSE);
        }
        let mut areas = Vec::new();
        let mut base: Option<PhysAddr> = None;
        let mut contiguous = true;
        let mut at = iova;
        while at < iova + len {
            let (start, area) =
                ioas.areas.range(..=at).next_back().filter(|(s, a)| at < *s + a.len).ok_or_else(|| {
                    self.refusal.because(Errno::ENOENT, format!("{at:#x} is not mapped in the IOAS"))
                })?;
            if !area.readable {
                return Err(Errno::EPERM);
            }
            let pa = area.memory.at(area.offset + (at - start)).ok_or(Errno::EFAULT)?;
            let first = *base.get_or_insert(pa);
            contiguous &= pa == first + (at - iova);
            if areas.last() != Some(start) {
                areas.push(*start);
            }
            at += page_size;
        }
        if !contiguous {
            let why = format!("the queue at {iova:#x} is not contiguous in physical memory");
            return Err(self.refusal.because(Errno::EFAULT, why));
        }
        Ok((base.expect("the range is not empty"), areas))
    }
}
