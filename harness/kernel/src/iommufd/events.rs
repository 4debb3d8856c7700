//! VEVENTQ: event records of a viommu for user space.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use models::cpu::{Cpu, SignalId};
use sim::Time;
use spec::smmu::EventRecord;

use super::context::{Context, State};
use super::host::HostSmmu;
use super::kinds::{Kind, Vevent, Veventq};
use super::object::Id;
use crate::cmdqv::VintfErrorSink;
use crate::errno::Errno;
use crate::smmu::Taken;

/// VEVENTQ type: SMMUv3 event records.
pub(super) const VEVENTQ_ARM_SMMUV3: u32 = 1;
/// VEVENTQ type: CMDQV error maps.
pub(super) const VEVENTQ_TEGRA241_CMDQV: u32 = 2;
/// The deepest queue.
const MAX_DEPTH: u32 = 1 << 19;
/// Events that a guest may hear of: C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD and the four
/// translation-related faults.
const FORWARDED: [u64; 8] = [0x04, 0x06, 0x08, 0x0a, 0x10, 0x11, 0x12, 0x13];

impl Context {
    /// IOMMU_VEVENTQ_ALLOC: the queue and its open descriptor.
    ///
    /// # Errors
    /// EOPNOTSUPP: type 0. EINVAL: depth 0 or above 2^19. ENOENT: no such viommu. EEXIST: one of that type exists.
    pub async fn veventq_alloc(&self, cpu: &Cpu, viommu: Id, kind: u32, depth: u32) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_veventq(viommu, kind, depth);
        self.leave(cpu, "VEVENTQ_ALLOC", &(viommu, kind, depth), result)
    }

    fn alloc_veventq(&self, viommu: Id, kind: u32, depth: u32) -> Result<Id, Errno> {
        if kind == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if depth == 0 || depth > MAX_DEPTH {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state();
        if state.viommu(viommu)?.veventqs.contains_key(&kind) {
            return Err(Errno::EEXIST);
        }
        let queue = Veventq {
            viommu,
            kind,
            depth,
            records: VecDeque::new(),
            next_sequence: 0,
            open: 1,
            signal: None,
        };
        let id = state.objects.insert(Kind::Veventq(queue));
        state.objects.hold(id);
        state.objects.hold(viommu);
        state.viommu_mut(viommu)?.veventqs.insert(kind, id);
        Ok(id)
    }

    pub(super) fn veventq_gone(&self, queue: &Veventq) {
        let mut state = self.state();
        if let Ok(viommu) = state.viommu_mut(queue.viommu) {
            viommu.veventqs.remove(&queue.kind);
        }
        state.objects.release(queue.viommu);
    }

    /// Raise this signal whenever a record waits (the descriptor's poll).
    ///
    /// # Errors
    /// ENOENT: no such queue.
    pub fn veventq_notify(&self, id: Id, signal: SignalId) -> Result<(), Errno> {
        self.state().veventq_mut(id)?.signal = Some(signal);
        Ok(())
    }

    /// Closes the queue's descriptor; only then can it be destroyed.
    ///
    /// # Errors
    /// ENOENT: no such queue, or already closed.
    pub fn veventq_close(&self, id: Id) -> Result<(), Errno> {
        let mut state = self.state();
        let queue = state.veventq_mut(id)?;
        if queue.open == 0 {
            return Err(Errno::ENOENT);
        }
        queue.open -= 1;
        state.objects.release(id);
        Ok(())
    }

    /// Reads all records. Never blocks; an empty queue gives none.
    ///
    /// # Errors
    /// ENOENT: no such queue.
    pub async fn veventq_read(&self, cpu: &Cpu, id: Id) -> Result<Vec<Vevent>, Errno> {
        self.enter(cpu).await;
        let result = self.state().veventq_mut(id).map(|queue| queue.records.drain(..).collect());
        self.leave(cpu, "VEVENTQ read", &id, result)
    }

    /// Offers an event record of a pSMMU. `Some` when a device of this context took it, with the signal to raise.
    pub(super) fn offer_event(&self, smmu: &HostSmmu, record: EventRecord) -> Option<Option<SignalId>> {
        let mut state = self.state();
        let (viommu, virt_id) = state.vmaster(smmu, record)?;
        let queue = state.viommu(viommu).ok()?.veventqs.get(&VEVENTQ_ARM_SMMUV3).copied()?;
        let virt = record.with_sid(virt_id);
        let queue = state.veventq_mut(queue).expect("listed by its viommu");
        queue.report(virt.0.to_vec());
        Some(queue.signal)
    }

    /// Reports the error map of a VINTF; lost when nobody listens.
    pub(super) fn offer_error_map(&self, viommu: Id, map: [u64; 2]) -> Option<Option<SignalId>> {
        let mut state = self.state();
        let queue = state.viommu(viommu).ok()?.veventqs.get(&VEVENTQ_TEGRA241_CMDQV).copied()?;
        let queue = state.veventq_mut(queue).expect("listed by its viommu");
        queue.report(map.to_vec());
        Some(queue.signal)
    }

    /// Where a VINTF's errors go.
    pub(super) fn error_sink(&self, viommu: Id) -> Arc<dyn VintfErrorSink> {
        Arc::new(ErrorMaps { context: self.token(), viommu })
    }
}

