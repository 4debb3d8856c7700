//! VINTFs: initialization, and those of virtual machines with their queues and StreamID slots.

use spec::cmdqv::queue::BASE;
use spec::cmdqv::vintf::{CONFIG, SID_MATCH, SID_REPLACE, STATUS};
use spec::cmdqv::{Place, Vintf};
use spec::smmu::Command;

use super::{Cmdqv, OWN};
use crate::access::Access;
use crate::errno::Errno;

/// What is taken in a virtual machine's VINTF.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    /// Number of queues; they are allocated in ascending order.
    queues: u8,
    /// StreamID slots, a bit each.
    sids: u32,
}

impl Slots {
    pub(super) fn queues(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.queues
    }
}

impl Cmdqv {
    /// Disables a VINTF with these queues and clears its StreamID slots.
    pub(super) async fn deinit_vintf<A: Access>(&self, cpu: &A, v: u8, queues: &[u8]) {
        for &l in queues.iter().rev() {
            self.deinit_queue(cpu, v, l).await;
            self.allocate(cpu, v, l, false).await;
        }
        self.write(cpu, Place::Vintf { v, reg: Vintf::CONFIG }, 0).await;
        // A time-out is in the journal.
        let disabled = |value: u32| !STATUS(value.into()).enabled();
        let _ = self.poll(cpu, Place::Vintf { v, reg: Vintf::STATUS }, disabled).await;
        for s in 0..self.sid_slots() {
            self.write(cpu, Place::SidMatch { v, s }, 0).await;
            self.write(cpu, Place::SidReplace { v, s }, 0).await;
        }
    }

    /// Enables a VINTF after a reset of it and of `queues`; tells whether its owner is privileged.
    pub(super) async fn init_vintf<A: Access>(
        &self,
        cpu: &A,
        v: u8,
        hyp_own: bool,
        vmid: u16,
        queues: &[u8],
    ) -> Result<bool, Errno> {
        self.deinit_vintf(cpu, v, queues).await;
        let place = Place::Vintf { v, reg: Vintf::CONFIG };
        let config = CONFIG(0).with_hyp_own(hyp_own).with_vmid(vmid.into());
        self.write(cpu, place, config.bits() as u32).await;
        self.write(cpu, place, config.with_en(true).bits() as u32).await;
        let enabled = |value: u32| STATUS(value.into()).enabled();
        self.poll(cpu, Place::Vintf { v, reg: Vintf::STATUS }, enabled).await?;
        Ok(CONFIG(self.read(cpu, place).await.into()).hyp_own())
    }

    /// Takes the lowest free VINTF for a virtual machine with this VMID and enables it, without queues.
    ///
    /// # Errors
    /// `ENOSPC` when all are taken · `ETIMEDOUT`.
    pub async fn vintf_alloc<A: Access>(&self, cpu: &A, vmid: u16) -> Result<u8, Errno> {
        let v = {
            let mut users = self.users.lock();
            let all = OWN + 1..self.param.vintfs() as u8;
            let v = all.into_iter().find(|v| !users.contains_key(v)).ok_or(Errno::ENOSPC)?;
            users.insert(v, Slots::default());
            v
        };
        match self.init_vintf(cpu, v, false, vmid, &[]).await {
            Ok(_) => Ok(v),
            Err(errno) => {
                self.vintf_free(cpu, v).await;
                Err(errno)
            }
        }
    }

    /// Disables a virtual machine's VINTF and gives it back, with whatever queues and slots it still has.
    pub async fn vintf_free<A: Access>(&self, cpu: &A, v: u8) {
        let queues: Vec<_> = self.users.lock().get(&v).map(Slots::queues).into_iter().flatten().collect();
        self.deinit_vintf(cpu, v, &queues).await;
        self.users.lock().remove(&v);
        self.sinks.lock().remove(&v);
    }

