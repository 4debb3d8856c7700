//! Streams: their options, Stream Table Entries, CD tables, and what they are attached to.

use std::collections::BTreeMap;

use spec::smmu::{Cd, Command, Ste, command::ATC_INV_ALL, ste::config};

use super::domain::{Domain, DomainKind};
use super::entry::{self, Words};
use super::table::abort;
use super::{Driver, invalidate};
use crate::access::Access;
use crate::errno::Errno;
use crate::journal::{Attachment, DomainId, Note};
use crate::pgtable::zero;

/// What a stream's device can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// It caches translations (ATS), and the system lets it.
    pub ats: bool,
    /// log2 of the PASIDs that it may use (0 to 10).
    pub pasid_bits: u8,
    /// Its transactions may stall.
    pub stall: bool,
}

/// The most PASID bits for which a CD table is linear.
const PASID_BITS_MAX: u8 = 10;
const CD: u64 = Cd::BYTES as u64;

/// A stream that the driver has been told about or has attached.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    options: StreamOptions,
    ste: Ste,
    /// CD table and log2 of its entries.
    cds: Option<(u64, u8)>,
    cd_words: BTreeMap<u32, Cd>,
    attachment: Attachment,
    /// What it was attached to, until the change has been completed.
    leaving: Attachment,
    /// ATS is on.
    ats: bool,
    pasids: BTreeMap<u32, DomainId>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            options: StreamOptions::default(),
            ste: abort(),
            cds: None,
            cd_words: BTreeMap::new(),
            attachment: Attachment::Blocked,
            leaving: Attachment::Blocked,
            ats: false,
            pasids: BTreeMap::new(),
        }
    }
}

impl Driver {
    /// Tells what a stream's device can do; before it is attached.
    ///
    /// # Errors
    /// `EBUSY` when it is attached to something with a CD table of another size.
    pub fn set_stream(&self, sid: u32, options: StreamOptions) -> Result<(), Errno> {
        let mut streams = self.streams.lock();
        let stream = streams.entry(sid).or_default();
        let bits = options.pasid_bits.min(self.features.ssid_bits).min(PASID_BITS_MAX);
        if stream.cds.is_some_and(|(_, log2)| log2 != bits) {
            return Err(Errno::EBUSY);
        }
        stream.options = StreamOptions { pasid_bits: bits, ..options };
        Ok(())
    }
    /// The options of a stream.
    pub fn stream_options(&self, sid: u32) -> StreamOptions {
        self.streams.lock().get(&sid).map_or_else(StreamOptions::default, |s| s.options)
    }
    /// The Stream Table Entry as last installed.
    pub fn ste(&self, sid: u32) -> Ste {
        self.streams.lock().get(&sid).map_or_else(abort, |s| s.ste)
    }
    /// What a stream is attached to.
    pub fn attachment(&self, sid: u32) -> Attachment {
        self.streams.lock().get(&sid).map_or(Attachment::Blocked, |s| s.attachment)
    }
    /// Whether ATS is on for a stream.
    pub fn ats_enabled(&self, sid: u32) -> bool {
        self.streams.lock().get(&sid).is_some_and(|s| s.ats)
    }
    /// Whether a stream uses a CD table for PASIDs of the kernel.
    pub fn has_pasids(&self, sid: u32) -> bool {
        self.streams.lock().get(&sid).is_some_and(|s| !s.pasids.is_empty())
    }

    /// Changes a stream's STE: hitless where at most one 64-bit word that matters changes, by way of V=0 otherwise. Every
    /// step is followed by CFGI_STE and CMD_SYNC.
    ///
    /// # Errors
    /// `ERANGE` no such StreamID · `ENOMEM` · `ETIMEDOUT`.
    pub async fn install_ste<A: Access>(&self, cpu: &A, sid: u32, ste: Ste) -> Result<(), Errno> {
        let (address, first_level) = self.table.provide(cpu, sid).await?;
        if first_level {
            self.issue(cpu, &[Command::cfgi_ste(sid, false)], true).await?;
        }
        let mut now = self.ste(sid).words();
        for step in entry::steps(&now, &ste.words(), entry::used_by_ste) {
            store_changes(cpu, address, &now, &step).await;
            now = step;
            self.issue(cpu, &[Command::cfgi_ste(sid, true)], true).await?;
        }
        self.streams.lock().entry(sid).or_default().ste = ste;
        if self.config.wanted.prefetch {
            self.issue(cpu, &[Command::prefetch_config(sid, None)], false).await?;
        }
        Ok(())
    }