/// Passes the error maps of a VINTF on to its viommu's queue.
struct ErrorMaps {
    context: Weak<Context>,
    viommu: Id,
}

impl VintfErrorSink for ErrorMaps {
    fn vintf_error(&self, _: Time, map: [u64; 2]) -> Taken {
        let taken = self.context.upgrade().and_then(|context| context.offer_error_map(self.viommu, map));
        taken_from(taken)
    }
}

/// `Some` when somebody took the record, with the signal to raise.
pub(super) fn taken_from(taken: Option<Option<SignalId>>) -> Taken {
    match taken {
        None => Taken::No,
        Some(None) => Taken::Yes,
        Some(Some(signal)) => Taken::Wake(signal),
    }
}

impl State {
    fn veventq_mut(&mut self, id: Id) -> Result<&mut Veventq, Errno> {
        match self.objects.get_mut(id).map(|o| &mut o.kind) {
            Some(Kind::Veventq(queue)) => Ok(queue),
            _ => Err(Errno::ENOENT),
        }
    }
    /// Who in user space is to hear of a record: not stalled, not a stage-2 fault, from a stream whose device was
    /// attached through a VDEVICE.
    fn vmaster(&self, smmu: &HostSmmu, record: EventRecord) -> Option<(Id, u64)> {
        if !FORWARDED.contains(&record.number()) || record.stall() || record.s2() {
            return None;
        }
        self.objects.iter().find_map(|(_, object)| match &object.kind {
            Kind::Device(d)
                if std::ptr::eq(&*d.device.smmu, smmu)
                    && d.device.sids.iter().any(|s| u64::from(*s) == record.sid()) =>
            {
                d.vmaster
            }
            _ => None,
        })
    }
}

impl Veventq {
    /// Queues a record; when the queue is full only the lost-events marker remains, always last.
    fn report(&mut self, payload: Vec<u64>) {
        let sequence = self.next_sequence;
        self.next_sequence = (sequence + 1) & 0x7fff_ffff;
        if self.records.back().is_some_and(|r| r.payload.is_none()) {
            self.records.pop_back();
        }
        let full = self.records.len() as u32 >= self.depth;
        self.records.push_back(Vevent { sequence, payload: (!full).then_some(payload) });
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn queue(depth: u32) -> Veventq {
        Veventq {
            viommu: Id(1),
            kind: 1,
            depth,
            records: VecDeque::new(),
            next_sequence: 0,
            open: 1,
            signal: None,
        }
    }
    fn shape(q: &Veventq) -> Vec<(u32, bool)> {
        q.records.iter().map(|r| (r.sequence, r.payload.is_some())).collect()
    }

    #[test]
    fn the_marker_is_last_and_a_gap_shows_the_loss() {
        let mut q = queue(2);
        (0..3).for_each(|n| q.report(vec![n]));
        assert_eq!(shape(&q), [(0, true), (1, true), (2, false)]);
        q.records.drain(..2);
        q.report(vec![3]);
        assert_eq!(shape(&q), [(3, true)]);
    }

    #[test]
    fn the_sequence_wraps_at_31_bits() {
        let mut q = queue(4);
        q.next_sequence = 0x7fff_ffff;
        q.report(vec![]);
        q.report(vec![]);
        assert_eq!(shape(&q), [(0x7fff_ffff, true), (0, true)]);
    }
}