    /// Gives a virtual machine's VINTF the logical queue `l`, with its ring at a physical address. The queue stays
    /// disabled: the guest enables it.
    ///
    /// # Errors
    /// In this order: `ENOENT` no such VINTF · `EINVAL` no such index · `EEXIST` · `EIO` the queue before is missing ·
    /// `EINVAL` length not a power of two between 32 bytes and what IDR1.CMDQS allows · `EINVAL` address not aligned to
    /// the length or out of reach.
    pub async fn lvcmdq_alloc<A: Access>(
        &self,
        cpu: &A,
        v: u8,
        l: u8,
        ring: u64,
        bytes: u64,
    ) -> Result<(), Errno> {
        let log2_bytes = {
            let mut users = self.users.lock();
            let slots = users.get_mut(&v).ok_or(Errno::ENOENT)?;
            if l >= self.queues_per_vintf() {
                return Err(Errno::EINVAL);
            }
            match l.cmp(&slots.queues) {
                std::cmp::Ordering::Less => return Err(Errno::EEXIST),
                std::cmp::Ordering::Greater => return Err(Errno::EIO),
                std::cmp::Ordering::Equal => {}
            }
            let command = Command::BYTES as u64;
            if !bytes.is_power_of_two() || bytes < 2 * command || bytes > command << self.cmdqs {
                return Err(Errno::EINVAL);
            }
            if BASE(0).with_addr(ring).addr() != ring || !ring.is_multiple_of(bytes) {
                return Err(Errno::EINVAL);
            }
            slots.queues += 1;
            (bytes / command).ilog2() as u8
        };
        self.allocate(cpu, v, l, true).await;
        self.init_queue(cpu, v, l, (ring, log2_bytes), false).await
    }

    /// Sets a logical queue up again, with another ring. Nothing is checked; the queue must be allocated.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn lvcmdq_reinit<A: Access>(
        &self,
        cpu: &A,
        v: u8,
        l: u8,
        ring: u64,
        log2: u8,
    ) -> Result<(), Errno> {
        self.init_queue(cpu, v, l, (ring, log2), false).await
    }

    /// Takes logical queue `l` away from a virtual machine's VINTF.
    ///
    /// # Errors
    /// `ENOENT` when it has no such queue · `EBUSY` when it is not the last one.
    pub async fn lvcmdq_free<A: Access>(&self, cpu: &A, v: u8, l: u8) -> Result<(), Errno> {
        let queues = self.users.lock().get(&v).map_or(0, |slots| slots.queues);
        if l >= queues {
            return Err(Errno::ENOENT);
        }
        if l + 1 != queues {
            return Err(Errno::EBUSY);
        }
        self.deinit_queue(cpu, v, l).await;
        self.allocate(cpu, v, l, false).await;
        self.users.lock().get_mut(&v).expect("it had queues").queues -= 1;
        Ok(())
    }

    /// Lets a virtual machine name a stream: takes the lowest free slot. Returns the slot.
    ///
    /// # Errors
    /// `ENOENT` no such VINTF · `EINVAL` the virtual StreamID has more than 20 bits · `ENOSPC`.
    pub async fn sid_alloc<A: Access>(&self, cpu: &A, v: u8, virt: u32, phys: u32) -> Result<u8, Errno> {
        let s = {
            let mut users = self.users.lock();
            let slots = users.get_mut(&v).ok_or(Errno::ENOENT)?;
            if SID_MATCH(0).with_virt_sid(virt.into()).virt_sid() != u64::from(virt) {
                return Err(Errno::EINVAL);
            }
            let s = slots.sids.trailing_ones() as u8;
            if s >= self.sid_slots() {
                return Err(Errno::ENOSPC);
            }
            slots.sids |= 1 << s;
            s
        };
        let replace = SID_REPLACE(0).with_phys_sid(phys.into());
        let matched = SID_MATCH(0).with_virt_sid(virt.into()).with_enable(true);
        self.write(cpu, Place::SidReplace { v, s }, replace.bits() as u32).await;
        self.write(cpu, Place::SidMatch { v, s }, matched.bits() as u32).await;
        Ok(s)
    }

    /// Gives a StreamID slot back.
    pub async fn sid_free<A: Access>(&self, cpu: &A, v: u8, s: u8) {
        self.write(cpu, Place::SidMatch { v, s }, 0).await;
        self.write(cpu, Place::SidReplace { v, s }, 0).await;
        if let Some(slots) = self.users.lock().get_mut(&v) {
            slots.sids &= !(1 << s);
        }
    }
}