    /// Changes a CD of a stream likewise.
    async fn install_cd<A: Access>(&self, cpu: &A, sid: u32, ssid: u32, cd: Cd) -> Result<(), Errno> {
        let (table, _) = self.cd_table(cpu, sid).await?;
        let address = table + u64::from(ssid) * CD;
        let now = self.streams.lock().get(&sid).and_then(|s| s.cd_words.get(&ssid).copied());
        let mut now = now.unwrap_or_default().words();
        for step in entry::steps(&now, &cd.words(), entry::used_by_cd) {
            store_changes(cpu, address, &now, &step).await;
            now = step;
            self.issue(cpu, &[Command::cfgi_cd(sid, ssid, true)], true).await?;
        }
        self.streams.lock().entry(sid).or_default().cd_words.insert(ssid, cd);
        Ok(())
    }

    /// The stream's CD table and log2 of its entries; made on first use.
    async fn cd_table<A: Access>(&self, cpu: &A, sid: u32) -> Result<(u64, u8), Errno> {
        let (cds, log2) = {
            let streams = self.streams.lock();
            let stream = streams.get(&sid);
            (stream.and_then(|s| s.cds), stream.map_or(0, |s| s.options.pasid_bits))
        };
        if let Some(cds) = cds {
            return Ok(cds);
        }
        let bytes = CD << log2;
        let table = self.pages.alloc(bytes)?;
        zero(cpu, table, bytes).await;
        cpu.barrier().await;
        Ok(*self.streams.lock().entry(sid).or_default().cds.get_or_insert((table, log2)))
    }

    /// The STE for a stream whose CD 0 (and others) are in its CD table.
    fn stage1_ste(&self, stream: &StreamOptions, (table, log2): (u64, u8)) -> Ste {
        const USE_CD0: u64 = 2;
        const EL2: u64 = 2;
        let ste = Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(table);
        let ste = ste.with_s1cdmax(log2.into()).with_s1dss(USE_CD0).with_s1cir(1).with_s1cor(1).with_s1csh(3);
        let no_stall = self.features.stalls && !self.features.stall_forced && !stream.stall;
        let ste = ste.with_s1stalld(no_stall).with_eats(u64::from(self.ats_possible(stream)));
        ste.with_strw(if self.features.e2h { EL2 } else { 0 })
    }

    /// The STE fields of stage 2 in `domain`, on top of `ste`; Config is the caller's business. For stage-2-only
    /// streams and for nesting.
    pub fn with_stage2(&self, ste: Ste, domain: &Domain, stall: bool) -> Ste {
        let table = domain.table();
        let shape = table.shape();
        let ste = ste.with_s2vmid(domain.tag().into()).with_s2ttb(table.root());
        let ste = ste.with_s2t0sz(shape.t0sz()).with_s2sl0(shape.s2sl0()).with_s2tg(shape.granule.tg());
        let ste = ste.with_s2ps(shape.ps()).with_s2ir0(1).with_s2or0(1).with_s2sh0(3).with_s2aa64(true);
        let ste = ste.with_s2ptw(true).with_s2r(true).with_s2fwb(shape.fwb);
        ste.with_s2s(stall && self.features.stalls)
    }

    fn ats_possible(&self, stream: &StreamOptions) -> bool {
        stream.ats && self.features.ats
    }
    fn shcfg(&self, ste: Ste) -> Ste {
        ste.with_shcfg(u64::from(self.features.attr_types_ovr))
    }

    /// Attaches a stream to a domain: stage 1 through CD 0 of its CD table, or stage 2.
    ///
    /// # Errors
    /// `EINVAL` the domain belongs to another SMMU · `ERANGE` no such StreamID · `ENOMEM` · `ETIMEDOUT`.
    pub async fn attach<A: Access>(&self, cpu: &A, sid: u32, domain: &Domain) -> Result<(), Errno> {
        self.check_owner(domain)?;
        let options = self.stream_options(sid);
        let ste = match domain.kind() {
            DomainKind::Stage1 => {
                let cds = self.cd_table(cpu, sid).await?;
                self.install_cd(cpu, sid, 0, self.cd(domain, options.stall)).await?;
                self.stage1_ste(&options, cds)
            }
            DomainKind::Stage2 => {
                let ste = Ste::default().with_v(true).with_config(config::S2);
                let ste = ste.with_eats(u64::from(self.ats_possible(&options)));
                self.with_stage2(self.shcfg(ste), domain, options.stall)
            }
        };
        self.attach_ste(cpu, sid, ste, Attachment::Domain(domain.id())).await
    }

    /// Gives a stream an STE that the caller has made, and notes what it means. ATS is taken from the STE; whatever the
    /// device has cached is invalidated if it was on before.
    ///
    /// # Errors
    /// As [`Driver::install_ste`].
    pub async fn attach_ste<A: Access>(
        &self,
        cpu: &A,
        sid: u32,
        ste: Ste,
        what: Attachment,
    ) -> Result<(), Errno> {
        let (before, ats_before) = {
            let mut streams = self.streams.lock();
            let stream = streams.entry(sid).or_default();
            let before = (stream.attachment, stream.ats);
            // Until the change is complete, unmaps of both the old and the new domain invalidate the device's cache.
            (stream.leaving, stream.attachment) = (stream.attachment, what);
            stream.ats |= ste.eats() != 0;
            before
        };
        let mut result = self.install_ste(cpu, sid, ste).await;
        if result.is_ok() && ats_before {
            result = self.issue(cpu, &[Command::atc_inv(sid, None, 0, ATC_INV_ALL)], true).await;
        }
        {
            let mut streams = self.streams.lock();
            let stream = streams.entry(sid).or_default();
            stream.leaving = Attachment::Blocked;
            if result.is_ok() {
                stream.ats = ste.eats() != 0;
            } else {
                (stream.attachment, stream.ats) = (before, ats_before);
            }
        }
        result?;
        let note = Note::StreamAttached { by: self.config.by, smmu: self.config.smmu, sid, what };
        self.journal.push(cpu.now(), note);
        Ok(())
    }

    /// Makes a stream abort.
    ///
    /// # Errors
    /// As [`Driver::install_ste`].
    pub async fn block<A: Access>(&self, cpu: &A, sid: u32) -> Result<(), Errno> {
        self.attach_ste(cpu, sid, abort(), Attachment::Blocked).await
    }
    /// Lets a stream pass untranslated.
    ///
    /// # Errors
    /// As [`Driver::install_ste`].
    pub async fn bypass<A: Access>(&self, cpu: &A, sid: u32) -> Result<(), Errno> {
        let ste = self.shcfg(Ste::default().with_v(true).with_config(config::BYPASS));
        self.attach_ste(cpu, sid, ste, Attachment::Bypass).await
    }

    /// The CD of a stage-1 domain.
    fn cd(&self, domain: &Domain, stall: bool) -> Cd {
        let table = domain.table();
        let shape = table.shape();
        let cd = Cd::default().with_v(true).with_t0sz(shape.t0sz()).with_tg0(shape.granule.tg());
        let cd = cd.with_ir0(1).with_or0(1).with_sh0(3).with_epd1(true).with_ips(shape.ps()).with_aa64(true);
        let cd = cd.with_r(true).with_a(true).with_aset(true).with_asid(domain.tag().into());
        let stalls = self.features.stalls && (stall || self.features.stall_forced);
        cd.with_s(stalls).with_ttb0(table.root()).with_mair(crate::pgtable::MAIR)
    }

    fn check_owner(&self, domain: &Domain) -> Result<(), Errno> {
        if std::ptr::eq(domain.driver(), self) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Attaches a PASID of a stream to a stage-1 domain.
    ///
    /// # Errors
    /// `EINVAL` not stage 1, or of another SMMU, or PASID 0 · `ERANGE` more than the CD table has · `EBUSY` the PASID is
    /// attached, or the stream has no CD table in force · as [`Driver::install_ste`].
    pub async fn attach_pasid<A: Access>(
        &self,
        cpu: &A,
        sid: u32,
        pasid: u32,
        domain: &Domain,
    ) -> Result<(), Errno> {
        self.check_owner(domain)?;
        if domain.kind() != DomainKind::Stage1 || pasid == 0 {
            return Err(Errno::EINVAL);
        }
        let options = self.stream_options(sid);
        if pasid >> options.pasid_bits != 0 {
            return Err(Errno::ERANGE);
        }
        if self.ste(sid).config() != config::S1 || self.streams.lock()[&sid].pasids.contains_key(&pasid) {
            return Err(Errno::EBUSY);
        }
        self.streams.lock().entry(sid).or_default().pasids.insert(pasid, domain.id());
        self.install_cd(cpu, sid, pasid, self.cd(domain, options.stall)).await
    }
    /// Detaches a PASID of a stream.
    ///
    /// # Errors
    /// `ENOENT` it is not attached · `ETIMEDOUT`.
    pub async fn detach_pasid<A: Access>(&self, cpu: &A, sid: u32, pasid: u32) -> Result<(), Errno> {
        let attached = self.streams.lock().get(&sid).is_some_and(|s| s.pasids.contains_key(&pasid));
        if !attached {
            return Err(Errno::ENOENT);
        }
        self.install_cd(cpu, sid, pasid, Cd::default()).await?;
        if self.ats_enabled(sid) {
            self.issue(cpu, &[Command::atc_inv(sid, Some(pasid), 0, ATC_INV_ALL)], true).await?;
        }
        if let Some(stream) = self.streams.lock().get_mut(&sid) {
            stream.pasids.remove(&pasid);
        }
        Ok(())
    }

    /// The ATC invalidations that removing a range from a domain takes.
    pub(super) fn atc_commands(&self, domain: DomainId, addr: u64, len: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        for (&sid, stream) in self.streams.lock().iter().filter(|(_, s)| s.ats) {
            for attachment in [stream.attachment, stream.leaving] {
                match attachment {
                    Attachment::Domain(id) if id == domain => {
                        commands.push(invalidate::atc_range(sid, None, addr, len));
                    }
                    // What the guest calls the address is not known.
                    Attachment::Nested(id) if id == domain => {
                        commands.push(Command::atc_inv(sid, None, 0, ATC_INV_ALL));
                    }
                    _ => {}
                }
            }
            for (&pasid, _) in stream.pasids.iter().filter(|(_, id)| **id == domain) {
                commands.push(invalidate::atc_range(sid, Some(pasid), addr, len));
            }
        }
        commands
    }

    /// Whether some stream is attached to a domain.
    pub(super) fn uses(&self, domain: DomainId) -> bool {
        self.streams.lock().values().any(|s| {
            let direct =
                matches!(s.attachment, Attachment::Domain(id) | Attachment::Nested(id) if id == domain);
            direct || s.pasids.values().any(|id| *id == domain)
        })
    }
}

/// Stores the words that change, each in one piece.
async fn store_changes<A: Access>(cpu: &A, address: u64, now: &Words, target: &Words) {
    for (i, (now, target)) in now.iter().zip(target).enumerate() {
        if now != target {
            cpu.write64(address + 8 * i as u64, *target).await;
        }
    }
    cpu.barrier().await;
}
